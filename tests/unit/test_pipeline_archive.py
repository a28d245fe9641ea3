"""What pass 1 found, on disk: the way there and back, when it counts, and what its name depends on."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.settings import Settings
from app.types import GaitSequence, ModelCard, Track
from app.walks import archive
from app.walks.archive import Ending, archive_path, read_ending, read_walks, writing
from app.walks.sequences import Walk

DETECTOR = ModelCard("detector", "d", "given", "none", Path("d.pth"), "1" * 64, "torch")
SEGMENTER = ModelCard("segmenter", "s", "weight-free", "none")
CARDS = {"detector": DETECTOR, "segmenter": SEGMENTER}


def some_walks() -> list[Walk]:
    random = np.random.default_rng(0)

    def track(number: int, frames: int) -> Track:
        boxes = random.random((frames, 4)).astype(np.float32)
        return Track(number, np.arange(frames) * 2, boxes, random.random(frames).astype(np.float32))

    silhouettes = random.integers(0, 256, (9, 64, 64), dtype=np.uint8)
    return [
        Walk(track(12, 20), GaitSequence(np.arange(9) * 3, silhouettes, 30000 / 1001), None),
        Walk(track(3, 1), None, "too short: 0.0 s of 1.0 s needed – ünï"),
        Walk(track(4, 9), GaitSequence(np.arange(9), silhouettes, 25.0), "standing still"),
    ]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / "a.zip"
    with writing(path) as store:
        for walk in some_walks():
            store.add(walk)
        store.end(Ending(41, ("cut off ünï",)))
    return path


def test_there_and_back(written: Path) -> None:
    assert read_ending(written) == Ending(41, ("cut off ünï",))
    for found, walk in zip(read_walks(written), some_walks(), strict=True):
        assert found.track.track_id == walk.track.track_id
        assert found.reason == walk.reason
        for name in ("frame_indices", "boxes", "scores"):
            np.testing.assert_array_equal(getattr(found.track, name), getattr(walk.track, name))
        assert (found.sequence is None) == (walk.sequence is None)
        if found.sequence is not None and walk.sequence is not None:
            np.testing.assert_array_equal(found.sequence.silhouettes, walk.sequence.silhouettes)
            np.testing.assert_array_equal(found.sequence.frame_indices, walk.sequence.frame_indices)
            assert found.sequence.fps == walk.sequence.fps


def test_damage_anywhere_is_noticed(written: Path) -> None:
    content = written.read_bytes()
    for place in np.linspace(0, len(content) - 60, 40).astype(int).tolist():
        broken = bytearray(content)
        broken[place : place + 60] = bytes(byte ^ 0x5A for byte in broken[place : place + 60])
        written.write_bytes(broken)
        assert read_ending(written) is None, place
    for size in (0, 10, len(content) // 2, len(content) - 1):
        written.write_bytes(content[:size])
        assert read_ending(written) is None, size
    assert read_ending(written.parent / "absent.zip") is None
    assert read_ending(written.parent) is None


def test_an_archive_without_its_ending_does_not_count(tmp_path: Path) -> None:
    with writing(tmp_path / "a.zip") as store:
        store.add(some_walks()[0])
    assert read_ending(tmp_path / "a.zip") is None
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as other:
        other.writestr("ending.json", "[]")
    assert read_ending(tmp_path / "b.zip") is None


def test_an_interrupted_archive_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with writing(tmp_path / "cache" / "a.zip") as store:
            store.add(some_walks()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_the_name_follows_everything_that_shaped_the_walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"0" * (1 << 20) + b"1")
    settings = Settings()

    def name(detector: ModelCard = DETECTOR, segmenter: ModelCard = SEGMENTER, **sections: Any) -> str:
        cards = {"detector": detector, "segmenter": segmenter}
        return archive_path(tmp_path, video, cards, replace(settings, **sections)).name

    names = [
        name(),
        name(detector=replace(DETECTOR, name="e")),
        name(detector=replace(DETECTOR, sha256="2" * 64)),
        name(segmenter=replace(SEGMENTER, runtime="other")),
        name(detector=replace(DETECTOR, runtime="torch bfloat16")),
        name(detector=SEGMENTER, segmenter=DETECTOR),
        name(track=replace(settings.track, lost_seconds=2.0)),
        name(quality=replace(settings.quality, min_frames=3)),
        name(segmenter=replace(SEGMENTER, sha256="3" * 64)),
        name(gait=replace(settings.gait, max_frames=10)),
    ]
    for changed in (
        replace(settings, detector=replace(settings.detector, score=0.2)),
        replace(settings, segmenter=replace(settings.segmenter, threshold=0.2)),
    ):
        names.append(archive_path(tmp_path, video, CARDS, changed).name)
    with monkeypatch.context() as changed_code:
        changed_code.setattr(archive, "_code_digest", lambda: "another version of the code")
        names.append(name())
    with monkeypatch.context() as changed_library:
        changed_library.setattr(archive, "_library_versions", lambda: {"onnxruntime": "0.1"})
        names.append(name())
    video.write_bytes(b"0" * (1 << 20) + b"2")
    names.append(name())
    assert len(set(names)) == len(names)


def test_the_name_does_not_follow_what_changes_nothing(tmp_path: Path) -> None:
    for file in ("a.mp4", "b.mp4"):
        (tmp_path / file).write_bytes(b"same")
    settings = Settings()
    moved = replace(settings.detector, checkpoint=Path("elsewhere.pth"))
    same = {
        archive_path(tmp_path, tmp_path / "a.mp4", CARDS, settings),
        archive_path(tmp_path, tmp_path / "b.mp4", CARDS, settings),
        archive_path(tmp_path, tmp_path / "a.mp4", CARDS | {"detector": replace(DETECTOR, file=Path("x"))}, settings),
        archive_path(tmp_path, tmp_path / "a.mp4", CARDS, replace(settings, detector=moved)),
        archive_path(
            tmp_path,
            tmp_path / "a.mp4",
            CARDS,
            replace(
                settings,
                gait=replace(settings.gait, name="gei"),
                match=replace(settings.match, threshold=3.0),
                output=replace(settings.output, silhouettes=False),
            ),
        ),
    }
    assert len(same) == 1
