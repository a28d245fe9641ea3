"""The main job's small print: which videos, which names, which threshold."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.detect.motion import MotionDetector
from app.errors import VideoError
from app.gait.gei import GaitEnergyImage
from app.results.render import labels_by_frame
from app.runs.compare import compare, report_of
from app.runs.demo import distinct_names, find_videos, free_name
from app.segment.motion import MotionSegmenter
from app.settings import MatchSettings, Settings
from app.stages import Stages
from app.track.bytetrack import ByteTracker
from app.types import GaitSequence, Track, VideoInfo
from app.walks import archive
from app.walks.analyse import AnalysedVideo, AnalysedWalk
from app.walks.sequences import Walk
from tests.clips import Scene, write_clip


def stages(match: MatchSettings | None = None) -> Stages:
    settings = Settings(match=match or MatchSettings())
    return Stages(
        MotionDetector(None, settings.detector),
        MotionSegmenter(None, settings.segmenter),
        GaitEnergyImage(),
        settings,
        partial(ByteTracker, settings=settings.track),
    )


def analysed(
    folder: Path, name: str, people: Sequence[tuple[range, int]], reasons: dict[int, str] | None = None
) -> AnalysedVideo:
    """A video in which person `seed` is seen in `frames`, as (frames, seed); its archive is written."""
    path, model, walks = folder / f"{name}.zip", GaitEnergyImage(), []
    with archive.writing(path) as store:
        for number, (frames, seed) in enumerate(people, 1):
            random = np.random.default_rng(seed)
            body = (random.random((64, 64)) > 0.5) * 255
            noisy = np.where(np.random.default_rng((seed, len(frames))).random((len(frames), 64, 64)) > 0.05, body, 0)
            boxes = np.tile(np.array([[200.0 * number, 10, 200.0 * number + 50, 200]], np.float32), (len(frames), 1))
            track = Track(number, np.array(frames), boxes, np.full(len(frames), 0.9, np.float32))
            sequence = GaitSequence(np.array(frames), noisy.astype(np.uint8), 25.0)
            reason = (reasons or {}).get(number)
            store.add(Walk(track, sequence, reason))
            walks.append(AnalysedWalk(track, None if reason else model.embed([sequence])[0], reason))
        store.end(archive.Ending(200, ()))
    return AnalysedVideo(
        name, VideoInfo(Path(f"{name}.mp4"), 1920, 240, Fraction(25), 200), 200, (), tuple(walks), path
    )


def test_bad_videos_stop_the_run_only_where_nothing_can_come_of_it(tmp_path: Path) -> None:
    for name in ("gallery.mp4", "good.mp4"):
        write_clip(tmp_path / name, Scene((), width=32, height=32, seconds=0.2))
    for name in ("empty.mp4", "text.mp4"):
        (tmp_path / name).write_text("" if name == "empty.mp4" else "this is not a video\n" * 50)
    found = [path.name for path in find_videos("gallery", ["empty", "good", "text"], tmp_path)[1]]
    assert found == ["empty.mp4", "good.mp4", "text.mp4"]
    with pytest.raises(VideoError, match=r"(?s)empty\.mp4.*text\.mp4"):
        find_videos("gallery", ["empty", "text"], tmp_path)
    with pytest.raises(VideoError, match=r"(?s)text\.mp4.*empty\.mp4"):
        find_videos("text", ["good", "empty"], tmp_path)


def test_people_are_named_and_strangers_are_not(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(40), 1), (range(10, 60), 2), (range(5, 50), 3)])
    probe = analysed(tmp_path, "street", [(range(50), 3), (range(50), 9), (range(50), 1)], {})
    compared = compare(known, [probe], stages())
    assert compared.identities == ["home-001", "home-002", "home-003"]
    assert [answer.identity for answer in compared.answers[0].values()] == ["home-001", "home-003", "home-002"]
    assert [answer.identity for answer in compared.answers[1].values()] == ["home-002", None, "home-001"]
    report = report_of(probe, compared.answers[1])
    assert [track.status for track in report.tracks] == ["identified", "unknown", "identified"]
    assert "beyond the threshold" in (report.tracks[1].reason or "")
    assert report.tracks[1].distance == report.tracks[1].candidates[0].distance
    labels = labels_by_frame(report)
    assert sorted(labels) == list(range(50))
    assert [label.identity for label in labels[3]] == ["home-002", None, "home-001"]


def test_unusable_walks_are_kept_with_their_reason_and_never_matched(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)], {2: "too short: 0.1 s of 1.0 s needed"})
    probe = analysed(
        tmp_path, "street", [(range(50), 2), (range(50), 1)], {1: "occluded in 80 % of its frames: 2 left"}
    )
    compared = compare(known, [probe], stages(MatchSettings(threshold=5.0)))
    assert compared.identities == ["home-001"]
    report = report_of(probe, compared.answers[1])
    assert [(track.status, track.identity) for track in report.tracks] == [
        ("unusable", None),
        ("identified", "home-001"),
    ]
    assert report.tracks[0].reason == "occluded in 80 % of its frames: 2 left"
    assert report.tracks[0].candidates == []
    gallery = report_of(known, compared.answers[0])
    assert [track.status for track in gallery.tracks] == ["identified", "unusable"]


def test_a_gallery_of_one_person_gets_its_threshold_from_the_halves_of_walks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1)])
    probe = analysed(tmp_path, "street", [(range(60), 1), (range(100, 160), 9)])
    compared = compare(known, [probe], stages())
    first, stranger = compared.answers[1].values()
    assert "a guess from walks of the same people" in caplog.text
    assert first.match is not None
    assert first.match.threshold > 0
    assert first.identity == "home-001"
    assert stranger.identity is None


def test_a_given_threshold_is_taken_as_it_is(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1)])
    probe = analysed(tmp_path, "street", [(range(60), 1)])
    for threshold, identity in ((0.0, None), (1e-9, None), (100.0, "home-001")):
        (answer,) = compare(known, [probe], stages(MatchSettings(threshold=threshold))).answers[1].values()
        assert answer.identity == identity
        assert answer.match is not None
        assert answer.match.threshold == threshold


def test_a_probe_without_usable_walks(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1), (range(60), 2)])
    probe = analysed(tmp_path, "street", [(range(3), 1)], {1: "too short"})
    compared = compare(known, [probe], stages())
    assert compared.answers[1] == {}
    assert [track.status for track in report_of(probe, compared.answers[1]).tracks] == ["unusable"]


def test_names_are_distinct_and_short_enough_for_a_file() -> None:
    videos = [Path(path) for path in ("a/x.mp4", "b/x.avi", "c/x.mp4", "x-2.mp4", "y.tar.mp4", "步" * 80 + ".mp4")]
    names = distinct_names(videos)
    assert names[:5] == ["x", "x-2", "x-3", "x-2-2", "y.tar"]
    assert len(set(names)) == len(names)
    assert "步步步".startswith(names[5][:3])
    assert len(f"G-{names[5]}-99_P-{names[5]}-99.mp4".encode()) <= 255


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    for name in ("t", "t_2", "t_3"):
        assert free_name(tmp_path / "t").name == name
        (tmp_path / name).mkdir()


def test_videos_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("input_videos")
    folder.mkdir()
    scene = Scene((), width=32, height=32, seconds=0.2)
    for name in ("gallery.mp4", "b.mp4", "a.mkv", "c.MP4"):
        write_clip(folder / name, scene)
    (folder / "notes.txt").touch()
    (folder / ".hidden").touch()
    gallery, probes = find_videos("gallery.mp4", [], folder)
    assert gallery == folder / "gallery.mp4"
    assert [path.name for path in probes] == ["a.mkv", "b.mp4", "c.MP4"]
    assert find_videos("gallery", ["b", "input_videos/b.mp4", "a.mkv"], folder)[1] == [
        folder / "b.mp4",
        folder / "a.mkv",
    ]
    with pytest.raises(VideoError, match="both as gallery and as probe"):
        find_videos("gallery", ["input_videos/../input_videos/gallery.mp4"], folder)
    with pytest.raises(VideoError, match=r"(?s)^2 videos .*'nowhere'.*'neither'"):
        find_videos("gallery", ["nowhere", "b", "neither"], folder)
    for path in probes:
        path.unlink()
    with pytest.raises(VideoError, match="There is no probe"):
        find_videos("gallery", [], folder)
