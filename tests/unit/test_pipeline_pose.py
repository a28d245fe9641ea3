"""Keypoints on their way from pass 1 through the archive into the painted pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.progress import Stopwatch
from app.results.render import keypoints_by_frame, labels_by_frame, skeletons_of
from app.results.report import TrackReport, VideoReport
from app.settings import GaitSettings, ParserSettings, Settings
from app.types import Floats, Frame, GaitSequence, Image, Matte, ModelCard, PartMap, Track, VideoInfo
from app.video.paint import Label, Painter, colour_of
from app.walks.analysed import AnalysedWalk
from app.walks.archive import archive_path, read_walks, writing
from app.walks.sequences import Walk, detections_of, walks
from tests.contract.samples import STANDING
from tests.unit.test_pipeline_walks import BLACK, EASY, Cutter, Script


class Joints:
    """A pose estimator whose joints say which frame and box they come from: x is the index, y the box's left."""

    card = ModelCard("pose", "joints", "weight-free", "none")

    def __init__(self) -> None:
        self.seen: list[int] = []

    def start(self, video: VideoInfo) -> None: ...

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        self.seen += [frame.index for frame in frames]
        return [
            np.stack([np.full((17, 3), (frame.index, box[0], 0.5), np.float32) for box in of])
            for frame, of in zip(frames, boxes, strict=True)
        ]


def film(
    people: dict[int, range], count: int, settings: Settings = EASY, fps: int = 25
) -> tuple[list[Walk], Script, Cutter, Joints]:
    script, cutter, joints, watch = Script(people), Cutter(), Joints(), Stopwatch()
    info = VideoInfo(Path("drawn.mp4"), 320, 240, Fraction(fps), count)
    frames = (Frame(index, index / fps, BLACK) for index in range(count))
    detected = detections_of(frames, script, 4, watch)
    found = list(walks(detected, info, script, cutter, settings, watch, pose=joints))
    assert "pose" in watch.seconds
    return found, script, cutter, joints


@pytest.mark.parametrize("fps", [25, 60])
def test_keypoints_are_those_of_the_frames_and_people_cut_out(fps: int) -> None:
    found, script, cutter, joints = film({1: range(60), 2: range(10, 60)}, 60, fps=fps)
    assert joints.seen == cutter.seen
    assert len(found) == 2
    for walk in found:
        assert walk.sequence is not None
        assert walk.sequence.keypoints is not None
        assert (walk.sequence.keypoints[:, :, 0] == walk.sequence.frame_indices[:, None]).all()
        lefts = [script.box(walk.track.track_id, index)[0] for index in walk.sequence.frame_indices.tolist()]
        np.testing.assert_allclose(walk.sequence.keypoints[:, 3, 1], lefts, rtol=1e-6)


def test_frames_without_a_silhouette_have_no_keypoints_either() -> None:
    class Blinking(Cutter):
        def body(self, box: Floats, index: int) -> Matte:
            matte = super().body(box, index)
            return replace(matte, alpha=matte.alpha * 0) if index % 3 == 1 else matte

    script, joints = Script({1: range(40)}), Joints()
    info = VideoInfo(Path("drawn.mp4"), 320, 240, Fraction(25), 40)
    detected = detections_of((Frame(i, i / 25, BLACK) for i in range(40)), script, 4, Stopwatch())
    (walk,) = walks(detected, info, script, Blinking(), EASY, Stopwatch(), pose=joints)
    assert walk.sequence is not None
    assert walk.sequence.keypoints is not None
    assert walk.sequence.frame_indices.tolist() == [i for i in range(40) if i % 3 != 1]
    assert (walk.sequence.keypoints[:, 0, 0] == walk.sequence.frame_indices).all()


def test_keypoints_are_thinned_with_the_silhouettes() -> None:
    ((walk,), *_) = film({1: range(500)}, 500, replace(EASY, gait=GaitSettings(max_frames=40)))
    assert walk.sequence is not None
    assert walk.sequence.keypoints is not None
    assert 40 <= len(walk.sequence) < 80
    assert (walk.sequence.keypoints[:, 0, 0] == walk.sequence.frame_indices).all()


def walk_of(frames: Sequence[int], keypoints: bool = True, fps: float = 25.0, number: int = 1) -> Walk:
    random = np.random.default_rng(number)
    boxes = np.tile(np.array([[10, 20, 50, 120]], np.float32), (len(frames), 1))
    track = Track(number, np.array(frames), boxes, np.ones(len(frames), np.float32))
    silhouettes = random.integers(0, 256, (len(frames), 64, 64), dtype=np.uint8)
    joints = random.random((len(frames), 17, 3)).astype(np.float32) if keypoints else None
    return Walk(track, GaitSequence(np.array(frames), silhouettes, fps, joints), None)


def test_the_archive_keeps_them(tmp_path: Path) -> None:
    before = [walk_of(range(9), number=4), walk_of(range(3), keypoints=False, number=2)]
    with writing(tmp_path / "a.zip") as store:
        for walk in before:
            store.add(walk)
    for walk, found in zip(before, read_walks(tmp_path / "a.zip"), strict=True):
        assert walk.sequence is not None
        assert found.sequence is not None
        if walk.sequence.keypoints is None:
            assert found.sequence.keypoints is None
        else:
            np.testing.assert_array_equal(found.sequence.keypoints, walk.sequence.keypoints)


def test_the_archives_name_follows_the_pose_network_and_not_its_settings(tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(b"video")
    cards = {stage: ModelCard(stage, stage[0], "given", "none") for stage in ("detector", "segmenter")}
    pose = ModelCard("pose", "p", "given", "none", Path("p.onnx"), "1" * 64)

    def name(card: ModelCard | None, settings: Settings) -> str:
        return archive_path(tmp_path, video, cards | ({"pose": card} if card else {}), settings).name

    plain = Settings()
    painted = replace(plain, pose=replace(plain.pose, paint=True, threads=3, checkpoint=Path("p.onnx")))
    assert name(None, plain) == name(None, painted)
    assert name(pose, plain) == name(pose, painted) == name(replace(pose, file=Path("q.onnx")), plain)
    networks = [None, pose, replace(pose, name="q"), replace(pose, sha256="2" * 64), replace(pose, runtime="other")]
    assert len({name(card, plain) for card in networks}) == len(networks)


def test_short_gaps_are_filled_on_straight_lines() -> None:
    sequence = walk_of([3, 5, 10, 16, 17]).sequence
    assert sequence is not None
    assert sequence.keypoints is not None
    frames = keypoints_by_frame(sequence)
    assert sorted(frames) == [*range(3, 11), 16, 17], "5 frames are 0.2 s, 6 are more"
    for index, keypoints in zip(sequence.frame_indices.tolist(), sequence.keypoints, strict=True):
        np.testing.assert_array_equal(frames[index], keypoints)
    before, after = sequence.keypoints[1], sequence.keypoints[2]
    np.testing.assert_allclose(frames[7][:, :2], 0.6 * before[:, :2] + 0.4 * after[:, :2], atol=1e-6)
    np.testing.assert_array_equal(frames[7][:, 2], np.minimum(before[:, 2], after[:, 2]))
    slow = walk_of([3, 5, 6], fps=9.0).sequence
    assert slow is not None
    assert sorted(keypoints_by_frame(slow)) == [3, 5, 6]


def test_labels_get_the_keypoints_of_their_track_and_frame() -> None:
    kept = [walk_of([4, 6], number=1), walk_of([4, 5], number=2), walk_of([4], keypoints=False, number=3)]
    walks = [*kept, replace(walk_of([4], number=4), sequence=None)]
    skeletons = skeletons_of([(AnalysedWalk(w.track, None, None, Path("a.zip")), w.sequence) for w in walks])
    tracks = [
        TrackReport(
            track_id=number, frames=[4, 5, 6, 7], boxes=[[0.0, 0.0, 9.0, 9.0]] * 4, status="unknown", identity=None,
            distance=None, threshold=None, reason="far", candidates=[],
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    video = VideoReport(video="v.mp4", name="v", width=64, height=64, fps=25.0, frame_count=9, tracks=tracks)
    labels = labels_by_frame(video, skeletons)
    drawn = {index: [label.keypoints is not None for label in of] for index, of in labels.items()}
    assert drawn == {4: [1, 1, 0], 5: [1, 1, 0], 6: [1, 0, 0], 7: [0, 0, 0]}
    np.testing.assert_array_equal(labels[5][1].keypoints, skeletons[2][5])
    assert all(label.keypoints is None for of in labels_by_frame(video).values() for label in of)


def painted(keypoints: Floats | None, identity: str | None = "anna") -> Image:
    image = np.full((360, 640, 3), 128, np.uint8)
    box = np.array([300, 100, 400, 340], np.float32)
    return Painter(["zoe", "anna"], 640, 360).paint(image, [Label(box, identity, keypoints=keypoints)])


def standing(score: float = 0.9) -> Floats:
    return np.column_stack([STANDING * (100, 240) + (300, 100), np.full(17, score)]).astype(np.float32)


def inside(image: Image) -> Image:
    return image[110:330, 310:390]


def test_skeletons_have_the_colour_of_the_identity() -> None:
    for identity, colour in (("anna", colour_of(1)), ("zoe", colour_of(0)), (None, (220, 220, 220))):
        picture = inside(painted(standing(), identity))
        assert np.all(picture == colour[::-1], axis=2).sum() > 300, identity
    assert (inside(painted(None)) == 128).all()


def test_only_joints_the_network_is_sure_of_are_drawn() -> None:
    assert (painted(standing(0.2)) == painted(None)).all()
    ankle = standing()
    ankle[15, 2] = 0.1
    x, y = ankle[15, :2].round().astype(int)
    near = slice(y - 6, y + 7), slice(x - 6, x + 7)
    assert (painted(standing())[near] != 128).any()
    assert (painted(ankle)[near] == 128).all(), "nor is the shin drawn"
    eyes = standing(0.1)
    eyes[1:5, 2] = 1.0
    assert (painted(eyes) == painted(None)).all(), "faces are left alone"


def test_joints_lie_where_they_were_found() -> None:
    alone = standing(0.0)
    alone[9] = (350.5, 200.5, 1.0)  # the middle of pixel 350, 200
    rows, columns = np.nonzero((inside(painted(alone)) != 128).any(axis=2))
    assert (rows.mean() + 110, columns.mean() + 310) == pytest.approx((200, 350), abs=0.05)


def test_joints_far_outside_the_picture_do_no_harm() -> None:
    far = standing()
    far[9] = (1e6, -1e6, 1.0)
    assert painted(far).shape == (360, 640, 3)


class Halves:
    """A parser that calls the upper half of every box torso and the lower half the left leg."""

    card = ModelCard("parser", "halves", "weight-free", "none")

    def start(self, video: VideoInfo) -> None: ...

    def parse(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[PartMap]]:
        def halves(box: Floats) -> PartMap:
            left, top, right, bottom = (max(round(float(side)), 0) for side in box)
            labels = np.full((bottom - top, right - left), 2, np.uint8)
            labels[len(labels) // 2 :] = 7
            return PartMap(left, top, labels)

        return [[halves(box) for box in of_frame] for of_frame in boxes]


def test_parts_are_those_of_the_silhouettes_and_are_kept(tmp_path: Path) -> None:
    script, watch = Script({1: range(40), 2: range(5, 40)}), Stopwatch()
    info = VideoInfo(Path("drawn.mp4"), 320, 240, Fraction(25), 40)
    detected = detections_of((Frame(i, i / 25, BLACK) for i in range(40)), script, 4, watch)
    found = list(walks(detected, info, script, Cutter(), EASY, watch, parser=Halves()))
    assert "parse" in watch.seconds
    assert len(found) == 2
    with writing(tmp_path / "a.zip") as store:
        for walk in found:
            store.add(walk)
    for walk, kept in zip(found, read_walks(tmp_path / "a.zip"), strict=True):
        assert walk.sequence is not None
        assert walk.sequence.parts is not None
        assert kept.sequence is not None
        assert kept.sequence.parts is not None
        np.testing.assert_array_equal(kept.sequence.parts, walk.sequence.parts)
        body = walk.sequence.silhouettes > 127
        assert not walk.sequence.parts[~body].any()
        assert (walk.sequence.parts[:, 2:28][body[:, 2:28]] == 2).all()
        assert (walk.sequence.parts[:, 36:62][body[:, 36:62]] == 7).all()
        half = walk.sequence.part(slice(0, 3))
        assert half.parts is not None
        np.testing.assert_array_equal(half.parts, walk.sequence.parts[:3])


def test_the_parser_belongs_to_the_archives_name_and_is_loaded_where_it_is_needed(tmp_path: Path) -> None:
    from app.runs.build import build

    plain = Settings.load(named={"output.folder": tmp_path, "gait.name": "gei"})
    assert build(plain).parser is None
    always = build(replace(plain, parser=ParserSettings(when="always")))
    assert always.parser is not None
    assert list(always.cards()) == ["detector", "segmenter", "parser", "gait"]
