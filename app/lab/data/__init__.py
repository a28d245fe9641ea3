"""Gait data sets: reading them, making them from raw ones, and skeleton maps."""
