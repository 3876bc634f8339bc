"""What `benchmark` measures: the parts of a run, the whole run, and a plain script on the same files."""
