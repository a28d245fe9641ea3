"""Whether passers-by of real clips are told apart: ``python -m tests.benchmarks.passers [FILE ...]``.

The four people of `aio_gallery` and `aio_probe3` are few. `vtest` (PETS 2009: a raised camera, people about 50 px high,
10 frames/s) and `TUD-Stadtmitte` (a street seen from the side) show more. In `vtest` people leave and come back, and
its ground truth gives them a new number each time: `SAME` says who is who, as far as clothes, hair and build show it at
that size. That leaves ten people there.

**Pieces**: each walk is cut into pieces, and each piece looks for its person among one random piece of everybody else
and one of the same person from another moment. Printed are rank-1, with 95 % intervals over people, and the equal error
rate of all pairs, as the network gives the embeddings, and after what the people of the clip share is taken off.

**Names**: `vtest` is read in three parts of 26.5 s. Each part is the gallery of each other one, as if they were videos
of their own, and the whole program names the walks, with ``--far`` as given; with and without how tall people are
beside each other (`app.recognise.stature`).

**Strangers**: four clips in which nobody is the same, each the gallery of each other one. Every name is wrong there.

In the first two, clothes and camera are the same, and only the moment, the direction and, in `vtest`, the time of the
visit differ. No network was ever trained on these clips. People are found, followed and cut out as a run does it.
`FILE` are gait networks; without any, the embedded one is judged.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from app.gallery.distances import distances_between
from app.lab.evaluation.rates import equal_error_rate
from app.runs.build import build
from app.runs.compare import compare_walks
from app.runs.videos import walks_of
from app.settings import GaitSettings, Settings
from app.stages import GaitModel, Run
from app.types import Embedding, Floats, GaitSequence, Ints
from app.walks.analyse import analyse
from app.walks.archive import read_walks
from app.weights.checkpoints import HOME
from app.weights.registry import gait_models
from tests.benchmarks.accuracy import Followed
from tests.benchmarks.bootstrap import bootstrap
from tests.truth import boxes_of, person_at

SAME = {13: 2, 5: 9, 8: 14, 15: 14, 18: 14, 10: 6, 11: 3, 12: 4, 19: 1}
"""People of `vtest` who come back, and the number that they had or get at another time."""
PARTS, SECONDS = 3, 26.5
"""How many parts of `vtest` are compared with each other, and how long they are."""
CROWDS = ("aio_gallery.mp4", "vtest.avi", "TUD-Stadtmitte.mp4", "intel_one-by-one.mp4")
"""Clips that have nobody in common."""
DRAWS = 40
"""How often each piece looks for its person."""


@dataclass(frozen=True)
class Clip:
    """A clip: its file, the length of a piece in s, and the least time between two pieces of a person in s."""

    file: str
    seconds: float
    apart: float


CLIPS = (Clip("vtest.avi", 2.5, 3.0), Clip("TUD-Stadtmitte.mp4", 1.2, 1.2))


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a clip: the walks, whose they are (N,), and when they begin (N,) in s."""

    walks: list[GaitSequence]
    people: Ints
    begins: Floats


def pieces_of(clip: Clip, shared: Path, run: Run) -> Pieces:
    """Find, follow and cut out the people of a clip, and cut their walks into pieces."""
    video = shared / "videos" / clip.file
    truth = truth_of(video)
    walks, people, begins = [], [], []
    for walk in read_walks(analyse(video, video.stem, run).archive):
        if walk.sequence is None:
            continue
        boxes = dict(zip(walk.track.frame_indices.tolist(), walk.track.boxes, strict=True))
        times = walk.sequence.frame_indices / walk.sequence.fps
        for begin in np.arange(times[0], times[-1] - 0.8 * clip.seconds, clip.seconds):
            inside = (times >= begin) & (times < begin + clip.seconds)
            piece = walk.sequence.part(inside)
            whose = Counter(person_at(boxes[index], truth.get(index, {})) for index in piece.frame_indices.tolist())
            if len(piece) >= 10 and (person := whose.most_common(1)[0][0]) is not None:
                walks.append(piece)
                people.append(person)
                begins.append(begin)
    return Pieces(walks, np.array(people), np.array(begins, np.float32))


def truth_of(video: Path, first: int = 0) -> dict[int, dict[int, Floats]]:
    """The true boxes by frame, counted from frame `first` of the clip, and by person."""
    alike = SAME if video.stem == "vtest" else {}
    return {
        frame - first: {alike.get(person, person): box for person, box in people.items()}
        for frame, people in boxes_of(video.with_suffix(".gt.txt")).items()
    }


def judged(pieces: Pieces, features: Floats, apart: float) -> tuple[list[float], float]:
    """Return how often each person's pieces find them, and the equal error rate of all pairs."""
    embeddings = [Embedding(one, "judged", 1) for one in features]
    distances = distances_between(embeddings, embeddings, "euclidean")
    same = pieces.people[:, None] == pieces.people
    genuine = same & (np.abs(pieces.begins[:, None] - pieces.begins) >= apart)
    of = {person: np.flatnonzero(pieces.people == person) for person in np.unique(pieces.people).tolist()}
    rng = np.random.default_rng(0)
    found: dict[int, list[bool]] = defaultdict(list)
    for row, person in enumerate(pieces.people.tolist()):
        own = np.flatnonzero(genuine[row])
        for _ in range(DRAWS if len(own) else 0):
            others = [int(rng.choice(rows)) for other, rows in of.items() if other != person]
            found[person].append(bool(distances[row, rng.choice(own)] < distances[row, others].min()))
    compared = genuine | ~same
    is_own = genuine[compared][np.argsort(distances[compared])]
    return [float(np.mean(hits)) for hits in found.values()], equal_error_rate(is_own, ~is_own)


def without_shared(features: Floats, people: Ints) -> Floats:
    """Return the directions in which embeddings leave the mean of the clip, in which each person counts once."""
    middle = np.mean([features[people == person].mean(0) for person in np.unique(people)], axis=0)
    rest = features - middle
    return np.asarray(rest / np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-9), np.float32)


def features_of(model: GaitModel, walks: list[GaitSequence]) -> Floats:
    """The embeddings of walks, whose parts have length 1: float32 (N, P, C)."""
    features = np.stack([embedding.parts for embedding in model.embed(walks)])
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-9), np.float32)


def named(video: Path, settings: Mapping[str, Any]) -> Counter[str]:
    """Let the program name the people of each part of a clip after each other part, and count how that ends."""
    parts = []
    for number in range(PARTS):
        start = number * SECONDS
        run = Run(build(Settings.load(named={**settings, "video.start": start, "video.end": start + SECONDS})))
        analysed = walks_of(video, f"part {number + 1}", run)
        parts.append((analysed, truth_of(video, round(start * analysed.info.fps)), run))
    ends: Counter[str] = Counter()
    for (gallery, truth, run), (probe, truth_of_probe, _) in permutations(parts, 2):
        reports = [each.report for each in compare_walks(gallery, [probe], run).videos]
        followed = Followed([gallery, probe], reports, [truth, truth_of_probe], run.stages)
        known = set(followed.known().values())
        for person, verdict, track in followed.judged(1):
            if verdict != "unusable":
                verdict = verdict if person in known or track.identity is None else "stranger named"
                ends[verdict + (", doubtful" if track.identity and track.sureness.doubtful else "")] += 1
    return ends


def of_strangers(videos: Path, settings: Mapping[str, Any]) -> Counter[str]:
    """Let the program name the people of each clip after those of each other one, and count how that ends."""
    run = Run(build(Settings.load(named=dict(settings))))
    clips = [walks_of(videos / file, Path(file).stem, run) for file in CROWDS]
    ends: Counter[str] = Counter()
    for gallery, probe in permutations(clips, 2):
        known, seen = (each.report for each in compare_walks(gallery, [probe], run).videos)
        people = {track.identity for track in known.tracks if track.identity}
        for track in seen.tracks:
            if track.status != "unusable":
                ends["comparisons"] += len(people)
                ends["walks"] += 1
                ends["named"] += track.identity is not None
                ends["of these doubtful"] += track.identity is not None and track.sureness.doubtful
    return ends


def main() -> None:
    """Print a row for each network and clip."""
    parser = argparse.ArgumentParser(description="Whether passers-by of real clips are told apart.")
    parser.add_argument("networks", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--speed", default="balanced", choices=["accurate", "balanced", "fast"])
    parser.add_argument("--far", type=float, nargs="*", default=[0.05, 0.01])
    arguments = parser.parse_args()
    table = Table("network", "clip", "people", "pieces", "rank-1", "EER", "shared taken off: rank-1", "EER")
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"output.folder": folder, "speed": arguments.speed}
        run = Run(build(Settings.load(named=settings)))
        cut = [(Path(clip.file).stem, pieces_of(clip, arguments.shared, run), clip.apart) for clip in CLIPS]
        for file in arguments.networks or [None]:
            model = gait_models.build(GaitSettings(checkpoint=file), (HOME,))
            for name, pieces, apart in cut:
                raw = features_of(model, pieces.walks)
                cells: list[str] = []
                for features in (raw, without_shared(raw, pieces.people)):
                    shares, equal = judged(pieces, features, apart)
                    low, high = bootstrap(shares, np.mean)
                    cells += [f"{100 * np.mean(shares):.1f} [{100 * low:.0f}, {100 * high:.0f}]", f"{100 * equal:.1f}"]
                people = len(np.unique(pieces.people))
                table.add_row(model.card.model_id, name, str(people), str(len(pieces.walks)), *cells)
            for far in arguments.far:
                for stature in (True, False):
                    chosen = {**settings, "match.far": far, "match.stature": stature}
                    chosen |= {"gait.checkpoint": file} if file is not None else {}
                    ends = named(arguments.shared / "videos" / CLIPS[0].file, chosen)
                    counts = ", ".join(f"{end} {count}" for end, count in sorted(ends.items()))
                    way = f"--far {far:g}, " + ("with" if stature else "without") + " heights"
                    console.print(f"{model.card.model_id}, parts of {CLIPS[0].file}, {way}: {counts}")
                chosen = {**settings, "match.far": far} | ({"gait.checkpoint": file} if file is not None else {})
                ends = of_strangers(arguments.shared / "videos", chosen)
                counts = ", ".join(f"{end} {count}" for end, count in ends.items())
                console.print(f"{model.card.model_id}, strangers, --far {far:g}: {counts}")
    console.print(table)


if __name__ == "__main__":
    main()
