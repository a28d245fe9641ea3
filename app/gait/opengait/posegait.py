"""PoseGait's checkpoints. None is published: they come from our own training, and the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.posegait import PoseGait
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, classes, widths


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes."""
    return {
        "widths": widths(shapes, "stages.{}.0.weight"),
        "channels": shapes["linear.weight"][0],
        "classes": classes(shapes),
    }


POSEGAIT = Family(
    "PoseGait", ("stages.0.0.weight", "stages.1.2.conv1.weight"), Architecture(PoseGait, KeyTable(), read)
)
