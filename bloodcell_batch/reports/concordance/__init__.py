"""Results against another method's counts."""
