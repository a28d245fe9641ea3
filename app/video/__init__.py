"""Reading, writing and painting video."""
