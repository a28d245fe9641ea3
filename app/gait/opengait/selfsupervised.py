"""Checkpoints of the networks that learn without names: GaitSSB and FoundationGait, before and after further training.

A file of FoundationGait may hold a student, which only the first training needs, or a head for something else than
recognition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.foundationgait import FoundationGait
from app.gait.models.gaitssb import GaitSSB
from app.gait.opengait.keys import (
    HEAD,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Settled,
    Shapes,
    Traces,
    Weights,
    classes,
    pyramid,
    within,
)
from app.gait.opengait.residual import BLOCK_P3D, RESNET, read_backbone, stages

PROJECTOR: Rows = (
    ("projector.0.fc_bin", "projector.0.weight"),
    ("projector.1.bn1d", "projector.1"),
    ("projector.3.fc_bin", "projector.3.weight"),
    ("projector.4.bn1d", "projector.4"),
    ("predictor.0.fc_bin", "predictor.0.weight"),
    ("predictor.1.bn1d", "predictor.1"),
    ("predictor.3.fc_bin", "predictor.3.weight"),
)


def configure_bins(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scales of the pyramid from OpenGait's YAML."""
    return {"bins": model_cfg["bin_num"]} if "bin_num" in model_cfg else {}


def read_gaitssb(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    return {
        **read_backbone(shapes, "backbone"),
        "bins": pyramid(shapes["projector.0.weight"][0]),
        "channels": shapes["linear.weight"][2] if "linear.weight" in shapes else None,
    }


TABLE_GAITSSB = KeyTable((*within("Backbone", "backbone", RESNET), *PROJECTOR, ("head0.fc_bin", "linear.weight")))
GAITSSB = Family(
    "GaitSSB",
    ("Backbone.forward_block.layer1.", "projector.0."),
    Architecture(GaitSSB, TABLE_GAITSSB, read_gaitssb, configure_bins),
)


def read_foundationgait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    parts = shapes["teacher.projector.0.weight"][0]
    tuned = "linear.weight" in shapes
    return {
        **read_backbone(shapes, "teacher"),
        "bins": pyramid(parts),
        "channels": shapes["linear.weight"][2] if tuned else None,
        "student": "student.stem.conv.weight" in shapes,
        "scores": shapes["grader.weight"][2] if "grader.weight" in shapes else None,
        "classes": classes(shapes) if tuned else None,
    }


def settle_foundationgait(traces: Traces) -> Settled:
    """Refuse heads that grade something else than who walks."""
    if "grader.weight" not in traces.shapes:
        return Settled()
    number = traces.shapes["grader.weight"][2]
    return Settled(
        refused=f"it was trained further to grade something else (scoliosis, depression or attributes, in {number} "
        "classes): its scores do not tell who walks"
    )


def _table(*head: tuple[str, str]) -> KeyTable:
    network = (*stages(BLOCK_P3D), *PROJECTOR)
    return KeyTable(
        (*within("teacher_backbone", "teacher", network), *within("student_backbone", "student", network), *head)
    )


TABLE_FOUNDATIONGAIT = _table(*HEAD)
TABLE_GRADER = _table(("BNNecks.fc_bin", "grader.weight"), ("BNNecks.bn1d", "grader.norm"))
_MARKS = ("teacher_backbone.layer0.", "teacher_backbone.projector.0.")


def grades(weights: Weights) -> bool:
    """Whether there is a neck of all parts together, and no linear layer of each part before it."""
    return "FCs.fc_bin" not in weights and "BNNecks.fc_bin" in weights


GRADER = Family(
    "FoundationGait",
    _MARKS,
    Architecture(FoundationGait, TABLE_GRADER, read_foundationgait, configure_bins, (), settle_foundationgait),
    grades,
)
FOUNDATIONGAIT = Family(
    "FoundationGait",
    _MARKS,
    Architecture(
        FoundationGait, TABLE_FOUNDATIONGAIT, read_foundationgait, configure_bins, ("classifier.", "student.")
    ),
)
