"""Many systems trained and measured on one split."""
