"""GLN's checkpoints, of either phase."""

from __future__ import annotations

from typing import Any

from app.gait.models.gln import GLN
from app.gait.opengait.gaitset import CONV_PAIR, configure
from app.gait.opengait.gaitset import read as read_gaitset
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, within


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the scales of the pyramids cannot be seen."""
    arguments = {**read_gaitset(shapes), "lateral": shapes["lateral.0.weight"][0]}
    if "classifier.linear.weight" in shapes:
        arguments["classes"], arguments["compact"] = shapes["classifier.linear.weight"]
    return arguments


TABLE = KeyTable(
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

GLN_FAMILY = Family("GLN", ("sil_stage_0.",), Architecture(GLN, TABLE, read, configure))
