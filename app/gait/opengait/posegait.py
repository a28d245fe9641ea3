"""PoseGait's checkpoints, of our own training: none is published, so the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.posegait import PoseGait
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes."""
    stages = sum(f"stages.{stage}.0.weight" in shapes for stage in range(6))
    return {
        "widths": [shapes[f"stages.{stage}.0.weight"][0] for stage in range(stages)],
        "channels": shapes["linear.weight"][0],
        "classes": shapes["classifier.weight"][0] if "classifier.weight" in shapes else None,
    }


POSEGAIT = Family(
    "PoseGait", ("stages.0.0.weight", "stages.1.2.conv1.weight"), Architecture(PoseGait, KeyTable(), read)
)
