"""The checkpoints of SMPLGait and of MTSGait, and of the plain baseline, whose keys and shapes are MTSGait's."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from app.gait.models.mtsgait import MTSGait
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes

# Between the convolutions stand their activations, and after the second and the fourth a pooling.
CONVS = (0, 2, 5, 7, 10, 12, 14, 16)
HEAD = (
    ("FCs.fc_bin", "linear.weight"),
    ("BNNecks.fc_bin", "classifier.weight"),
    ("BNNecks.bn1d", "classifier.norm"),
)
TABLE_SMPLGAIT = KeyTable(
    (
        *(
            (f"Backbone.forward_block.feature.{theirs}.conv", f"backbone.stages.{index // 2}.conv{index % 2 + 1}")
            for index, theirs in enumerate(CONVS)
        ),
        *((f"fc{layer + 1}", f"smpl.{layer}.0") for layer in range(3)),
        *((f"bn{layer + 1}", f"smpl.{layer}.1") for layer in range(3)),
        *HEAD,
    )
)
TABLE_MTSGAIT = KeyTable(
    (
        *(
            (f"Backbone.forward_block.feature.{theirs}.conv", f"convs.{index}.conv")
            for index, theirs in enumerate(CONVS)
        ),
        *HEAD,
    )
)


def _read(shapes: Shapes, widths: list[int]) -> dict[str, Any]:
    parts, _, channels = shapes["linear.weight"]
    pyramid = [2**scale for scale in reversed(range(parts.bit_length()))]
    return {
        "widths": widths,
        "bins": pyramid if sum(pyramid) == parts else [parts],
        "channels": channels,
        "classes": shapes["classifier.weight"][2] if "classifier.weight" in shapes else None,
    }


def read_smplgait(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes: the matrix for the maps tells the size of the silhouettes too."""
    stages = sum(f"backbone.stages.{stage}.conv1.weight" in shapes for stage in range(4))
    rows = 4 * isqrt(shapes["smpl.2.0.weight"][0])
    return {
        "smpl_widths": [shapes[f"smpl.{layer}.0.weight"][0] for layer in range(2)],
        "input_size": (rows, rows * 44 // 64),
        **_read(shapes, [shapes[f"backbone.stages.{stage}.conv1.weight"][0] for stage in range(stages)]),
    }


def read_mtsgait(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the hops cannot be seen."""
    convs = sum(f"convs.{conv}.conv.weight" in shapes for conv in range(len(CONVS)))
    return _read(shapes, [shapes[f"convs.{conv}.conv.weight"][0] for conv in range(0, convs, 2)])


def configure_mtsgait(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Which of the two networks it is, from OpenGait's YAML."""
    return {"hops": ()} if model_cfg["model"] == "Baseline" else {}


SMPLGAIT = Family(
    "SMPLGait",
    ("Backbone.forward_block.feature.", "fc1."),
    Architecture(SMPLGait, TABLE_SMPLGAIT, read_smplgait),
)
MTSGAIT = Family(
    "MTSGait or Baseline",
    ("Backbone.forward_block.feature.", "FCs."),
    Architecture(MTSGait, TABLE_MTSGAIT, read_mtsgait, configure_mtsgait),
)
