"""The options of each command: type, default, range and description."""
