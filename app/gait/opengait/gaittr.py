"""GaitTR's checkpoints."""

from __future__ import annotations

from typing import Any

from app.gait.models.gaittr import GaitTR
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, widths


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the heads cannot be seen."""
    return {
        "widths": widths(shapes, "blocks.{}.attention.norm.weight"),
        "kernel": shapes["blocks.0.time.conv.weight"][2],
        "channels": shapes["linear.weight"][0],
    }


TABLE = KeyTable(
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

GAITTR = Family("GaitTR", ("data_bn.", "backbone.0.tcn."), Architecture(GaitTR, TABLE, read))
