"""Two results of the same images, cell by cell."""
