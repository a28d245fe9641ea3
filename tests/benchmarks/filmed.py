"""Walkers on film, and the judge's answers about them: ``python -m tests.benchmarks.filmed FOLDER``.

``python -m app walkers casts --out FOLDER --first 1 --photos PHOTOS`` films the people: casts of six, each with six
cameras, cut out by the embedded segmenter (`app.lab.synthesis.casts`). Test people are numbers below 1,000; the scores
beside the gait network were fitted to others.

The first table is the benchmark ``walkers-filmed``: everybody has one walk in the gallery, from the same kind of
camera, and each of the other recordings is a video of six people. Shown is how often the nearest person is the right
one. The second table is about episodes: two to five people of a cast are enrolled from one recording, and one to six
people of the cast walk through another; whoever is not enrolled is a stranger. A search's score is its distance in
thresholds, since every episode has a threshold of its own.

With ``--scores``, which may be repeated, other files of scores are tried too; "adapt off" has what a video's walks
share left in. In brackets stand 95 % bootstrap intervals over casts: people of a cast share cameras, so they are not
independent.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.lab.evaluation.casts import EmbeddedCasts, embed_casts
from app.lab.evaluation.rates import equal_error_rate, false_negative_identification_rate
from app.lab.synthesis.casts import KINDS
from app.recognise.judge import Decision, Judge
from app.recognise.scores import scores_path
from app.settings import GaitSettings, MatchSettings
from app.types import ModelCard, Track, VideoInfo
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.weights.checkpoints import HOME
from app.weights.registry import gait_models
from tests.benchmarks.bootstrap import bootstrap

RATES = (0.01, 0.1)
DRAWS = 2
"""Episodes of each pair of recordings of a cast."""
COLUMNS = {"front to side": ("front", "side"), "front to above": ("front", "above"), "front to back": ("front", "back")}
TIMES = 200


@dataclass(frozen=True)
class Way:
    """A way to judge: its name, the card of the gait model with the scores beside its file, and the settings."""

    name: str
    card: ModelCard
    settings: MatchSettings


@dataclass(frozen=True)
class Search:
    """One probe walk: of which cast, whose, who was nearest, how far (in thresholds), who was named.

    `others` are the distances to all other people who were compared, `own` that to the walk's person: infinite where
    the search did not come so far, None for a stranger. `people` is how many walked through the video, `kinds` are
    those of gallery and probe.
    """

    cast: int
    person: str
    nearest: str
    named: str | None
    own: float | None
    others: tuple[float, ...]
    people: int
    kinds: tuple[str, str]


def video_of(casts: EmbeddedCasts, walks: Sequence[int], name: str) -> AnalysedVideo:
    """Return the walks as if they had been found in one video, in which everybody is seen together."""
    found = []
    for number, index in enumerate(walks, 1):
        walk = casts.walks[index]
        track = Track(number, walk.track.frame_indices, walk.track.boxes, walk.track.scores)
        found.append(AnalysedWalk(track, casts.embeddings[index], None, Path(name)))
    info = VideoInfo(Path(name), 640, 480, Fraction(25), 50)
    return AnalysedVideo(name, info, 50, (), tuple(found), Path(name))


def enrolled(casts: EmbeddedCasts, walks: Sequence[int]) -> SqliteGallery:
    """Return a gallery in memory with these walks; the caller closes it."""
    gallery = SqliteGallery(None)
    for index in walks:
        walk = NewWalk(casts.embeddings[index], casts.videos[index])
        gallery.enrol(str(casts.walks[index].person), [walk], consent="drawn")
    return gallery


def searches(
    casts: EmbeddedCasts, way: Way, gallery: SqliteGallery, kind: str, probe: Sequence[int]
) -> Iterator[Search]:
    """Let the judge name the walks `probe` after a gallery that was filmed by such a `kind` of camera."""
    video = video_of(casts, probe, casts.videos[probe[0]])
    decisions: dict[int, Decision] = Judge.of(gallery, way.card, way.settings, [video]).decide_video(video)
    kinds = kind, KINDS[casts.walks[probe[0]].recording]
    known = {person.name for person in gallery.people()}
    for number, index in enumerate(probe, 1):
        decision, person = decisions[number], str(casts.walks[index].person)
        limit = decision.threshold or 1.0
        far = {candidate.identity: candidate.distance / limit for candidate in decision.candidates}
        own = far.pop(person, np.inf if person in known else None)
        yield Search(
            casts.walks[index].cast, person, decision.candidates[0].identity, decision.identity, own,
            tuple(far.values()), len(probe), kinds,
        )  # fmt: skip


def places(casts: EmbeddedCasts) -> dict[tuple[int, int], list[int]]:
    """Return the walks of each cast and recording."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, walk in enumerate(casts.walks):
        found.setdefault((walk.cast, walk.recording), []).append(index)
    return found


def everybody(casts: EmbeddedCasts, way: Way) -> list[Search]:
    """Search for everybody among everybody, any kind of camera to any other kind."""
    closed = replace(way, settings=replace(way.settings, closed=True))
    recorded, found = places(casts), []
    for number, kind in enumerate(KINDS):
        known = [index for (_, recording), walks in recorded.items() if recording == number for index in walks]
        with enrolled(casts, known) as gallery:
            for (_, recording), walks in recorded.items():
                if recording != number:
                    found += searches(casts, closed, gallery, kind, walks)
    return found


def episodes(casts: EmbeddedCasts, way: Way, draws: int = DRAWS) -> list[Search]:
    """Draw episodes, the same ones for every way, and search in them."""
    rng = np.random.default_rng(0)
    recorded, found = places(casts), []
    for (cast, first), known in recorded.items():
        for (other, second), seen in recorded.items():
            if other != cast or first == second:
                continue
            for _ in range(draws):
                chosen = rng.permutation(known)[: int(rng.integers(2, 6))].tolist()
                walkers = rng.permutation(seen)[: int(rng.integers(1, 7))].tolist()
                with enrolled(casts, chosen) as gallery:
                    found += searches(casts, way, gallery, KINDS[first], walkers)
    return found


Figures = dict[str, NDArray[np.float64]]
"""What the searches of a cast found, by name. Searches for known people and for strangers stand apart."""


def figures(found: Sequence[Search]) -> Figures:
    known = [one for one in found if one.own is not None]
    strangers = [one for one in found if one.own is None]
    return {
        "right": np.array([one.nearest == one.person for one in known], np.float64),
        "mated": np.array([one.own if one.nearest == one.person else np.inf for one in known], np.float64),
        "own": np.array([one.own for one in known], np.float64),
        "others": np.array([distance for one in found for distance in one.others], np.float64),
        "non-mated": np.array([min(one.others) for one in strangers], np.float64),
        "named rightly": np.array([one.named == one.person for one in known], np.float64),
        "named wrongly": np.array([one.named not in (None, one.person) for one in known], np.float64),
        "strangers named": np.array([one.named is not None for one in strangers], np.float64),
    }


def cell(found: Sequence[Search], statistic: Callable[[Figures], float]) -> str:
    """Return a figure of searches in % with its interval over casts."""
    units = [figures([one for one in found if one.cast == cast]) for cast in sorted({one.cast for one in found})]
    if not units:
        return "-"

    def pooled(sample: Sequence[Figures]) -> float:
        return statistic({name: np.concatenate([unit[name] for unit in sample]) for name in sample[0]})

    low, high = bootstrap(units, pooled, times=TIMES)
    return f"{100 * pooled(units):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def share(name: str) -> Callable[[Figures], float]:
    return lambda found: float(found[name].mean())


def fnir(rate: float) -> Callable[[Figures], float]:
    return lambda found: false_negative_identification_rate(found["mated"], found["non-mated"], rate)


def eer(found: Figures) -> float:
    own, others = found["own"], found["others"]
    order = np.argsort(np.concatenate([own, others]))
    is_own = (order < len(own)).astype(np.float64)
    return equal_error_rate(is_own, 1 - is_own)


def false_accepts(found: Figures) -> float:
    return float((found["others"] <= 1).mean())


def ways(card: ModelCard, files: Sequence[Path], folder: Path) -> Iterator[Way]:
    """Yield each file of scores, and each with the adaptation switched off if it has one."""
    for number, file in enumerate(files):
        home = folder / str(number)
        home.mkdir()
        shutil.copy(file, scores_path(home / "network.onnx"))
        beside = replace(card, file=home / "network.onnx")
        # The camera turns to each walker by themselves, so heights in the picture say nothing.
        yield Way(file.name, beside, MatchSettings(stature=False))
        if '"centre": [' in file.read_text(encoding="utf-8"):
            yield Way(f"{file.name}, adapt off", beside, MatchSettings(stature=False, adapt=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="casts: python -m app walkers casts")
    parser.add_argument("--checkpoint", type=Path, help="gait network; default: the one that a run would choose")
    parser.add_argument("--scores", type=Path, action="append", default=[], help="another file of scores")
    parser.add_argument("--draws", type=int, default=DRAWS, help="episodes of each pair of recordings")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    model = gait_models.build(GaitSettings(checkpoint=options.checkpoint), (HOME,))
    casts = embed_casts(sorted(options.folder.glob("*.npz")), model)
    people = len({walk.person for walk in casts.walks})
    own = [] if model.card.file is None else [scores_path(model.card.file)]
    console = Console(width=190)
    filmed = Table("", "any to any", *COLUMNS, title=f"walkers-filmed: nearest of {people} people right, %")
    sizes = ("1 person", "2", "3", "4 to 6")
    near = Table("", "all", *sizes, title="Episodes: nearest person right, %, by the people in the video")
    rates = Table(
        "", *(f"FNIR at FPIR {rate:.0%}" for rate in RATES), "EER", "named rightly", "wrongly", "strangers named",
        "false accepts, 5 % asked", title="Episodes: open set, %",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for way in ways(model.card, [*own, *options.scores], Path(folder)):
            found = everybody(casts, way)
            of_kinds = [[one for one in found if one.kinds == kinds] for kinds in COLUMNS.values()]
            filmed.add_row(way.name, *(cell(part, share("right")) for part in (found, *of_kinds)))
            found = episodes(casts, way, options.draws)
            parts = [[one for one in found if one.people in size] for size in ((1,), (2,), (3,), (4, 5, 6))]
            near.add_row(way.name, *(cell(part, share("right")) for part in (found, *parts)))
            statistics = (
                *map(fnir, RATES), eer, *map(share, ("named rightly", "named wrongly", "strangers named")),
                false_accepts,
            )  # fmt: skip
            rates.add_row(way.name, *(cell(found, one) for one in statistics))
            print(f"{way.name}: done", flush=True)
    for table in (filmed, near, rates):
        console.print(table)


if __name__ == "__main__":
    main()
