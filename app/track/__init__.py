"""Trackers: one implementation per file. `ByteTracker` follows the detections of one video."""

from app.track.bytetrack import ByteTracker

__all__ = ["ByteTracker"]
