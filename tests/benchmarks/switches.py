"""Identity switches: how often a track of one person is cut, and how often one made of two people is.

    python -m tests.benchmarks.switches [VIDEO]...     # default: the demo's clips

Every walk of the videos is taken for one person's, so name only videos that are followed without a switch. A walk of
two people is the first half of one walk and the second of another of the same video.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np

from app.gallery.distances import distances_between
from app.recognise.switches import CONTRAST, FEWEST_WINDOWS, contrast, find_switches, possible_switches, windows
from app.runs.build import build
from app.settings import Settings
from app.stages import Run
from app.types import Embedding
from app.walks.analyse import analyse
from app.walks.archive import read_walks


def clearest(walk: list[Embedding]) -> tuple[float, int]:
    """The largest contrast of a walk's windows, wherever anybody was met, and where it is."""
    distances = distances_between(walk, walk)
    places = range(FEWEST_WINDOWS, len(walk) - FEWEST_WINDOWS + 1)
    return max((contrast(distances, place), place) for place in places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--output", type=Path, default=Path("output"))
    arguments = parser.parse_args()
    videos: list[Path] = arguments.videos or sorted(Path("input_videos").glob("*.mp4"))
    stages = build(Settings.load(named={"output.silhouettes": False, "output.features": False}))
    cut, alone, pairs = 0, [], []
    for video in videos:
        found = analyse(video, video.stem, Run(stages))
        usable = {walk.track.track_id: walk.track for walk in found.usable()}
        walks: list[list[Embedding]] = []
        for archived in read_walks(found.archive):
            track, sequence = usable.get(archived.track.track_id), archived.sequence
            if track is None or sequence is None or len(parts := windows(sequence)) < 2 * FEWEST_WINDOWS:
                continue
            walks.append(stages.gait.embed(parts))
            others = [other.track for other in found.walks if other.track.track_id != track.track_id]
            starts = [int(part.frame_indices[0]) for part in parts]
            distances = distances_between(walks[-1], walks[-1])
            switches = find_switches(distances, possible_switches(track, others, starts, sequence.fps))
            cut += bool(switches)
            alone.append(clearest(walks[-1])[0])
            if switches:
                print(
                    f"{video.name}, track {track.track_id}: cut at frame {', '.join(str(starts[s]) for s in switches)}"
                )
        for one, other in permutations(walks, 2):
            half = len(one) // 2
            if half >= FEWEST_WINDOWS and len(other) - half >= FEWEST_WINDOWS:
                clear, place = clearest(one[:half] + other[half:])
                pairs.append((clear, abs(place - half) <= 1))
    print(f"{stages.gait.card.model_id}: {cut} of {len(alone)} walks of one person cut")
    alone_, clear_, placed = np.array(alone), np.array([c for c, _ in pairs]), np.array([p for _, p in pairs])
    print("contrast  one person, met somebody everywhere  two people found  of those within 0.6 s of the place")
    for least in (1.0, 1.1, CONTRAST, 1.3, 1.5):
        found_ = clear_ >= least
        near = f"{placed[found_].mean():.0%}" if found_.any() else ""
        share = f"{(alone_ >= least).mean():.1%} of {len(alone)}"
        print(f"{least:8.2f}  {share:36}  {found_.mean():.1%} of {len(pairs)}  {near:>10}")


if __name__ == "__main__":
    main()
