"""One run from folder to published files: here or on a cluster, whole or in shards."""
