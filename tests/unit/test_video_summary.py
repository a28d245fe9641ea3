from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import OutputError
from app.video.summary import Excerpt, excerpts, write_summary

WIDE, TALL = (320, 180), (120, 200)


def shown(part: Excerpt, size: tuple[int, int], fps: float, seconds: float) -> Excerpt:
    """Let the frames of a video pass by, whose grey tells their time: 10 levels each tenth of a second."""
    for index in range(round(seconds * fps)):
        time = index / fps
        part.look(np.full((size[1], size[0], 3), min(255, round(time * 100)), np.uint8), time)
    return part


def test_writes_both_side_by_side(tmp_path: Path) -> None:
    parts = excerpts([WIDE, TALL], [2.0, 1.5], [0.3, 99])
    shown(parts[0], WIDE, 25, 2.0)
    shown(parts[1], TALL, 10, 1.5)
    write_summary(parts, tmp_path / "summary.gif")
    with Image.open(tmp_path / "summary.gif") as gif:
        assert gif.size == (part_width(parts[0]) + part_width(parts[1]), parts[0].pictures[0].shape[0])
        assert gif.info["loop"] == 0
    assert duration(tmp_path / "summary.gif") == 1500
    assert [path.name for path in tmp_path.iterdir()] == ["summary.gif"]


def duration(path: Path) -> int:
    """In ms. Pictures that are alike are one frame of the file."""
    lasted = 0
    with Image.open(path) as gif:
        for index in range(getattr(gif, "n_frames", 1)):
            gif.seek(index)
            lasted += gif.info["duration"]
    return lasted


def part_width(part: Excerpt) -> int:
    return int(part.pictures[0].shape[1])


@pytest.mark.parametrize("fps", [4, 10, 12.5, 25, 60])
def test_pictures_are_those_of_their_time(fps: float) -> None:
    (part,) = excerpts([WIDE], [2.5], [0.5])
    shown(part, WIDE, fps, 2.5)
    times = [picture[0, 0, 0] / 100 for picture in part.pictures]
    nearest_after = np.ceil(np.arange(len(times)) / 10 * fps - 1e-6) / fps
    np.testing.assert_allclose(times, nearest_after, atol=0.006)
    assert len(times) >= 25 - 10 / fps


def test_is_cut_to_the_shorter_video_and_starts_early_enough() -> None:
    parts = excerpts([WIDE, WIDE], [9.0, 0.8], [7.0, 0.5])
    assert [len(shown(part, WIDE, 25, 9.0).pictures) for part in parts] == [8, 8]
    assert parts[0].pictures[0][0, 0, 0] == pytest.approx(min(255, 700), abs=5)
    assert parts[1].pictures[0][0, 0, 0] == 0


def test_a_video_that_ends_too_soon_stands_still(tmp_path: Path) -> None:
    parts = excerpts([WIDE, WIDE], [2.0, 2.0], [0, 0])
    shown(parts[0], WIDE, 25, 2.0)
    shown(parts[1], WIDE, 25, 0.04)
    write_summary(parts, tmp_path / "s.gif")
    assert duration(tmp_path / "s.gif") == 2000


def test_a_single_picture_is_enough(tmp_path: Path) -> None:
    """A video of one picture is shorter than a step of the GIF."""
    (part,) = excerpts([WIDE], [0.04], [0.0])
    part.look(np.full((WIDE[1], WIDE[0], 3), 90, np.uint8), 0.0)
    write_summary([part], tmp_path / "summary.gif")
    with Image.open(tmp_path / "summary.gif") as gif:
        assert gif.size == (part_width(part), part.pictures[0].shape[0])


def test_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [shown(part, WIDE, 25, 0.3) for part in excerpts([WIDE], [0.3], [0])]
    (tmp_path / "not.mp4").write_bytes(b"no folder")
    with pytest.raises(OutputError, match="cannot be made"):
        write_summary(parts, tmp_path / "not.mp4" / "s.gif")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_summary(parts, tmp_path / "s.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["not.mp4"]
