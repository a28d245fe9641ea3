"""The Walkers benchmark, ``walkers-100``: how well do simple methods recognise a virtual walker?

CASIA-B's protocol (Yu et al., ICPR 2006) on people who were never used for training: nm-01 to nm-04 are the gallery,
nm-05 and nm-06, bg-01 and bg-02, cl-01 and cl-02 the probes; every probe view against every other gallery view, the
identical view excluded; the mean of all pairs. Test people are numbers 1 to 100, training people begin at 100,001.

These figures rank models and code against each other. They say nothing by themselves about real people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from app.errors import SettingsError
from app.files import written_whole
from app.gallery.distances import part_distances
from app.lab.data.conversion import write_json
from app.lab.walkers.body import CACHE
from app.lab.walkers.choices import CASIA_VIEWS, CONDITIONS, MOTION, MotionVersion
from app.lab.walkers.dataset import Plan, subject_walks
from app.lab.walkers.jobs import body_model, make_missing
from app.progress import Progress, Titled
from app.stages import GaitModel
from app.types import Bools, Bytes, Floats, GaitSequence, Ints

WALKS = (6, 2, 2)
"""Walks under each condition."""
GALLERY_WALKS = 4
TEST_FIRST, TRAIN_FIRST = 1, 100_001
"""Numbers of the first test and the first training person."""
FRAMES = 20
"""Frames of a walk: 0.8 s, somewhat less than a gait cycle."""
ABLATION = 40
"""How many of the test people walk again with everybody's body, or everybody's gait."""
CHANGE: dict[MotionVersion, float] = {1: 2.4, 2: 1.0}
"""How much more than usual people differ between their walks, by the motion.

In motion 1 it was tuned until simple methods neither fail nor suffice. In motion 2 it is what was seen.
"""
ALIKE = 5
"""People in a group of look-alikes."""
LIKENESS = 0.7
"""How far the shapes of their bodies are drawn together; chosen, not measured on people."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Who walks in N walks, under which condition, in which of their walks, and seen from which view.

    `subjects`, `conditions` (index into `CONDITIONS`), `walks` (from 0) and `views` (degrees) are int64 (N,).
    """

    subjects: Ints
    conditions: Ints
    walks: Ints
    views: Ints

    def of(self, chosen: Bools) -> Labels:
        """Return those of the chosen walks."""
        return Labels(*(values[chosen] for values in vars(self).values()))


def film(
    folder: Path,
    first: int,
    subjects: int,
    *,
    body: bool = True,
    gait: bool = True,
    motion: MotionVersion = MOTION,
    alike: int = 0,
    workers: int = 1,
    cache: Path = CACHE,
    progress: Progress | None = None,
) -> list[Path]:
    """Let people walk, `first` being the number of the first, and keep their silhouettes; return a file for each
    (`read_person`).

    The files do not depend on the number of `workers`. People whose file is there already do not walk again. Without
    `body` or without `gait` everybody has the same one. `motion` and `alike` are those of `Plan`.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written.
    """
    plan = Plan(
        subjects=subjects, first=first, frames=FRAMES, change=CHANGE[motion], body=body, gait=gait,
        motion=motion, alike=alike, likeness=LIKENESS if alike else 0.0,
    )  # fmt: skip
    same = [name for name, differs in (("body", body), ("gait", gait)) if not differs]
    name = "silhouettes" + (f"-motion-{motion}" if motion > 1 else "") + (f"-alike-{alike}" if alike else "")
    home = folder / "-same-".join([name, *same])
    paths = [home / f"{first + index:06d}.npz" for index in range(subjects)]
    jobs = {path: (plan, cache, index, path) for index, path in enumerate(paths)}
    make_missing(_film_person, jobs, cache, workers, progress)
    return paths


def _film_person(plan: Plan, cache: Path, index: int, path: Path) -> None:
    silhouettes, labels = [], []
    for condition, number, view, arrays in subject_walks(plan, index, body_model(cache)):
        silhouettes.append(arrays["silhouette"])
        labels.append((plan.first + index, CONDITIONS.index(condition), number - 1, view))
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, silhouettes=np.stack(silhouettes), labels=np.array(labels, np.int64))


def read_person(path: Path) -> tuple[Bytes, Ints]:
    """Return a person's silhouettes, uint8 (N, T, 64, 64), and the labels (N, 4) of their walks, as in `Labels`."""
    with np.load(path, allow_pickle=False) as file:
        return file["silhouettes"], file["labels"]


def energy_images(silhouettes: Bytes) -> Floats:
    """Return the mean silhouettes, (N, 64 * 44) and 0..1, of walks (N, T, 64, 64)."""
    images = silhouettes[..., 10:54].mean(axis=1, dtype=np.float32) / np.float32(255)
    return np.asarray(images.reshape(len(images), -1), np.float32)


def embedded_people(paths: Sequence[Path], embed: Callable[[Bytes], Floats]) -> tuple[Labels, Floats]:
    """Return the labels and the features (N, ...) of all walks of the people in `paths`, by `embed`, one by one."""
    features, labels = [], []
    for path in paths:
        silhouettes, of_person = read_person(path)
        features.append(embed(silhouettes))
        labels.append(of_person)
    return Labels(*np.concatenate(labels).T), np.concatenate(features)


def rank1(people: Labels, features: NDArray[np.floating]) -> dict[str, float]:
    """Return the cross-view rank-1 of each condition, 0..1.

    `features` (N, D) are compared by Euclidean distance, or (N, P, C) by the mean over their parts; `people` are the
    labels of the walks.

    Raises:
        ValueError: a view lacks gallery or probe walks.
    """
    return {condition: float(np.mean(shares)) for condition, shares in rank1_of_people(people, features).items()}


def rank1_of_people(people: Labels, features: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Return the `rank1` of each person's own probes, (people,) by rising number: what a bootstrap draws from."""
    parts = np.asarray(features, np.float32).reshape(len(features), -1, features.shape[-1])
    in_gallery = (people.conditions == 0) & (people.walks < GALLERY_WALKS)
    names = np.unique(people.subjects)
    result: dict[str, NDArray[np.float64]] = {}
    for code, condition in enumerate(CONDITIONS):
        is_probe = (people.conditions == code) & ~in_gallery
        for walks, role in ((in_gallery, "the gallery"), (is_probe, f"the probes of '{condition}'")):
            missing = sorted(set(CASIA_VIEWS) - set(people.views[walks].tolist()))
            if missing:
                raise ValueError(f"{role} have no walks at {', '.join(map(str, missing))} degrees")
        pairs = []
        for gallery_view in CASIA_VIEWS:
            gallery = np.flatnonzero(in_gallery & (people.views == gallery_view))
            probes = np.flatnonzero(is_probe & (people.views != gallery_view))
            nearest = gallery[part_distances(parts[probes], parts[gallery]).argmin(axis=1)]
            is_right = people.subjects[nearest] == people.subjects[probes]
            owners = np.searchsorted(names, people.subjects[probes])
            for view in set(CASIA_VIEWS) - {gallery_view}:
                of_view = people.views[probes] == view
                hits = np.bincount(owners[of_view], is_right[of_view], len(names))
                pairs.append(hits / np.bincount(owners[of_view], minlength=len(names)))
        result[condition] = np.mean(pairs, axis=0)
    return result


def judge(
    model: GaitModel,
    folder: Path,
    subjects: int = 100,
    workers: int = 1,
    cache: Path = CACHE,
    progress: Progress | None = None,
    *,
    motion: MotionVersion = MOTION,
    alike: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Let `model` recognise the test people, and return `rank1_of_people`.

    Their silhouettes are kept in `folder`, see `film`, whose errors are raised here too. `motion` and `alike` are those
    of `Plan`.

    Raises:
        SettingsError: fewer than two subjects.
    """
    _need_two(subjects)

    def embed(silhouettes: Bytes) -> Floats:
        walks = [GaitSequence(np.arange(len(walk)), walk, Plan.fps) for walk in silhouettes]
        return np.stack([embedding.parts for embedding in model.embed(walks)])

    paths = film(
        folder, TEST_FIRST, subjects, motion=motion, alike=alike, workers=workers, cache=cache, progress=progress
    )
    return rank1_of_people(*embedded_people(paths, embed))


def _need_two(subjects: int) -> None:
    if subjects < 2:
        raise SettingsError("A benchmark needs at least two people. Give --subjects 2 or more.")


@dataclass(frozen=True, eq=False)
class Discriminant:
    """PCA, then Fisher's linear discriminant (Han & Bhanu 2006, section 3): `mean` (D,), `projection` (D, C)."""

    mean: Floats
    projection: Floats

    @classmethod
    def fit(cls, features: Floats, subjects: Ints, components: int = 160, shrinkage: float = 0.1) -> Discriminant:
        """Learn from `features` (N, D) of `subjects` (N,): views and clothes of one person are to fall together."""
        mean = features.mean(axis=0)
        centred = features - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        basis = vectors[:, ::-1][:, : min(components, int((values > 1e-9).sum()))]
        reduced = centred @ basis
        _, person = np.unique(subjects, return_inverse=True)
        sums = np.zeros((person.max() + 1, reduced.shape[1]), reduced.dtype)
        np.add.at(sums, person, reduced)
        centres = sums / np.bincount(person)[:, None]
        inside = reduced - centres[person]
        within = inside.T @ inside / len(inside)
        within += shrinkage * np.trace(within) / len(within) * np.eye(len(within), dtype=within.dtype)
        _, directions = eigh(centres.T @ centres, within)
        best = directions[:, ::-1][:, : min(len(centres) - 1, reduced.shape[1])]
        return cls(mean.astype(np.float32), (basis @ best).astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """Project (N, D) and scale to unit length."""
        projected = (features - self.mean) @ self.projection
        return np.asarray(projected / np.linalg.norm(projected, axis=1, keepdims=True), np.float32)


def results_name(motion: MotionVersion) -> str:
    """Return the name of the file of results."""
    return "results.json" if motion == 1 else f"results-motion-{motion}.json"


@dataclass(frozen=True)
class Result:
    """One row of the table: what the people differ in, how many they are, the baseline, rank-1 (0..1) by condition."""

    people: str
    subjects: int
    baseline: str
    rank1: dict[str, float]


def run(
    folder: Path,
    subjects: int = 100,
    workers: int = 1,
    cache: Path = CACHE,
    progress: Progress | None = None,
    motion: MotionVersion = MOTION,
) -> list[Result]:
    """Make the walks of the benchmark in `folder`, judge the baselines and write ``results.json`` there.

    `subjects` test and as many training people (100 make ``walkers-100``; fewer are a quick look and easier). A run
    that was stopped goes on where it was. `motion` is how people walk; each is a benchmark of its own. Raises what
    `film` raises.

    Raises:
        SettingsError: fewer than two subjects.
    """
    _need_two(subjects)

    def people(
        what: str, first: int, count: int, body: bool = True, gait: bool = True, alike: int = 0
    ) -> tuple[Labels, Floats]:
        paths = film(
            folder, first, count, body=body, gait=gait, motion=motion, alike=alike,
            workers=workers, cache=cache, progress=Titled(progress, what.capitalize()),
        )  # fmt: skip
        return embedded_people(paths, energy_images)

    train, energies = people("training people", TRAIN_FIRST, subjects)
    discriminant = Discriminant.fit(energies, train.subjects)
    few = min(ABLATION, subjects)
    test, energies = people("body and gait", TEST_FIRST, subjects)
    tests = [("body and gait", test, energies)]
    if few < subjects:
        chosen = test.subjects < TEST_FIRST + few
        tests.append(("body and gait", test.of(chosen), energies[chosen]))
    tests.append(("body alone", *people("body alone", TEST_FIRST, few, gait=False)))
    tests.append(("gait alone", *people("gait alone", TEST_FIRST, few, body=False)))
    if motion > 1:
        tests.append(("look-alikes", *people("look-alikes", TEST_FIRST, subjects, alike=ALIKE)))
    results = [
        Result(what, len(np.unique(labels.subjects)), name, rank1(labels, features))
        for what, labels, energies in tests
        for name, features in (("GEI + L2", energies), ("GEI + PCA + LDA", discriminant(energies)))
    ]
    rows = [asdict(result) for result in results]
    content = {"frames": FRAMES, "change": CHANGE[motion], "motion": motion, "results": rows}
    write_json(folder / results_name(motion), content)
    return results
