"""GaitSet's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.gaitset import GaitSet
from app.gait.opengait.keys import Architecture, Family, KeyTable, Rows, Shapes, within

CONV_PAIR: Rows = (("0.conv", "conv1"), ("2.conv", "conv2"))
"""Between the convolutions of a pair stand their activations."""


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the scales of the pyramid cannot be seen."""
    return {
        "widths": [shapes[f"frame{stage}.conv1.weight"][0] for stage in (1, 2, 3)],
        "channels": shapes["linear.weight"][2],
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scales of the pyramid from OpenGait's YAML."""
    return {"bins": model_cfg["bin_num"]}


TABLE = KeyTable(
    (
        *within("set_block1.forward_block", "frame1", CONV_PAIR),
        *within("set_block2.forward_block", "frame2", CONV_PAIR),
        *within("set_block3.forward_block", "frame3", CONV_PAIR),
        *within("gl_block2", "set2", CONV_PAIR),
        *within("gl_block3", "set3", CONV_PAIR),
        ("Head.fc_bin", "linear.weight"),
    )
)

GAITSET = Family("GaitSet", ("set_block1.",), Architecture(GaitSet, TABLE, read, configure))
