"""A person verifies cells, and what they say is counted."""
