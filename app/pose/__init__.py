"""Pose estimators: one implementation per file."""
