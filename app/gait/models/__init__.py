"""Gait networks: one architecture family per file."""
