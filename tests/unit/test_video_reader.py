from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from app.errors import VideoError
from app.video.reader import VideoReader
from tests.clips import Scene, Walker, crossing, damaged_copy, render, truncated_copy, write_clip, write_sound


def small(seconds: float = 1.0, width: int = 160, height: int = 120) -> Scene:
    people = [Walker(1), Walker(2)]
    return crossing(people, gap=0.1, width=width, height=height, fps=Fraction(25), seconds=seconds)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a clip-1.v2 ünï.mp4"
    write_clip(path, small(4.0), options={"g": "10"})
    return path


def test_reads_every_frame_in_order_with_its_time(clip: Path) -> None:
    with VideoReader(clip) as reader:
        frames = list(reader)
    assert (reader.info.width, reader.info.height, reader.info.fps) == (160, 120, Fraction(25))
    assert reader.info.frame_count == len(frames) == 100
    assert [frame.index for frame in frames] == list(range(100))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(100) / 25, atol=1e-6)
    assert reader.warnings == []
    truth = next(render(small(4.0)))[0]
    assert np.abs(frames[0].image.astype(int) - truth).mean() < 6


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.mp4", "libx264", "yuv444p"),
        ("a.ts", "libx264", "yuv420p"),
    ],
)
def test_reads_any_codec(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    scene = small(0.4)
    write_clip(tmp_path / name, scene, codec=codec, pix_fmt=pix_fmt)
    with VideoReader(tmp_path / name) as reader:
        frames = list(reader)
    assert len(frames) == 10
    assert reader.info.fps == 25
    assert reader.info.frame_count == pytest.approx(10, abs=1)
    assert reader.warnings == []
    for frame, (image, _) in zip(frames, render(scene), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 8


def test_keeps_the_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    truth = write_clip(tmp_path / "v.mp4", small(2.0), variable=True)
    with VideoReader(tmp_path / "v.mp4") as reader:
        times = [frame.time for frame in reader]
    np.testing.assert_allclose(times, truth.times, atol=1e-4)
    assert np.ptp(np.diff(times)) > 0.01
    assert reader.warnings == []


def test_times_in_disorder_are_sorted(tmp_path: Path) -> None:
    """H.264 in AVI: FFmpeg gives pictures that need later ones the times of the order in which they are stored."""
    path = tmp_path / "later.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "3", "b_strategy": "0", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), "bgr24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        stamps = [picture.pts or 0 for picture in container.decode(video=0)]
    assert stamps != sorted(stamps), "this FFmpeg puts them in order itself, so the test shows nothing"
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 10, atol=1e-6)
    greys = [float(frame.image.mean()) for frame in frames]
    assert greys == sorted(greys)
    assert reader.warnings == []


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turns_pictures_upright(tmp_path: Path, rotation: int) -> None:
    scene = small(0.2)
    write_clip(tmp_path / "r.mp4", scene, rotation=rotation)  # type: ignore[arg-type]
    with VideoReader(tmp_path / "r.mp4") as reader:
        frame = next(iter(reader))
    assert (reader.info.width, reader.info.height) == (160, 120)
    assert np.abs(frame.image.astype(int) - next(render(scene))[0]).mean() < 6


def test_makes_pixels_square(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 90, 72, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((72, 90, 3), np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoReader(tmp_path / "wide.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (120, 72)
        assert next(iter(reader)).image.shape == (72, 120, 3)


def test_scales_frames_whose_size_changes(tmp_path: Path) -> None:
    write_clip(tmp_path / "1.ts", small(0.4))
    write_clip(tmp_path / "2.ts", small(0.4, width=320, height=240))
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    with VideoReader(both) as reader:
        frames = list(reader)
    assert len(frames) == 20
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert np.all(np.diff([frame.time for frame in frames]) > 0)


def test_uses_the_readable_part_of_a_truncated_video(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_clip(whole, small(4.0), index_first=True, options={"g": "10"})
    truncated_copy(whole, cut, 0.6)
    with VideoReader(cut) as reader:
        count = len(list(reader))
    assert 30 < count < 90
    assert len(reader.warnings) == 1
    assert f"breaks off after {count} of about 100 frames" in reader.warnings[0]
    with VideoReader(cut) as again:  # the painting pass must see the same frames
        assert len(list(again)) == count


def test_reads_on_after_damage(tmp_path: Path, clip: Path) -> None:
    damaged_copy(clip, tmp_path / "hurt.mp4", 0.3, 0.05)
    with VideoReader(tmp_path / "hurt.mp4") as reader:
        frames = list(reader)
        with VideoReader(tmp_path / "hurt.mp4") as again:
            assert len(list(again)) == len(frames)  # the painting pass sees the same frames
    assert frames[-1].time > 3.9  # the end was reached
    assert len(frames) > 80
    assert len(reader.warnings) == 1
    assert "damaged" in reader.warnings[0]


def test_says_what_is_wrong(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.txt").write_text("no video\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    truncated_copy(clip, tmp_path / "no index.mp4", 0.5)  # the index stood at the end
    write_sound(tmp_path / "sound.m4a")
    write_clip(tmp_path / "zero.mp4", small(0.4), index_first=True)
    truncated_copy(tmp_path / "zero.mp4", tmp_path / "zero.mp4", 0.18)  # the index and no picture
    for name, said in {
        "missing.mp4": "no video",
        "empty.mp4": "empty",
        "notes.txt": "not a video",
        "noise.mp4": "not a video",
        "no index.mp4": "cut off before its index",
        "sound.m4a": "only sound",
        "zero.mp4": "no picture",
        ".": "folder",
    }.items():
        with pytest.raises(VideoError, match=said):
            VideoReader(tmp_path / name)


def test_reads_a_video_with_sound_and_a_colon_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "10:30 walk.mp4"
    write_clip(path, small(0.4), sound=True)
    with VideoReader(path) as reader:
        assert len(list(reader)) == 10
    assert reader.warnings == []


def test_is_iterable_once(clip: Path) -> None:
    with VideoReader(clip) as reader:
        next(iter(reader))
        with pytest.raises(RuntimeError):
            next(iter(reader))


def test_real_clips(shared: Path) -> None:
    for name, count in {"aio_gallery.mp4": 235, "vtest.avi": 795}.items():
        with VideoReader(shared / "videos" / name) as reader:
            assert [frame.index for frame in reader] == list(range(count))
        assert reader.warnings == []
