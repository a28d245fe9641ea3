"""What the keys and shapes of a checkpoint leave open, and how known publications are told apart.

The class count, the widths, the schedule of the training and the name of the file tell most of them. For the rest, the
usual setting is assumed and said. OpenGait's YAML of the training settles everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.gait.models.sconet import GRADES, ScoNet
from app.gait.opengait.keys import Settled, Traces, classes, numbered, widths

PUBLISHED_CLASSES = {74, 100, 200, 250, 500, 571, 3000, 5153, 20000}
"""How many people the training sets have: CASIA-B, CCPG, CASIA-E, SUSTech1K, HID, CCGR-Mini, Gait3D, OU-MVLP, GREW."""
_GAIT3D, _CCPG, _HID = 3000, 100, 500
_GAIT3D_BENCHMARK = 180000
"""The iterations of that project's networks, which it trained in the same way on three kinds of input."""

_PARSING = ("parsing",)
_LARGE, _SMALL = "128.?(pixel|pkl)|128x88", "64.?(pixel|pkl)|64x44"


def _kind(traces: Traces, arguments: Mapping[str, Any], doubtful: bool, assumed: tuple[str, ...] = ()) -> Settled:
    """Settle the kind and the size of the pictures, which only names tell of some networks."""
    if traces.of_parts:
        return Settled(arguments, assumed=assumed, inputs=_PARSING)
    if traces.named(_LARGE):
        return Settled({**arguments, "input_size": (128, 88)}, assumed=assumed)
    if doubtful and not traces.named(_SMALL) and not traces.stated:
        assumed = (*assumed, "that it takes silhouettes of 64 rows, not of 128 rows and not maps of body parts")
    return Settled(arguments, assumed=assumed)


def _from_the_benchmark(traces: Traces) -> bool:
    """Whether a network trained on Gait3D may be one of Gait3D-Benchmark's."""
    return traces.iteration in (None, _GAIT3D_BENCHMARK)


_OPENGAITS_SCHEDULE = (20000, 40000, 50000)


def _compared(settled: Settled, traces: Traces, doubtful: bool) -> Settled:
    """Add how embeddings are compared: by the cosine in Gait3D-Benchmark, by the Euclidean distance in OpenGait.

    `doubtful` is whether the network may be one of Gait3D-Benchmark's.
    """
    if not doubtful or traces.stated or traces.ours or settled.refused is not None:
        return settled
    if traces.iteration == _GAIT3D_BENCHMARK:
        return replace(settled, is_cosine=True)
    distance = "that embeddings are compared by the Euclidean distance (match.metric), not by the cosine"
    return replace(settled, assumed=(*settled.assumed, distance))


STRIPS = {(32, 64, 128): (1, 4, 8), (32, 64, 128, 256): (1, 1, 8, 8)}
"""By the widths of the published GaitParts: the strips of their focal convolutions. The longer is GREW's, OU-MVLP's and
CASIA-E's, the shorter that of all others."""


def settle_gaitpart(traces: Traces) -> Settled:
    """Settle the strips of the focal convolutions, and the pictures."""
    own = tuple(widths(traces.shapes, "backbone.stages.{}.conv1.weight"))
    strips = {len(known): strips for known, strips in STRIPS.items()}.get(len(own), (1,) * len(own))
    assumed = () if own in STRIPS or traces.stated else (f"strips {', '.join(map(str, strips))} of its convolutions",)
    arguments = {"strips": strips} if len(own) != 3 else {}  # three is the constructor's own
    doubtful = len(own) == 3 and _from_the_benchmark(traces)
    return _compared(_kind(traces, arguments, doubtful, assumed), traces, doubtful)


def settle_gaitset(traces: Traces) -> Settled:
    """Settle the pictures."""
    first = traces.shapes["frame1.conv1.weight"][0]
    doubtful = first == 32 and _from_the_benchmark(traces)
    return _compared(_kind(traces, {}, doubtful), traces, doubtful)


def settle_gln(traces: Traces) -> Settled:
    """Settle the kind of the pictures; it sees those of a data set as they are, so their size need not be known."""
    if traces.of_parts:
        return Settled(inputs=_PARSING)
    known = traces.iteration not in (None, _GAIT3D_BENCHMARK) or traces.named(f"{_LARGE}|{_SMALL}") or traces.stated
    settled = Settled(assumed=() if known else ("that it takes silhouettes, not maps of body parts",))
    return _compared(settled, traces, _from_the_benchmark(traces))


def settle_gaitgl(traces: Traces) -> Settled:
    """Settle the pictures."""
    people = classes(traces.shapes, "logits.weight") or classes(traces.shapes)
    doubtful = people == _GAIT3D and _from_the_benchmark(traces)
    return _compared(_kind(traces, {}, doubtful), traces, doubtful)


def settle_smplgait(traces: Traces) -> Settled:
    """Settle the kind of the pictures; the matrix of the maps tells their size."""
    doubtful = _from_the_benchmark(traces) and traces.milestones != _OPENGAITS_SCHEDULE
    if traces.of_parts:
        return Settled(inputs=("parsing", "smpl"))
    return _compared(Settled(), traces, doubtful)


def settle_plain(traces: Traces) -> Settled:
    """Settle MTSGait and the plain baseline, which have the same keys."""
    people = classes(traces.shapes)
    baseline = {"hops": ()}
    if people == _HID:
        stages = len(numbered(traces.shapes, "convs.{}.conv.weight")) // 2
        return Settled({**baseline, "input_size": (128, 88)} if stages == 4 else baseline)
    doubtful = people == _GAIT3D and _from_the_benchmark(traces) and traces.milestones != _OPENGAITS_SCHEDULE
    if traces.named("mtsgait") or traces.stated:
        settled = _kind(traces, {}, doubtful)
    elif traces.named("baseline|smplgait|w-?o-?3d|without 3d"):
        settled = _kind(traces, baseline, doubtful)
    else:
        settled = _kind(traces, {}, doubtful, ("that it is MTSGait and not the plain baseline",))
    return _compared(settled, traces, doubtful)


def settle_gaitbase(traces: Traces) -> Settled:
    """Settle the kind of the pictures, and the strides."""
    people = classes(traces.shapes)
    if traces.model == "ScoNet" or (people == len(GRADES) and not traces.stated and not traces.ours):
        grades = "it has three classes, as ScoNet has, which screens for scoliosis: its scores do not tell who walks"
        return Settled({"classes": people}, refused=grades, network=ScoNet)
    usual = traces.milestones == _OPENGAITS_SCHEDULE or traces.iteration not in (None, 120000)
    published = widths(traces.shapes, "stages.{}.0.conv1.conv.weight") == [64, 128, 256, 512]
    assumed = () if published or traces.stated else ("strides 1, 2, 2, 1",)
    return _kind(traces, {}, people == _GAIT3D and not usual, assumed)


def settle_neck(traces: Traces) -> Settled:
    """Settle which of the two embeddings DeepGaitV2 and SkeletonGait give."""
    people = classes(traces.shapes, "head.neck.weight")
    if people == _CCPG and traces.shapes["stem.conv.weight"][1] == 2:
        return Settled({"use_emb2": True})
    if people in PUBLISHED_CLASSES or traces.stated:
        return Settled()
    return Settled(assumed=("that it embeds before its neck (use_emb2: false)",))


def settle_gaitgraph1(traces: Traces) -> Settled:
    """Settle how many frames it sees."""
    channels = traces.shapes["linear.weight"][0]
    known = {(128, 6000): 60, (128, 20000): 24}.get((channels, traces.steps or 0))
    if known is not None or traces.stated:
        return Settled(frames=known)
    frames, others = (16, "OU-MVLP's 17") if channels == 256 else (24, "CASIA-B's 60")
    return Settled(frames=frames, assumed=(f"that it sees {frames} frames of a walk, not {others}",))


def settle_gaitgraph2(traces: Traces) -> Settled:
    """Settle how many frames it sees, and whether missing joints are put into the middle."""
    last = numbered(traces.shapes, "blocks.{}.edge")[-1].removesuffix(".edge")
    reduction = traces.shapes[f"{last}.graph_expand.norm.weight"][0] // traces.shapes[f"{last}.graph.norm.weight"][0]
    known = {(8, 500): (60, True), (8, 2000): (60, False), (4, 50000): (60, True), (4, 80000): (30, True)}
    frames, centred = known.get((reduction, traces.steps or 0), (None, None))
    if frames is not None or traces.stated:
        return Settled(frames=frames, centred=centred, is_cosine=not traces.ours)
    centred = reduction == 4 and not traces.ours  # all that are published with it
    places = "are put into the middle of the pose" if centred else "stay where they are"
    assumed = ("that it sees 60 frames of a walk, not OU-MVLP's 30", f"that missing joints {places}")
    return Settled(centred=centred, is_cosine=not traces.ours, assumed=assumed)
