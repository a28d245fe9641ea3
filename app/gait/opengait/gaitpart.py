"""GaitPart's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.gaitpart import GaitPart
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the strips of the focal convolutions cannot be seen."""
    stages = sum(f"backbone.stages.{stage}.conv1.weight" in shapes for stage in range(4))
    parts, _, channels = shapes["linear.weight"]
    return {
        "widths": [shapes[f"backbone.stages.{stage}.conv1.weight"][0] for stage in range(stages)],
        "parts": parts,
        "hidden": shapes["short.0.squeeze.weight"][0],
        "channels": channels,
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The strips from OpenGait's YAML: the first convolution of each pair, ``FC-64-2`` stands for 2 ** 2 strips."""
    convolutions = [layer.split("-") for layer in model_cfg["backbone_cfg"]["layers_cfg"] if layer != "M"]
    return {"strips": [2 ** int(numbers[1]) if kind == "FC" else 1 for kind, *numbers in convolutions[::2]]}


TABLE = KeyTable(
    (
        *(  # between the pairs stand their activations, and after the first two a pooling
            (f"Backbone.forward_block.feature.{index}.conv", f"backbone.stages.{stage}.{conv}")
            for stage, indices in enumerate(((0, 2), (5, 7), (10, 12), (14, 16)))
            for index, conv in zip(indices, ("conv1", "conv2"), strict=True)
        ),
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
