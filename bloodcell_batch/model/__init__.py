"""The model file and the network in it."""
