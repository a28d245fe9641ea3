"""What pass 1 found, on disk: the way there and back, when it counts, and what its name depends on."""

from __future__ import annotations

import ast
import io
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.settings import Settings, VideoSettings
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


@contextmanager
def parsed_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails where two threads let NumPy parse the heads of arrays at once, which Python 3.11.2 cannot always do."""
    inside, most = [0], [0]
    parse = ast.literal_eval

    def slowly(text: str) -> object:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", slowly)
    yield
    assert most[0] == 1


def test_threads_that_read_archives_do_not_parse_at_once(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with parsed_by_one_at_a_time(monkeypatch), ThreadPoolExecutor(4) as pool:
        assert len({len(list(walks)) for walks in pool.map(lambda _: list(read_walks(written)), range(8))}) == 1


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
    in_colour = ModelCard("gait", "colour", "given", "none", pictures=True)
    names.append(archive_path(tmp_path, video, {**CARDS, "gait": in_colour}, settings).name)
    with monkeypatch.context() as changed_code:
        changed_code.setattr(archive, "code_digest", lambda names: "another version of the code")
        names.append(name())
    with monkeypatch.context() as changed_library:
        changed_library.setattr(archive, "library_versions", lambda: {"onnxruntime": "0.1"})
        names.append(name())
    for reading in (VideoSettings(fps=50.0), VideoSettings(start=1.0), VideoSettings(end=9.0)):
        names.append(name(video=reading))
    for camera in (1, 2):
        names.append(archive_path(tmp_path, video.with_name(f"{video.name}#{camera}"), CARDS, settings).name)
    pictures = tmp_path / "walk"
    pictures.mkdir()
    for number in (0, 1, 10):
        (pictures / f"{number:02d}.jpg").write_bytes(b"%d" % number)
    names.append(archive_path(tmp_path, pictures, CARDS, settings).name)
    (pictures / "seqinfo.ini").write_text("[Sequence]\nframeRate=30\n")
    names.append(archive_path(tmp_path, pictures, CARDS, settings).name)
    names.append(archive_path(tmp_path, pictures / "0*.jpg", CARDS, settings).name)
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


def rewritten(path: Path, changes: dict[str, bytes | None]) -> None:
    """Exchange or leave out members of an archive; all checksums are right afterwards."""
    with zipfile.ZipFile(path) as archived:
        members = {name: archived.read(name) for name in archived.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, content in (members | changes).items():
            if content is not None:
                archived.writestr(name, content)


def array(values: Any, dtype: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values, dtype))
    return stream.getvalue()


def claiming(shape: str) -> bytes:
    """The header of an array of that shape, without the array."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


WRONG: dict[str, dict[str, bytes | None]] = {
    "a member is missing": {"12/boxes.npy": None},
    "silhouettes of another shape": {"12/silhouettes.npy": array(np.zeros((9, 32, 32)), np.uint8)},
    "silhouettes of another type": {"12/silhouettes.npy": array(np.zeros((9, 64, 64)), np.float32)},
    "fewer silhouettes than frames": {"12/silhouettes.npy": array(np.zeros((3, 64, 64)), np.uint8)},
    "a huge claim": {"12/silhouettes.npy": claiming("(1000000000, 64, 64)")},
    "no array": {"12/silhouettes.npy": b"nothing"},
    "boxes that are not finite": {"12/boxes.npy": array(np.full((20, 4), np.nan), np.float32)},
    "scores that are not finite": {"3/scores.npy": array([np.inf], np.float32)},
    "frames before the first": {"3/frames.npy": array([-1], np.int64)},
    "no frame rate": {"12/walk.json": b'{"reason": null}'},
    "a rate that is none": {"12/walk.json": b'{"reason": null, "fps": NaN}'},
    "a reason that is none": {"12/walk.json": b'{"reason": {"a": 1}, "fps": 25}'},
    "deep JSON": {"12/walk.json": b"[" * 100_000},
    "a number without end": {"ending.json": b'{"frame_count": ' + b"9" * 6000 + b', "warnings": []}'},
    "another ending": {"ending.json": b"[]"},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_content_with_right_checksums_is_not_used(what: str, written: Path) -> None:
    rewritten(written, {})
    assert read_ending(written) is not None
    rewritten(written, WRONG[what])
    assert read_ending(written) is None


def test_an_archive_that_would_fill_the_memory_is_not_read(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LARGEST", 1 << 20)
    rewritten(written, {"12/silhouettes.npy": claiming("(1, 64, 64)") + bytes(1 << 21)})
    tracemalloc.start()
    try:
        assert read_ending(written) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
