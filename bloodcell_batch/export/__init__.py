"""From a model file to the forms that other runtimes read, each checked against PyTorch before it is published."""
