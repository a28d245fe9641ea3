"""A small film studio for the end-to-end tests: drawn clips, and the command line run in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import main
from tests.clips import Scene, Walker, crossing, write_clip

RUN_DEMO = Path(__file__).resolve().parents[2] / "run_demo.py"
SIZE: dict[str, Any] = {"width": 320, "height": 240, "fps": Fraction(25)}


def pair(first: Walker, second: Walker, seconds: float = 3.6, **scene: Any) -> Scene:
    """Two people who cross the picture, both in view for some two seconds."""
    return crossing([first, second], gap=0.9, first=-0.7, seconds=seconds, **{**SIZE, **scene})


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `input_videos/`: a gallery and two probes; beside it `nobody.mp4` and `short.mp4`."""
    folder = tmp_path_factory.mktemp("studio")
    videos = folder / "input_videos"
    videos.mkdir()
    write_clip(videos / "gallery.mp4", pair(Walker(1), Walker(2), seed=1), index_first=True, sound=True)
    write_clip(videos / "probe1.mp4", pair(Walker(2, 5), Walker(1, 6), seed=2), index_first=True)
    write_clip(videos / "probe2.mp4", pair(Walker(3), Walker(2, 9), seed=3), index_first=True)
    write_clip(folder / "nobody.mp4", Scene((), seconds=1.2, **SIZE))
    write_clip(folder / "short.mp4", pair(Walker(1), Walker(2), seconds=0.9))
    return folder


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended."""

    code: int
    out: str
    err: str

    def failed_with(self, *words: str) -> None:
        """Check for exit code 2 and one clear message that holds `words`."""
        assert self.code == 2, self.out + self.err
        message = " ".join(self.err.split())
        assert message.count("Error:") == 1, self.err
        for word in words:
            assert word in message, self.err
        assert "Traceback" not in self.out + self.err


Demo = Callable[..., Ended]


def weight_free(arguments: Sequence[object]) -> list[str]:
    """Name the weight-free methods for the stages that `arguments` say nothing of.

    Drawn people are made for them: a network that has seen real people need not take them for some.
    """
    said = " ".join(map(str, arguments))
    defaults = {"detector": "motion", "segmenter": "motion", "gait": "gei"}
    return [
        word
        for stage, name in defaults.items()
        if not any(f"{option} " in f"{said} " for option in (f"--{stage}", f"--{stage}-checkpoint"))
        for word in (f"--{stage}", name)
    ]


@pytest.fixture
def demo(studio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Demo:
    """Run ``demo`` with arguments inside the studio, in this process; without the GIF, which takes a second."""

    def run(*arguments: object, summary: bool = False) -> Ended:
        monkeypatch.chdir(studio)
        capsys.readouterr()
        more = [] if summary else ["--set", "output.summary=false"]
        code = main(["demo", *map(str, arguments), *weight_free(arguments), *more])
        return Ended(code, *capsys.readouterr())

    return run


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start ``python run_demo.py`` in a process of its own."""
    import signal

    def listen() -> None:  # whoever runs the tests in the background may have Ctrl-C ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, str(RUN_DEMO), *map(str, arguments), *weight_free(arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONWARNINGS": "default", "COLUMNS": "200"},
        preexec_fn=listen,
    )


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file and folder below `folder`, hidden ones too, with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="session")
def enrolled(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of Anna and Ben, who are enrolled from the studio's gallery video; nobody may change it."""
    from app.gallery.sqlite import SqliteGallery
    from app.runs.enrol import enrol_walks
    from app.stages import Run
    from app.walks.analyse import analyse
    from tests.e2e.test_live import stages

    folder = tmp_path_factory.mktemp("enrolled")
    video = analyse(studio / "input_videos" / "gallery.mp4", "gallery", Run(stages(folder)))
    with SqliteGallery(folder / "gallery.db") as store:
        for name, walk in zip(("Anna", "Ben"), video.usable(), strict=True):
            store.enrol(name, enrol_walks(video, [walk.track.track_id], thumbnails=False), consent="yes")
    return folder / "gallery.db"


@pytest.fixture
def gallery(enrolled: Path, tmp_path: Path) -> Path:
    """A gallery of Anna and Ben of the test's own."""
    return Path(shutil.copy(enrolled, tmp_path))
