"""How tall people are beside each other: measured in pictures of people whose heights are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.gallery.sqlite import SqliteGallery
from app.recognise.identities import gallery_of
from app.recognise.judge import Judge
from app.recognise.stature import STATURE, Stature, evidence, stature_measure, statures_of, with_statures
from app.runs.enrol import enrol_walks
from app.settings import MatchSettings
from app.types import Embedding, Floats, Measure, ModelCard, Track, VideoInfo
from app.walks.analysed import AnalysedVideo, AnalysedWalk

WIDTH, HEIGHT, FPS = 1280, 720, 12.5
HEIGHTS = (1.60, 1.72, 1.85, 1.78)


def seen(height: float, way: Floats, camera: float, tilt: float, roll: float, rng: np.random.Generator) -> Floats:
    """The boxes of somebody `height` m tall on a `way` (T, 2) of m to the right and ahead of a camera `camera` m up."""

    def picture(up: float) -> Floats:
        right, ahead, down = way[:, 0], way[:, 1], camera - up
        near = ahead * np.cos(tilt) + down * np.sin(tilt)
        below = down * np.cos(tilt) - ahead * np.sin(tilt)
        x, y = 1400 * right / near, 1400 * below / near
        return np.stack([x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)], axis=1)

    feet, head = picture(0.0), picture(height)
    tall = (feet[:, 1] - head[:, 1]) * np.exp(rng.normal(0, 0.03, len(way)))
    x, bottom = feet[:, 0] + WIDTH / 2, feet[:, 1] + HEIGHT / 2
    return np.stack([x - tall / 6, bottom - tall, x + tall / 6, bottom], axis=1).astype(np.float32)


def film(
    heights: Sequence[float],
    camera: float = 3.0,
    tilt: float = 0.15,
    roll: float = 0.0,
    seed: int = 0,
    lanes: bool = False,
) -> AnalysedVideo:
    """A video of people who come nearer or go away, all at once; their embeddings are far apart.

    With `lanes`, each stays at a distance of their own instead.
    """
    rng = np.random.default_rng(seed)
    looks, walks = np.arange(75), []
    for number, height in enumerate(heights):
        away = number % 2 > 0
        start = np.array([-3.0 + 2.0 * number, 12.0 if away else 19.0])
        step = np.array([rng.uniform(-0.01, 0.01), 0.09 if away else -0.09])
        if lanes:
            start, step = np.array([-4.0, 12.0 + 3.0 * number]), np.array([0.09, 0.0])
        boxes = seen(height, start + looks[:, None] * step, camera, tilt, roll, rng)
        walks.append((boxes, looks * 2))
    return video_of(walks)


def video_of(walks: Sequence[tuple[Floats, Floats]], people: Sequence[int] | None = None) -> AnalysedVideo:
    found = []
    for number, (boxes, frames) in enumerate(walks, 1):
        parts = np.zeros((1, 8), np.float32)
        parts[0, (people[number - 1] if people else number) % 8] = 1
        track = Track(number, np.asarray(frames, np.int64), boxes, np.ones(len(boxes), np.float32))
        found.append(AnalysedWalk(track, Embedding(parts, "m", 9), None, Path("v")))
    info = VideoInfo(Path("v.mp4"), WIDTH, HEIGHT, Fraction(25), 100)
    return AnalysedVideo("v", info, 100, (), tuple(found), Path("v"))


@pytest.mark.parametrize(("camera", "tilt"), [(1.6, 0.03), (3.0, 0.15), (6.0, 0.3)])
@pytest.mark.parametrize("roll", [0.0, 0.02])
def test_people_are_as_tall_beside_each_other_as_they_are(camera: float, tilt: float, roll: float) -> None:
    truth = np.log(HEIGHTS) - np.log(HEIGHTS).mean()
    for seed in range(5):
        found = statures_of(film(HEIGHTS, camera, tilt, roll, seed))
        assert list(found) == [1, 2, 3, 4]
        heights = np.array([one.height for one in found.values()])
        errors = np.sqrt([one.variance for one in found.values()])
        assert (np.abs(heights - heights.mean() - truth) < 2.5 * errors).all()
        assert (errors < 0.042).all()
        assert heights[2] - heights[0] > 0.03
        assert {one.others for one in found.values()} == {3}


def test_who_stays_at_one_distance_may_be_tall_or_near() -> None:
    (lanes, ways) = (statures_of(film(HEIGHTS, lanes=lanes)) for lanes in (True, False))
    assert np.mean([one.variance for one in lanes.values()]) > 1.2 * np.mean([one.variance for one in ways.values()])


def test_the_resolution_and_the_order_of_tracks_do_not_matter() -> None:
    video = film(HEIGHTS)
    large = replace(
        video,
        info=replace(video.info, width=2 * WIDTH, height=2 * HEIGHT),
        walks=tuple(replace(w, track=replace(w.track, boxes=2 * w.track.boxes)) for w in video.walks),
    )
    turned = replace(video, walks=video.walks[::-1])
    first = {number: one.height for number, one in statures_of(video).items()}
    for other in (large, turned):
        assert {number: one.height for number, one in statures_of(other).items()} == pytest.approx(first, abs=1e-4)


def test_somebody_alone_says_nothing_however_often_they_are_followed() -> None:
    assert statures_of(film(HEIGHTS[:1])) == {}
    (walk,) = film(HEIGHTS[:1]).walks
    pieces = [(walk.track.boxes[some], walk.track.frame_indices[some]) for some in (slice(0, 35), slice(35, 75))]
    assert statures_of(video_of(pieces)) == {}, "two pieces that never meet may be one person"
    assert statures_of(replace(film(HEIGHTS[:1]), walks=())) == {}


def test_a_person_in_pieces_is_held_against_the_others_alone() -> None:
    """Otherwise whoever is followed in many pieces would seem to be as tall as everybody."""
    whole = film(HEIGHTS[:2])
    one, other = ((walk.track.boxes, walk.track.frame_indices) for walk in whole.walks)
    pieces = [tuple(values[start : start + 15] for values in one) for start in (0, 15, 30, 45)]
    found = statures_of(video_of([*pieces, other], [1, 1, 1, 1, 2]))  # type: ignore[list-item]
    together = statures_of(whole)
    for number in range(1, 5):
        assert found[number].variance >= together[1].variance
        assert found[number].height == pytest.approx(together[1].height, abs=0.02)
        assert found[number].others == 1


def test_boxes_that_are_cut_do_not_count() -> None:
    """The border cuts off legs, and where boxes touch, one of them often ends where the other person begins."""
    clear = statures_of(film(HEIGHTS))
    video = film(HEIGHTS)
    (first, *others) = video.walks
    boxes = first.track.boxes.copy()
    boxes[:20, 3] = HEIGHT  # only the head is high in the picture
    boxes[20:30] = others[0].track.boxes[20:30] + 1
    cut = replace(video, walks=(replace(first, track=replace(first.track, boxes=boxes)), *others))
    found = statures_of(cut)
    assert found[1].height == pytest.approx(clear[1].height, abs=0.02)
    boxes[:, 3] = HEIGHT
    assert 1 not in statures_of(cut)


def test_boxes_without_a_height_do_not_count() -> None:
    video = film(HEIGHTS)
    flat = replace(video.walks[0], track=replace(video.walks[0].track, boxes=np.full((75, 4), 9, np.float32)))
    assert list(statures_of(replace(video, walks=(flat, *video.walks[1:])))) == [2, 3, 4]


def test_people_of_a_film_that_was_cut_are_not_held_against_each_other() -> None:
    """Half of them are seen by a camera that has zoomed."""
    video = film(HEIGHTS)
    near = [replace(w, track=replace(w.track, boxes=w.track.boxes * np.float32(1.5))) for w in video.walks[:2]]
    large = replace(video.info, width=2 * WIDTH, height=2 * HEIGHT)
    assert len(statures_of(replace(video, info=large))) == 4
    assert statures_of(replace(video, info=large, walks=(*near, *video.walks[2:]))) == {}


def test_where_people_move_as_nobody_can_the_error_is_large() -> None:
    """A camera that is carried up and down."""
    shaken = film(HEIGHTS)
    rng = np.random.default_rng(0)
    sway = np.outer(np.repeat(rng.normal(0, 60, 15), 5), [0, 1, 0, 1]).astype(np.float32)
    walks = tuple(replace(w, track=replace(w.track, boxes=w.track.boxes + sway)) for w in shaken.walks)
    still, moved = statures_of(shaken), statures_of(replace(shaken, walks=walks))
    assert all(moved[number].variance > still[number].variance for number in moved)


def test_evidence_is_what_bayes_says() -> None:
    """By adding up over all heights: of one person once, of two people for each."""
    heights = np.linspace(-0.4, 0.4, 8001)

    def density(middle: float, variance: float) -> Floats:
        values: Floats = np.exp(-((heights - middle) ** 2) / 2 / variance) / np.sqrt(2 * np.pi * variance)
        return values

    prior = density(0, 0.045**2)
    for one, other in ((Stature(0.05, 0.03**2, 3), Stature(0.04, 0.025**2, 2)), (Stature(-0.06, 0.022**2, 1),) * 2):
        both = density(one.height, one.variance) * density(other.height, other.variance) / prior
        expected = np.log(0.95 * both.sum() * (heights[1] - heights[0]) + 0.05)
        assert evidence([one], [other])[0, 0] == pytest.approx(expected, abs=1e-3)
        assert evidence([other], [one])[0, 0] == pytest.approx(expected, abs=1e-3)


def test_who_is_unknown_is_as_likely_as_before() -> None:
    tall, small = Stature(0.08, 0.02**2, 3), Stature(-0.08, 0.02**2, 3)
    found = evidence([tall, None], [tall, small, None])
    assert found[0, 0] > 0.5
    assert np.log(0.05) < found[0, 1] < -2.9
    np.testing.assert_allclose([found[0, 2], *found[1]], 0, atol=1e-12)
    changed = with_statures(np.ones((2, 3)), [tall, None], [tall, small, None], -10.0)
    assert changed[0, 0] < 1 < changed[0, 1]
    np.testing.assert_allclose(changed[1], 1)
    assert (with_statures(np.zeros((1, 1)), [tall], [tall], -10.0) >= 0).all()


def test_a_stature_is_kept_as_a_measure_and_read_again() -> None:
    before = Stature(0.05, 0.03**2, 3)
    after = Stature.of([Measure("cadence", "steps/min", 110.0, 1.0, 9), before.measure()])
    assert after is not None
    assert (after.height, after.variance, after.others) == pytest.approx((0.05, 0.03**2, 3))


@pytest.mark.parametrize(
    "measure",
    [
        Measure("cadence", "steps/min", 110.0, 1.0, 9),
        Measure(STATURE, "%", 5.0, None, 3),
        Measure(STATURE, "%", 5.0, 0.0, 3),
        Measure(STATURE, "%", -100.0, 3.0, 3),
    ],
)
def test_what_is_no_stature_is_not_taken_for_one(measure: Measure) -> None:
    assert Stature.of([measure]) is None


def test_an_error_from_elsewhere_cannot_outweigh_what_is_known_of_people() -> None:
    assert Stature.of([stature_measure(5.0, 80.0, 1)]) is None


def test_heights_tell_people_apart_whose_walks_are_alike(tmp_path: Path) -> None:
    """Everybody walks alike here, so only the heights are left. Galleries in memory and in a file say the same."""
    from tests.unit.test_adaptation import gei_scores

    home, street = film(HEIGHTS, seed=1), film(HEIGHTS[::-1], camera=1.7, tilt=0.03, seed=2)
    scores = replace(gei_scores(tmp_path), model_id="m", centre=None, together=None)
    alike = Embedding(np.ones((1, 8), np.float32), "m", 9)
    card = ModelCard("gait", "m", "built-in", "", None, None, "", "")
    answers = []
    for named in (True, False):
        with gallery_of(home, {n: f"person {n}" for n in range(1, 5)}) if named else SqliteGallery(None) as gallery:
            if not named:
                for number in range(1, 5):
                    gallery.enrol(f"person {number}", enrol_walks(home, [number], thumbnails=False), consent="yes")
            for stature in (True, False):
                judge = replace(Judge.of(gallery, card, MatchSettings(closed=True, stature=stature)), scores=scores)
                tracks = [walk.track for walk in street.walks]
                found = judge.decide([alike] * 4, tracks, statures=statures_of(street))
                answers.append([decision.identity for decision in found])
    assert answers[0] == answers[2] == ["person 4", "person 3", "person 2", "person 1"]
    assert answers[1] == answers[3] != answers[0]
