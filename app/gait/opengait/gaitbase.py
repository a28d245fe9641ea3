"""GaitBase's checkpoints."""

from __future__ import annotations

from typing import Any

from app.gait.models.gaitbase import GaitBase
from app.gait.opengait.keys import (
    HEAD,
    RESIDUAL_BLOCK,
    Architecture,
    Family,
    KeyTable,
    Shapes,
    classes,
    numbered,
    strips,
    widths,
    within,
)


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    stages = widths(shapes, "stages.{}.0.conv1.conv.weight")
    depths = [len(numbered(shapes, f"stages.{stage}.{{}}.conv1.conv.weight")) for stage in range(len(stages))]
    return {"widths": stages, "depths": depths, **strips(shapes), "classes": classes(shapes)}


TABLE = KeyTable(
    (
        ("Backbone.forward_block.conv1.conv", "stem.conv"),
        ("Backbone.forward_block.bn1", "stem.norm"),
        *(
            row
            for stage in range(4)
            for row in within(f"Backbone.forward_block.layer{stage + 1}.*", f"stages.{stage}.*", RESIDUAL_BLOCK)
        ),
        *HEAD,
    )
)

GAITBASE = Family(
    "GaitBase",
    ("Backbone.forward_block.layer1.", "FCs."),
    Architecture(GaitBase, TABLE, read, lambda model_cfg: {"strides": model_cfg["backbone_cfg"]["strides"]}),
)
