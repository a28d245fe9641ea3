"""An export that is killed leaves nothing that shows people once the gallery is used again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding

EXPORT = """
import sys
from pathlib import Path
import app.gallery.transfer as transfer
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery

def wait(*_, **__):
    print("waits", flush=True)
    sys.stdin.read()

store, touch, replace = SqliteGallery(Path(sys.argv[1])), Path.touch, Path.replace
if sys.argv[3] == "before":
    Path.touch = lambda self, **how: (wait() if "partial" in self.name else None, touch(self, **how))
elif sys.argv[3] == "half":
    SqliteGallery.records = lambda self, all=SqliteGallery.records: (one for one in all(self) if not wait())
else:
    Path.replace = lambda self, target: (wait(), replace(self, target))
with GalleryService(store) as gallery:
    gallery.export(sys.argv[2])
"""


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "a [gallery]" / "gallery.db"
    path.parent.mkdir()
    with SqliteGallery(path) as store:
        parts = np.ones((2, 8), np.float32)
        store.enrol("Anna", [NewWalk(Embedding(parts, "gei", 30), "x.mp4", seconds=2.0)], consent="yes")
    return path


def begin_export(gallery: Path, target: Path, moment: str) -> subprocess.Popen[bytes]:
    """Begin an export in another process, which stops at a moment until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORT, str(gallery), str(target), moment],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"waits\n"
    return process


def notes(gallery: Path) -> list[Path]:
    return [path for path in gallery.parent.iterdir() if path.suffix == ".export"]


def again_by_service(gallery: Path, _: Path) -> None:
    GalleryService(SqliteGallery(gallery)).close()


def again_by_export(gallery: Path, folder: Path) -> None:
    assert main(["gallery", "export", str(folder / "other.gz"), "--gallery-db", str(gallery)]) == 0
    (folder / "other.gz").unlink()


def again_by_list(gallery: Path, _: Path) -> None:
    assert main(["gallery", "list", "--gallery-db", str(gallery)]) == 0


@pytest.mark.parametrize("moment", ["before", "half", "whole"])
@pytest.mark.parametrize("again", [again_by_service, again_by_export, again_by_list])
def test_a_killed_export_leaves_nothing(
    moment: str, again: Callable[[Path, Path], None], gallery: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    targets = [elsewhere / "everybody.jsonl.gz", elsewhere / ("x" * 60)]
    for target in targets:
        process = begin_export(gallery, target, moment)
        process.kill()
        process.communicate()
    assert len(list(elsewhere.iterdir())) == (0 if moment == "before" else 1), "the second cleared up after the first"
    again(gallery, elsewhere)
    assert list(elsewhere.iterdir()) == []
    assert notes(gallery) == []


def test_an_export_that_goes_on_is_left_alone(gallery: Path, tmp_path: Path) -> None:
    process = begin_export(gallery, tmp_path / "everybody.gz", "whole")
    again_by_service(gallery, tmp_path)
    process.communicate(b"")
    assert process.returncode == 0
    assert (tmp_path / "everybody.gz").is_file()
    assert notes(gallery) == []


def test_what_lies_on_a_disk_that_is_away_is_removed_later(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    process = begin_export(gallery, tmp_path / "disk" / "everybody.gz", "whole")
    process.kill()
    process.communicate()
    (tmp_path / "disk").rename(tmp_path / "away")
    again_by_service(gallery, tmp_path)
    (tmp_path / "away").rename(tmp_path / "disk")
    again_by_service(gallery, tmp_path)
    assert list((tmp_path / "disk").iterdir()) == notes(gallery) == []


def test_a_damaged_note_is_removed(gallery: Path, tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"x" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000)):
        (gallery.parent / f".gallery.db.{number:08d}.export").write_bytes(content)
    again_by_service(gallery, tmp_path)
    assert notes(gallery) == []
