"""What a video does to everybody in it: estimated from few people, and taken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.gallery.distances import part_distances
from app.gallery.sqlite import SqliteGallery
from app.lab.evaluation.calibrate import calibrate
from app.recognise import judge as judge_module
from app.recognise.adaptation import Shared, around, middles, people_in
from app.recognise.domain import PRIOR_PAIRS, adapt
from app.recognise.judge import Judge, Scene, Space
from app.recognise.scores import ScoreModel
from app.runs import compare as compare_module
from app.runs.compare import compare_walks
from app.runs.enrol import enrol_walks
from app.runs.identify import name_walks
from app.settings import MatchSettings
from app.stages import Run
from app.types import Bools, Doubles, Embedding, Track
from tests.unit.test_compare import MODEL_ID, analysed, stages
from tests.unit.test_judge import answers

PARTS, CHANNELS = 3, 24
PEOPLE = np.random.default_rng(1).normal(0, 1, (40, PARTS, CHANNELS))
CENTRE = np.full((PARTS, CHANNELS), 3.0)


def filmed(people: Sequence[int], video: int, noise: float = 0.5, shift: float = 1.0) -> Doubles:
    """Walks of `people` in a video that moves everybody the same way."""
    rng = np.random.default_rng([video, 7])
    moved = rng.normal(0, shift, (PARTS, CHANNELS))
    walks: Doubles = CENTRE + moved + PEOPLE[list(people)] + rng.normal(0, noise, (len(people), PARTS, CHANNELS))
    return walks


def everybody_together(count: int) -> Bools:
    return ~np.eye(count, dtype=bool)


def share_right(size: int, *, adapted: bool) -> float:
    """How often the nearest of a gallery video is right, where `size` people walk through both videos."""
    right = []
    for video in range(0, 200, 2):
        people = np.random.default_rng(video).permutation(len(PEOPLE))[:size].tolist()
        strangers = (
            np.random.default_rng([video, 1])
            .permutation([person for person in range(len(PEOPLE)) if person not in people])[: max(0, 3 - size)]
            .tolist()
        )
        known = [*people, *strangers]
        gallery, probe = filmed(known, video, 1.5, 2.5), filmed(people, video + 1, 1.5, 2.5)
        if adapted:
            shared = [Shared.of(walks, np.arange(len(walks))) for walks in (gallery, probe)]
            gallery, probe = (
                around(walks, middle)
                for walks, middle in zip((gallery, probe), middles(shared, CENTRE, len(known)), strict=True)
            )
        nearest = part_distances(probe, gallery).argmin(axis=1)
        right += (nearest == np.arange(size)).tolist()
    return float(np.mean(right))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_as_many_people_count_as_are_seen_together(size: int) -> None:
    walks = filmed(range(size), 1)
    assert sorted(people_in(walks, everybody_together(size)).tolist()) == list(range(size))


def test_pieces_of_a_broken_track_are_one_person() -> None:
    walks = filmed([0, 1, 2, 0, 1], 1, noise=0.1)
    together = everybody_together(5)
    for one, other in ((0, 3), (1, 4), (0, 4), (3, 4), (1, 3)):  # the last two walks come after the first two
        together[one, other] = together[other, one] = one == 3
    together[2, 3:] = together[3:, 2] = True
    found = people_in(walks, together)
    assert found[0] == found[3]
    assert found[1] == found[4]
    assert len(set(found.tolist())) == 3


def test_people_who_come_one_after_the_other_may_be_one_person() -> None:
    walks = filmed(range(4), 1)
    assert people_in(walks, np.zeros((4, 4), bool)).tolist() == [0, 0, 0, 0]


def test_a_broken_track_changes_nothing() -> None:
    walks = filmed([0, 1, 2], 1)
    twice = np.concatenate([walks, walks[:1]])
    whole, broken = Shared.of(walks, np.array([0, 1, 2])), Shared.of(twice, np.array([0, 1, 2, 0]))
    assert whole.people == broken.people == 3
    np.testing.assert_allclose(whole.mean, broken.mean)


def test_one_person_says_nothing_about_a_video() -> None:
    alone = [Shared.of(filmed([person], video), np.zeros(1, int)) for person, video in ((0, 1), (0, 2))]
    for middle in middles(alone, CENTRE, people=1):
        np.testing.assert_array_equal(middle, CENTRE)
    assert alone[0].weight == 0
    assert alone[0].widening == 1


def test_the_more_people_the_more_is_believed() -> None:
    weights = [Shared(people, CENTRE).weight for people in (1, 2, 3, 6, 100)]
    assert weights == sorted(weights)
    assert weights[1] < 0.5 < weights[3] < weights[4] < 1


def test_a_video_without_a_shift_moves_little() -> None:
    """The mean of few people is mostly who they are. It must not be taken for the camera's."""
    walks = filmed(range(2), 1, shift=0)
    (middle, _) = middles([Shared.of(walks, np.arange(2))] * 2, CENTRE, 2)
    assert np.linalg.norm(middle - CENTRE) < 0.75 * np.linalg.norm(walks.mean(axis=0) - CENTRE)


@pytest.mark.parametrize(("size", "gain"), [(1, 0.0), (2, 0.1), (3, 0.2), (6, 0.2)])
def test_groups_of_any_size_are_named_no_worse(size: int, gain: float) -> None:
    assert share_right(size, adapted=True) >= share_right(size, adapted=False) + gain


def test_two_people_who_share_nothing_are_as_far_apart_in_every_video() -> None:
    """Apart from what is taken off them because they are in the mean themselves."""
    for size in (2, 3, 6):
        found = []
        for video in range(40):
            people = np.random.default_rng(video).permutation(len(PEOPLE))[:size]
            walks = filmed(people.tolist(), video)
            shared = Shared.of(walks, np.arange(size))
            (middle,) = middles([shared], CENTRE, size)
            moved = around(walks, middle)
            found += (part_distances(moved, moved)[np.triu_indices(size, 1)] / shared.widening).tolist()
        assert np.median(found) == pytest.approx(np.sqrt(2), rel=0.1), size


def gei_scores(folder: Path) -> ScoreModel:
    """Scores of gait energy images, from six videos of four people each."""
    features, people, videos = [], [], []
    for number in range(6):
        seeds = [4 * (number // 2) + place for place in range(4)]
        video = analysed(folder, f"train{number}", [(range(30 + number), 100 + seed) for seed in seeds])
        features += [walk.embedding.parts for walk in video.usable() if walk.embedding]
        people += [str(seed) for seed in seeds]
        videos += [str(number)] * 4
    found = calibrate(np.stack(features), people, videos, videos, model_id=MODEL_ID, metric="euclidean", data="noise")
    return found.scores


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScoreModel:
    found = gei_scores(tmp_path)
    for module in (judge_module, compare_module):
        monkeypatch.setattr(module, "find_scores", lambda *_: found)
    return found


def test_scores_learnt_from_videos_say_how_walks_are_compared(scores: ScoreModel) -> None:
    assert scores.middle is not None
    assert scores.together == pytest.approx(np.sqrt(2), rel=0.15)
    assert ScoreModel.from_json(scores.to_json()).middle is not None
    with pytest.raises(ValueError, match="belong together"):
        replace(scores, together=None)


@pytest.mark.parametrize("match", [MatchSettings(), MatchSettings(adapt=False), MatchSettings(closed=True)])
def test_a_gallery_video_and_the_same_people_enrolled_give_the_same_answer(
    scores: ScoreModel, match: MatchSettings, tmp_path: Path
) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(10, 60), 2), (range(5, 50), 3)])
    streets = [
        analysed(tmp_path, "street", [(range(50), 3), (range(50), 9), (range(50), 1)]),
        analysed(tmp_path, "yard", [(range(50), 2)]),
    ]
    run = Run(stages(match))
    by_video = compare_walks(home, streets, run)
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for number, name in ((1, "Anna"), (2, "Carol"), (3, "Ben")):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        by_gallery = name_walks(streets, gallery, run)
    # They are numbered as they appear.
    names = {"home-001": "Anna", "home-002": "Ben", "home-003": "Carol"}
    assert answers(list(by_video.probes), names) == answers(by_gallery)
    found = [decision.identity for video in by_gallery for decision in video.decisions.values()]
    assert [found[0], found[2], found[3]] == ["Ben", "Anna", "Carol"]


def test_a_camera_that_has_seen_more_people_is_better_known(scores: ScoreModel, tmp_path: Path) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(10, 60), 2), (range(5, 50), 3)])
    street = Scene.of(analysed(tmp_path, "street", [(range(50), 3), (range(50), 9), (range(50), 1)]))
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for number, name in enumerate(("Anna", "Ben", "Carol"), 1):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        judge = Judge.of(gallery, stages().gait.card, MatchSettings())
        (alone,) = judge.decide(street.embeddings[:1], street.tracks[:1])
        (known,) = judge.decide(street.embeddings[:1], street.tracks[:1], street)
        together = judge.decide(street.embeddings, street.tracks)
    assert known.distance == pytest.approx(together[0].distance)
    assert known.distance != pytest.approx(alone.distance)


def test_without_adaptation_every_video_has_the_training_s_middle(scores: ScoreModel) -> None:
    walks = [Embedding(np.ones((2, 2), np.float32), "m", 5)] * 2
    tracks = [Track(number, np.arange(3), np.zeros((3, 4), np.float32), np.ones(3, np.float32)) for number in (1, 2)]
    middle = np.zeros((2, 2))
    shared = Scene(walks, tracks).shared()
    assert Space(middle, adapt=False).middles(shared)[1] is middle
    assert Space(middle, adapt=True).middles(shared)[1] is not middle


def test_three_pairs_do_not_decide_alone(scores: ScoreModel) -> None:
    assert scores.together is not None
    for factor in (0.5, 0.8, 1.5):
        for count in (1, 3, 6):
            found = adapt(scores, np.full(count, factor * scores.together), 10_000)
            assert found.scores is not None
            believed = np.log(found.scale) / np.log(factor)
            assert believed <= count / (count + PRIOR_PAIRS) + 1e-9
    nobody = adapt(scores, np.zeros(0), 1)
    assert nobody.scores == scores
    many = adapt(scores, np.full(1000, 0.8 * scores.together), 10_000)
    assert many.scale == pytest.approx(0.8, rel=0.02)
