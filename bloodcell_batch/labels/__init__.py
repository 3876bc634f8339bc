"""Labels as people write them, and the cells that they mean."""
