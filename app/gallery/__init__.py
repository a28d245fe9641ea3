"""Comparing walks and deciding who is who."""
