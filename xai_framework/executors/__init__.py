"""Who runs which unit."""
