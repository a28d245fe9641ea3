"""Names as people and file systems have them, and terminals that cannot show them."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.errors import nearest
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding

PEOPLE = ["Anna", "Zoë", "Šimůnek 李", "🙂", "שרה"]


def walk(seed: int) -> NewWalk:
    parts = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    return NewWalk(Embedding(parts, "m@12345678", 9), "straße.mp4", seed)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    with SqliteGallery(tmp_path / "g.db") as gallery:
        for seed, name in enumerate(PEOPLE):
            gallery.enrol(name, [walk(seed)], consent="gesagt: ja…")
    return tmp_path / "g.db"


class TestEncodings:
    """Whatever the encoding of the terminal, no run ends with an error because of it."""

    @pytest.fixture(params=["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
    def encoding(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def gallery(self, db: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        """Run a command of the gallery with a standard output of this encoding; return what it printed."""

        def run(*arguments: object, gallery: Path = db) -> str:
            written = io.BytesIO()
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
            assert main(["gallery", *map(str, arguments), "--gallery-db", str(gallery)]) == 0
            return written.getvalue().decode(encoding)

        return run

    def test_tables_are_shown(self, gallery: Callable[..., str], encoding: str) -> None:
        for name in PEOPLE[:3]:
            written = name.encode(encoding, "backslashreplace").decode(encoding)
            assert written in gallery("show", name)
            assert written.split()[0][:4] in gallery("list")
        assert gallery("log")
        assert gallery("stats")

    def test_json_stays_json(self, gallery: Callable[..., str]) -> None:
        assert {person["name"] for person in json.loads(gallery("list", "--json"))} == set(PEOPLE)
        events = [json.loads(line) for line in gallery("log", "--json").splitlines()]
        assert [event["details"]["name"] for event in events] == PEOPLE

    def test_file_names_that_are_no_text(self, db: Path, gallery: Callable[..., str], encoding: str) -> None:
        file = db.parent / "\udcffb\udc80.jsonl"
        try:
            file.touch()
        except (OSError, UnicodeEncodeError):
            pytest.skip("this file system takes only text")
        written = str(file).encode(encoding, "backslashreplace").decode(encoding)
        assert written in gallery("export", file, "--overwrite")
        assert gallery("import", file, gallery=db.parent / "\udcff.db")


@pytest.mark.parametrize(
    "name", ["n" * 300 + ".mp4", "d" * 300 + "/x.mp4", "loop.mp4", "loop.mp4/x", "\udcff.mp4", "~nobody-here/x.mp4"]
)
def test_names_that_no_file_can_have(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.mp4").symlink_to("pool.mp4")
    Path("pool.mp4").symlink_to("loop.mp4")
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ["demo", "--gallery", name, "--probe", "x.mp4"],
        ["identify", name],
        ["identify", "x.mp4", "--config", name],
        ["enrol", name, "--name", "Anna", "--consent", "none"],
        ["enrol", "--folder", name, "--consent", "none"],
        ["evaluate", "--data", name, "--protocol", "casia-b", "--gait", "gei"],
        ["evaluate", "--data", ".", "--partition", name, "--protocol", "casia-b", "--gait", "gei"],
        ["evaluate", "--data", ".", "--protocol", name, "--gait", "gei"],
        ["evaluate", "--data", ".", "--protocol", "casia-b", "--checkpoint", name],
        ["gallery", "list", "--gallery-db", name],
        ["gallery", "import", name],
    ):
        assert main(arguments) == 2, arguments
        streams = capsys.readouterr()
        assert streams.err.count("Error:") == 1, streams.err
        assert sorted(tmp_path.iterdir()) == before, arguments


@pytest.mark.parametrize(
    "name", [":memory:", "file:g.db?mode=memory", "file::memory:?cache=shared", "g.db?mode=ro", "g#1.db"]
)
def test_a_gallery_s_name_means_nothing_to_sqlite(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SqliteGallery(Path(name)) as gallery:
        gallery.enrol("Anna", [walk(1)], consent="yes")
    with SqliteGallery(Path(name), create=False) as gallery:
        assert [person.name for person in gallery.people()] == ["Anna"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_gallery_that_is_a_loop_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.db").symlink_to("b.db")
    Path("b.db").symlink_to("a.db")
    Path("walk.mp4").touch()
    for place in ("a.db", "a.db/g.db"):
        assert main(["enrol", "walk.mp4", "--name", "Anna", "--consent", "none", "--gallery-db", place]) == 2
        assert f"{place} cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["gallery.mp4", "Zoë", "", "a"])
def test_the_same_name_is_never_suggested(word: str) -> None:
    assert nearest(word, [word]) == ""
    assert f"'{word}'?" not in nearest(word, [word, f"{word}1", "other"])


def test_a_name_that_only_looks_the_same_is_shown_with_escapes() -> None:
    assert nearest("Zoë", ["Zoe\u0308"]).startswith(r" Did you mean 'Zoe\u0308'? It looks the same")
    assert nearest("Anna Berg", ["Anna\u00a0Berg"]).startswith(r" Did you mean 'Anna\xa0Berg'?")
    assert nearest("Zoe", ["Zoë"]) == " Did you mean 'Zoë'?"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.slow
def test_nobody_waits_for_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading from a pipe into which nobody writes would take for ever."""

    def late(*_: object) -> None:
        pytest.fail("it still reads")

    monkeypatch.chdir(tmp_path)
    view = tmp_path / "data" / "001" / "nm-01" / "000"
    view.mkdir(parents=True)
    os.mkfifo(view / "000.pkl")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "x.mp4").touch()
    (tmp_path / "people" / "Anna").mkdir(parents=True)
    for pipe in ("pipe", "pipe.mp4", "pipe.db", "people/Anna/pipe.mp4"):
        os.mkfifo(pipe)
    evaluate = ["evaluate", "--protocol", "casia-b", "--gait", "gei"]
    before = signal.signal(signal.SIGALRM, late)
    try:
        for arguments in (
            ["demo", "--gallery", "pipe.mp4", "--probe", "videos/x.mp4"],
            ["identify", "videos/x.mp4", "--config", "pipe"],
            ["identify", "videos/x.mp4", "--gallery-db", "pipe.db"],
            ["identify", "--live", "pipe.mp4", "--gallery-db", "pipe.db"],
            ["enrol", "pipe.mp4", "--name", "Anna", "--consent", "none"],
            ["enrol", "--folder", "people", "--consent", "none"],
            ["gallery", "list", "--gallery-db", "pipe.db"],
            ["gallery", "import", "pipe"],
            [*evaluate, "--data", "data"],
            [*evaluate, "--data", "data", "--partition", "pipe"],
            [*evaluate, "--data", "pipe"],
            [*evaluate[:3], "--data", "data", "--checkpoint", "pipe"],
            ["prepare", "from-videos", "videos", "out", "--labels", "pipe"],
        ):
            signal.alarm(60)
            assert main(arguments) == 2, arguments
            assert capsys.readouterr().err.count("Error:") == 1, arguments
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
