"""The functions that a program calls: the same work as the commands, without a terminal."""
