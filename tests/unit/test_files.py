from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from app.errors import OutputError
from app.files import explained, need_new, need_writable, written_whole

_OURS = r"\d{3}(/\d{6}\.png)?"  # a folder of silhouettes


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


def test_folder_replaces_folder_of_its_kind(tmp_path: Path) -> None:
    target = tmp_path / "f"
    (target / "001").mkdir(parents=True)
    for name in ("001/000001.png", ".DS_Store", "001/Thumbs.db"):
        (target / name).touch()
    _write_folder(target)
    assert [file.name for file in target.iterdir()] == ["new"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "v1.2"
    with written_whole(target) as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("former")
    rename = Path.rename

    def fails(self: Path, to: Path) -> Path:
        if ".partial" in self.name:
            raise PermissionError(13, "Permission denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OutputError), written_whole(target, "a.txt") as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["v1.2"]
    assert (target / "a.txt").read_text() == "former"


def test_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    _write_folder(tmp_path / "f")
    assert (tmp_path / "f" / "new").exists()


@pytest.mark.parametrize(
    "foreign",
    ["gallery.db", "holiday.jpg", "001/notes.txt", "001/000001.png/x", "001/x/000001.png", ".git/", "x/", "1.png"],
)
def test_folder_that_holds_anything_else_is_not_replaced(tmp_path: Path, foreign: str) -> None:
    target = tmp_path / "f"
    place = target / foreign
    place.parent.mkdir(parents=True)
    if foreign.endswith("/"):
        place.mkdir()
    else:
        place.write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"which Gaitprint did not make.*Move it elsewhere"):
        _write_folder(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_folder_that_is_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with pytest.raises(OutputError, match=r"holds gallery\.db"), written_whole(target, _OURS) as temporary:
        temporary.mkdir()
        target.mkdir()
        (target / "gallery.db").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (target / "gallery.db").exists()


def test_link_to_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "f").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="link to another folder"):
        _write_folder(tmp_path / "f")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no special files")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
def test_special_files_are_not_replaced(kind: str, linked: bool, tmp_path: Path) -> None:
    target = tmp_path / "x.db"
    with closing(socket.socket(socket.AF_UNIX)) as unix:
        if kind == "a named pipe":
            os.mkfifo(target)
        elif kind == "a socket":
            unix.bind(os.path.relpath(target))  # the full path may be too long for a socket
        else:  # only root can make a device, so this is always a link to one
            target.symlink_to("/dev/null")
        if linked:
            (tmp_path / "link").symlink_to(target)
            target = tmp_path / "link"
        before = target.lstat()
        for write in (_write_file, need_writable):
            with pytest.raises(OutputError, match=f"is {kind}, which Gaitprint does not replace"):
                write(target)
        assert (target.lstat().st_ino, target.lstat().st_mode) == (before.st_ino, before.st_mode)


def test_link_to_a_file_gives_way_and_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    _write_file(tmp_path / "link")
    assert ((tmp_path / "file").read_text(), (tmp_path / "link").read_text()) == ("old", "new")


def _write_file(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("new")


def _write_folder(path: Path) -> None:
    with written_whole(path, _OURS) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()


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


@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_where_a_file_is_to_be_written_stays_and_is_called_so(filled: bool, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if filled:
        (folder / "mine").touch()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"folder is a folder\. Give the name of a file"):
            need_new(folder, overwrite=overwrite)
    with pytest.raises(OutputError, match=r"folder (is a folder\. Give the name of a file|holds mine)"):
        _write_file(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", *(["mine"] if filled else [])]


def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    need_new(tmp_path / "new", overwrite=False)
    need_new(tmp_path / "old", overwrite=True)
    with pytest.raises(OutputError, match=r"old exists already\. Give another name, or --force to replace it"):
        need_new(tmp_path / "old", overwrite=False, option="--force")


def test_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"), written_whole(tmp_path / "file" / "x.txt"):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from app.files import written_whole
folder = Path(sys.argv[1])
with written_whole(folder / "a.json") as file, written_whole(folder / "walks") as walks:
    file.write_text("half")
    (walks / "1").mkdir(parents=True)
    print("half", flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def _writer(folder: Path, how: str) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), how], cwd=root, text=True, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot tell whether a process goes on")
def test_what_a_killed_process_left_is_removed_and_what_another_writes_stays(tmp_path: Path) -> None:
    _writer(tmp_path, "killed").communicate()
    killed = set(tmp_path.iterdir())
    foreign = tmp_path / ".a.00000000-1-00000000.partial.json"  # of another machine, on a disk that is shared
    own = tmp_path / ".a.partial.json"
    foreign.touch()
    own.touch()
    writing = _writer(tmp_path, "goes on")
    there = set(tmp_path.iterdir()) - {foreign, own}
    assert len(killed) == len(there) == 2
    assert not killed & there
    with written_whole(tmp_path / "b.json") as temporary:
        temporary.touch()
        assert set(tmp_path.iterdir()) == {foreign, own, temporary, *there}
    writing.communicate("")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "walks", "b.json", foreign.name, own.name}
