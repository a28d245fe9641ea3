"""Checkpoints of the networks that see maps of body parts: ParsingGait, XGait and MultiGait++."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.gait.models.multigait import MultiGait
from app.gait.models.parsinggait import NODES, ParsingGait
from app.gait.models.xgait import XGait
from app.gait.opengait.keys import (
    HEAD,
    Architecture,
    Family,
    KeyTable,
    Rows,
    Settled,
    Shapes,
    Traces,
    classes,
    head,
    within,
)
from app.gait.opengait.residual import (
    BLOCK_P3D,
    HEAD_OF_STRIPS,
    RESIDUAL_BLOCK,
    RESNET,
    read_backbone,
    read_stages,
)

GRAPH: Rows = tuple(
    (f"gc{layer + 1}.{their}", f"layers.{layer}.{our}")
    for layer in range(2)
    for their, our in (("weight", "weight"), ("bias", "bias"), ("bn", "norm"))
)


def configure_strides(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strides, where OpenGait's YAML gives them for the backbone."""
    sections = (section for section in model_cfg.values() if isinstance(section, Mapping))
    strides = next((section["strides"] for section in sections if "strides" in section), None)
    return {} if strides is None else {"strides": strides}


def read_parsinggait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    graphs = [graph for graph in NODES if f"graphs.{graph}.gammas" in shapes]
    parts, _, channels = shapes["linear.weight"]
    return {
        **read_backbone(shapes, "backbone"),
        "parts": parts - sum(len(NODES[graph]) for graph in graphs),
        "graphs": graphs,
        "channels": channels,
        "classes": classes(shapes),
    }


TABLE_PARSINGGAIT = KeyTable(
    (
        *within("Backbone", "backbone", RESNET),
        *(row for graph in NODES for row in within(f"gcn_{graph}", f"graphs.{graph}", GRAPH)),
        *((f"gammas_{graph}", f"graphs.{graph}.gammas") for graph in NODES),
        *HEAD,
    )
)


def _parsinggait(mark: str) -> Family:
    return Family(
        "ParsingGait",
        ("Backbone.forward_block.layer1.", mark),
        Architecture(ParsingGait, TABLE_PARSINGGAIT, read_parsinggait, configure_strides),
    )


PARSINGGAIT_COARSE, PARSINGGAIT_FINE = _parsinggait("gcn_coarse."), _parsinggait("gcn_fine.")


def read_xgait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    return {
        **read_backbone(shapes, "silhouette_backbone"),
        "narrow": shapes["whole.reduce.weight"][0],
        **head(shapes, "linear.0.weight", "classifier.0.weight"),
    }


_GATE: Rows = (("fc.0", "reduce"), ("fc.2", "expand"), ("gammas", "gammas"))
TABLE_XGAIT = KeyTable(
    (
        *within("Backbone_sil", "silhouette_backbone", RESNET),
        *within("Backbone_par", "parsing_backbone", RESNET),
        *within("gcm", "whole", _GATE),
        *(
            row
            for place, name in enumerate(("up", "middle", "down"))
            for row in within(f"pcm_{name}", f"bands.{place}", _GATE)
        ),
        *(
            row
            for place, name in enumerate(("sil", "par", "gcm", "pcm"))
            for row in (
                (f"FCs_{name}.fc_bin", f"linear.{place}.weight"),
                (f"BNNecks_{name}.fc_bin", f"classifier.{place}.weight"),
                (f"BNNecks_{name}.bn1d", f"classifier.{place}.norm"),
            )
        ),
    )
)
XGAIT = Family(
    "XGait", ("Backbone_sil.", "Backbone_par."), Architecture(XGait, TABLE_XGAIT, read_xgait, configure_strides)
)


def read_multigait(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the strides cannot be seen."""
    return {
        "groups": tuple(shapes[f"stems.{group}.conv.weight"][1] for group in range(2)),
        **read_stages(shapes, ("stages.0", "streams.1.0", "streams.1.1", "last")),
        "narrow": shapes["split.first.0.conv.weight"][0],
        **head(shapes, "head.linear.weight", "head.neck.weight"),
    }


def settle_multigait(traces: Traces) -> Settled:
    """Say what nobody has published."""
    return Settled(
        assumed=(
            "that labels of body parts 0..11 are divided by 255 (how its authors coded maps of body parts and flow as "
            "pictures is not published, so their figures cannot be reached without asking them)",
        )
    )


_STREAMS = (("part1_layer", 0), ("layer", 1), ("part2_layer", 2))
TABLE_MULTIGAIT = KeyTable(
    (
        *(
            row
            for group in range(2)
            for row in (
                (f"part{group + 1}_layer0.forward_block.0", f"stems.{group}.conv"),
                (f"part{group + 1}_layer0.forward_block.1", f"stems.{group}.norm"),
                *within(f"part{group + 1}_layer1.forward_block.*", f"stages.{group}.*", RESIDUAL_BLOCK),
            )
        ),
        # The gate of the first group is the one called conv2.
        *(
            row
            for name, ours in (("conv2", "first"), ("conv1", "second"))
            for row in (
                (f"csquare.{name}.forward_block.0", f"split.{ours}.0.conv"),
                (f"csquare.{name}.forward_block.1", f"split.{ours}.0.norm"),
                (f"csquare.{name}.forward_block.3", f"split.{ours}.2.conv"),
                (f"csquare.{name}.forward_block.4", f"split.{ours}.2.norm"),
                (f"csquare.{name}.forward_block.6", f"split.{ours}.4"),
            )
        ),
        *(
            row
            for name, stream in _STREAMS
            for stage in range(2)
            for row in within(f"{name}{stage + 2}.*", f"streams.{stream}.{stage}.*", BLOCK_P3D)
        ),
        ("fusion.conv.forward_block.0", "join"),
        *within("layer4.*", "last.*", BLOCK_P3D),
        *HEAD_OF_STRIPS,
    )
)
MULTIGAIT = Family(
    "MultiGait++",
    ("csquare.", "part1_layer0."),
    Architecture(MultiGait, TABLE_MULTIGAIT, read_multigait, configure_strides, ("head.neck.",), settle_multigait),
)
