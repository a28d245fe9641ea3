"""Evaluation of a trained disentangled network, and pictures of what it separates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.errors import CheckpointError, SettingsError
from app.files import written_whole
from app.gait.models.disentangled import FRAMES, JOINTS, PARENTS, ROOT, Codes, Disentangled, poses_from
from app.gait.opengait import load_network
from app.lab.data.opengait import DataSetError, WalkFile, read_keypoints, read_partition, readable, walk_files
from app.lab.evaluation.charts import need_matplotlib
from app.lab.evaluation.evaluate import Evaluation
from app.lab.evaluation.files import middle
from app.lab.evaluation.protocol import read_protocol
from app.lab.training.disentangled import errors
from app.lab.training.gait.judging import EvaluationSet, first_walk, nm_first
from app.types import Floats
from app.weights.checkpoints import CheckpointFile

_DRAWN = range(0, FRAMES, 8)
_RIGHT = (2, 3, 4, 9, 10, 11)
"""Joints of the right side, see `app.gait.models.disentangled.PARENTS`. The first two are in the middle."""


@dataclass(frozen=True)
class Judgement:
    """`errors` as `app.lab.training.disentangled.errors` returns them, and the `evaluation` of the embedding."""

    errors: dict[str, float]
    evaluation: Evaluation


def load(checkpoint: Path) -> Disentangled:
    """Load a trained network; `CheckpointError` if the file is another one."""
    network = load_network(CheckpointFile.given(checkpoint).path)
    if not isinstance(network, Disentangled):
        raise CheckpointError(
            f"{checkpoint} is a {network.family} network. Give the network.pt of `python -m app disentangle train`."
        )
    return network


def _test_files(data: Path, partition: Path | None) -> list[WalkFile]:
    return walk_files(data, None if partition is None else read_partition(partition, "test"), "pose")


def _rows(keypoints: Floats) -> Tensor:
    """Return what the network takes of a walk, its middle frames: float32 (1, 30, 64)."""
    return Disentangled.input_of(torch.from_numpy(keypoints[None, middle(len(keypoints), FRAMES)]))


def judge(
    checkpoint: Path,
    data: Path,
    partition: Path | None = None,
    protocol: str | None = None,
    progress: Callable[[Sequence[WalkFile]], Iterable[WalkFile]] = iter,
) -> Judgement:
    """Evaluate a trained network on the test people of a data set.

    Args:
        checkpoint: ``network.pt`` of a training.
        partition: OpenGait's JSON. Without one everybody is a test person.
        protocol: see `app.lab.evaluation.protocol`. Without one each person's first walk is the gallery, view by view,
            all other walks are probes, and identical views are left out.

    Raises:
        CheckpointError: it is another network.
        DataSetError: the data set lacks what is compared, or no walk can be read.
    """
    network = load(checkpoint)
    found = list(readable(progress(_test_files(data, partition)), read_keypoints, data))
    files, walks = [file for file, _ in found], [keypoints for _, keypoints in found]
    rules = first_walk(files, ("Rank-1", "Rank-5", "mAP"), False) if protocol is None else read_protocol(protocol)
    views: dict[tuple[str, str], list[Tensor]] = {}
    for file, walk in zip(files, walks, strict=True):
        views.setdefault((file.identity, file.condition), []).append(_rows(walk))
    several = [torch.cat(rows) for rows in views.values() if len(rows) > 1]
    if not several:
        raise DataSetError(f"{data}: no walk has two views, between which codes could be exchanged.")
    with torch.inference_mode():
        distances = errors(network, several)
    evaluation = Evaluation(
        protocol=protocol or "first walk",
        source=rules.source,
        model=f"{network.family}@{CheckpointFile.given(checkpoint).sha256()[:8]}",
        data=str(data),
        distance="euclidean",
        reranked=False,
        people=len({file.identity for file in files}),
        walks=len(files),
        scores=EvaluationSet("", walks, files, rules, partition).scores(network),
        by_frames={},
    )
    return Judgement(distances, evaluation)


def draw(checkpoint: Path, data: Path, partition: Path | None, people: tuple[int, int], folder: Path) -> list[Path]:
    """Draw ``motion.png``, the motion codes of two walks as heat maps, and ``exchange.png``, walks of exchanged codes.

    The two walks are the first ones of two people, from the first view and from the last.

    Raises:
        MissingExtraError: matplotlib is not installed.
        CheckpointError: it is another network.
        SettingsError: there are fewer people.
        DataSetError: a walk cannot be read.
        OutputError: the pictures cannot be written.
    """
    need_matplotlib()
    from matplotlib.figure import Figure  # pyplot would look for a screen

    network = load(checkpoint)
    files = _test_files(data, partition)
    names = list(dict.fromkeys(file.identity for file in files))
    if not all(0 <= number < len(names) for number in people):
        raise SettingsError(f"--people {people[0]} {people[1]}: there are {len(names)} people, counted from 0.")
    chosen = []
    for number, view in zip(people, (0, -1), strict=True):
        own = [file for file in files if file.identity == names[number]]
        first_condition = min((file.condition for file in own), key=nm_first)
        chosen.append([file for file in own if file.condition == first_condition][view])
    with torch.inference_mode():
        first, second = (_rows(read_keypoints(file.path)) for file in chosen)
        one, two = network.encode(first), network.encode(second)
        walks = {
            f"A: {chosen[0].name}": first,
            f"B: {chosen[1].name}": second,
            "A, reconstructed": network.decode(one),
            "motion A, body B": network.decode(Codes(one.motion, two.body, one.view)),
            "motion A, view B": network.decode(Codes(one.motion, one.body, two.view)),
            "motion B, body A, view A": network.decode(Codes(two.motion, one.body, one.view)),
            "motion A, body B, view B": network.decode(Codes(one.motion, two.body, two.view)),
        }
    exchange = Figure(figsize=(9.6, 1.0 * len(walks)), layout="constrained")
    _draw_poses(exchange, walks)
    motion = Figure(figsize=(9.6, 6), layout="constrained")
    axes = motion.subplots(1, 2)
    low, high = (float(getattr(torch.cat([one.motion, two.motion]), end)()) for end in ("min", "max"))
    for side, name, codes in zip(axes, "AB", (one.motion[0], two.motion[0]), strict=True):
        image = side.imshow(codes.numpy(), aspect="auto", vmin=low, vmax=high)
        side.set(title=f"Motion code of {name}", xlabel=f"time, over {FRAMES} frames", ylabel="channel")
    motion.colorbar(image, ax=axes)
    paths = [folder / "exchange.png", folder / "motion.png"]
    for path, figure in zip(paths, (exchange, motion), strict=True):
        with written_whole(path) as temporary:
            figure.savefig(temporary, dpi=100)
    return paths


def _draw_poses(figure: Any, walks: dict[str, Tensor]) -> None:
    """Draw a row of poses for each walk. Left limbs are blue, right ones red."""
    for axes, (name, rows) in zip(figure.subplots(len(walks), 1), walks.items(), strict=True):
        walk = poses_from(rows[:, : 2 * JOINTS])[0]
        poses = (walk - walk[:, ROOT : ROOT + 1]).numpy()
        for column, frame in enumerate(_DRAWN):
            for joint in range(JOINTS):
                colour = "tab:red" if joint in _RIGHT else "tab:blue" if joint > 1 else "dimgrey"
                ends = np.stack([poses[frame, PARENTS[joint]], poses[frame, joint]])
                axes.plot(column + ends[:, 0], ends[:, 1], color=colour, linewidth=1.5)
        axes.set(ylim=(0.6, -0.6), xlim=(-0.6, len(_DRAWN) - 0.4), aspect="equal")
        axes.set_axis_off()
        axes.text(-0.02, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=8)
