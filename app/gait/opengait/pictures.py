"""Checkpoints of the networks that see pictures of people: BiggerGait and GaitEdge."""

from __future__ import annotations

from typing import Any

from app.gait.models.biggergait import BiggerGait
from app.gait.models.gaitedge import GaitEdge
from app.gait.opengait.keys import (
    HEAD,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Settled,
    Shapes,
    Traces,
    head,
    numbered,
    within,
)
from app.gait.opengait.plain import gaitgl_rows, read_gaitgl
from app.gait.opengait.residual import RESNET, read_backbone

_BLOCK: Rows = (
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    *((f"attention.attention.{name}", name) for name in ("query", "key", "value")),
    ("attention.output.dense", "project"),
    ("layer_scale1.lambda1", "scale1"),
    ("layer_scale2.lambda1", "scale2"),
    ("mlp.fc1", "expand"),
    ("mlp.fc2", "reduce"),
)
_HEAD: Rows = (
    *(
        (f"{'pre_rgb' if ours.startswith(('stem', 'stages.0')) else 'post_backbone'}.{theirs}", f"backbone.{ours}")
        for theirs, ours in RESNET
    ),
    *HEAD,
)
TABLE_BIGGERGAIT = KeyTable(
    (
        *within("Gait_Net.real_gait.*", "heads.*", _HEAD),
        *within("Gait_Net.Gait_List.*", "of_group.*", _HEAD),
        ("HumanSpace_Conv.*", "reductions.*"),
        ("Mask_Branch.bn_s", "mask.norm"),
        ("Mask_Branch.bn_t", "mask.back_norm"),
        ("Mask_Branch.down_sampling", "mask.reduce"),
        ("Mask_Branch.up_sampling", "mask.expand"),
        ("Backbone.embeddings.cls_token", "vision.class_token"),
        ("Backbone.embeddings.mask_token", "vision.mask_token"),
        ("Backbone.embeddings.position_embeddings", "vision.positions"),
        ("Backbone.embeddings.patch_embeddings.projection", "vision.patches"),
        *within("Backbone.encoder.layer.*", "vision.blocks.*", _BLOCK),
        ("Backbone.layernorm", "vision.norm"),
    )
)


def read_biggergait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the heads of the transformer's attention cannot be seen."""
    return {
        "width": shapes["vision.class_token"][2],
        "depth": len(numbered(shapes, "vision.blocks.{}.norm1.weight")),
        "hidden": shapes["vision.blocks.0.expand.weight"][0],
        "positions": shapes["vision.positions"][1],
        "groups": len(numbered(shapes, "reductions.{}.1.weight")),
        "heads": len(numbered(shapes, "heads.{}.linear.weight")),
        "reduced": shapes["reductions.0.1.weight"][0],
        "maps_each": shapes["reductions.0.4.weight"][0],
        "widths": read_backbone(shapes, "heads.0.backbone")["widths"],
        **head(shapes, "heads.0.linear.weight", "heads.0.classifier.weight"),
    }


def settle_biggergait(traces: Traces) -> Settled:
    """Settle the heads of the attention: one for every 64 numbers in all published sizes of DINOv2."""
    width = traces.shapes["vision.class_token"][2]
    if width % 64 == 0:
        return Settled()
    heads = next(number for number in (4, 3, 2, 1) if width % number == 0)
    assumed = () if traces.stated else (f"that the attention of its transformer has {heads} heads",)
    return Settled({"attention_heads": heads}, assumed=assumed)


BIGGERGAIT = Family(
    "BiggerGait",
    ("Gait_Net.real_gait.", "HumanSpace_Conv."),
    Architecture(
        BiggerGait,
        TABLE_BIGGERGAIT,
        read_biggergait,
        training=tuple(f"{name}.{number}.classifier." for name in ("heads", "of_group") for number in range(64)),
        settle=settle_biggergait,
    ),
)

_CONVOLUTIONS = tuple((f"conv.{place}", f"{place}") for place in (0, 1, 3, 4))
TABLE_GAITEDGE = KeyTable(
    (
        *(
            row
            for level in range(4)
            for row in within(f"Backbone.Conv{level + 1}", f"segmenter.down.{level}", _CONVOLUTIONS)
        ),
        *(
            row
            for place, level in enumerate((4, 3, 2))
            for row in (
                (f"Backbone.Up{level}.up.1", f"segmenter.up.{place}.0"),
                (f"Backbone.Up{level}.up.2", f"segmenter.up.{place}.1"),
                *within(f"Backbone.Up_conv{level}", f"segmenter.both.{place}", _CONVOLUTIONS),
            )
        ),
        ("Backbone.Conv_1x1", "segmenter.last"),
        *((theirs, f"gait.{ours}") for theirs, ours in gaitgl_rows("", ".0")),
    )
)


def read_gaitedge(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes."""
    gait = {key.removeprefix("gait."): shape for key, shape in shapes.items()}
    levels = [f"segmenter.down.{level}.0.weight" for level in range(4)]
    return {"unet_widths": [shapes[level][0] for level in levels], **read_gaitgl(gait)}


GAITEDGE = Family(
    "GaitEdge",
    ("Backbone.Conv_1x1.", "GLConvA0."),
    Architecture(GaitEdge, TABLE_GAITEDGE, read_gaitedge, training=("gait.logits.", "gait.classifier.")),
)
