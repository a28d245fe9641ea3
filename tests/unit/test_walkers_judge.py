"""Judging a gait model by the Walkers benchmark, with invented silhouettes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.errors import SettingsError
from app.lab.walkers.benchmark import WALKS, Labels, judge, rank1, rank1_of_people
from app.lab.walkers.choices import CASIA_VIEWS, CONDITIONS
from app.lab.walkers.dataset import Plan
from app.types import Embedding, GaitSequence, ModelCard
from tests.progress import Steps

SUBJECTS = 3


class Brightness:
    """Recognises people by how bright their silhouettes are, in two parts."""

    card = ModelCard(stage="gait", name="brightness", origin="weight-free", licence="Apache-2.0")

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        parts = [np.full((2, 1), walk.silhouettes.mean(), np.float32) for walk in walks]
        return [Embedding(part, "brightness", len(walk)) for part, walk in zip(parts, walks, strict=True)]


@pytest.fixture
def filmed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """People of brightness 50, 100 and 150; in a coat the first looks like the second. Returns the files made."""
    made: list[Path] = []

    def film(plan: Plan, cache: Path, index: int, path: Path) -> None:
        labels = [
            (plan.first + index, code, walk, view)
            for code, count in enumerate(WALKS)
            for walk in range(count)
            for view in CASIA_VIEWS
        ]
        grey = [100 if index == 0 and code == 2 else 50 * (index + 1) for _, code, _, _ in labels]
        silhouettes = np.zeros((len(labels), 2, 64, 64), np.uint8) + np.array(grey, np.uint8)[:, None, None, None]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, silhouettes=silhouettes, labels=np.array(labels, np.int64))
        made.append(path)

    monkeypatch.setattr("app.lab.walkers.benchmark._film_person", film)
    monkeypatch.setattr("app.lab.walkers.jobs.BodyModel.load", lambda cache: None)
    return made


def test_a_model_is_judged_person_by_person_and_nobody_walks_twice(filmed: list[Path], tmp_path: Path) -> None:
    progress = Steps()
    for _ in range(2):
        found = judge(Brightness(), tmp_path, SUBJECTS, progress=progress)
        assert {name: shares.tolist() for name, shares in found.items()} == {
            "nm": [1, 1, 1],
            "bg": [1, 1, 1],
            "cl": [0, 1, 1],
        }
    assert len(filmed) == SUBJECTS
    assert progress.seen == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]


def test_one_person_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least two"):
        judge(Brightness(), tmp_path, 1)


def test_parts_are_compared_each_and_the_mean_over_people_is_the_rank() -> None:
    rows = [
        (person, code, walk, view)
        for person in (4, 7, 9)
        for code, count in enumerate(WALKS)
        for walk in range(count)
        for view in CASIA_VIEWS
    ]
    labels = Labels(*np.array(rows, np.int64).T)
    # One part is far off once: the mean of distances forgives what the distance of the concatenation would not.
    features = np.repeat(labels.subjects[:, None, None], 3, axis=1).astype(np.float32)
    features[(labels.conditions == 2) & (labels.subjects == 4), 0] = 9.0
    of_people = rank1_of_people(labels, features)
    assert {name: shares.tolist() for name, shares in of_people.items()} == {name: [1.0] * 3 for name in CONDITIONS}
    assert rank1(labels, features) == dict.fromkeys(CONDITIONS, 1.0)
    assert rank1(labels, features.reshape(len(features), -1))["cl"] < 1.0
