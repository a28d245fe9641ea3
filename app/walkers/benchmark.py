"""The Walkers benchmark, ``walkers-100``: how well is a virtual walker known again, by simple means?

CASIA-B's protocol (Yu et al., ICPR 2006) on people who were never used for training: nm-01 to nm-04 are the gallery,
nm-05 and nm-06, bg-01 and bg-02, cl-01 and cl-02 the probes; every probe view against every other gallery view, the
identical view excluded; the mean of all pairs. Test people are numbers 1 to 100, training people begin at 100,001.

These figures rank models and code against each other. They say nothing by themselves about real people.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.files import written_whole
from app.types import Bools, Floats, Ints
from app.walkers.body import CACHE, BodyModel
from app.walkers.dataset import Plan, subject_walks

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

    def of(self, chosen: Bools) -> EnergyImages:
        """Return the chosen walks."""
        return EnergyImages(*(value[chosen] for value in vars(self).values()))


def walk_people(plan: Plan, workers: int = 1, cache: Path = CACHE) -> EnergyImages:
    """Let the people of `plan` walk and keep their energy images: those of `write_dataset`'s silhouettes.

    The result does not depend on the number of `workers`.

    Raises:
        MissingExtraError: the extra `walkers` is not installed.
    """
    BodyModel.load(cache)  # made here, once, not by every worker
    task = partial(_energies, plan, cache)
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(task, range(plan.subjects)))
    else:
        results = [task(index) for index in range(plan.subjects)]
    images, labels = zip(*results, strict=True)
    return EnergyImages(np.concatenate(images), *np.concatenate(labels).T.copy())


def _energies(plan: Plan, cache: Path, index: int) -> tuple[Floats, Ints]:
    images, labels = [], []
    for condition, number, view, arrays in subject_walks(plan, index, _model(cache)):
        images.append(arrays["silhouette"][:, :, 10:54].mean(axis=0, dtype=np.float32) / np.float32(255))
        labels.append((plan.first + index, CONDITIONS.index(condition), number - 1, view))
    return np.stack(images), np.array(labels, np.int64)


@lru_cache(maxsize=1)
def _model(cache: Path) -> BodyModel:
    return BodyModel.load(cache)


def rank1(people: EnergyImages, features: NDArray[np.floating]) -> dict[str, float]:
    """Return the cross-view rank-1 of each condition, 0..1, for `features` (N, D) compared by Euclidean distance.

    Raises:
        ValueError: a view lacks gallery or probe walks.
    """
    features = np.asarray(features, np.float32)
    squares = np.sum(features * features, axis=1)
    in_gallery = (people.conditions == 0) & (people.walks < GALLERY_WALKS)
    result = {}
    for code, condition in enumerate(CONDITIONS):
        is_probe = (people.conditions == code) & ~in_gallery
        for walks, role in ((in_gallery, "the gallery"), (is_probe, f"the probes of '{condition}'")):
            missing = sorted(set(VIEWS) - set(people.views[walks].tolist()))
            if missing:
                raise ValueError(f"{role} have no walks at {', '.join(map(str, missing))} degrees")
        hits = []
        for gallery_view in VIEWS:
            gallery = np.flatnonzero(in_gallery & (people.views == gallery_view))
            probes = np.flatnonzero(is_probe & (people.views != gallery_view))
            distance = squares[gallery] - 2 * features[probes] @ features[gallery].T
            found = people.subjects[gallery[distance.argmin(axis=1)]] == people.subjects[probes]
            hits += [found[people.views[probes] == view].mean() for view in VIEWS if view != gallery_view]
        result[condition] = float(np.mean(hits))
    return result


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


def main(arguments: Sequence[str]) -> None:
    """``python -m app.walkers.benchmark FOLDER [SUBJECTS [WORKERS [CACHE]]]``: make the data, print the table."""
    folder = Path(arguments[0] if arguments else "output/walkers-100")
    subjects, workers = (int(value) for value in (*arguments[1:3], *("100", "2")[len(arguments[1:3]) :]))
    cache = Path(arguments[3]) if len(arguments) > 3 else CACHE

    def people(first: int, count: int, body: bool = True, gait: bool = True) -> EnergyImages:
        varied = "both" if body and gait else "body" if body else "gait"
        path = folder / f"{first:06d}-{count}-{varied}.npz"
        if not path.is_file():
            plan = Plan(subjects=count, first=first, frames=FRAMES, body=body, gait=gait, change=CHANGE)
            walk_people(plan, workers, cache).save(path)
        return EnergyImages.load(path)

    def report(what: str, test: EnergyImages) -> None:
        for name, features in (("GEI + L2", flat(test)), ("GEI + PCA + LDA", discriminant(flat(test)))):
            row = " | ".join(f"{100 * share:.1f}" for share in rank1(test, features).values())
            sys.stdout.write(f"| {what} | {len(np.unique(test.subjects))} | {name} | {row} |\n")
            sys.stdout.flush()

    train = people(TRAIN_FIRST, subjects)
    discriminant = Discriminant.fit(flat(train), train.subjects)
    sys.stdout.write("| people differ in | number | baseline | NM | BG | CL |\n|---|---|---|---|---|---|\n")
    test = people(TEST_FIRST, subjects)
    report("body and gait", test)
    few = min(ABLATION, subjects)
    report("body and gait", test.of(test.subjects < TEST_FIRST + few))
    report("body alone", people(TEST_FIRST, few, gait=False))
    report("gait alone", people(TEST_FIRST, few, body=False))


if __name__ == "__main__":
    main(sys.argv[1:])
