from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from app.errors import OutputError, VideoError
from app.video.summary import write_summary
from tests.clips import Walker, crossing, write_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("clips")
    wide, tall = folder / "wide-1.mp4", folder / "hoch ü.mp4"
    write_clip(wide, crossing([Walker(1)], gap=1, width=320, height=180, fps=Fraction(25), seconds=2))
    write_clip(tall, crossing([Walker(2)], gap=1, width=120, height=200, fps=Fraction(10), seconds=3))
    return wide, tall


def children() -> set[str]:
    if sys.platform != "linux":
        pytest.skip("lists processes the Linux way")
    listed = subprocess.run(["ps", "-C", "ffmpeg", "-o", "pid="], capture_output=True, text=True)
    return set(listed.stdout.split())


def test_writes_both_side_by_side(tmp_path: Path, clips: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    before = children()
    out = tmp_path / "summary.gif"
    write_summary(*clips, out, seconds=1.5, height=100, gallery_start=0.3, probe_start=99)
    with Image.open(out) as gif:
        assert gif.size == (178 + 60, 100)
        lasted = 0
        for index in range(gif.n_frames):
            gif.seek(index)
            lasted += gif.info["duration"]
        assert lasted == pytest.approx(1500, abs=100)
        assert gif.info["loop"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["summary.gif"]
    assert capfd.readouterr() == ("", "")
    assert children() <= before


def test_is_cut_to_the_shorter_video(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    write_summary(*clips, tmp_path / "s.gif", seconds=10, height=40)
    with Image.open(tmp_path / "s.gif") as gif:
        assert gif.n_frames <= 20


def test_leaves_nothing_behind(tmp_path: Path, clips: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoError):
        write_summary(clips[0], tmp_path / "not.mp4", tmp_path / "s.gif")
    with pytest.raises(OutputError, match="cannot be made"):
        write_summary(*clips, tmp_path / "not.mp4" / "s.gif", seconds=0.3, height=40)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_summary(*clips, tmp_path / "s.gif", seconds=0.3, height=40)
    assert [path.name for path in tmp_path.iterdir()] == ["not.mp4"]
