"""Deciding who each walk is."""
