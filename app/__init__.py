"""Gaitprint names people by the way they walk, in ordinary video."""

__version__ = "0.2.0"
