"""``python -m app serve``: what it refuses, and that nothing heavy is loaded before it serves."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")

from app.cli.main import main
from app.web.options import ConflictError
from app.web.server import alone_in, listen


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAITPRINT_PASSWORD", raising=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "a password is needed. Set GAITPRINT_PASSWORD"),
        (["--host", "gait.example"], "a password is needed"),
        (["--host", "0.0.0.0", "--password", ""], "a password is needed"),
        (["--set", "detecter.name=motion"], "Did you mean 'detector.name'?"),
        (["--certificate", "cert.pem"], "belong together"),
        (["--certificate", "cert.pem", "--key", "key.pem"], "There is no file cert.pem"),
        (["--host", "192.0.2.1", "--password", "x"], "The server cannot listen at 192.0.2.1"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "app.web.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 2
    assert "needs the package 'uvicorn': pip install -e '.[web]'" in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "Address already in use. Give another --port." in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "arguments", [["--folder", "file"], ["--gallery-db", "file"], ["--certificate", "file", "--key", "file"]]
)
def test_no_address_is_told_at_which_nobody_answers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("something else")
    assert main(["serve", "--port", "0", *arguments]) == 2
    assert "Gaitprint is at" not in capsys.readouterr().out


def test_a_free_port_on_either_kind_of_address() -> None:
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[1] > 0
    if socket.has_ipv6:
        with listen("::1", 0) as listener:
            assert listener.family == socket.AF_INET6


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "web"):
        with pytest.raises(ConflictError, match="Another server"), alone_in(tmp_path / "web"):
            pass
        with alone_in(tmp_path / "other"):
            pass
    with alone_in(tmp_path / "web"):
        pass


@pytest.mark.parametrize("module", ["app.web.server", "app.web.naming"])
def test_neither_the_server_nor_naming_again_loads_what_reads_videos(module: str) -> None:
    heavy = ("torch", "cv2", "onnxruntime", "av")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"
