"""GaitPart's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.gaitpart import GaitPart
from app.gait.opengait.keys import Architecture, Family, KeyTable, Rows, Shapes, strips, widths


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strips of the focal convolutions cannot be seen."""
    return {
        "widths": widths(shapes, "backbone.stages.{}.conv1.weight"),
        "hidden": shapes["short.0.squeeze.weight"][0],
        **strips(shapes),
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strips from OpenGait's YAML: a pair whose first convolution is ``FC-64-2`` has 2 ** 2 strips."""
    convolutions = [layer.split("-") for layer in model_cfg["backbone_cfg"]["layers_cfg"] if layer != "M"]
    return {"strips": [2 ** int(numbers[1]) if kind == "FC" else 1 for kind, *numbers in convolutions[::2]]}


PLAIN_CONVS = (0, 2, 5, 7, 10, 12, 14, 16)
"""Numbers of the convolutions: between them stand their activations, and after the second and the fourth a pooling."""
PLAIN_BACKBONE: Rows = tuple(
    (f"Backbone.forward_block.feature.{number}.conv", f"backbone.stages.{index // 2}.conv{index % 2 + 1}")
    for index, number in enumerate(PLAIN_CONVS)
)
TABLE = KeyTable(
    (
        *PLAIN_BACKBONE,
        ("TFA.pooling_func.conv1d3x1.*.0.conv", "short.*.squeeze"),
        ("TFA.pooling_func.conv1d3x1.*.2.conv", "short.*.expand"),
        ("TFA.pooling_func.conv1d3x3.*.0.conv", "long.*.squeeze"),
        ("TFA.pooling_func.conv1d3x3.*.2.conv", "long.*.expand"),
        ("Head.fc_bin", "linear.weight"),
    )
)

GAITPART = Family(
    "GaitPart", ("Backbone.forward_block.feature.", "TFA."), Architecture(GaitPart, TABLE, read, configure)
)
