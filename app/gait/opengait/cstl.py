"""CSTL's checkpoints. No published one was at hand: they come from our own training, and the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.cstl import CSTL
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, classes, strips, widths


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes."""
    head = strips(shapes, "salient_linear.weight")
    return {
        "widths": widths(shapes, "backbone.stages.{}.conv1.weight"),
        "hidden": shapes["aggregation.squeeze.conv.weight"][0] // head["parts"],
        **head,
        "classes": classes(shapes),
    }


CSTL_FAMILY = Family("CSTL", ("backbone.stages.", "salient_linear."), Architecture(CSTL, KeyTable(), read))
