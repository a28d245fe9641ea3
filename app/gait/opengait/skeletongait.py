"""SkeletonGait's checkpoints, and SkeletonGait++'s."""

from __future__ import annotations

from typing import Any

from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.opengait.deepgaitv2 import BLOCK_P3D, HEAD_OF_STRIPS, NECK, TABLE_P3D, configure, head, read, stem
from app.gait.opengait.keys import RESIDUAL_BLOCK, Architecture, Family, KeyTable, Shapes, Weights, numbered, within


def sees_two_maps(weights: Weights) -> bool:
    """Whether the first convolution takes limbs and joints: nothing else tells SkeletonGait from DeepGaitV2."""
    first = weights.get("layer0.forward_block.0.weight")
    return first is not None and (first.shape[1],) == SkeletonGait.maps


def read_plus(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; neither strides nor `use_emb2` can be seen."""
    stages = ["map_stage", *(f"stages.{stage}" for stage in range(3))]
    return {
        "widths": [shapes[f"{stage}.0.conv1.conv.weight"][0] for stage in stages],
        "depths": [len(numbered(shapes, f"{stage}.{{}}.conv1.conv.weight")) for stage in stages],
        "narrow": shapes["fusion.mix.conv.weight"][0],
        **head(shapes),
    }


TABLE_PLUS = KeyTable(
    (
        *(
            row
            for kind in ("map", "sil")
            for row in (
                *stem(f"{kind}_layer0", f"{kind}_stem"),
                *within(f"{kind}_layer1.forward_block.*", f"{kind}_stage.*", RESIDUAL_BLOCK),
            )
        ),
        ("fusion.conv.forward_block.0", "fusion.reduce.conv"),
        ("fusion.conv.forward_block.1", "fusion.reduce.norm"),
        ("fusion.conv.forward_block.3", "fusion.mix.conv"),
        ("fusion.conv.forward_block.4", "fusion.mix.norm"),
        ("fusion.conv.forward_block.6", "fusion.expand"),
        *(row for stage in range(3) for row in within(f"layer{stage + 2}.*", f"stages.{stage}.*", BLOCK_P3D)),
        *HEAD_OF_STRIPS,
    )
)

SKELETONGAIT = Family(
    "SkeletonGait",
    ("layer0.forward_block.", "layer2.0.shortcut3d."),
    Architecture(SkeletonGait, TABLE_P3D, read, configure, NECK),
    sees_two_maps,
)
SKELETONGAIT_PLUS = Family(
    "SkeletonGait++",
    ("sil_layer0.", "map_layer0."),
    Architecture(SkeletonGaitPlus, TABLE_PLUS, read_plus, configure, NECK),
)
