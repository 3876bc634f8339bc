"""Batch classification of peripheral-blood-smear cell images into per-slide differential counts."""

__version__ = "0.1.0"
