"""The files of a run: columns, formats, journal, run record."""
