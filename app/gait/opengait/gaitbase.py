"""GaitBase's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.gaitbase import GaitBase
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the strides cannot be seen."""
    depths: list[int] = []
    while f"stages.{len(depths)}.0.conv1.conv.weight" in shapes:
        depth = 1
        while f"stages.{len(depths)}.{depth}.conv1.conv.weight" in shapes:
            depth += 1
        depths.append(depth)
    parts, _, channels = shapes["linear.weight"]
    return {
        "widths": [shapes[f"stages.{stage}.0.conv1.conv.weight"][0] for stage in range(len(depths))],
        "depths": depths,
        "parts": parts,
        "channels": channels,
        "classes": shapes["classifier.weight"][2] if "classifier.weight" in shapes else None,
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The strides from OpenGait's YAML."""
    return {"strides": model_cfg["backbone_cfg"]["strides"]}


TABLE = KeyTable(
    (
        ("Backbone.forward_block.conv1.conv", "stem.conv"),
        ("Backbone.forward_block.bn1", "stem.norm"),
        *(
            (f"Backbone.forward_block.layer{stage + 1}.*.{theirs}", f"stages.{stage}.*.{ours}")
            for stage in range(4)
            for theirs, ours in (
                ("conv1", "conv1.conv"),
                ("bn1", "conv1.norm"),
                ("conv2", "conv2.conv"),
                ("bn2", "conv2.norm"),
                ("downsample.0", "shortcut.conv"),
                ("downsample.1", "shortcut.norm"),
            )
        ),
        ("FCs.fc_bin", "linear.weight"),
        ("BNNecks.fc_bin", "classifier.weight"),
        ("BNNecks.bn1d", "classifier.norm"),
    )
)

GAITBASE = Family(
    "GaitBase", ("Backbone.forward_block.layer1.", "FCs."), Architecture(GaitBase, TABLE, read, configure)
)
