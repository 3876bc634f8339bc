"""Figures of a model on labelled images."""
