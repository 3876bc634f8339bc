"""One thin file per sub-command: parse, resolve the configuration, one call, summary, exit code."""
