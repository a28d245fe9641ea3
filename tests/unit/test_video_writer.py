from __future__ import annotations

import os
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from app.errors import OutputError
from app.types import Image
from app.video.reader import VideoReader
from app.video.writer import VideoWriter


def pictures(count: int, width: int = 64, height: int = 48) -> list[Image]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (count, 6, 8, 3)).astype(np.uint8)
    return [
        np.ascontiguousarray(s.repeat(height // 6 + 1, 0).repeat(width // 8 + 1, 1)[:height, :width]) for s in small
    ]


def write(path: Path, images: list[Image], times: list[float], fps: Fraction) -> None:
    height, width = images[0].shape[:2]
    with VideoWriter(path, width, height, fps) as writer:
        for image, time in zip(images, times, strict=True):
            writer.write(image, time)


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(25, 2)])
def test_keeps_size_rate_and_duration(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "out.mp4"
    write(path, pictures(40), [float(i / fps) for i in range(40)], fps)
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.VideoStream)
        assert (stream.width, stream.height, stream.frames) == (64, 48, 40)
        assert stream.average_rate == fps
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 40 / fps
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"


def test_keeps_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, *np.cumsum(np.random.default_rng(1).uniform(0.01, 0.2, 29)).tolist()]
    write(tmp_path / "v.mp4", pictures(30), times, Fraction(10))
    with VideoReader(tmp_path / "v.mp4") as reader:
        np.testing.assert_allclose([frame.time for frame in reader], times, atol=2e-5)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(times[-1] + 0.1, abs=1e-3)


def test_times_that_do_not_rise_are_moved(tmp_path: Path) -> None:
    write(tmp_path / "t.mp4", pictures(4), [0.0, 0.5, 0.5, 0.4], Fraction(10))
    with VideoReader(tmp_path / "t.mp4") as reader:
        times = [frame.time for frame in reader]
    assert times == sorted(set(times))
    assert times[-1] < 0.51


def test_the_index_comes_before_the_pictures(tmp_path: Path) -> None:
    write(tmp_path / "o.mp4", pictures(5), [i / 5 for i in range(5)], Fraction(5))
    content = (tmp_path / "o.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("width", "height"), [(65, 48), (64, 49), (65, 49), (1, 1)])
def test_pads_odd_sizes_with_the_edge(tmp_path: Path, width: int, height: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    image[:, -1] = 60
    write(tmp_path / "o.mp4", [image] * 3, [0.0, 0.1, 0.2], Fraction(10))
    with VideoReader(tmp_path / "o.mp4") as reader:
        frame = next(iter(reader)).image
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frame[:, -1].astype(int) - 60).max() < 12


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128), (0, 159, 230)]
    images = [np.full((48, 64, 3), colour, np.uint8) for colour in colours]
    write(tmp_path / "c.mp4", images, [i / 5 for i in range(len(colours))], Fraction(5))
    with av.open(str(tmp_path / "c.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    with VideoReader(tmp_path / "c.mp4") as reader:
        for frame, colour in zip(reader, colours, strict=True):
            assert np.abs(frame.image.astype(int) - colour).max() <= 6, colour


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_leaves_nothing_behind_when_interrupted(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")

    def interrupted() -> None:
        with VideoWriter(path, 64, 48, Fraction(10)) as writer:
            for index, image in enumerate(pictures(30)):
                writer.write(image, index / 10)
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"older"


def test_says_why_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be made"):
        VideoWriter(Path(__file__) / "o.mp4", 64, 48, Fraction(10))
    with pytest.raises(OutputError, match="no picture"), VideoWriter(tmp_path / "o.mp4", 64, 48, Fraction(10)):
        pass
    with VideoWriter(tmp_path / "s.mp4", 64, 48, Fraction(10)) as writer:
        with pytest.raises(ValueError, match="shape"):
            writer.write(np.zeros((48, 65, 3), np.uint8), 0.0)
        writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["s.mp4"]


def test_no_permission(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(OutputError, match=r"(?i)permission"):
        VideoWriter(folder / "o.mp4", 64, 48, Fraction(10))


def test_no_permission_has_a_message_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"(?i)permission"):
        VideoWriter(tmp_path / "o.mp4", 64, 48, Fraction(10))


def test_no_space(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 96, 128, 3)).astype(np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # a full disk, as far as the writer can tell
    try:
        with pytest.raises(OutputError, match=r"(?i)file too large|space"):
            write(tmp_path / "o.mp4", list(noise), [i / 10 for i in range(120)], Fraction(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
