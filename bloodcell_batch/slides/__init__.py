"""Which files, which slide, which shard."""
