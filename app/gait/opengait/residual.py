"""Checkpoints of the residual networks: GaitBase, DeepGaitV2 in 2D, 3D and P3D, SkeletonGait and SkeletonGait++."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.gait.models.deepgaitv2 import DeepGaitV2, DeepGaitV2Frames
from app.gait.models.gaitbase import GaitBase
from app.gait.models.skeletongait import SkeletonGait, SkeletonGaitPlus
from app.gait.opengait import publications
from app.gait.opengait.keys import (
    HEAD,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Shapes,
    Weights,
    head,
    numbered,
    within,
)

RESIDUAL_BLOCK: Rows = (
    ("conv1", "conv1.conv"),
    ("bn1", "conv1.norm"),
    ("conv2", "conv2.conv"),
    ("bn2", "conv2.norm"),
    ("downsample.0", "shortcut.conv"),
    ("downsample.1", "shortcut.norm"),
)


def read_gaitbase(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    count = len(numbered(shapes, "stages.{}.0.conv1.conv.weight"))
    stages = read_stages(shapes, (f"stages.{stage}" for stage in range(count)))
    return {**stages, **head(shapes)}


def read_stages(shapes: Shapes, names: Iterable[str]) -> dict[str, Any]:
    """Return the widths and depths of residual stages that have these names."""
    blocks = [f"{name}.{{}}.conv1.conv.weight" for name in names]
    return {
        "widths": [shapes[block.format(0)][0] for block in blocks],
        "depths": [len(numbered(shapes, block)) for block in blocks],
    }


def read_backbone(shapes: Shapes, name: str) -> dict[str, Any]:
    """Return the widths and depths of an `app.gait.layers.ResidualBackbone` that is called `name`."""
    return read_stages(shapes, (f"{name}.stages.{stage}" for stage in range(4)))


def configure_strides(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strides from OpenGait's YAML."""
    return {"strides": model_cfg["backbone_cfg"]["strides"]}


RESNET: Rows = (
    ("forward_block.conv1.conv", "stem.conv"),
    ("forward_block.bn1", "stem.norm"),
    *(
        row
        for stage in range(4)
        for row in within(f"forward_block.layer{stage + 1}.*", f"stages.{stage}.*", RESIDUAL_BLOCK)
    ),
)


TABLE_GAITBASE = KeyTable((*((f"Backbone.{theirs}", ours) for theirs, ours in RESNET), *HEAD))


def sees_depth(weights: Weights) -> bool:
    """Whether the first convolution takes the three maps of a depth picture: nothing else tells LidarGait."""
    first = weights.get("Backbone.forward_block.conv1.conv.weight")
    return first is not None and first.ndim == 4 and first.shape[1] == 3


def sees_silhouettes_alone(weights: Weights) -> bool:
    """Whether it is neither LidarGait nor ParsingGait, which have GaitBase's keys too."""
    return not sees_depth(weights) and not any(key.startswith("gcn_") for key in weights)


LIDARGAIT = Family(
    "LidarGait",
    ("Backbone.forward_block.layer1.", "FCs."),
    None,
    sees_depth,
    "it takes depth pictures of a lidar, which videos do not give",
)
GAITBASE = Family(
    "GaitBase",
    ("Backbone.forward_block.layer1.", "FCs."),
    Architecture(GaitBase, TABLE_GAITBASE, read_gaitbase, configure_strides, settle=publications.settle_gaitbase),
    sees_silhouettes_alone,
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


def read_deepgaitv2(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; neither strides nor `use_emb2` can be seen."""
    return {
        "block": "p3d" if "stages.1.0.temporal.conv.weight" in shapes else "3d",
        **read_stages(shapes, (f"stages.{stage}" for stage in range(4))),
        **head(shapes, "head.linear.weight", "head.neck.weight"),
    }


def configure_neck(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
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


def stages(later: Rows) -> Rows:
    """Return the rows of a stem and four stages: the first sees single frames, the others have blocks of `later`."""
    return (
        *stem("layer0", "stem"),
        *within("layer1.forward_block.*", "stages.0.*", RESIDUAL_BLOCK),
        *(row for stage in range(1, 4) for row in within(f"layer{stage + 1}.*", f"stages.{stage}.*", later)),
    )


TABLE_3D, TABLE_P3D = (KeyTable((*stages(block), *HEAD_OF_STRIPS)) for block in (RESIDUAL_BLOCK, BLOCK_P3D))
NECK = ("head.neck.",)

DEEPGAITV2_2D = Family(
    "DeepGaitV2 (2D)",
    ("layer0.forward_block.", "layer2.forward_block."),
    Architecture(DeepGaitV2Frames, TABLE_2D, read_gaitbase, configure_2d),
)
DEEPGAITV2_3D = Family(
    "DeepGaitV2 (3D)",
    ("layer0.forward_block.", "layer2.0.bn1."),
    Architecture(DeepGaitV2, TABLE_3D, read_deepgaitv2, configure_neck, NECK, publications.settle_neck),
)
DEEPGAITV2_P3D = Family(
    "DeepGaitV2 (P3D)",
    ("layer0.forward_block.", "layer2.0.shortcut3d."),
    Architecture(DeepGaitV2, TABLE_P3D, read_deepgaitv2, configure_neck, NECK, publications.settle_neck),
)


def sees_two_maps(weights: Weights) -> bool:
    """Whether the first convolution takes limbs and joints: nothing else tells SkeletonGait from DeepGaitV2."""
    first = weights.get("layer0.forward_block.0.weight")
    return first is not None and (first.shape[1],) == SkeletonGait.maps


def read_skeletongait_plus(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; neither strides nor `use_emb2` can be seen."""
    return {
        **read_stages(shapes, ["map_stage", *(f"stages.{stage}" for stage in range(3))]),
        "narrow": shapes["fusion.mix.conv.weight"][0],
        **head(shapes, "head.linear.weight", "head.neck.weight"),
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
    Architecture(SkeletonGait, TABLE_P3D, read_deepgaitv2, configure_neck, NECK, publications.settle_neck),
    sees_two_maps,
)
SKELETONGAIT_PLUS = Family(
    "SkeletonGait++",
    ("sil_layer0.", "map_layer0."),
    Architecture(SkeletonGaitPlus, TABLE_PLUS, read_skeletongait_plus, configure_neck, NECK),
)
