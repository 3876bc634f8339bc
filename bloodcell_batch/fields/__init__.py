"""Cells in a field of view: what the finder's maps say, at which scale, and crops for the classifier."""
