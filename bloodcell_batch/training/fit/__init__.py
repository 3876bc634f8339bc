"""One recipe to one model file."""
