from __future__ import annotations

import errno
from pathlib import Path

import pytest

from app.errors import OutputError
from app.files import explained, written_whole


def test_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    with written_whole(target) as temporary:
        temporary.write_text("done")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "done"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_and_the_old_stays(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "b.txt"
    target.write_text("old")

    def write_half() -> None:
        with written_whole(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_folder_replaces_folder(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.mkdir()
    (target / "old").touch()
    with written_whole(target) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [file.name for file in target.iterdir()] == ["new"]


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "No space"), (errno.EACCES, "No permission")])
def test_causes_are_said(number: int, said: str) -> None:
    with pytest.raises(OutputError, match=said), explained(Path("x")):
        raise OSError(number, "x")


def test_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"), written_whole(tmp_path / "file" / "x.txt"):
        pass
