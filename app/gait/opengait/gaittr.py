"""GaitTR's checkpoints."""

from __future__ import annotations

from itertools import count, takewhile
from typing import Any

from app.gait.models.gaittr import GaitTR
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the heads cannot be seen."""
    names = (f"blocks.{block}.attention.norm.weight" for block in count())
    return {
        "widths": [shapes[name][0] for name in takewhile(lambda name: name in shapes, names)],
        "kernel": shapes["blocks.0.time.conv.weight"][2],
        "channels": shapes["linear.weight"][0],
    }


TABLE = KeyTable(
    (
        ("data_bn", "data_norm"),
        *(
            (f"backbone.*.{theirs}", f"blocks.*.{ours}")
            for theirs, ours in (
                ("tcn.conv", "time.conv"),
                ("tcn.bn", "time.norm"),
                ("st.data_bn", "attention.data_norm"),
                ("st.attention_conv.qkv_conv", "attention.project"),
                ("st.attention_conv.attn_out", "attention.mix"),
                ("st.bn", "attention.norm"),
                ("residual_s.0", "inner.conv"),
                ("residual_s.1", "inner.norm"),
                ("down.conv", "outer.conv"),
                ("down.bn", "outer.norm"),
            )
        ),
        ("fcn", "linear"),
    )
)

GAITTR = Family("GaitTR", ("data_bn.", "backbone.0.tcn."), Architecture(GaitTR, TABLE, read))
