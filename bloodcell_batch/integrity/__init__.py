"""Digests of files and results, and the audit log that chains them."""
