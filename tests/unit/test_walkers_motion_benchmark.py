"""The Walkers benchmark's protocol against a naive twin; its data from one real walk where the extra is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import SettingsError
from app.lab.walkers.benchmark import CONDITIONS, GALLERY_WALKS, VIEWS, WALKS, Discriminant, EnergyImages, rank1, run
from app.lab.walkers.dataset import Plan


def _people(count: int) -> EnergyImages:
    rng = np.random.default_rng(0)
    labels = np.array(
        [
            (subject, code, number, view)
            for subject in range(count)
            for code, walks in enumerate(WALKS)
            for number in range(walks)
            for view in VIEWS
        ]
    )
    own = rng.normal(size=(count, 64, 44))
    seen = {view: rng.normal(size=(64, 44)) for view in VIEWS}
    images = [own[s] + 0.8 * seen[v] * (1 + c) + rng.normal(size=(64, 44)) * 6 for s, c, _, v in labels]
    return EnergyImages(np.array(images, np.float32), *labels.T.copy())


def _naive_rank1(people: EnergyImages, features: np.ndarray, condition: int) -> float:
    pairs = []
    for probe_view in VIEWS:
        for gallery_view in VIEWS:
            if probe_view == gallery_view:
                continue
            hits = []
            for i in range(len(features)):
                is_probe = people.conditions[i] == condition and people.views[i] == probe_view
                if not is_probe or (condition == 0 and people.walks[i] < GALLERY_WALKS):
                    continue
                best, name = np.inf, -1
                for j in range(len(features)):
                    in_gallery = people.conditions[j] == 0 and people.walks[j] < GALLERY_WALKS
                    if not in_gallery or people.views[j] != gallery_view:
                        continue
                    distance = float(np.sum((features[i] - features[j]) ** 2))
                    if distance < best:
                        best, name = distance, int(people.subjects[j])
                hits.append(name == people.subjects[i])
            pairs.append(np.mean(hits))
    return float(np.mean(pairs))


def test_rank1_is_the_casia_b_protocol() -> None:
    people = _people(3)
    features = people.images.reshape(len(people.images), -1)[:, ::40].astype(np.float64)
    found = rank1(people, features)
    assert list(found) == list(CONDITIONS)
    for code, condition in enumerate(CONDITIONS):
        assert found[condition] == pytest.approx(_naive_rank1(people, features, code), abs=1e-9)
    assert 0.34 < found["nm"] < 1.0, "neither chance nor trivial, or the twin proves nothing"


def test_the_identical_view_does_not_count() -> None:
    people = _people(3)
    view_alone = (people.views[:, None] == np.array(VIEWS)) * 100.0
    assert rank1(people, view_alone + 0.0)["nm"] == pytest.approx(1 / 3, abs=0.01)


def test_missing_walks_are_an_error() -> None:
    people = _people(2)
    kept = people.views != 90
    fewer = EnergyImages(*(value[kept] for value in vars(people).values()))
    with pytest.raises(ValueError, match="at 90 degrees"):
        rank1(fewer, np.zeros((kept.sum(), 4)))


def test_the_discriminant_finds_the_direction_that_tells_people_apart() -> None:
    rng = np.random.default_rng(1)
    subjects = np.repeat(np.arange(8), 40)
    useful = rng.normal(size=8)[subjects]
    features = np.stack([useful * 0.3 + rng.normal(size=320) * 0.02, rng.normal(size=320) * 5, rng.normal(size=320)], 1)
    found = Discriminant.fit(features.astype(np.float32), subjects, shrinkage=0.0)
    first = found.projection[:, 0] * features.std(axis=0)
    assert abs(first[0]) > 10 * max(abs(first[1]), abs(first[2]))
    assert np.allclose(np.linalg.norm(found(features.astype(np.float32)), axis=1), 1, atol=1e-5)


def test_energy_images_survive_a_file(tmp_path: Path) -> None:
    people = _people(1)
    people.save(tmp_path / "people.npz")
    again = EnergyImages.load(tmp_path / "people.npz")
    assert all(np.array_equal(a, b) for a, b in zip(vars(people).values(), vars(again).values(), strict=True))


def test_a_stopped_run_goes_on_and_ends_with_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = _people(3)
    walked: list[Path] = []
    limit = [4]

    def walk(plan: Plan, cache: Path, index: int, path: Path) -> None:
        if len(walked) == limit[0]:
            raise KeyboardInterrupt
        walked.append(path)
        person = everybody.of(everybody.subjects == index)
        replace(person, subjects=person.subjects + plan.first).save(path)

    monkeypatch.setattr("app.lab.walkers.benchmark._walk_person", walk)
    monkeypatch.setattr("app.lab.walkers.benchmark.BodyModel.load", lambda cache: None)
    monkeypatch.setattr(
        "app.lab.walkers.benchmark.flat", lambda walks: walks.images.reshape(len(walks.images), -1)[:, ::40]
    )
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, subjects=3)
    assert len(walked) == 4
    assert not (tmp_path / "results.json").exists()
    limit[0] = 100
    results = run(tmp_path, subjects=3)
    assert len(walked) == len(set(walked)) == 12, "nobody walks twice: training, both, body alone, gait alone"
    assert [result.people for result in results[::2]] == ["body and gait", "body alone", "gait alone"]
    assert all(result.subjects == 3 for result in results)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [row["rank1"] for row in written["results"]] == [result.rank1 for result in results]


def test_one_person_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least two"):
        run(tmp_path, subjects=1)
