"""Segmenters: one implementation per file."""
