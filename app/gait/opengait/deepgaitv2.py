"""DeepGaitV2's checkpoints: one table for each kind of block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.opengait.gaitbase import read as read_gaitbase
from app.gait.opengait.keys import (
    HEAD,
    RESIDUAL_BLOCK,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Shapes,
    classes,
    numbered,
    strips,
    within,
)

BLOCK_P3D: Rows = (
    ("conv1.forward_block.0", "conv1.conv"),
    ("conv1.forward_block.1", "conv1.norm"),
    ("shortcut3d", "temporal.conv"),
    ("sbn", "temporal.norm"),
    ("conv2.forward_block.0", "conv2.conv"),
    ("conv2.forward_block.1", "conv2.norm"),
    ("downsample.0", "shortcut.conv"),
    ("downsample.1", "shortcut.norm"),
)
HEAD_OF_STRIPS: Rows = (
    ("FCs.fc_bin", "head.linear.weight"),
    ("BNNecks.fc_bin", "head.neck.weight"),
    ("BNNecks.bn1d", "head.neck.norm"),
)


def stem(theirs: str, ours: str) -> Rows:
    """Return the rows of a first convolution and its batch normalisation."""
    return (f"{theirs}.forward_block.0", f"{ours}.conv"), (f"{theirs}.forward_block.1", f"{ours}.norm")


def head(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments that the end of the network tells."""
    return {**strips(shapes, "head.linear.weight"), "classes": classes(shapes, "head.neck.weight")}


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; neither strides nor `use_emb2` can be seen."""
    return {
        "block": "p3d" if "stages.1.0.temporal.conv.weight" in shapes else "3d",
        "widths": [shapes[f"stages.{stage}.0.conv1.conv.weight"][0] for stage in range(4)],
        "depths": [len(numbered(shapes, f"stages.{stage}.{{}}.conv1.conv.weight")) for stage in range(4)],
        **head(shapes),
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return which of the two embeddings OpenGait's YAML asks for."""
    return {"use_emb2": bool(model_cfg.get("use_emb2", False))}


def configure_2d(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse the other embedding, which the 2D network does not have."""
    if model_cfg.get("use_emb2", False):
        raise ValueError("use_emb2 is not supported for DeepGaitV2 in 2D")
    return {}


TABLE_2D = KeyTable(
    (
        *stem("layer0", "stem"),
        *(
            row
            for stage in range(4)
            for row in within(f"layer{stage + 1}.forward_block.*", f"stages.{stage}.*", RESIDUAL_BLOCK)
        ),
        *HEAD,
    )
)


def _table(later: Rows) -> KeyTable:
    return KeyTable(
        (
            *stem("layer0", "stem"),
            *within("layer1.forward_block.*", "stages.0.*", RESIDUAL_BLOCK),
            *(row for stage in range(1, 4) for row in within(f"layer{stage + 1}.*", f"stages.{stage}.*", later)),
            *HEAD_OF_STRIPS,
        )
    )


TABLE_3D, TABLE_P3D = _table(RESIDUAL_BLOCK), _table(BLOCK_P3D)
NECK = ("head.neck.",)

DEEPGAITV2_2D = Family(
    "DeepGaitV2 (2D)",
    ("layer0.forward_block.", "layer2.forward_block."),
    Architecture(DeepGaitV2Frames, TABLE_2D, read_gaitbase, configure_2d),
)
DEEPGAITV2_3D = Family(
    "DeepGaitV2 (3D)",
    ("layer0.forward_block.", "layer2.0.bn1."),
    Architecture(DeepGaitV2, TABLE_3D, read, configure, NECK),
)
DEEPGAITV2_P3D = Family(
    "DeepGaitV2 (P3D)",
    ("layer0.forward_block.", "layer2.0.shortcut3d."),
    Architecture(DeepGaitV2, TABLE_P3D, read, configure, NECK),
)
