"""The protocol of the Walkers benchmark against a naive second implementation, and runs that were stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import SettingsError
from app.lab.walkers.benchmark import GALLERY_WALKS, WALKS, Discriminant, Labels, energy_images, rank1, run
from app.lab.walkers.choices import CASIA_VIEWS, CONDITIONS
from app.lab.walkers.dataset import Plan


def _people(count: int) -> tuple[Labels, np.ndarray]:
    """The labels of everybody's walks, and an image (64 * 44,) of each."""
    rng = np.random.default_rng(0)
    rows = np.array(
        [
            (subject, code, number, view)
            for subject in range(count)
            for code, walks in enumerate(WALKS)
            for number in range(walks)
            for view in CASIA_VIEWS
        ]
    )
    own = rng.normal(size=(count, 64 * 44))
    by_view = {view: rng.normal(size=64 * 44) for view in CASIA_VIEWS}
    images = [own[s] + 0.8 * by_view[v] * (1 + c) + rng.normal(size=64 * 44) * 6 for s, c, _, v in rows]
    return Labels(*rows.T), np.array(images, np.float32)


def _naive_rank1(people: Labels, features: np.ndarray, condition: int) -> float:
    pairs = []
    for probe_view in CASIA_VIEWS:
        for gallery_view in CASIA_VIEWS:
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
    people, images = _people(3)
    features = images[:, ::40].astype(np.float64)
    found = rank1(people, features)
    assert list(found) == list(CONDITIONS)
    for code, condition in enumerate(CONDITIONS):
        assert found[condition] == pytest.approx(_naive_rank1(people, features, code), abs=1e-9)
    assert 0.34 < found["nm"] < 1.0, "neither chance nor trivial, or the comparison proves nothing"


def test_the_identical_view_does_not_count() -> None:
    people, _ = _people(3)
    view_alone = (people.views[:, None] == np.array(CASIA_VIEWS)) * 100.0
    assert rank1(people, view_alone + 0.0)["nm"] == pytest.approx(1 / 3, abs=0.01)


def test_missing_walks_are_an_error() -> None:
    people, _ = _people(2)
    kept = people.views != 90
    fewer = people.of(kept)
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


def test_energy_images_are_mean_silhouettes_without_the_outer_columns() -> None:
    silhouettes = np.zeros((2, 4, 64, 64), np.uint8)
    silhouettes[0, :2, :, 20] = 255
    silhouettes[1, :, :, :10] = 255
    images = energy_images(silhouettes).reshape(2, 64, 44)
    assert np.all(images[0, :, 10] == 0.5)
    assert images[0].sum() == pytest.approx(32)
    assert not images[1].any()


def test_a_stopped_run_goes_on_and_ends_with_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, images = _people(3)
    walked: list[Path] = []
    limit = [4]

    def film(plan: Plan, cache: Path, index: int, path: Path) -> None:
        if len(walked) == limit[0]:
            raise KeyboardInterrupt
        walked.append(path)
        chosen = labels.subjects == index
        own = replace(labels.of(chosen), subjects=np.full(chosen.sum(), plan.first + index))
        grey = np.clip(images[chosen] * 9 + 128, 0, 255).astype(np.uint8).reshape(-1, 1, 64, 44)[:, :, ::8]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(
                file, silhouettes=np.pad(grey, ((0, 0),) * 3 + ((10, 10),)), labels=np.stack([*vars(own).values()], 1)
            )

    monkeypatch.setattr("app.lab.walkers.benchmark._film_person", film)
    monkeypatch.setattr("app.lab.walkers.jobs.BodyModel.load", lambda cache: None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, subjects=3)
    assert len(walked) == 4
    assert not list(tmp_path.glob("*.json"))
    limit[0] = 100
    results = run(tmp_path, subjects=3)
    assert len(walked) == len(set(walked)) == 15, "nobody walks twice: training, both, body, gait alone, look-alikes"
    assert [result.people for result in results[::2]] == ["body and gait", "body alone", "gait alone", "look-alikes"]
    assert all(result.subjects == 3 for result in results)
    written = json.loads((tmp_path / "results-motion-2.json").read_text(encoding="utf-8"))
    assert [row["rank1"] for row in written["results"]] == [result.rank1 for result in results]
    assert (written["motion"], written["change"]) == (2, 1.0)
    before = run(tmp_path, subjects=3, motion=1)
    assert len(walked) == len(set(walked)) == 27, "the other motion has silhouettes of its own, and no look-alikes"
    assert [result.people for result in before[::2]] == ["body and gait", "body alone", "gait alone"]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["change"] == 2.4


def test_one_person_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least two"):
        run(tmp_path, subjects=1)
