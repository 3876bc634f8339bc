"""Clinical arithmetic of counts."""
