"""Galleries as files that are handed on."""

from __future__ import annotations

import gzip
import json
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import GalleryError, OutputError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk, Person
from app.gallery.transfer import VERSION, read_gallery, write_gallery
from app.types import Embedding, GaitSequence, Measure
from tests.progress import Interrupted, Remembered


def person(gallery: SqliteGallery, name: str, seed: int, retain_days: int | None = None) -> Person:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (4, 64, 64)).astype(np.uint8)
    joints = rng.normal(size=(4, 17, 3)).astype(np.float32)
    full = NewWalk(
        Embedding(*rng.normal(size=(1, 4, 8)).astype(np.float32), "m@1", 4, rng.normal(size=(6, 4, 8)).astype("f4")),
        "a b.mp4", 3, "side", 0.1 + seed,
        GaitSequence(np.array([1, 2, 4, 9]), pictures, 30000 / 1001, joints), b"\xff\xd8\xff" + rng.bytes(50),
        measures=(Measure("stance share", "%", 100 / seed, None, 1), Measure("cadence", "1/min", 0.1 + seed, 0.3, 7)),
    )  # fmt: skip
    bare = NewWalk(Embedding(rng.normal(size=(2, 3)).astype(np.float32), "gei", 1), "b.mp4")
    return gallery.enrol(name, [full, bare], consent='"yes", \u00e4h', retain_days=retain_days)


def denied() -> NewWalk:
    parts = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    return NewWalk(Embedding(parts, "m@1", 4), "c.mp4", 7)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with SqliteGallery(tmp_path / "a.db") as gallery:
        person(gallery, "Zo\u00eb", 1, 30)
        person(gallery, "Ben", 2)
        gallery.deny(denied(), "Ben")
        progress = Remembered()
        assert write_gallery(gallery, tmp_path / "out" / "g.jsonl.gz", progress) == (2, 4)
        assert progress.stages == {"Exporting people": (2, 2)}
    return tmp_path / "out" / "g.jsonl.gz"


@pytest.mark.parametrize("pages", [1, 2])
def test_no_space_beside_the_gallery_is_said(pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note of what is being exported is SQLite's, which has errors of its own for a full disk."""
    with SqliteGallery(tmp_path / "a.db") as gallery:
        person(gallery, "Ben", 2)
        connect = sqlite3.connect

        def narrow(*arguments: Any, **named: Any) -> sqlite3.Connection:
            db = connect(*arguments, **named)
            db.execute(f"PRAGMA max_page_count = {pages}")
            return db

        monkeypatch.setattr("app.gallery.transfer.sqlite3.connect", narrow)
        if pages == 1:
            with pytest.raises(OutputError, match=r"No space is left to write .*\.a\.db"):
                write_gallery(gallery, tmp_path / "out" / "g.jsonl.gz")
            assert not (tmp_path / "out" / "g.jsonl.gz").exists()
        else:
            write_gallery(gallery, tmp_path / "out" / "g.jsonl.gz")
    assert not list(tmp_path.glob(".a.db.*")), "no note is left"


def test_everything_comes_back_exactly(exported: Path, tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "a.db") as gallery, SqliteGallery(tmp_path / "b.db") as other:
        assert other.restore(read_gallery(exported)) == (2, 4)
        assert [list(names) for names in other.denied([denied().embedding])] == [["Ben"]]
        for ours, theirs in zip(gallery.records(), other.records(), strict=True):
            assert [getattr(ours[0], name) for name in ("name", "consent", "enrolled", "expires", "walks")] == [
                getattr(theirs[0], name) for name in ("name", "consent", "enrolled", "expires", "walks")
            ]
            for a, b in zip(ours[1], theirs[1], strict=True):
                np.testing.assert_array_equal(a.embedding.parts, b.embedding.parts)
                np.testing.assert_array_equal(a.embedding.views, b.embedding.views)
                assert (a.embedding.model_id, a.embedding.frames) == (b.embedding.model_id, b.embedding.frames)
                for name in ("source", "track_id", "view", "seconds", "added", "thumbnail", "measures"):
                    assert getattr(a, name) == getattr(b, name)
                assert (a.silhouettes is None) == (b.silhouettes is None)
                if a.silhouettes is not None and b.silhouettes is not None:
                    assert a.silhouettes.fps == b.silhouettes.fps
                    np.testing.assert_array_equal(a.silhouettes.silhouettes, b.silhouettes.silhouettes)
                    np.testing.assert_array_equal(a.silhouettes.frame_indices, b.silhouettes.frame_indices)
                    np.testing.assert_array_equal(a.silhouettes.keypoints, b.silhouettes.keypoints)


def test_it_is_for_its_owner_alone_and_leaves_nothing_beside_it(exported: Path) -> None:
    if sys.platform != "win32":
        assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert list(exported.parent.iterdir()) == [exported]


def test_an_export_that_is_stopped_leaves_the_earlier_one(exported: Path, tmp_path: Path) -> None:
    before = exported.read_bytes()
    with SqliteGallery(tmp_path / "a.db") as gallery, pytest.raises(KeyboardInterrupt):
        write_gallery(gallery, exported, Interrupted())
    assert exported.read_bytes() == before
    assert list(exported.parent.iterdir()) == [exported]


Lines = list[dict[str, object]]


def cut(lines: Lines) -> Lines:
    return lines[:-1]


def without_a_walk(lines: Lines) -> Lines:
    return [*lines[:2], *lines[3:]]


def walk_first(lines: Lines) -> Lines:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def without_what_was_denied(lines: Lines) -> Lines:
    return [line for line in lines if line["kind"] != "denial"]


def more_after_the_end(lines: Lines) -> Lines:
    return [*lines, lines[1]]


def changed(**fields: object) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        return [*lines[:2], {**lines[2], **fields}, *lines[3:]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "end is missing"),
        (without_a_walk, "line 8 is out of place"),
        (walk_first, "line 2 is out of place"),
        (without_what_was_denied, "line 8 is out of place"),
        (more_after_the_end, "after its end"),
        (changed(embedding="AAAA"), "line 3"),
        (changed(embedding="not base64!"), "line 3, walk.embedding"),
        (changed(shape=[4, 9]), "line 3"),
        (changed(frames=0), "line 3"),
        (changed(extra=1), "line 3, walk.extra"),
        (changed(added="yesterday"), "line 3, walk.added"),
        (changed(thumbnail="PHN2Zz4="), "line 3: the thumbnail is not a JPEG"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_and_nothing_is_imported(
    exported: Path, tmp_path: Path, change: Callable[[Lines], Lines], message: str
) -> None:
    lines = [json.loads(line) for line in gzip.decompress(exported.read_bytes()).splitlines()]
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress("\n".join(map(json.dumps, change(lines))).encode()))
    with SqliteGallery(tmp_path / "b.db") as gallery:
        with pytest.raises(GalleryError, match=f"damaged.gz is damaged, so nothing was imported: .*{message}"):
            gallery.restore(read_gallery(damaged))
        assert gallery.people() == []
        assert gallery.log() == []


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9, 0.999])
def test_a_changed_bit_or_a_lost_end_is_noticed(exported: Path, tmp_path: Path, place: float) -> None:
    content = bytearray(exported.read_bytes())
    damaged = tmp_path / "damaged.gz"
    at = int(place * len(content))
    with SqliteGallery(tmp_path / "b.db") as gallery:
        for changed in (content[:at], content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]):
            damaged.write_bytes(changed)
            with pytest.raises(GalleryError, match="damaged"):
                gallery.restore(read_gallery(damaged))
            assert gallery.people() == []


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    contents = [b"", b"plain text", gzip.compress(b""), gzip.compress(b"[1, 2]\n"), gzip.compress(b'{"kind": "end"}')]
    contents.append(gzip.compress(b'{"kind": "end", "people": 0, "walks": 0}\n'))
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(GalleryError, match="not an exported gallery"):
            list(read_gallery(file))
    with pytest.raises(GalleryError, match="cannot be read: No such file"):
        list(read_gallery(tmp_path / "missing"))
    header = {"kind": "header", "format": "gaitprint gallery", "version": VERSION + 1, "made": "2026-01-01T00:00:00Z"}
    file.write_bytes(gzip.compress(json.dumps(header).encode()))
    with pytest.raises(GalleryError, match="newer Gaitprint"):
        list(read_gallery(file))
