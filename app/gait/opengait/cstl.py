"""CSTL's checkpoints, of our own training: no published one was at hand, so the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.cstl import CSTL
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes."""
    stages = sum(f"backbone.stages.{stage}.conv1.weight" in shapes for stage in range(8))
    parts, _, channels = shapes["salient_linear.weight"]
    return {
        "widths": [shapes[f"backbone.stages.{stage}.conv1.weight"][0] for stage in range(stages)],
        "parts": parts,
        "hidden": shapes["aggregation.squeeze.conv.weight"][0] // parts,
        "channels": channels,
        "classes": shapes["classifier.weight"][2] if "classifier.weight" in shapes else None,
    }


CSTL_FAMILY = Family("CSTL", ("backbone.stages.", "salient_linear."), Architecture(CSTL, KeyTable(), read))
