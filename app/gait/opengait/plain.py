"""Checkpoints of the networks of plain convolutions, which see silhouettes.

GEINet's and CSTL's come from our own training and have our names: OpenGait publishes none of GEINet, and no published
one of CSTL was at hand. GaitGL has one convolution a block, as published for CASIA-B, or two. GLN's may be of either
phase of its training. The plain baseline has the keys and shapes of MTSGait.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from app.gait.models.cstl import CSTL
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitpart import GaitPart
from app.gait.models.gaitset import GaitSet
from app.gait.models.geinet import GEINet
from app.gait.models.gln import GLN
from app.gait.models.mtsgait import MTSGait
from app.gait.models.smplgait import SMPLGait
from app.gait.opengait import publications
from app.gait.opengait.keys import (
    HEAD,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Shapes,
    classes,
    head,
    numbered,
    pyramid,
    widths,
    within,
)


def read_geinet(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the size of the silhouettes cannot be seen."""
    return {
        "widths": [shapes[f"conv{stage}.weight"][0] for stage in (1, 2)],
        "channels": shapes["linear.weight"][0],
        "classes": classes(shapes),
    }


GEINET = Family("GEINet", ("conv1.", "conv2.", "linear."), Architecture(GEINet, KeyTable(), read_geinet))


CONV_PAIR: Rows = (("0.conv", "conv1"), ("2.conv", "conv2"))
"""Between the convolutions of a pair stand their activations."""


def read_gaitset(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the scales of the pyramid cannot be seen."""
    return {
        "widths": [shapes[f"frame{stage}.conv1.weight"][0] for stage in (1, 2, 3)],
        "channels": shapes["linear.weight"][2],
    }


def configure_pyramid(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scales of the pyramid from OpenGait's YAML."""
    return {"bins": model_cfg["bin_num"]}


TABLE_GAITSET = KeyTable(
    (
        *within("set_block1.forward_block", "frame1", CONV_PAIR),
        *within("set_block2.forward_block", "frame2", CONV_PAIR),
        *within("set_block3.forward_block", "frame3", CONV_PAIR),
        *within("gl_block2", "set2", CONV_PAIR),
        *within("gl_block3", "set3", CONV_PAIR),
        ("Head.fc_bin", "linear.weight"),
    )
)

GAITSET = Family(
    "GaitSet",
    ("set_block1.",),
    Architecture(GaitSet, TABLE_GAITSET, read_gaitset, configure_pyramid, settle=publications.settle_gaitset),
)


def read_gln(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the scales of the pyramids cannot be seen."""
    arguments = {**read_gaitset(shapes), "lateral": shapes["lateral.0.weight"][0]}
    if "classifier.linear.weight" in shapes:
        arguments["classes"], arguments["compact"] = shapes["classifier.linear.weight"]
    return arguments


TABLE_GLN = KeyTable(
    (
        *within("sil_stage_0.forward_block", "frame1", CONV_PAIR),
        *within("sil_stage_1.forward_block", "frame2", CONV_PAIR),
        *within("sil_stage_2.forward_block", "frame3", CONV_PAIR),
        *within("set_stage_1", "set2", CONV_PAIR),
        *within("set_stage_2", "set3", CONV_PAIR),
        *((f"lateral_layer{stage + 1}", f"lateral.{stage}") for stage in range(3)),
        *((f"smooth_layer{stage + 1}", f"smooth.{stage}") for stage in range(3)),
        ("Head.fc_bin", "linear.weight"),
        ("encoder_bn", "classifier.norm"),
        ("reduce_fc", "classifier.reduce"),
        ("reduce_bn", "classifier.reduced_norm"),
        ("reduce_cls", "classifier.linear"),
    )
)

GLN_FAMILY = Family(
    "GLN", ("sil_stage_0.",), Architecture(GLN, TABLE_GLN, read_gln, configure_pyramid, settle=publications.settle_gln)
)


def read_gaitpart(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strips of the focal convolutions cannot be seen."""
    return {
        "widths": widths(shapes, "backbone.stages.{}.conv1.weight"),
        "hidden": shapes["short.0.squeeze.weight"][0],
        # Counted, because each part is a module, and one number could claim a million of them.
        "parts": len(numbered(shapes, "short.{}.squeeze.weight")),
        "channels": shapes["linear.weight"][2],
    }


def configure_gaitpart(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strips from OpenGait's YAML: a pair whose first convolution is ``FC-64-2`` has 2 ** 2 strips."""
    convolutions = [layer.split("-") for layer in model_cfg["backbone_cfg"]["layers_cfg"] if layer != "M"]
    return {"strips": [2 ** int(numbers[1]) if kind == "FC" else 1 for kind, *numbers in convolutions[::2]]}


PLAIN_CONVS = (0, 2, 5, 7, 10, 12, 14, 16)
"""Numbers of the convolutions: between them stand their activations, and after the second and the fourth a pooling."""
PLAIN_BACKBONE: Rows = tuple(
    (f"Backbone.forward_block.feature.{number}.conv", f"backbone.stages.{index // 2}.conv{index % 2 + 1}")
    for index, number in enumerate(PLAIN_CONVS)
)
TABLE_GAITPART = KeyTable(
    (
        *PLAIN_BACKBONE,
        ("TFA.pooling_func.conv1d3x1.*.0.conv", "short.*.squeeze"),
        ("TFA.pooling_func.conv1d3x1.*.2.conv", "short.*.expand"),
        ("TFA.pooling_func.conv1d3x3.*.0.conv", "long.*.squeeze"),
        ("TFA.pooling_func.conv1d3x3.*.2.conv", "long.*.expand"),
        ("Head.fc_bin", "linear.weight"),
    )
)

GAITPART = Family(
    "GaitPart",
    ("Backbone.forward_block.feature.", "TFA."),
    Architecture(GaitPart, TABLE_GAITPART, read_gaitpart, configure_gaitpart, settle=publications.settle_gaitpart),
)


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


def _read_head(shapes: Shapes) -> dict[str, Any]:
    parts, _, channels = shapes["linear.weight"]
    return {
        "bins": pyramid(parts),
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
        **_read_head(shapes),
    }


def read_mtsgait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the hops cannot be seen."""
    return {"widths": widths(shapes, "convs.{}.conv.weight")[::2], **_read_head(shapes)}


def configure_mtsgait(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Tell MTSGait and the baseline apart by OpenGait's YAML."""
    return {"hops": ()} if model_cfg["model"] == "Baseline" else {}


SMPLGAIT = Family(
    "SMPLGait",
    ("Backbone.forward_block.feature.", "fc1."),
    Architecture(SMPLGait, TABLE_SMPLGAIT, read_smplgait, settle=publications.settle_smplgait),
)
MTSGAIT = Family(
    "MTSGait or Baseline",
    ("Backbone.forward_block.feature.", "FCs."),
    Architecture(MTSGait, TABLE_MTSGAIT, read_mtsgait, configure_mtsgait, settle=publications.settle_plain),
)


def read_gaitgl(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes.

    The strips cannot be seen: the published networks have 8 if their blocks are one convolution deep, and 2 if they are
    two convolutions deep.
    """
    depth = 2 if "blocks.0.1.whole.weight" in shapes else 1
    return {
        "widths": [shapes[key][0] for key in ("stem.0.weight", *(f"blocks.{i}.0.whole.weight" for i in range(3)))],
        "depth": depth,
        "strips": 8 if depth == 1 else 2,
        "neck": "norm.weight" not in shapes,
        **head(shapes, classifier="logits.weight" if "logits.weight" in shapes else "classifier.weight"),
    }


def gaitgl_rows(theirs: str, ours: str) -> Rows:
    """Return the rows; `theirs` and `ours` are what stands between a block's name and its convolutions'."""
    return (
        ("conv3d.0.conv3d", "stem.0"),
        ("conv3d.2.conv3d", "stem.1"),
        ("LTA.0.conv3d", "temporal"),
        *(
            (f"{block}{theirs}.{side}_conv3d.conv3d", f"blocks.{index}{ours}.{name}")
            for index, block in enumerate(("GLConvA0", "GLConvA1", "GLConvB2"))
            for side, name in (("global", "whole"), ("local", "local"))
        ),
        ("HPP.p", "power"),
        ("Head0.fc_bin", "linear.weight"),
        ("Bn", "norm"),
        ("Head1.fc_bin", "logits.weight"),
        ("BNNecks.fc_bin", "classifier.weight"),
        ("BNNecks.bn1d", "classifier.norm"),
    )


def _gaitgl(theirs: str, ours: str) -> Architecture:
    return Architecture(
        GaitGL,
        KeyTable(gaitgl_rows(theirs, ours)),
        read_gaitgl,
        training=("logits.", "classifier."),
        settle=publications.settle_gaitgl,
    )


GAITGL_DEEP = Family("GaitGL (two convolutions a block)", ("GLConvA0.0.",), _gaitgl(".*", ".*"))
GAITGL = Family("GaitGL", ("GLConvA0.",), _gaitgl("", ".0"))


def read_cstl(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes."""
    end = head(shapes, "salient_linear.weight")
    return {
        "widths": widths(shapes, "backbone.stages.{}.conv1.weight"),
        "hidden": shapes["aggregation.squeeze.conv.weight"][0] // end["parts"],
        **end,
    }


CSTL_FAMILY = Family("CSTL", ("backbone.stages.", "salient_linear."), Architecture(CSTL, KeyTable(), read_cstl))
