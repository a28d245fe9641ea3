"""How well motion, body and view are told apart, and pictures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from app.errors import CheckpointError, SettingsError
from app.files import written_whole
from app.gait.models.disentangled import FRAMES, JOINTS, PARENTS, ROOT, ROWS, Codes, Disentangled, poses_from
from app.gait.opengait import load_network
from app.lab.data.opengait import DataSetError, WalkFile, read_keypoints, read_partition, walk_files
from app.lab.evaluation.evaluate import Evaluation
from app.lab.evaluation.protocol import Protocol, groups_of, read_protocol, views_of
from app.lab.evaluation.scores import score
from app.lab.training.disentangled import errors
from app.weights.checkpoints import CheckpointFile

_SHOWN = range(0, FRAMES, 8)
_CELL, _TITLE = 96, 190
"""Px of a drawn pose's square, and of the names left of them."""
_LEFT, _RIGHT, _MIDDLE = "#1f77b4", "#d62728", "#444444"


@dataclass(frozen=True)
class Judgement:
    """`errors` as `app.lab.training.disentangled.errors` has them, and the `evaluation` of the embedding."""

    errors: dict[str, float]
    evaluation: Evaluation


def load(checkpoint: Path) -> Disentangled:
    """Load a trained network; `CheckpointError` where the file is another one."""
    network = load_network(CheckpointFile.given(checkpoint).path)
    if not isinstance(network, Disentangled):
        raise CheckpointError(
            f"{checkpoint} is a {network.family} network; `python -m app disentangle train` makes one."
        )
    return network


def rows_in(file: WalkFile) -> Tensor:
    """What the network sees of a walk, the frames of its middle: float32 (1, 30, 64)."""
    keypoints = read_keypoints(file.path)
    start = max(0, (len(keypoints) - FRAMES) // 2)
    return Disentangled.seen(torch.from_numpy(keypoints[None, start : start + FRAMES]))


def judge(
    checkpoint: Path,
    data: Path,
    partition: Path | None = None,
    protocol: str | None = None,
    progress: Callable[[Sequence[WalkFile]], Iterable[WalkFile]] = iter,
) -> Judgement:
    """Judge a trained network on the test people of a data set.

    Args:
        checkpoint: ``network.pt`` of a training.
        data: data set with keypoints.
        partition: OpenGait's JSON; without one everybody is a test person.
        protocol: see `app.lab.evaluation.protocol`; without one the first walk of everybody is the gallery,
            view by view, all other walks are probes, and identical views are left out.
        progress: goes through the walks and shows how far it is.

    Raises:
        CheckpointError: not such a network.
        DataSetError: the data set lacks what is compared, or a walk cannot be read.
    """
    network = load(checkpoint)
    walks = walk_files(data, None if partition is None else read_partition(partition, "test"), "pose")
    rules = first_walk(walks) if protocol is None else read_protocol(protocol)
    rows = [rows_in(walk) for walk in progress(walks)]
    with torch.inference_mode():
        features = torch.cat([network.embed(one) for one in rows]).mT.contiguous().numpy()
        views: dict[tuple[str, str], list[Tensor]] = {}
        for walk, one in zip(walks, rows, strict=True):
            views.setdefault((walk.identity, walk.condition), []).append(one)
        several = [torch.cat(seen) for seen in views.values() if len(seen) > 1]
        if not several:
            raise DataSetError(f"{data}: no walk has two views, between which codes could be exchanged.")
        off = errors(network, several)
    people = np.array([walk.identity for walk in walks])
    groups = groups_of(rules, walks, partition)
    evaluation = Evaluation(
        protocol=protocol or "first walk",
        source=rules.source,
        model=f"{network.family}@{CheckpointFile.given(checkpoint).sha256()[:8]}",
        data=str(data),
        distance="euclidean",
        reranked=False,
        people=len(np.unique(people)),
        walks=len(walks),
        scores=score(features, people, views_of(rules, walks), groups, rules),
        by_frames={},
    )
    return Judgement(off, evaluation)


def first_walk(walks: Sequence[WalkFile]) -> Protocol:
    """The protocol where the first walk of everybody is the gallery; `DataSetError` where there is one walk alone."""
    first, *others = sorted({walk.condition for walk in walks}, key=_nm_first)
    if not others:
        raise DataSetError(f"All walks are '{first}': a probe and a gallery need two.")
    kinds: dict[str, tuple[str, ...]] = {}
    for name in others:
        kind = name.partition("-")[0].upper()
        kinds[kind] = (*kinds.get(kind, ()), name)
    return Protocol(
        source=f"gallery {first}",
        probes=kinds,
        gallery=(first,),
        gallery_views="each",
        metrics=("Rank-1", "Rank-5", "mAP"),
        exclude="same view",
    )


def _nm_first(condition: str) -> tuple[bool, str]:
    return not condition.startswith("nm"), condition


def draw(checkpoint: Path, data: Path, partition: Path | None, people: tuple[int, int], folder: Path) -> list[Path]:
    """Draw ``motion.png``, the motion codes of two walks as heat maps, and ``exchange.png``, what comes of exchange.

    The walks are the first of two people, of one the first view and of the other the last.

    Raises:
        CheckpointError: not such a network.
        SettingsError: there are not so many people.
        DataSetError: a walk cannot be read.
        OutputError: the pictures cannot be written.
    """
    network = load(checkpoint)
    walks = walk_files(data, None if partition is None else read_partition(partition, "test"), "pose")
    names = list(dict.fromkeys(walk.identity for walk in walks))
    if not all(0 <= number < len(names) for number in people):
        raise SettingsError(f"--people {people[0]} {people[1]}: there are {len(names)}, counted from 0.")
    chosen = []
    for number, last in zip(people, (False, True), strict=True):
        own = [walk for walk in walks if walk.identity == names[number]]
        first_one = min((walk.condition for walk in own), key=_nm_first)
        own = [walk for walk in own if walk.condition == first_one]
        chosen.append(own[-1 if last else 0])
    with torch.inference_mode():
        first, second = (rows_in(walk) for walk in chosen)
        one, two = network.encode(first), network.encode(second)
        mixed = {
            f"A: {chosen[0].name}": first,
            f"B: {chosen[1].name}": second,
            "A, put together again": network.decode(one),
            "motion A, body B": network.decode(Codes(one.motion, two.body, one.view)),
            "motion A, view B": network.decode(Codes(one.motion, one.body, two.view)),
            "motion B, body A, view A": network.decode(Codes(two.motion, one.body, one.view)),
            "motion A, body B, view B": network.decode(Codes(one.motion, two.body, two.view)),
        }
    paths = [folder / "exchange.png", folder / "motion.png"]
    pictures = (_strips({name: rows[:, :ROWS] for name, rows in mixed.items()}), _heatmaps(one.motion, two.motion))
    for path, picture in zip(paths, pictures, strict=True):
        with written_whole(path) as temporary:
            picture.save(temporary)
    return paths


def _strips(walks: dict[str, Tensor]) -> Image.Image:
    """A row of poses for each walk; left limbs are blue, right ones red."""
    picture = Image.new("RGB", (_TITLE + _CELL * len(_SHOWN), _CELL * len(walks)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for row, (name, rows) in enumerate(walks.items()):
        pen.text((8, row * _CELL + _CELL / 2), name, "black", font, "lm")
        walk = poses_from(rows)[0]
        poses = (walk - walk[:, ROOT : ROOT + 1]).numpy()
        for column, frame in enumerate(_SHOWN):
            middle = np.array([_TITLE + (column + 0.5) * _CELL, (row + 0.5) * _CELL])
            places = middle + 0.8 * _CELL * poses[frame]
            for joint in range(JOINTS):
                colour = _RIGHT if joint in (2, 3, 4, 9, 10, 11) else _LEFT if joint > 1 else _MIDDLE
                ends = (*places[PARENTS[joint]].tolist(), *places[joint].tolist())
                pen.line(ends, colour, 2)
    return picture


def _heatmaps(*motions: Tensor) -> Image.Image:
    """Motion codes (1, channels, t) beside each other: channels downwards, time to the right, on one scale."""
    low, high = (float(getattr(torch.cat(motions), end)()) for end in ("min", "max"))
    size, margin = (384, 512), 40
    picture = Image.new("RGB", (len(motions) * (size[0] + margin) + margin, size[1] + 2 * margin), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, (name, motion) in enumerate(zip("AB", motions, strict=True)):
        grey: NDArray[np.uint8] = (255 * (motion[0].numpy() - low) / max(high - low, 1e-9)).astype(np.uint8)
        coloured = cv2.applyColorMap(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_VIRIDIS)
        left = margin + number * (size[0] + margin)
        picture.paste(Image.fromarray(np.ascontiguousarray(coloured[:, :, ::-1])), (left, margin))
        title = f"motion of {name}: {motion.shape[1]} channels, {motion.shape[2]} moments"
        pen.text((left + size[0] / 2, margin / 2), title, "black", font, "mm")
    caption = f"dark {low:.2f}, light {high:.2f}; time runs to the right, over {FRAMES} frames"
    pen.text((picture.width / 2, picture.height - margin / 2), caption, "black", font, "mm")
    return picture
