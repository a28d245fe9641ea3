"""Checkpoints of static and dynamic disentanglement. They come from our own training, so the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.disentangled import Disentangled
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments of the constructor, read off the shapes of the weights."""
    return {
        "code": shapes["motion_encoder.4.weight"][0],
        "channels": shapes["recogniser.linear.weight"][0],
        "classes": shapes["classifier.weight"][0] if "classifier.weight" in shapes else None,
    }


DISENTANGLED = Family(
    "Disentangled", ("motion_encoder.", "body_encoder."), Architecture(Disentangled, KeyTable(), read)
)
