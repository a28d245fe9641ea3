"""GLN's checkpoints, of either phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.gln import GLN
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the scales of the pyramids cannot be seen."""
    arguments = {
        "widths": [shapes[f"frame{stage}.conv1.weight"][0] for stage in (1, 2, 3)],
        "lateral": shapes["lateral.0.weight"][0],
        "channels": shapes["linear.weight"][2],
    }
    if "classifier.linear.weight" in shapes:
        arguments["classes"], arguments["compact"] = shapes["classifier.linear.weight"]
    return arguments


def configure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The scales of the pyramids from OpenGait's YAML."""
    return {"bins": model_cfg["bin_num"]}


TABLE = KeyTable(
    (
        *(
            (f"{theirs}.{index}.conv", f"{ours}.{conv}")
            for theirs, ours in (
                ("sil_stage_0.forward_block", "frame1"),
                ("sil_stage_1.forward_block", "frame2"),
                ("sil_stage_2.forward_block", "frame3"),
                ("set_stage_1", "set2"),
                ("set_stage_2", "set3"),
            )
            for index, conv in ((0, "conv1"), (2, "conv2"))
        ),
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
