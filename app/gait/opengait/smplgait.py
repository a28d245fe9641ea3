"""The checkpoints of SMPLGait and of MTSGait, and of the plain baseline, whose keys and shapes are MTSGait's."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from app.gait.models.mtsgait import MTSGait
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait.gaitpart import PLAIN_BACKBONE, PLAIN_CONVS
from app.gait.opengait.keys import HEAD, Architecture, Family, KeyTable, Shapes, classes, widths

TABLE_SMPLGAIT = KeyTable(
    (
        *PLAIN_BACKBONE,
        *((f"fc{layer + 1}", f"smpl.{layer}.0") for layer in range(3)),
        *((f"bn{layer + 1}", f"smpl.{layer}.1") for layer in range(3)),
        *HEAD,
    )
)
TABLE_MTSGAIT = KeyTable(
    (
        *((f"Backbone.forward_block.feature.{conv}.conv", f"convs.{i}.conv") for i, conv in enumerate(PLAIN_CONVS)),
        *HEAD,
    )
)


def _read(shapes: Shapes) -> dict[str, Any]:
    parts, _, channels = shapes["linear.weight"]
    pyramid = [2**scale for scale in reversed(range(parts.bit_length()))]
    return {
        "bins": pyramid if sum(pyramid) == parts else [parts],
        "channels": channels,
        "classes": classes(shapes),
    }


def read_smplgait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the matrix for the maps tells the size of silhouettes."""
    rows = 4 * isqrt(shapes["smpl.2.0.weight"][0])
    return {
        "smpl_widths": [shapes[f"smpl.{layer}.0.weight"][0] for layer in range(2)],
        "input_size": (rows, rows * 44 // 64),
        "widths": widths(shapes, "backbone.stages.{}.conv1.weight"),
        **_read(shapes),
    }


def read_mtsgait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the hops cannot be seen."""
    return {"widths": widths(shapes, "convs.{}.conv.weight")[::2], **_read(shapes)}


def configure_mtsgait(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Tell MTSGait and the baseline apart by OpenGait's YAML."""
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
