"""Threads, processors and blocks of work."""
