"""Whole runs, from videos to results, and the one place that chooses concrete classes."""
