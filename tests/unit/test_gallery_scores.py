"""What distances mean: thresholds, probabilities, their file, and whether they hold in another place."""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.cli.main import main
from app.errors import GalleryError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.lab.evaluation.calibrate import KnownWalks
from app.lab.evaluation.pairs import Pairs, deviations, fit_scores
from app.recognise.domain import adapt
from app.recognise.scores import FEWEST_PEOPLE, LEVELS, RATES, ScoreModel, find_scores, read_scores, scores_path
from app.runs.compare import compare_walks
from app.settings import Settings
from app.stages import Run
from app.types import Candidate, Embedding, Floats, GaitSequence, Match, ModelCard, Track, VideoInfo
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.weights.checkpoints import HOME

PEOPLE, RECORDINGS, VIEWS = 24, 4, 2


def walks(noise: float = 0.5, people: int = PEOPLE, views: int = VIEWS) -> tuple[Floats, list[str], list[str]]:
    """People around centres of their own; the views of a recording are much alike."""
    rng = np.random.default_rng(0)
    features, names, recordings = [], [], []
    for person in range(people):
        centre = rng.standard_normal((2, 8))
        for recording in range(RECORDINGS):
            today = centre + noise * rng.standard_normal((2, 8))
            for _ in range(views):
                features.append(today + 0.01 * rng.standard_normal((2, 8)))
                names.append(f"{person:03d}")
                recordings.append(f"nm-{recording}")
    return np.array(features, np.float32), names, recordings


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return Pairs.of(*walks(), "euclidean")


@pytest.fixture(scope="module")
def scores(pairs: Pairs) -> ScoreModel:
    return fit_scores(pairs, model_id="net@12345678", metric="euclidean", data="24 people")


def weight(scores: ScoreModel, distance: float) -> float:
    return scores.evidence[0] + scores.evidence[1] * distance


def probability(scores: ScoreModel, distance: float, rivals: Sequence[float] = (), prior: float = 0.5) -> float:
    """That a walk is of the person who is `distance` away; all others in the gallery are as far as `rivals`."""
    return float(scores.probabilities(np.array([[distance, *rivals]]), prior)[0, 0])


class TestPairs:
    def test_views_of_one_recording_are_no_pair(self, pairs: Pairs) -> None:
        recordings = RECORDINGS * (RECORDINGS - 1) // 2
        assert len(pairs.genuine) == PEOPLE * recordings * VIEWS**2
        assert pairs.genuine.min() > 0.1  # two views are 0.03 apart
        assert len(pairs.impostor) == PEOPLE * (PEOPLE - 1) // 2 * (RECORDINGS * VIEWS) ** 2

    def test_owners_are_two_people(self, pairs: Pairs) -> None:
        assert (pairs.owners[:, 0] != pairs.owners[:, 1]).all()
        assert set(pairs.owners.ravel().tolist()) == set(range(PEOPLE))

    def test_too_few_people_say_nothing(self) -> None:
        with pytest.raises(GalleryError, match=f"at least {FEWEST_PEOPLE} people, and there are 3"):
            Pairs.of(*walks(people=3), "euclidean")

    def test_everybody_walks_once(self) -> None:
        features, names, _ = walks()
        with pytest.raises(GalleryError, match="walk twice"):
            Pairs.of(features, names, ["nm-0"] * len(names), "euclidean")

    def test_deviations_are_those_that_were_put_in(self) -> None:
        rng = np.random.default_rng(0)
        walk, pair = rng.normal(0, 0.1, 400), np.triu(rng.normal(0, 0.2, (400, 400)), 1)
        distances = np.exp(walk[:, None] + walk + pair + pair.T)
        assert deviations(distances, ~np.eye(400, dtype=np.bool_)) == pytest.approx((0.1, 0.2), rel=0.1)


class TestThreshold:
    @pytest.mark.parametrize("far", [0.005, 0.01, 0.1, 0.5, 0.9])
    def test_so_many_impostors_are_nearer(self, scores: ScoreModel, pairs: Pairs, far: float) -> None:
        assert (pairs.impostor < scores.threshold(far)).mean() == pytest.approx(far, rel=0.1)

    @pytest.mark.parametrize("far", [0.0, 1e-4, 1.0, -0.1])
    def test_a_rate_that_so_few_people_do_not_tell(self, scores: ScoreModel, far: float) -> None:
        with pytest.raises(GalleryError, match="cannot be derived from the 24 people"):
            scores.threshold(far)

    def test_intervals_hold_the_threshold(self, scores: ScoreModel) -> None:
        assert [rate for rate, _, _ in scores.intervals] == list(RATES)
        for rate, low, high in scores.intervals:
            assert low < high
            if rate >= scores.smallest_rate():
                assert low <= scores.threshold(rate) <= high

    def test_intervals_narrow_with_people(self) -> None:
        widths = []
        for people in (PEOPLE, 4 * PEOPLE):
            pairs = Pairs.of(*walks(people=people, views=1), "euclidean")
            _, low, high = fit_scores(pairs, model_id="net", metric="euclidean", data="drawn").intervals[-1]
            widths.append(high - low)
        assert widths[1] < 0.75 * widths[0]


class TestProbability:
    def test_falls_with_the_distance(self, scores: ScoreModel) -> None:
        said = [probability(scores, distance) for distance in np.linspace(1, 6, 50).tolist()]
        assert all(one > other for one, other in pairwise(said))
        assert said[0] > 0.99
        assert said[-1] < 0.01

    def test_one_person_is_bayes_rule(self, scores: ScoreModel) -> None:
        odds = math.exp(weight(scores, 2.8)) * 0.2 / 0.8
        assert probability(scores, 2.8, prior=0.2) == pytest.approx(odds / (1 + odds))

    def test_everybody_and_the_stranger_make_one(self, scores: ScoreModel) -> None:
        distances = [2.4, 2.6, 2.8, 4.0]
        said = [probability(scores, distances[i], distances[:i] + distances[i + 1 :]) for i in range(4)]
        stranger = 0.5 / (0.5 + 0.125 * sum(math.exp(weight(scores, distance)) for distance in distances))
        assert sum(said) + stranger == pytest.approx(1)

    def test_a_larger_gallery_makes_less_sure(self, scores: ScoreModel) -> None:
        said = [probability(scores, 2.4, [5.0] * others) for others in (0, 1, 10, 100)]
        assert all(one > other for one, other in pairwise(said))

    def test_a_rival_as_near_takes_half(self, scores: ScoreModel) -> None:
        assert probability(scores, 1.5, [1.5], prior=0.999) == pytest.approx(0.5, abs=0.01)

    def test_people_told_apart_without_error_stay_finite(self) -> None:
        scores = fit_scores(
            Pairs.of(*walks(noise=0.01), "euclidean"), model_id="net", metric="euclidean", data="easy people"
        )
        assert probability(scores, 0.1) > 0.99
        assert probability(scores, 4.0) < 0.01

    def test_of_those_seen_together_only_one_is_somebody(self, scores: ScoreModel) -> None:
        near, middle = (float(np.quantile(scores.genuine, share)) for share in (0.1, 0.3))
        far = float(np.quantile(scores.impostor, 0.9))
        matches = [
            Match((Candidate("Ann", near), Candidate("Bob", far)), "Ann", near, 1.0, None),
            Match((Candidate("Ann", middle), Candidate("Bob", far)), None, None, 1.0, "Ann was given to track 1"),
        ]
        apart = scores.of_matches(matches, [np.arange(9), np.arange(20, 29)])
        together = scores.of_matches(matches, [np.arange(9), np.arange(5, 14)])
        assert apart == pytest.approx([probability(scores, near, [far]), probability(scores, middle, [far])])
        assert None not in together
        first, second = (float(value or 0) for value in together)
        assert first < float(apart[0] or 0)
        assert second < 0.5 < float(apart[1] or 0)
        assert first + second < 1

    def test_people_who_are_no_candidates_make_less_sure(self, scores: ScoreModel) -> None:
        near, far = float(np.quantile(scores.genuine, 0.5)), float(np.quantile(scores.impostor, 0.5))
        matches = [Match((Candidate("Ann", near), Candidate("Bob", far)), "Ann", near, 1.0, None)]
        (few,), (many,) = (scores.of_matches(matches, [np.arange(9)], people) for people in (2, 40))
        assert float(many or 0) < float(few or 0)

    def test_without_candidates_there_is_none(self, scores: ScoreModel) -> None:
        nobody = Match((), None, None, 1.0, "the gallery is empty")
        assert scores.of_matches([nobody], [np.arange(9)]) == [None]
        assert scores.of_matches([], []) == []

    def test_a_model_that_tells_nobody_apart_is_refused(self) -> None:
        features, names, recordings = walks()
        shuffled = np.random.default_rng(1).permutation(len(names))
        mixed = Pairs.of(features, [names[i] for i in shuffled], [recordings[i] for i in shuffled], "euclidean")
        upside_down = replace(mixed, genuine=mixed.impostor + 1)
        with pytest.raises(GalleryError, match="cannot tell the people of chance apart"):
            fit_scores(upside_down, model_id="net", metric="euclidean", data="chance")


class TestFile:
    def card(self, folder: Path) -> ModelCard:
        return ModelCard("gait", "net", "given", "MIT", folder / "net.onnx", "12345678" * 8)

    def test_is_read_as_written(self, scores: ScoreModel, tmp_path: Path) -> None:
        path = scores_path(tmp_path / "net.onnx")
        scores.write(path)
        assert path.name == "net.scores.json"
        found = find_scores(self.card(tmp_path), "euclidean")
        assert found is not None
        assert found.model_id == scores.model_id
        assert found.threshold(0.01) == pytest.approx(scores.threshold(0.01), abs=1e-5)
        assert probability(found, 2.5, [3.0]) == pytest.approx(probability(scores, 2.5, [3.0]), abs=1e-3)
        assert path.stat().st_size < 8000

    def test_of_another_model_or_metric_is_not_used(
        self, scores: ScoreModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        replace(scores, model_id="net@87654321").write(tmp_path / "net.scores.json")
        assert find_scores(self.card(tmp_path), "euclidean") is None
        assert "is not used for net@12345678 (euclidean)" in caplog.text
        scores.write(tmp_path / "net.scores.json")
        assert find_scores(self.card(tmp_path), "cosine") is None

    def test_is_missing(self, tmp_path: Path) -> None:
        assert find_scores(self.card(tmp_path), "euclidean") is None
        assert find_scores(ModelCard("gait", "gei", "weight-free", "MIT"), "euclidean") is None

    def test_those_of_the_gallery_come_first(self, scores: ScoreModel, tmp_path: Path) -> None:
        gallery = tmp_path / "gallery.db"
        scores.write(tmp_path / "net.scores.json")
        found = find_scores(self.card(tmp_path), "euclidean", gallery)
        assert found is not None
        assert found.data == "24 people"
        replace(scores, data="the gallery").write(scores_path(gallery))
        found = find_scores(self.card(tmp_path), "euclidean", gallery)
        assert found is not None
        assert found.data == "the gallery"
        replace(scores, data="the gallery", model_id="gei").write(scores_path(gallery))
        found = find_scores(self.card(tmp_path), "euclidean", gallery)
        assert found is not None
        assert found.data == "24 people", "those of the gallery are of another model"
        assert find_scores(ModelCard("gait", "gei", "weight-free", "MIT"), "euclidean", gallery) is not None

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("impostor", [1.0] * 3),
            ("genuine", [2.0] + [1.0] * (len(LEVELS) - 1)),
            ("evidence", [1.0, 2.0]),
            ("people", 2),
            ("pairs", [0, 5]),
            ("spread", [-1.0, 0.1]),
            ("metric", "manhattan"),
            ("extra", 1),
        ],
    )
    def test_nonsense_is_refused(self, scores: ScoreModel, tmp_path: Path, key: str, value: object) -> None:
        path = tmp_path / "net.scores.json"
        path.write_text(json.dumps(json.loads(scores.to_json()) | {key: value}))
        with pytest.raises(GalleryError, match=r"net\.scores\.json cannot be read.*calibrate"):
            find_scores(self.card(tmp_path), "euclidean")

    def test_no_json_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(b"\xff\x00")
        with pytest.raises(GalleryError, match="cannot be read"):
            read_scores(path)


class TestDomain:
    def test_where_distances_are_the_same_nothing_changes(self, scores: ScoreModel) -> None:
        domain = adapt(scores, np.full(45, scores.threshold(0.5)), 10)
        assert domain.scores is not None
        assert domain.scale == pytest.approx(1)
        assert domain.scores.threshold(0.01) == pytest.approx(scores.threshold(0.01))

    def test_many_pairs_are_believed(self, scores: ScoreModel) -> None:
        domain = adapt(scores, 0.8 * np.array(scores.impostor), 100)
        assert domain.scores is not None
        assert domain.scale == pytest.approx(0.8, abs=0.02)
        assert domain.scores.threshold(0.1) == pytest.approx(domain.scale * scores.threshold(0.1))
        assert probability(domain.scores, 2.8 * domain.scale) == pytest.approx(probability(scores, 2.8))
        assert domain.scores.spread == scores.spread

    def test_few_pairs_are_believed_less(self, scores: ScoreModel) -> None:
        scales = [
            adapt(scores, np.full(walks * (walks - 1) // 2, 0.8 * scores.threshold(0.5)), walks).scale
            for walks in (3, 5, 20)
        ]
        assert 1 > scales[0] > scales[1] > scales[2] > 0.8

    def test_too_few_pairs_say_nothing(self, scores: ScoreModel) -> None:
        domain = adapt(scores, np.full(2, 1.0), 3)
        assert domain.scores is None
        assert "not calibrated for this video: 2 pairs" in domain.note

    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_a_place_too_far_away_is_said(self, scores: ScoreModel, scale: float) -> None:
        domain = adapt(scores, np.full(45, scale * scores.threshold(0.5)), 10)
        assert domain.scores is None
        assert f"{scale:.2f} times as far apart" in domain.note


class Network:
    """A gait model that is never asked: its walks are embedded already."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        raise AssertionError


def seen_together(name: str, features: Floats, model_id: str) -> AnalysedVideo:
    frames = np.arange(10)
    boxes, certain = np.zeros((10, 4), np.float32), np.ones(10, np.float32)
    found = [
        AnalysedWalk(Track(number, frames, boxes, certain), Embedding(parts, model_id, 10), None, Path(name))
        for number, parts in enumerate(features, 1)
    ]
    return AnalysedVideo(name, VideoInfo(Path(name), 64, 64, Fraction(25)), 10, (), tuple(found), Path(name))


def test_a_run_says_how_probable_its_names_are(scores: ScoreModel, tmp_path: Path) -> None:
    """Five people of whom the probe shows four, and a stranger."""
    card = ModelCard("gait", "net", "given", "MIT", tmp_path / "net.onnx", "12345678" * 8)
    stages: Any = SimpleNamespace(gait=Network(card), settings=Settings())
    first = walks()[0].reshape(PEOPLE, RECORDINGS, VIEWS, 2, 8)
    known = seen_together("known", first[:5, 0, 0], card.model_id)
    seen = seen_together("seen", first[1:6, 1, 0], card.model_id)

    def probabilities() -> list[float | None]:
        (found,) = compare_walks(known, [seen], Run(stages)).probes
        return [track.probability for track in found.report.tracks]

    assert probabilities() == [None] * 5, "nothing is known of what distances mean"
    scores.write(scores_path(tmp_path / "net.onnx"))
    said = [value or 0.0 for value in probabilities()]
    assert min(said[:4]) > 0.8
    assert said[4] < 0.2


def test_the_command_learns_from_enrolled_walks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the gait energy image, which needs no file."""
    pytest.importorskip("matplotlib", reason="needs the extra evaluate")
    features, names, recordings = walks()
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for name in sorted(set(names)):
            own = [i for i in range(len(names)) if names[i] == name]
            gallery.enrol(
                name, [NewWalk(Embedding(features[i], "gei", 20), recordings[i]) for i in own], consent="drawn"
            )
    arguments = ["calibrate", "--gallery-db", str(tmp_path / "gallery.db"), "--gait", "gei"]
    assert main([*arguments, "--charts", str(tmp_path / "charts")]) == 0
    said = capsys.readouterr().out
    assert "24 people" in said
    assert "Stated probability" in said
    assert "identify uses these scores with this gallery" in " ".join(said.split())
    found = read_scores(tmp_path / "gallery.scores.json")
    assert (found.model_id, found.people) == ("gei", PEOPLE)
    assert {path.name for path in (tmp_path / "charts").iterdir()} == {"distances.png", "errors.png", "reliability.png"}


def test_the_command_learns_from_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for person in range(FEWEST_PEOPLE + 2):
        shape = rng.random((64, 64)) < 0.5
        for condition in ("nm-01", "nm-02"):
            for view in ("000", "090"):
                seen = shape ^ (rng.random((2, 64, 64)) < 0.3)
                path = tmp_path / "set" / f"{person:03d}" / condition / view / "0.pkl"
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps(seen.astype(np.uint8) * np.uint8(255)))
    arguments = ["calibrate", "--data", str(tmp_path / "set"), "--gait", "gei", "--cache", str(tmp_path / "cache")]
    arguments += ["--people", str(FEWEST_PEOPLE), "--out", str(tmp_path / "gei.json"), "--name", "the first of them"]
    assert main(arguments) == 0
    assert "too few people to check" in capsys.readouterr().out.replace("\n", " ")
    found = read_scores(tmp_path / "gei.json")
    assert found.people == FEWEST_PEOPLE
    assert found.data == "the first of them"
    assert found.pairs == (FEWEST_PEOPLE * 4, FEWEST_PEOPLE * (FEWEST_PEOPLE - 1) // 2 * 16)


def test_the_command_never_replaces_the_scores_in_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded network's own scores lie beside it, in the clone."""
    monkeypatch.chdir(tmp_path)
    network = HOME / "embedded" / "gait" / "gaitprint-gait.onnx"
    shipped = scores_path(network)
    before = shipped.read_bytes()
    assert main(["calibrate", "--data", "set", "--checkpoint", str(network)]) == 2
    assert "come with the program" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("app.lab.evaluation.calibrate._of_gallery", lambda card, path: KnownWalks(*walks()))
    assert main(["calibrate", "--gallery-db", "people.db"]) == 0
    assert shipped.read_bytes() == before
    found = read_scores(tmp_path / "people.scores.json")
    assert found.model_id.startswith("gaitprint-gait@")


def test_the_command_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate"]) == 2
    assert "one of these: --data" in capsys.readouterr().err
    assert main(["calibrate", "--data", "x", "--metric", "manhattan"]) == 2
    assert "'euclidean' or 'cosine'" in " ".join(capsys.readouterr().err.split())
