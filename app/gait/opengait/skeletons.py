"""Checkpoints of the networks that see joints: GaitGraph 1 and 2, GaitTR and PoseGait.

No checkpoint of PoseGait is published: they come from our own training and have our names.
"""

from __future__ import annotations

from typing import Any

from app.gait.models.gaitgraph import GaitGraph1, GaitGraph2
from app.gait.models.gaittr import GaitTR
from app.gait.models.posegait import PoseGait
from app.gait.opengait import publications
from app.gait.opengait.keys import Architecture, Family, KeyTable, Rows, Shapes, classes, numbered, widths, within

BLOCK: Rows = (
    ("edge", "edge"),
    ("scn.conv.gcn", "graph.conv"),
    ("scn.bn", "graph.norm"),
    ("scn.conv_down", "graph_reduce.conv"),
    ("scn.bn_down", "graph_reduce.norm"),
    ("scn.conv_up", "graph_expand.conv"),
    ("scn.bn_up", "graph_expand.norm"),
    ("scn.residual.0", "graph_shortcut.conv"),
    ("scn.residual.1", "graph_shortcut.norm"),
    ("tcn.conv", "time.conv"),
    ("tcn.bn", "time.norm"),
    ("tcn.conv_down", "time_reduce.conv"),
    ("tcn.bn_down", "time_reduce.norm"),
    ("tcn.conv_up", "time_expand.conv"),
    ("tcn.bn_up", "time_expand.norm"),
    ("tcn.residual.0", "time_shortcut.conv"),
    ("tcn.residual.1", "time_shortcut.norm"),
)
TABLE_GAITGRAPH = KeyTable(
    (
        ("ResGCN.head.*.A", "branches.*.adjacency"),
        ("ResGCN.head.*.bn", "branches.*.norm"),
        *within("ResGCN.head.*.layers.*", "branches.*.blocks.*", BLOCK),
        *within("ResGCN.backbone.*", "blocks.*", BLOCK),
        ("ResGCN.fcn", "linear"),
    )
)


def read_gaitgraph(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes. A stride is 2 if a shortcut over time has a convolution."""
    first, blocks = (
        [key.removesuffix(".edge") for key in numbered(shapes, name)]
        for name in ("branches.0.blocks.{}.edge", "blocks.{}.edge")
    )
    width = shapes["branches.0.blocks.0.graph.norm.weight"][0]
    channels = [shapes[f"{block}.graph_expand.norm.weight"][0] for block in [*first[1:], *blocks]]
    return {
        "inputs": shapes["branches.0.norm.weight"][0],
        "branches": sum(f"branches.{branch}.adjacency" in shapes for branch in range(3)),
        "branch_widths": [width, *channels[: len(first) - 1]],
        "widths": channels[len(first) - 1 :],
        "strides": [2 if f"{block}.time_shortcut.conv.weight" in shapes else 1 for block in blocks],
        "channels": shapes["linear.weight"][0],
        "reduction": channels[-1] // shapes[f"{blocks[-1]}.graph.norm.weight"][0],
        "hops": shapes["branches.0.blocks.0.graph.conv.weight"][0] // width,
        "kernel": shapes["branches.0.blocks.0.time.conv.weight"][2],
    }


GAITGRAPH2 = Family(
    "GaitGraph 2",
    ("ResGCN.head.1.",),
    Architecture(GaitGraph2, TABLE_GAITGRAPH, read_gaitgraph, settle=publications.settle_gaitgraph2),
)
GAITGRAPH1 = Family(
    "GaitGraph 1",
    ("ResGCN.head.0.",),
    Architecture(GaitGraph1, TABLE_GAITGRAPH, read_gaitgraph, settle=publications.settle_gaitgraph1),
)


def read_gaittr(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the heads cannot be seen."""
    return {
        "widths": widths(shapes, "blocks.{}.attention.norm.weight"),
        "kernel": shapes["blocks.0.time.conv.weight"][2],
        "channels": shapes["linear.weight"][0],
    }


TABLE_GAITTR = KeyTable(
    (
        ("data_bn", "data_norm"),
        ("backbone.*.tcn.conv", "blocks.*.time.conv"),
        ("backbone.*.tcn.bn", "blocks.*.time.norm"),
        ("backbone.*.st.data_bn", "blocks.*.attention.data_norm"),
        ("backbone.*.st.attention_conv.qkv_conv", "blocks.*.attention.project"),
        ("backbone.*.st.attention_conv.attn_out", "blocks.*.attention.mix"),
        ("backbone.*.st.bn", "blocks.*.attention.norm"),
        ("backbone.*.residual_s.0", "blocks.*.inner.conv"),
        ("backbone.*.residual_s.1", "blocks.*.inner.norm"),
        ("backbone.*.down.conv", "blocks.*.outer.conv"),
        ("backbone.*.down.bn", "blocks.*.outer.norm"),
        ("fcn", "linear"),
    )
)

GAITTR = Family("GaitTR", ("data_bn.", "backbone.0.tcn."), Architecture(GaitTR, TABLE_GAITTR, read_gaittr))


def read_posegait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes."""
    return {
        "widths": widths(shapes, "stages.{}.0.weight"),
        "channels": shapes["linear.weight"][0],
        "classes": classes(shapes),
    }


POSEGAIT = Family(
    "PoseGait", ("stages.0.0.weight", "stages.1.2.conv1.weight"), Architecture(PoseGait, KeyTable(), read_posegait)
)
