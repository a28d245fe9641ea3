"""Galleries and exports that somebody crafted: every fault is a `GalleryError`, and no memory is taken for it."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import GaitprintError, GalleryError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.gallery.transfer import read_gallery, write_gallery
from app.types import Embedding, GaitSequence


def encoded(array: Any, dtype: str) -> str:
    return b64encode(np.asarray(array, dtype).tobytes()).decode()


HEADER = {"kind": "header", "format": "gaitprint gallery", "version": 1, "made": "2026-01-01T00:00:00Z"}
PERSON = {"kind": "person", "name": "Ann", "consent": "yes", "enrolled": "2026-01-01T00:00:00Z", "expires": None}
SILHOUETTES = {
    "fps": 25.0,
    "frame_indices": [0, 1, 2],
    "pictures": encoded(np.zeros((3, 64, 64)), "u1"),
    "keypoints": encoded(np.zeros((3, 17, 3)), "<f4"),
}
MEASURE = {"name": "cadence", "unit": "steps/min", "value": 107.0, "uncertainty": None, "count": 3}
WALK = {
    "kind": "walk",
    "model_id": "m",
    "frames": 3,
    "shape": [2, 2],
    "embedding": encoded(np.ones(4), "<f4"),
    "source": "a.mp4",
    "track_id": 1,
    "view": "side",
    "seconds": 1.0,
    "added": None,
    "silhouettes": SILHOUETTES,
    "thumbnail": None,
}
END = {"kind": "end", "people": 1, "walks": 1}
FIRST, LAST = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"


def exported(path: Path, *lines: dict[str, Any]) -> Path:
    with gzip.open(path, "wt") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def test_an_ordinary_export_is_imported(tmp_path: Path) -> None:
    with SqliteGallery(None) as gallery:
        assert gallery.restore(read_gallery(exported(tmp_path / "it.gz", HEADER, PERSON, WALK, END))) == (1, 1)
        assert gallery.walks()[0].measures == (), "older exports have none"
        measured_walk = {**WALK, "measures": [MEASURE]}
        measured = exported(tmp_path / "new.gz", HEADER, {**PERSON, "name": "Ben"}, measured_walk, END)
        assert gallery.restore(read_gallery(measured)) == (1, 1)
        assert [measure.value for measure in gallery.walks("Ben")[0].measures] == [107.0]
        assert write_gallery(gallery, tmp_path / "again.gz") == (2, 2)


@pytest.mark.parametrize(
    "walk",
    [
        {"track_id": 1 << 63}, {"track_id": -1}, {"track_id": -(1 << 70)},
        {"frames": 1 << 70}, {"frames": 0}, {"shape": [1 << 40, 1 << 40]}, {"shape": [-1, 2]},
        {"shape": [0, 4], "embedding": ""}, {"shape": [10**30, 1]}, {"embedding": encoded([np.nan] * 4, "<f4")},
        {"embedding": encoded([3e38] * 4, "<f4")}, {"embedding": encoded([0, 0, 0, -1e20], "<f4")},
        {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": -1.0},
        {"added": FIRST}, {"added": LAST}, {"added": "2026-13-01T00:00:00Z"},
        {"measures": [{**MEASURE, "value": float("nan")}]}, {"measures": [{**MEASURE, "value": None}]},
        {"measures": [{**MEASURE, "name": "x" * 41}]}, {"measures": [{**MEASURE, "left": float("inf")}]},
        {"measures": [{**MEASURE, "count": -1}]}, {"measures": [{"name": "cadence"}]}, {"measures": MEASURE},
        {"silhouettes": {**SILHOUETTES, "fps": float("nan")}},
        {"silhouettes": {**SILHOUETTES, "fps": float("inf")}},
        {"silhouettes": {**SILHOUETTES, "frame_indices": [0, 1, 1 << 63]}},
        {"silhouettes": {**SILHOUETTES, "frame_indices": [-3, -2, -1]}},
        {"silhouettes": {**SILHOUETTES, "keypoints": encoded(np.full((3, 17, 3), np.nan), "<f4")}},
    ],
)  # fmt: skip
def test_a_walk_that_cannot_be_is_called_damage(walk: dict[str, Any], tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        with pytest.raises(GalleryError, match=r"it\.gz is damaged, so nothing was imported: line 3"):
            gallery.restore(read_gallery(exported(tmp_path / "it.gz", HEADER, PERSON, {**WALK, **walk}, END)))
        assert gallery.people() == []


@pytest.mark.parametrize("person", [{"enrolled": FIRST}, {"enrolled": LAST}, {"expires": FIRST}, {"expires": LAST}])
def test_a_time_that_cannot_be_is_called_damage(person: dict[str, Any], tmp_path: Path) -> None:
    path = exported(tmp_path / "it.gz", HEADER, {**PERSON, **person}, WALK, END)
    with SqliteGallery(None) as gallery, pytest.raises(GalleryError, match=r"line 2, .*out of range"):
        gallery.restore(read_gallery(path))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "sound.db"
    silhouettes = GaitSequence(np.arange(3), np.zeros((3, 64, 64), np.uint8), 25.0, np.zeros((3, 17, 3), np.float32))
    with SqliteGallery(path) as gallery:
        for name, parts in (("Ann", 1.0), ("Bob", 2.0)):
            embedding = Embedding(np.full((2, 2), parts, np.float32), "m", 3)
            walk = NewWalk(embedding, "a.mp4", 1, "side", 1.0, silhouettes, b"\xff\xd8\xff")
            gallery.enrol(name, [walk], consent="yes", retain_days=30)
        gallery.rename("Bob", "Rob")
    return path


QUERY = [Embedding(np.ones((2, 2), np.float32), "m", 3)]
USES: list[Callable[[SqliteGallery, Path], object]] = [
    lambda gallery, _: gallery.people(),
    lambda gallery, _: gallery.walks(),
    lambda gallery, _: gallery.embeddings([1, 2]),
    lambda gallery, _: gallery.silhouettes(1),
    lambda gallery, _: gallery.thumbnail("Ann"),
    lambda gallery, _: gallery.log(),
    lambda gallery, _: gallery.first_use(),
    lambda gallery, _: gallery.search(QUERY, 3),
    lambda gallery, folder: write_gallery(gallery, folder / "out.gz"),
    lambda gallery, _: gallery.expire(),
    lambda gallery, _: gallery.forget("Rob"),
]
VALUES: dict[str, Any] = {
    "text": "x",
    "bytes": b"\xff\x00",
    "negative": -3,
    "large": 1 << 62,
    "infinite": float("inf"),
    "no zone": "2026-01-01T00:00:00",
    "first year": FIRST,
    "last year": LAST,
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 900 + "1" + "}" * 900,
    "no numbers": np.full(4, np.nan, "<f4").tobytes(),
    "huge numbers": np.full(4, 3e38, "<f4").tobytes(),
    "digits": "9" * 5000,
}


def columns(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        known = [(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")]
    return [(table, column) for table, column in known if not table.startswith("sqlite")]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_does_not_belong_into_a_column_is_called_damage(value: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "crafted.db"
    for table, column in columns(sound):
        shutil.copy(sound, path)
        with closing(sqlite3.connect(path)) as db, suppress(sqlite3.Error):
            db.execute("PRAGMA ignore_check_constraints = ON")
            db.execute("PRAGMA synchronous = OFF")  # there is nothing to lose
            db.execute(f"UPDATE {table} SET {column} = ?", (VALUES[value],))
            db.commit()
        with suppress(GaitprintError), SqliteGallery(path) as gallery:
            for use in USES:
                with suppress(GaitprintError):
                    use(gallery, tmp_path)
        for left in tmp_path.glob("crafted.db*"):
            left.unlink()


@pytest.mark.parametrize("column", ["frame_indices", "pictures", "keypoints"])
def test_packed_silhouettes_cannot_fill_the_memory(column: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.db"
    shutil.copy(sound, path)
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(60)) + packer.flush()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE silhouettes SET {column} = ?", (bomb,))
        db.commit()
    with SqliteGallery(path) as gallery:
        tracemalloc.start()
        try:
            with pytest.raises(GalleryError, match=r"silhouettes of walk 1 in .* are damaged"):
                gallery.silhouettes(1)
            assert tracemalloc.get_traced_memory()[1] < 1 << 25
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        "CREATE UNIQUE INDEX i ON walk (source) WHERE walk_id > 2",
        "CREATE UNIQUE INDEX i ON embedding (frames) WHERE walk_id > 2",
        "CREATE TRIGGER t AFTER INSERT ON person BEGIN UPDATE person SET name = NULL; END",
        "CREATE TRIGGER t AFTER INSERT ON walk BEGIN INSERT INTO former_name VALUES (99, 'x'); END",
        "CREATE TRIGGER t BEFORE INSERT ON embedding BEGIN UPDATE embedding SET parts = 9; END",
    ],
)
def test_rules_that_contradict_the_content_are_called_damage(change: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(change)
    walk = NewWalk(Embedding(np.ones((2, 2), np.float32), "m", 3), "a.mp4")
    with SqliteGallery(path) as gallery:
        before = [person.name for person in gallery.people()]
        with pytest.raises(GalleryError, match="it is damaged"):
            gallery.enrol("Cleo", [walk, walk], consent="yes")
        assert [person.name for person in gallery.people()] == before
