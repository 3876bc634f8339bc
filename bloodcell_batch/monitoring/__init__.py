"""Over weeks: the figures of many runs beside each other, and the first one that left its baseline."""
