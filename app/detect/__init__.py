"""Detectors: one implementation per file."""
