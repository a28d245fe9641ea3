"""The benchmark of filmed walkers, with invented embeddings: the judge names those whom it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.lab.evaluation.calibrate import calibrate
from app.lab.evaluation.casts import EmbeddedCasts
from app.lab.synthesis.casts import CAST, KINDS, CastWalk
from app.settings import MatchSettings
from app.types import Embedding, GaitSequence, ModelCard, Track
from tests.benchmarks import filmed

CARD = ModelCard("gait", "invented", "weight-free", "Apache-2.0")


def casts_of(count: int, first: int, noise: float) -> EmbeddedCasts:
    """Casts whose cameras move everybody the same way, which is more than people differ."""
    rng = np.random.default_rng(first)
    walks, features = [], []
    for cast in range(first, first + CAST * count, CAST):
        people = rng.normal(0, 1, (CAST, 2, 16))
        for recording in range(len(KINDS)):
            camera = rng.normal(0, 2, (2, 16))
            for place in range(CAST):
                frames = np.arange(10)
                track = Track(len(walks) + 1, frames, np.ones((10, 4), np.float32), np.ones(10, np.float32))
                sequence = GaitSequence(frames, np.zeros((10, 64, 64), np.uint8), 12.0)
                walks.append(CastWalk(cast, cast + place, recording, 0.0, track, sequence))
                features.append(5 + camera + people[place] + rng.normal(0, noise, (2, 16)))
    return EmbeddedCasts(walks, [Embedding(one, CARD.model_id, 10) for one in np.array(features, np.float32)])


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> filmed.Way:
    fitted = casts_of(4, 1000, 0.5)
    people, recordings = ([str(getattr(walk, name)) for walk in fitted.walks] for name in ("person", "recording"))
    found = calibrate(
        fitted.features, people, recordings, fitted.videos, model_id=CARD.model_id, metric="euclidean", data="casts"
    )
    folder: Path = tmp_path_factory.mktemp("scores")
    found.scores.write(folder / "scores.json")
    adapted, plain = filmed.ways(CARD, [folder / "scores.json"], folder)
    assert (adapted.settings.adapt, plain.settings.adapt) == (True, False)
    return adapted


def test_taking_off_what_a_video_shares_helps_when_there_is_something(way: filmed.Way) -> None:
    casts = casts_of(2, 1, 0.5)
    off = replace(way, settings=MatchSettings(adapt=False))
    right = {
        name: filmed.figures(filmed.everybody(casts, one))["right"].mean() for name, one in (("on", way), ("off", off))
    }
    assert right["on"] > 0.9 > 0.7 > right["off"]


def test_episodes_are_the_same_for_every_way_and_have_strangers(way: filmed.Way) -> None:
    casts = casts_of(1, 1, 0.5)
    found = filmed.episodes(casts, way, draws=1)
    again = filmed.episodes(casts, replace(way, settings=MatchSettings(adapt=False)), draws=1)
    assert [(one.person, one.people, one.own is None) for one in found] == [
        (one.person, one.people, one.own is None) for one in again
    ]
    assert {one.people for one in found} == {1, 2, 3, 4, 5, 6}
    figures = filmed.figures(found)
    assert len(figures["non-mated"]) > 10
    assert figures["right"].mean() > 0.9
    assert figures["named rightly"].mean() > 0.4
    assert filmed.false_accepts(figures) < 0.1
    assert filmed.eer(figures) < 0.2
    assert filmed.cell(found, filmed.share("right")).count("[") == 1


def test_error_rates_of_perfect_and_of_useless_distances() -> None:
    perfect = {"own": np.array([0.1, 0.2]), "others": np.array([0.5, 0.9])}
    assert filmed.eer(perfect) == 0
    assert filmed.eer({"own": perfect["others"], "others": perfect["own"]}) == 1
    mated = {"mated": np.array([0.1, 0.6, np.inf]), "non-mated": np.array([0.5, 0.9])}
    assert filmed.fnir(0.01)(mated) == pytest.approx(2 / 3)
