from __future__ import annotations

import errno
from pathlib import Path

import pytest

from app.errors import OutputError
from app.files import explained, need_writable, written_whole


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


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.ENODEV, errno.EISDIR])
def test_no_place_is_said(number: int) -> None:
    with pytest.raises(OutputError, match=r"x cannot be made.*Give another folder"), explained(Path("x")):
        raise OSError(number, "x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can make folders")
def test_a_folder_that_cannot_be_made_is_said() -> None:
    nowhere = Path("/proc/nope/deeper/x.json")
    with pytest.raises(OutputError, match=r"x\.json cannot be made: No such file"), written_whole(nowhere):
        pass
    with pytest.raises(OutputError, match=r"x\.json cannot be made: No such file"):
        need_writable(nowhere)


def test_a_missing_input_is_not_taken_for_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "out" / "x.json"):
        (tmp_path / "in" / "y.json").read_text()


def test_what_may_be_written_is_tried_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    need_writable(tmp_path / "old.json")
    need_writable(tmp_path / "new" / "x.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"
    with pytest.raises(OutputError, match="is a folder"):
        need_writable(tmp_path)


def test_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"), written_whole(tmp_path / "file" / "x.txt"):
        pass
