"""A laboratory makes a model its own with some of its own cells."""
