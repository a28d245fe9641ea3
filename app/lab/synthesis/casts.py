"""The benchmark ``walkers-filmed``: casts of virtual walkers, each filmed by several cameras and cut out again.

A cast is six people. Every recording films all of them with one camera: the same place, the same light, the same
compression. So a recording is to a cast what a video is to the people in it, and what a camera does to everybody can
be told from what a person does. Every walk is in a session and clothes of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from app.files import written_whole
from app.lab.data.conversion import claim
from app.lab.synthesis.filmed import Shot, filmed_walk
from app.lab.walkers.benchmark import CHANGE
from app.lab.walkers.body import CACHE
from app.lab.walkers.choices import MOTION, Condition, MotionVersion
from app.lab.walkers.dataset import Plan, camera_at, walks_of
from app.lab.walkers.jobs import body_model, make_missing
from app.progress import Progress, Titled
from app.settings import ParserSettings, PoseSettings, SegmenterSettings
from app.stages import Parser
from app.types import GaitSequence, Track
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import parsers, pose_models, segmenters

Kind: TypeAlias = Literal["front", "front again", "back", "side", "above", "anywhere"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What the camera of each recording of a cast sees."""
CAST = 6
"""People of a cast."""
SECONDS = 2.0
"""Length of a walk."""
FEWEST = 8
"""Silhouettes that a walk must have to be kept."""
_WALKS: tuple[tuple[Condition, int], ...] = (("nm", 3), ("bg", 2), ("cl", 1))
_OUTFITS = 2
_RATES = (12.0, 15.0)
"""Frame rates of the cameras, 1/s."""
_OTHER_WAY = 0.3
"""Share of people who walk the other way, where a camera sees people from any side."""
_SEED = 0xCA57


@dataclass(frozen=True)
class Set:
    """What casts are filmed with.

    `casts` are filmed; `first` is the number of the first person. `photos` is the folder of the pictures of places
    (`app.lab.synthesis.photos`), `segmenter` and `pose` the networks' files, and `cache` the folder of the body model.
    `motion` is how people walk (`app.lab.walkers.dataset.Plan`). With `alike`, the people of a cast look alike. With
    `parts`, the file of the pose network finds body parts too.
    """

    casts: int
    first: int
    photos: Path
    segmenter: Path
    pose: Path
    cache: Path = CACHE
    motion: MotionVersion = MOTION
    alike: bool = False
    parts: bool = False


@dataclass(frozen=True, eq=False)
class CastWalk:
    """One walk: of which cast and person, in which recording (an index into `KINDS`), its track, and what was seen.

    `sequence` holds silhouettes and keypoints, and body parts if they were wanted, at the recording's frame rate.
    `view` is the direction in degrees from which the camera saw the walker: 0 the front, 180 the back.
    """

    cast: int
    person: int
    recording: int
    view: float
    track: Track
    sequence: GaitSequence


def film_casts(folder: Path, given: Set, *, workers: int = 1, progress: Progress | None = None) -> list[Path]:
    """Film casts into `folder`, a file for each, see `read_cast`. Casts whose file is there already are kept.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` holds casts that were filmed with other settings, or cannot be written.
        CheckpointError: body parts are wanted, and the file of the pose network does not find them.
    """
    if given.parts:
        _parser(given)  # so that a file without parts is refused before anything is written
    about = {
        "first": given.first,
        "segmenter": CheckpointFile.given(given.segmenter).sha256(),
        "pose": CheckpointFile.given(given.pose).sha256(),
        "kinds": KINDS,
        "seconds": SECONDS,
        "plan": asdict(_plan(given)) | {"subjects": None},
        "parts": given.parts,
    }
    claim(folder / "casts.json", about, {"parts": False})
    paths = [folder / f"{given.first + CAST * cast:06d}.npz" for cast in range(given.casts)]
    jobs = {path: (given, cast, path) for cast, path in enumerate(paths)}
    make_missing(_film_cast, jobs, given.cache, workers, Titled(progress, "Casts"))
    return paths


def read_cast(path: Path) -> list[CastWalk]:
    """Return the walks of a cast."""
    with np.load(path, allow_pickle=False) as file:
        people, recordings, views, rates, lengths = (
            file[name].tolist() for name in ("people", "recordings", "views", "rates", "lengths")
        )
        cuts = np.cumsum(lengths)[:-1]
        frames, boxes, silhouettes, keypoints = (
            np.split(file[name], cuts) for name in ("frames", "boxes", "silhouettes", "keypoints")
        )
        parts = np.split(file["parts"], cuts) if "parts" in file else [None] * len(frames)
    return [
        CastWalk(
            int(path.stem),
            person,
            recording,
            view,
            Track(number, frames[at], boxes[at], np.ones(len(frames[at]), np.float32)),
            GaitSequence(frames[at], silhouettes[at], rate, keypoints[at], parts[at]),
        )
        for at, (number, person, recording, view, rate) in enumerate(
            zip(range(1, len(people) + 1), people, recordings, views, rates, strict=True)
        )
    ]


def _plan(given: Set) -> Plan:
    return Plan(
        subjects=CAST * given.casts, first=given.first, conditions=_WALKS, outfits=_OUTFITS,
        change=CHANGE[given.motion], motion=given.motion, alike=CAST if given.alike else 0,
    )  # fmt: skip


def _parser(given: Set) -> Parser:
    return parsers.build(ParserSettings(checkpoint=given.pose, threads=1), ())


def _film_cast(given: Set, cast: int, path: Path) -> None:
    plan, model = _plan(given), body_model(given.cache)
    segmenter = segmenters.build(SegmenterSettings(checkpoint=given.segmenter, threads=1), ())
    pose = pose_models.build(PoseSettings(checkpoint=given.pose, threads=1), ())
    parser = _parser(given) if given.parts else None
    walks = sum(count for _, count in plan.conditions)
    rng = np.random.default_rng([plan.seed, given.first + CAST * cast, _SEED])
    turns = [rng.permutation(walks) for _ in range(CAST)]
    found = []
    for recording, kind in enumerate(KINDS):
        shot, rate = Shot.drawn(rng), float(rng.uniform(*_RATES))
        of_recording = replace(plan, fps=rate, frames=round(SECONDS * rate))
        direction, distance, height = _viewpoint(kind, rng)
        for place in range(CAST):
            view = direction + float(rng.normal(0, 8))
            if kind in ("side", "above", "anywhere") and rng.random() < _OTHER_WAY:
                view += 180
            index = CAST * cast + place
            (walk,) = walks_of(of_recording, index, model, None, {int(turns[place][recording])})
            seen = filmed_walk(
                walk, camera_at(view, distance, height), shot, segmenter, given.photos, None, of_recording.frames, rng,
                pose, parser,
            )  # fmt: skip
            if len(seen.silhouettes) >= FEWEST:
                found.append((given.first + index, recording, view % 360, rate, seen))
    people, recordings, views, rates, seens = zip(*found, strict=True)
    parts: dict[str, Any] = {"parts": np.concatenate([seen.parts for seen in seens])} if given.parts else {}
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            people=np.array(people, np.int64),
            recordings=np.array(recordings, np.int64),
            views=np.array(views, np.float64),
            rates=np.array(rates, np.float64),
            lengths=np.array([len(seen.frames) for seen in seens], np.int64),
            frames=np.concatenate([seen.frames for seen in seens]),
            boxes=np.concatenate([seen.boxes for seen in seens]),
            silhouettes=np.concatenate([seen.silhouettes for seen in seens]),
            keypoints=np.concatenate([seen.keypoints for seen in seens]),
            **parts,
        )


def _viewpoint(kind: Kind, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw where a camera stands: the direction in degrees, the distance and the height in m."""
    direction, far = float(rng.uniform(0, 360)), float(np.exp(rng.uniform(*np.log((5.0, 15.0)))))
    if kind == "above":
        return direction, float(rng.uniform(4.5, 9.0)), float(rng.uniform(3.5, 6.5))
    if kind == "anywhere":
        return direction, far, float(rng.uniform(0.5, 3.0))
    middle = {"front": 0.0, "front again": 0.0, "back": 180.0, "side": float(rng.choice((90.0, 270.0)))}[kind]
    return middle + float(rng.normal(0, 12)), far, float(rng.uniform(1.0, 2.2))
