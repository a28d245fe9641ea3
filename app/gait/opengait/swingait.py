"""Checkpoints of SwinGait."""

from __future__ import annotations

from typing import Any

from app.gait.models.swingait import SwinGait
from app.gait.opengait.keys import HEAD, Architecture, Family, KeyTable, Rows, Shapes, classes, numbered, within
from app.gait.opengait.residual import BLOCK_P3D, RESIDUAL_BLOCK, stem

BLOCK: Rows = (
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("attn.relative_position_bias_table", "attention.biases"),
    ("attn.relative_position_index", "attention.relative_position_index"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.project"),
    ("mlp.fc1", "expand"),
    ("mlp.fc2", "reduce"),
)
TABLE = KeyTable(
    (
        *stem("layer0", "stem"),
        *within("layer1.forward_block.*", "stages.0.*", RESIDUAL_BLOCK),
        *within("layer2.*", "stages.1.*", BLOCK_P3D),
        ("transformer.patch_embed.proj", "patches"),
        ("transformer.patch_embed.norm", "patch_norm"),
        *within("transformer.layers.*.blocks.*", "blocks.*.*", BLOCK),
        ("transformer.layers.0.downsample.*", "widen.*"),
        ("transformer.norm", "norm"),
        *HEAD,
    )
)


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes: the table of biases tells the heads."""
    convolutions = [f"stages.{stage}.{{}}.conv1.conv.weight" for stage in range(2)]
    blocks = [f"blocks.{stage}.{{}}.attention.biases" for stage in range(2)]
    return {
        "widths": [shapes[key.format(0)][0] for key in convolutions],
        "tokens": [shapes[f"blocks.{stage}.0.norm1.weight"][0] for stage in range(2)],
        "depths": [len(numbered(shapes, key)) for key in (*convolutions, *blocks)],
        "heads": [shapes[key.format(0)][1] for key in blocks],
        "channels": shapes["linear.weight"][2],
        "classes": classes(shapes),
    }


SWINGAIT = Family(
    "SwinGait",
    ("transformer.patch_embed.", "layer0.forward_block."),
    Architecture(SwinGait, TABLE, read),
)
