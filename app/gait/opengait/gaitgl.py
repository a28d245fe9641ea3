"""GaitGL's checkpoints: with one convolution a block, as published for CASIA-B, or with two."""

from __future__ import annotations

from typing import Any

from app.gait.models.gaitgl import GaitGL
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, classes, strips


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes.

    The strips cannot be seen: the published networks have 8 if their blocks are one convolution deep, and 2 if they are
    two convolutions deep.
    """
    depth = 2 if "blocks.0.1.whole.weight" in shapes else 1
    return {
        "widths": [shapes[key][0] for key in ("stem.0.weight", *(f"blocks.{i}.0.whole.weight" for i in range(3)))],
        "depth": depth,
        "strips": 8 if depth == 1 else 2,
        **strips(shapes),
        "neck": "norm.weight" not in shapes,
        "classes": classes(shapes, "logits.weight" if "logits.weight" in shapes else "classifier.weight"),
    }


def _architecture(theirs: str, ours: str) -> Architecture:
    """Return the architecture; `theirs` and `ours` are what stands between a block's name and its convolutions'."""
    table = KeyTable(
        (
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
    )
    return Architecture(GaitGL, table, read, training=("logits.", "classifier."))


GAITGL_DEEP = Family("GaitGL (two convolutions a block)", ("GLConvA0.0.",), _architecture(".*", ".*"))
GAITGL = Family("GaitGL", ("GLConvA0.",), _architecture("", ".0"))
