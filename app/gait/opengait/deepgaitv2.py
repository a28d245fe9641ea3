"""DeepGaitV2's checkpoints: one table for each kind of block."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.opengait.gaitbase import read as read_gaitbase
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes

Rows = tuple[tuple[str, str], ...]

BLOCK_2D_3D: Rows = (
    ("conv1", "conv1.conv"),
    ("bn1", "conv1.norm"),
    ("conv2", "conv2.conv"),
    ("bn2", "conv2.norm"),
    ("downsample.0", "shortcut.conv"),
    ("downsample.1", "shortcut.norm"),
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
HEAD: Rows = (
    ("FCs.fc_bin", "head.linear.weight"),
    ("BNNecks.fc_bin", "head.neck.weight"),
    ("BNNecks.bn1d", "head.neck.norm"),
)


def blocks(theirs: str, ours: str, rows: Rows) -> Rows:
    """The rows of the blocks of a stage."""
    return tuple((f"{theirs}.*.{their}", f"{ours}.*.{our}") for their, our in rows)


def stem(theirs: str, ours: str) -> Rows:
    """The rows of a first convolution and its batch normalisation."""
    return (f"{theirs}.forward_block.0", f"{ours}.conv"), (f"{theirs}.forward_block.1", f"{ours}.norm")


def depth(shapes: Shapes, stage: str) -> int:
    """How many blocks the stage has, by our name of it."""
    return sum(1 for _ in takewhile(lambda block: f"{stage}.{block}.conv1.conv.weight" in shapes, count()))


def head(shapes: Shapes) -> dict[str, Any]:
    """The arguments that the end of the network tells."""
    parts, _, channels = shapes["head.linear.weight"]
    classes = shapes["head.neck.weight"][2] if "head.neck.weight" in shapes else None
    return {"parts": parts, "channels": channels, "classes": classes}


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; neither strides nor `use_emb2` can be seen."""
    return {
        "block": "p3d" if "stages.1.0.temporal.conv.weight" in shapes else "3d",
        "widths": [shapes[f"stages.{stage}.0.conv1.conv.weight"][0] for stage in range(4)],
        "depths": [depth(shapes, f"stages.{stage}") for stage in range(4)],
        **head(shapes),
    }


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Which of the two embeddings, from OpenGait's YAML."""
    return {"use_emb2": bool(model_cfg.get("use_emb2", False))}


def configure_2d(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing is to be told of the 2D network."""
    if model_cfg.get("use_emb2", False):
        raise ValueError("use_emb2 is not supported for DeepGaitV2 in 2D")
    return {}


TABLE_2D = KeyTable(
    (
        *stem("layer0", "stem"),
        *(
            row
            for stage in range(4)
            for row in blocks(f"layer{stage + 1}.forward_block", f"stages.{stage}", BLOCK_2D_3D)
        ),
        ("FCs.fc_bin", "linear.weight"),
        ("BNNecks.fc_bin", "classifier.weight"),
        ("BNNecks.bn1d", "classifier.norm"),
    )
)


def _table(later: Rows) -> KeyTable:
    return KeyTable(
        (
            *stem("layer0", "stem"),
            *blocks("layer1.forward_block", "stages.0", BLOCK_2D_3D),
            *(row for stage in range(1, 4) for row in blocks(f"layer{stage + 1}", f"stages.{stage}", later)),
            *HEAD,
        )
    )


TABLE_3D, TABLE_P3D = _table(BLOCK_2D_3D), _table(BLOCK_P3D)
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
