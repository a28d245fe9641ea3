"""Pictures of people: whole, large, free of others and sharp, where a video has such frames."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.results.portraits import BestCrops, Poster, contact_sheet, crop_of, portraits
from app.results.report import TrackReport, VideoReport
from app.types import Floats, Frame, Image, Track, VideoInfo
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from tests.clips import Walker, crossing, write_clip

WIDTH, HEIGHT = 320, 240
LARGE, SMALL = [100.0, 50, 140, 150], [100.0, 50, 120, 100]
NEAR = [110.0, 60, 150, 230]
"""Somebody who stands nearer to the camera than `LARGE` and hides most of them."""


def track(track_id: int, frames: Sequence[int], boxes: Sequence[Sequence[float]]) -> TrackReport:
    return TrackReport(
        track_id=track_id, frames=list(frames), boxes=[list(box) for box in boxes], status="unknown", identity=None,
        confidence=None, distance=None, threshold=None, probability=None, margin=None, reason=None, candidates=[],
    )  # fmt: skip


def video(*tracks: TrackReport) -> VideoReport:
    return VideoReport(
        video="x.mp4", name="x", width=WIDTH, height=HEIGHT, fps=25.0, frame_count=500, warnings=[], tracks=list(tracks)
    )


def frame(index: int) -> Frame:
    """A picture that tells its index by its blue, the sharper the later."""
    image: Image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    image[::2] += np.uint8(index)
    image[..., 0] = index
    return Frame(index, index / 25, image)


def taken(crops: BestCrops) -> dict[int, int]:
    """The index of the frame that was taken of each track."""
    for index in range(0, 120, 20):
        crops.look(frame(index))
    return {track_id: int(np.median(crop[..., 0])) for track_id, crop in crops.pictures().items()}


def test_a_video_is_shown_where_most_people_are_in_view() -> None:
    boxes = [LARGE] * 9
    tracks = track(1, range(10, 19), boxes), track(2, range(14, 23), boxes)
    for seen, last, wanted in (((), 200, 166), (tracks[:1], 200, 14), (tracks, 200, 16), (tracks, 12, 0)):
        poster = Poster(video(*seen))
        assert poster.jpeg() is None
        for index in range(last):
            image = np.full((1000, 2000, 3), index, np.uint8)
            poster.look(image, index / 25)
            image[:] = 255
        shown = cv2.imdecode(np.frombuffer(poster.jpeg() or b"", np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert (shown.shape, int(np.median(shown))) == ((320, 640, 3), wanted), seen


def test_a_smaller_picture_is_better_than_half_a_person() -> None:
    hidden = track(1, [20, 100], [SMALL, LARGE])
    other = track(2, [100], [NEAR])
    assert taken(BestCrops(video(hidden, other)))[1] == 20
    assert taken(BestCrops(video(hidden)))[1] == 100, "large and sharp where nobody is in front"


def test_a_smaller_picture_is_better_than_one_cut_by_the_border() -> None:
    below, inside = [100.0, 100, 160, 238], [100.0, 50, 130, 110]
    assert taken(BestCrops(video(track(1, [20, 100], [inside, below]))))[1] == 20


def test_who_is_never_whole_has_a_picture_all_the_same() -> None:
    crops = BestCrops(video(track(1, [20, 100], [[0.0, 0, 40, 120], [0.0, 0, 60, 240]])))
    assert crops.last == 100
    assert taken(crops) == {1: 100}


def test_portraits_are_of_the_people_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    scene = crossing([Walker(1), Walker(2)], gap=0.7, first=-0.7, seconds=1.2, width=WIDTH, height=HEIGHT, seed=1)
    write_clip(path, scene)
    boxes: Floats = np.tile(np.array([LARGE], np.float32), (9, 1))
    tracks = [Track(number, np.arange(9), boxes + 60 * number, np.ones(9, np.float32)) for number in (1, 2)]
    info = VideoInfo(path, WIDTH, HEIGHT, Fraction(25), 30)
    walks = tuple(AnalysedWalk(one, None, None, Path("a.zip")) for one in tracks)
    found = portraits(AnalysedVideo("walk", info, 30, (), walks, path), tracks[1:])
    assert {number: picture.shape for number, picture in found.items()} == {2: (256, 128, 3)}
    sheet = contact_sheet(found, {2: ["track 2"]})
    assert cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR).shape == (300, 180, 3)  # type: ignore[union-attr]


def test_a_picture_is_of_one_person_and_sharp() -> None:
    walker = track(1, range(0, 100, 20), [SMALL, LARGE, LARGE, LARGE, LARGE])
    # Behind the walker, still in the picture, around the last frame, which is the sharpest.
    behind = track(2, [79, 81], [[120.0, 40, 160, 140]] * 2)
    assert taken(BestCrops(video(walker, behind)))[1] == 60


@pytest.mark.parametrize("place", [(100, 60), (-20, 60), (100, -30), (280, 190), (-300, 60)])
def test_beyond_the_frame_its_edge_is_repeated(place: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    wide = np.pad(image, ((400, 400), (400, 400), (0, 0)), mode="edge")
    box = np.array([*place, place[0] + 40, place[1] + 100], np.float32)
    crop, of_wide = crop_of(image, box), crop_of(wide, box + 400)
    assert crop is not None
    assert of_wide is not None
    assert np.array_equal(crop, of_wide)
