"""The Walkers benchmark, ``walkers-100``: how well is a virtual walker known again, by simple means?

CASIA-B's protocol (Yu et al., ICPR 2006) on people who were never used for training: nm-01 to nm-04 are the gallery,
nm-05 and nm-06, bg-01 and bg-02, cl-01 and cl-02 the probes; every probe view against every other gallery view, the
identical view excluded; the mean of all pairs. Test people are numbers 1 to 100, training people begin at 100,001.

These figures rank models and code against each other. They say nothing by themselves about real people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError
from app.files import written_whole
from app.gallery.distances import part_distances
from app.lab.walkers.body import CACHE, BodyModel
from app.lab.walkers.dataset import Plan, subject_walks
from app.stages import GaitModel
from app.types import Bools, Floats, GaitSequence, Ints
from app.workers import side_by_side

_Maker: TypeAlias = Callable[[Plan, Path, int, Path], None]

CONDITIONS = ("nm", "bg", "cl")
WALKS = (6, 2, 2)
"""Walks under each condition."""
VIEWS = tuple(range(0, 181, 18))
GALLERY_WALKS = 4
TEST_FIRST, TRAIN_FIRST = 1, 100_001
"""Numbers of the first test and the first training person."""
FRAMES = 20
"""Frames of a walk: 0.8 s, somewhat less than a gait cycle."""
ABLATION = 40
"""How many of the test people walk again with everybody's body, or everybody's gait."""
CHANGE = 2.4
"""How much more than usual people differ from day to day: tuned until simple means are neither lost nor enough."""


class Labelled(Protocol):
    """Whose N walks, how and whence: `subjects`, `conditions` (index into `CONDITIONS`), `walks` (from 0) and `views`
    (degrees), each int64 (N,)."""

    @property
    def subjects(self) -> Ints: ...
    @property
    def conditions(self) -> Ints: ...
    @property
    def walks(self) -> Ints: ...
    @property
    def views(self) -> Ints: ...


@dataclass(frozen=True, eq=False)
class Labels:
    """`Labelled`, and nothing else."""

    subjects: Ints
    conditions: Ints
    walks: Ints
    views: Ints


@dataclass(frozen=True, eq=False)
class EnergyImages:
    """The mean silhouette of N walks.

    `images` float32 (N, 64, 44), 0..1; `subjects`, `conditions` (index into `CONDITIONS`), `walks` (from 0) and
    `views` (degrees) int64 (N,).
    """

    images: Floats
    subjects: Ints
    conditions: Ints
    walks: Ints
    views: Ints

    def save(self, path: Path) -> None:
        """Write everything to a ``.npz``, whole or not at all."""
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> EnergyImages:
        """Read what `save` has written."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})

    @classmethod
    def joined(cls, parts: Sequence[EnergyImages]) -> EnergyImages:
        """Return the walks of all `parts`, in order."""
        return cls(*(np.concatenate([vars(part)[field.name] for part in parts]) for field in fields(cls)))

    def of(self, chosen: Bools) -> EnergyImages:
        """Return the chosen walks."""
        return EnergyImages(*(value[chosen] for value in vars(self).values()))


def walk_people(
    plan: Plan,
    folder: Path,
    workers: int = 1,
    cache: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> EnergyImages:
    """Let the people of `plan` walk and keep their energy images: those of `write_dataset`'s silhouettes.

    The result does not depend on the number of `workers`. Every person is a file in `folder`, written when their walks
    are done; people who are there already do not walk again.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written.
    """
    varied = "both" if plan.body and plan.gait else "body" if plan.body else "gait"
    home = folder / f"{varied}-{plan.frames}-{plan.change:g}-{plan.seed}"
    paths = _everybody(_walk_person, plan, home, workers, cache, progress)
    return EnergyImages.joined([EnergyImages.load(path) for path in paths])


def _everybody(
    make: _Maker, plan: Plan, home: Path, workers: int, cache: Path, progress: Callable[[int, int], None] | None
) -> list[Path]:
    """Let `make` write the file of every person of `plan` whose file is not in `home` yet, and return all of them."""
    paths = [home / f"{plan.first + index:06d}.npz" for index in range(plan.subjects)]
    todo = [index for index, path in enumerate(paths) if not path.is_file()]
    done = plan.subjects - len(todo)
    if progress is not None:
        progress(done, plan.subjects)
    if todo:
        BodyModel.load(cache)  # made here, once, not by every worker
    for _ in side_by_side(make, [(plan, cache, index, paths[index]) for index in todo], workers):
        done += 1
        if progress is not None:
            progress(done, plan.subjects)
    return paths


def _walk_person(plan: Plan, cache: Path, index: int, path: Path) -> None:
    images, labels = [], []
    for condition, number, view, arrays in subject_walks(plan, index, _model(cache)):
        images.append(arrays["silhouette"][:, :, 10:54].mean(axis=0, dtype=np.float32) / np.float32(255))
        labels.append((plan.first + index, CONDITIONS.index(condition), number - 1, view))
    EnergyImages(np.stack(images), *np.array(labels, np.int64).T.copy()).save(path)


def _film_person(plan: Plan, cache: Path, index: int, path: Path) -> None:
    silhouettes, labels = [], []
    for condition, number, view, arrays in subject_walks(plan, index, _model(cache)):
        silhouettes.append(arrays["silhouette"])
        labels.append((plan.first + index, CONDITIONS.index(condition), number - 1, view))
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, silhouettes=np.stack(silhouettes), labels=np.array(labels, np.int64))


@lru_cache(maxsize=1)
def _model(cache: Path) -> BodyModel:
    return BodyModel.load(cache)


def rank1(people: Labelled, features: NDArray[np.floating]) -> dict[str, float]:
    """Return the cross-view rank-1 of each condition, 0..1.

    Args:
        people: whose walks the features are of.
        features: (N, D), compared by Euclidean distance, or (N, P, C), by the mean over their parts.

    Raises:
        ValueError: a view lacks gallery or probe walks.
    """
    return {condition: float(np.mean(shares)) for condition, shares in rank1_of_people(people, features).items()}


def rank1_of_people(people: Labelled, features: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Return the `rank1` of each person's own probes, (people,) by rising number: what a bootstrap draws from."""
    parts = np.asarray(features, np.float32).reshape(len(features), -1, features.shape[-1])
    in_gallery = (people.conditions == 0) & (people.walks < GALLERY_WALKS)
    names = np.unique(people.subjects)
    result = {}
    for code, condition in enumerate(CONDITIONS):
        is_probe = (people.conditions == code) & ~in_gallery
        for walks, role in ((in_gallery, "the gallery"), (is_probe, f"the probes of '{condition}'")):
            missing = sorted(set(VIEWS) - set(people.views[walks].tolist()))
            if missing:
                raise ValueError(f"{role} have no walks at {', '.join(map(str, missing))} degrees")
        pairs = []
        for gallery_view in VIEWS:
            gallery = np.flatnonzero(in_gallery & (people.views == gallery_view))
            probes = np.flatnonzero(is_probe & (people.views != gallery_view))
            nearest = gallery[part_distances(parts[probes], parts[gallery]).argmin(axis=1)]
            found = people.subjects[nearest] == people.subjects[probes]
            owners = np.searchsorted(names, people.subjects[probes])
            for seen in (people.views[probes] == view for view in VIEWS if view != gallery_view):
                hits = np.bincount(owners[seen], found[seen], len(names))
                pairs.append(hits / np.bincount(owners[seen], minlength=len(names)))
        result[condition] = np.mean(pairs, axis=0)
    return result


def judge(
    model: GaitModel,
    folder: Path,
    subjects: int = 100,
    workers: int = 1,
    cache: Path = CACHE,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Let the test people walk before `model`, and return `rank1_of_people`.

    Their silhouettes, `FRAMES` of each walk, are kept in `folder`, a file for each person; a run that was stopped goes
    on. `progress` gets the people done and all of them.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written.
        SettingsError: fewer than two subjects.
    """
    if subjects < 2:
        raise SettingsError("A benchmark needs at least two people. Give --subjects 2 or more.")
    plan = Plan(subjects=subjects, first=TEST_FIRST, frames=FRAMES, change=CHANGE)
    labels, features = [], []
    for path in _everybody(_film_person, plan, folder / "silhouettes", workers, cache, progress):
        with np.load(path, allow_pickle=False) as file:
            walks = [GaitSequence(np.arange(len(walk)), walk, plan.fps) for walk in file["silhouettes"]]
            labels.append(file["labels"])
        features.append(np.stack([embedding.parts for embedding in model.embed(walks)]))
    return rank1_of_people(Labels(*np.concatenate(labels).T), np.concatenate(features))


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
        scale, turn = np.linalg.eigh(within)
        whiten = turn / np.sqrt(scale)
        between = centres @ whiten
        _, directions = np.linalg.eigh(between.T @ between)
        kept = directions[:, ::-1][:, : min(len(centres) - 1, reduced.shape[1])]
        return cls(mean.astype(np.float32), (basis @ whiten @ kept).astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """Project (N, D) and scale to unit length."""
        found = (features - self.mean) @ self.projection
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def flat(people: EnergyImages) -> Floats:
    """The images as vectors, (N, 64 * 44)."""
    return people.images.reshape(len(people.images), -1)


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
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Result]:
    """Make the walks of the benchmark in `folder`, judge the baselines and write ``results.json`` there.

    `subjects` test and as many training people (100 make ``walkers-100``; fewer are a quick look and easier). A run
    that was stopped goes on where it was. `progress` gets a description, the people done and all of them.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written.
        SettingsError: fewer than two subjects.
    """
    if subjects < 2:
        raise SettingsError("A benchmark needs at least two people. Give --subjects 2 or more.")

    def people(what: str, first: int, count: int, body: bool = True, gait: bool = True) -> EnergyImages:
        plan = Plan(subjects=count, first=first, frames=FRAMES, body=body, gait=gait, change=CHANGE)
        report = None if progress is None else partial(progress, what)
        return walk_people(plan, folder / "walks", workers, cache, report)

    train = people("training people", TRAIN_FIRST, subjects)
    discriminant = Discriminant.fit(flat(train), train.subjects)
    few = min(ABLATION, subjects)
    test = people("body and gait", TEST_FIRST, subjects)
    tests = [("body and gait", test)]
    if few < subjects:
        tests.append(("body and gait", test.of(test.subjects < TEST_FIRST + few)))
    tests.append(("body alone", people("body alone", TEST_FIRST, few, gait=False)))
    tests.append(("gait alone", people("gait alone", TEST_FIRST, few, body=False)))
    results = [
        Result(what, len(np.unique(walks.subjects)), name, rank1(walks, features))
        for what, walks in tests
        for name, features in (("GEI + L2", flat(walks)), ("GEI + PCA + LDA", discriminant(flat(walks))))
    ]
    content = {"frames": FRAMES, "change": CHANGE, "results": [asdict(result) for result in results]}
    with written_whole(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return results
