"""What is known of people's heights beside each other: ``python -m tests.benchmarks.statures [--shared ../shared]``.

The demo's clips show drawn people whose heights are known, from five cameras. Printed is, for each clip, how tall
everybody seems beside the others, and how tall they are beside the mean of the clip, in %.

Then what the heights say of pairs of walks from different videos (`app.recognise.stature.evidence`), of one person and
of two: quartiles of the logarithm of the likelihood ratio, its mean, and the equal error rate of naming by heights
alone. Pairs are of the demo's clips, and of three parts of `vtest` (`tests.benchmarks.passers`), where it is decided by
eye who is who.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

from app.lab.evaluation.rates import equal_error_rate
from app.recognise.stature import Stature, evidence, statures_of
from app.runs.build import build
from app.runs.videos import walks_of
from app.settings import Settings
from app.stages import Run
from app.types import Floats
from app.walks.analysed import AnalysedVideo
from tests.benchmarks.passers import CLIPS, PARTS, SECONDS, truth_of
from tests.benchmarks.pipeline import CLIPS as DEMO
from tests.truth import boxes_of, person_at

People: TypeAlias = list[tuple[int, Stature]]
"""The walks of a video: whose each is, and the stature."""


def known(video: AnalysedVideo, truth: dict[int, dict[int, Floats]]) -> People:
    """Return the statures of the people of a video whom the truth knows."""
    found = []
    statures = statures_of(video)
    for walk in video.usable():
        places = zip(walk.track.frame_indices.tolist(), walk.track.boxes, strict=True)
        whose = Counter(person_at(box, truth.get(index, {})) for index, box in places).most_common(1)[0][0]
        if whose is not None and walk.track.track_id in statures:
            found.append((whose, statures[walk.track.track_id]))
    return found


def drawn(folder: Path, console: Console) -> list[People]:
    """Print how tall the people of the demo's clips seem, and return them."""
    run, videos = Run(build(Settings.load(named={"output.folder": str(folder)}))), []
    for name in ("gallery", "probe1", "probe2", "probe3", "probe4"):
        people = known(walks_of(DEMO / f"{name}.mp4", name, run), boxes_of(DEMO / f"{name}.gt.txt"))
        identities = json.loads((DEMO / f"{name}.truth.json").read_text(encoding="utf-8"))["identities"]
        heights = {one["id"]: np.log(one["body"]["stature"]) for one in identities}
        middle = np.mean(list(heights.values()))
        shown = (
            f"{person}: {one.percent:+.1f} ± {one.error:.1f} ({100 * np.expm1(heights[person] - middle):+.1f})"
            for person, one in sorted(people, key=lambda each: each[0])
        )
        console.print(f"{name}, % taller than the mean (truth): {', '.join(shown)}")
        videos.append(people)
    return videos


def filmed(folder: Path, video: Path) -> list[People]:
    """Return the people of the parts of a real clip."""
    parts = []
    for number in range(PARTS):
        start = number * SECONDS
        named = {"output.folder": str(folder), "video.start": start, "video.end": start + SECONDS}
        analysed = walks_of(video, f"part {number + 1}", Run(build(Settings.load(named=named))))
        parts.append(known(analysed, truth_of(video, round(start * analysed.info.fps))))
    return parts


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description="What is known of people's heights beside each other.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    shared: Path = parser.parse_args().shared
    console = Console(width=160)
    table = Table("clips", "pairs", "number", "quartiles", "mean", "EER")
    with tempfile.TemporaryDirectory() as folder:
        sets = {"demo": drawn(Path(folder), console)}
        clip = shared / "videos" / CLIPS[0].file
        if clip.is_file():
            sets[f"parts of {clip.name}"] = filmed(Path(folder), clip)
    for name, videos in sets.items():
        pairs = [(*a, *b) for one, other in combinations(videos, 2) for a in one for b in other]
        told = np.array([evidence([a], [b])[0, 0] for _, a, _, b in pairs])
        same = np.array([person == other for person, _, other, _ in pairs])
        order = np.argsort(-told)
        equal = equal_error_rate(same[order], ~same[order])
        for kind, some in (("one person", told[same]), ("two people", told[~same])):
            quartiles = ", ".join(f"{value:.2f}" for value in np.percentile(some, (25, 50, 75)))
            table.add_row(name, kind, str(len(some)), quartiles, f"{some.mean():.2f}", f"{100 * equal:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
