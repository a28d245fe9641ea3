"""Strangers across four cameras: ``python -m tests.benchmarks.strangers DATASET`` (in OpenGait's layout).

Everybody of the data set wanders between four cameras, one for each view: the walks come in a random order, each is one
sighting, and nobody is known. `StrangerJudge` numbers them. The numbers are compared with the truth:

- IDF1: the share of sightings that carry the right number, where each person is given the number that fits best, one
  number to one person (Ristani et al. 2016; here every sighting has one number, so precision and recall are the same);
- merged: numbers that several people share; split: people with several numbers.

A data set of virtual walkers: ``python -m app walkers dataset --out DATASET --subjects 60 --conditions nm:2,bg:1,cl:1
--views 4``.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.lab.evaluation.embeddings import embed_walks, walks_for
from app.lab.evaluation.files import load_model
from app.recognise.strangers import StrangerJudge, StrangerOptions
from app.settings import Settings
from app.types import Embedding, Track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--far", type=float, nargs="*", default=[0.001, 0.01, 0.05])
    parser.add_argument("--conditions", nargs="*", help="only these, e.g. nm")
    parser.add_argument("--most", type=int, default=400, help="sightings at most")
    options = parser.parse_args()
    settings = Settings()
    model = load_model(settings)
    walks = walks_for(model, options.dataset, None)
    if options.conditions:
        walks = [walk for walk in walks if walk.condition.startswith(tuple(options.conditions))]
    walks = [walks[place] for place in np.random.default_rng(0).permutation(len(walks))[: options.most]]
    embedded = embed_walks(walks, model)
    people = [walk.identity for walk in embedded.walks]
    cameras = [walk.view for walk in embedded.walks]
    track = Track(1, np.arange(24), np.zeros((24, 4), np.float32), np.ones(24, np.float32))
    print(f"{len(people)} sightings of {len(set(people))} people by {len(set(cameras))} cameras, {model.card.model_id}")
    for far in options.far:
        numbers = []
        with SqliteGallery(None) as store:
            judge = StrangerJudge(store, model.card, settings.match, StrangerOptions(far=far))
            for place, (parts, camera) in enumerate(zip(embedded.features, cameras, strict=True)):
                walk = NewWalk(Embedding(parts, model.card.model_id, 24), camera, 1)
                numbers.append(judge.meet(walk, track, 10.0 * place, 10.0 * place + 1).name)
        print(f"far {far}: {figures(people, numbers)}", flush=True)


def figures(people: list[str], numbers: list[str]) -> str:
    """Return what `numbers` are worth, given who was really seen."""
    of_people, of_numbers = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for who, number in zip(people, numbers, strict=True):
        of_people[who].add(number)
        of_numbers[number].add(who)
    rows, columns = sorted(of_people), sorted(of_numbers)
    table = np.zeros((len(rows), len(columns)), np.int64)
    for who, number in zip(people, numbers, strict=True):
        table[rows.index(who), columns.index(number)] += 1
    right = table[linear_sum_assignment(-table)].sum()
    merged = sum(len(some) > 1 for some in of_numbers.values())
    split = sum(len(some) > 1 for some in of_people.values())
    return (
        f"IDF1 {right / len(people):.3f}; {len(columns)} numbers for {len(rows)} people; "
        f"{merged} numbers merged, {split} people split"
    )


if __name__ == "__main__":
    main()
