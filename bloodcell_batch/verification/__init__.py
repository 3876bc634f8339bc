"""Re-checks the files of a finished run: each module checks one thing, says what it finds and changes nothing."""
