"""The main job without its videos: who is named, who is not, and by which threshold."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.detect.motion import MotionDetector
from app.gait.gei import GaitEnergyImage
from app.results.outputs import free_name
from app.results.render import labels_by_frame
from app.runs.compare import compare_walks
from app.segment.motion import MotionSegmenter
from app.settings import MatchSettings, Settings
from app.stages import Run, Stages
from app.track.bytetrack import ByteTracker
from app.types import GaitSequence, Track, VideoInfo
from app.walks import archive
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.sequences import Walk

MODEL_ID = GaitEnergyImage().card.model_id


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
            walks.append(AnalysedWalk(track, None if reason else model.embed([sequence])[0], reason, path))
        store.end(archive.Ending(200, ()))
    return AnalysedVideo(
        name, VideoInfo(Path(f"{name}.mp4"), 1920, 240, Fraction(25), 200), 200, (), tuple(walks), path
    )


def test_people_are_named_and_strangers_are_not(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(40), 1), (range(10, 60), 2), (range(5, 50), 3)])
    probe = analysed(tmp_path, "street", [(range(50), 3), (range(50), 9), (range(50), 1)], {})
    result = compare_walks(known, [probe], Run(stages()))
    assert result.identities == ["home-001", "home-002", "home-003"]
    assert [decision.identity for decision in result.videos[0].decisions.values()] == [
        "home-001",
        "home-003",
        "home-002",
    ]
    assert [decision.identity for decision in result.videos[1].decisions.values()] == ["home-002", None, "home-001"]
    report = result.videos[1].report
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
    result = compare_walks(known, [probe], Run(stages(MatchSettings(threshold=5.0))))
    assert result.identities == ["home-001"]
    report = result.videos[1].report
    assert [(track.status, track.identity) for track in report.tracks] == [
        ("unusable", None),
        ("identified", "home-001"),
    ]
    assert report.tracks[0].reason == "occluded in 80 % of its frames: 2 left"
    assert report.tracks[0].candidates == []
    gallery = result.videos[0].report
    assert [track.status for track in gallery.tracks] == ["identified", "unusable"]


def test_a_gallery_of_one_person_gets_its_threshold_from_the_halves_of_walks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1)])
    probe = analysed(tmp_path, "street", [(range(60), 1), (range(100, 160), 9)])
    result = compare_walks(known, [probe], Run(stages()))
    first, stranger = result.videos[1].decisions.values()
    assert "a guess from walks of the same people" in caplog.text
    assert first.match is not None
    assert first.match.threshold > 0
    assert first.identity == "home-001"
    assert stranger.identity is None


def test_a_given_threshold_is_taken_as_it_is(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1)])
    probe = analysed(tmp_path, "street", [(range(60), 1)])
    for threshold, identity in ((0.0, None), (1e-9, None), (100.0, "home-001")):
        run = Run(stages(MatchSettings(threshold=threshold)))
        (answer,) = compare_walks(known, [probe], run).videos[1].decisions.values()
        assert answer.identity == identity
        assert answer.match is not None
        assert answer.match.threshold == threshold


def test_a_probe_without_usable_walks(tmp_path: Path) -> None:
    known = analysed(tmp_path, "home", [(range(60), 1), (range(60), 2)])
    probe = analysed(tmp_path, "street", [(range(3), 1)], {1: "too short"})
    result = compare_walks(known, [probe], Run(stages()))
    assert result.videos[1].decisions == {}
    assert [track.status for track in result.videos[1].report.tracks] == ["unusable"]


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    for name in ("t", "t_2", "t_3"):
        assert free_name(tmp_path / "t").name == name
        (tmp_path / name).mkdir()
