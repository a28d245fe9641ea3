"""Videos as people have them: phones, camcorders, recorders, cheap cameras. One test for each kind."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from app.errors import VideoError
from app.types import Frame, Image, Reading
from app.video import opening
from app.video.background import BackgroundModel
from app.video.paths import files_of
from app.video.reader import VideoReader
from app.video.sources import distinct_names, find_gallery_and_probes

WIDTH, HEIGHT = 64, 48
STEP = 0.04


def still(width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Four quarters of different brightness, so that every turn and mirroring can be told."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 220
    image[: height // 2, width // 2 :] = 150
    image[height // 2 :, : width // 2] = 90
    image[height // 2 :, width // 2 :] = 20
    return image


def write(
    path: Path,
    images: Sequence[Image],
    times: Sequence[float] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rate: Fraction = Fraction(25),
    about: Callable[[Any], None] = lambda stream: None,
    muxer: dict[str, str] | None = None,
    **container: Any,
) -> Path:
    """Write pictures, shown at `times` in s, into the container that the suffix names."""
    base = Fraction(1, 1000) if times is not None else 1 / rate
    with av.open(str(path), "w", options=muxer or {}, **container) as file:
        preset = {"preset": "ultrafast"} if codec == "libx264" else {}
        stream: Any = file.add_stream(codec, rate=rate, options=preset | (options or {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        about(stream)
        for number, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt, threads=1)
            picture.pts = number if times is None else round(times[number] * 1000)
            picture.time_base = base
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path


def read(path: Path, reading: Reading | None = None) -> tuple[VideoReader, list[Frame]]:
    with VideoReader(path, reading) as reader:
        return reader, list(reader)


def remuxed(source: Path, target: Path, shift: float = 0.0, skip: int = 0, **options: Any) -> Path:
    """Copy the packets of a video to another container, `shift` s later and without the first `skip`."""
    with av.open(str(source)) as old, av.open(str(target), "w", **options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is None or packet.pts is None or number < skip:
                continue
            ticks = round(shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
            new.mux(packet)
    return target


@pytest.mark.parametrize(("exchanged", "left_right", "top_bottom"), product((False, True), repeat=3))
def test_the_whole_display_matrix_counts(tmp_path: Path, exchanged: bool, left_right: bool, top_bottom: bool) -> None:
    across, down = (-1 if left_right else 1), (-1 if top_bottom else 1)
    matrix = (0, down, 0, across, 0, 0) if exchanged else (across, 0, 0, 0, down, 0)
    stored = still()
    if left_right or top_bottom:
        stored = cv2.flip(stored, -1 if left_right and top_bottom else int(left_right))
    if exchanged:
        stored = cv2.transpose(stored)
    values = [value << 16 for value in matrix] + [0, 0, 1 << 30]

    def turn(stream: Any) -> None:
        stream.set_display_matrix(values)

    path = write(tmp_path / "phone.mp4", [np.ascontiguousarray(stored)] * 3, about=turn)
    reader, frames = read(path)
    assert (reader.info.width, reader.info.height) == (WIDTH, HEIGHT)
    assert np.abs(frames[0].image.astype(int) - still()).mean() < 6
    assert reader.warnings == []


@pytest.mark.parametrize("kind", ["preview", "cover", "thumbnails"])
def test_the_best_stream_is_read_and_the_others_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "two.mkv"
    small = {"preview": (16, 16), "cover": (256, 192), "thumbnails": (256, 192)}[kind]
    every = {"preview": 1, "cover": 100, "thumbnails": 24}[kind]
    with av.open(str(path), "w") as file:
        first: Any = file.add_stream("mjpeg", rate=25)
        first.width, first.height, first.pix_fmt = *small, "yuvj420p"
        second: Any = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        second.width, second.height, second.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(50):
            for stream, image in ((first, still(*small)), (second, still())):
                if stream is second or number % every == 0:
                    picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
                        format=stream.pix_fmt, threads=1
                    )
                    picture.pts, picture.time_base = number, Fraction(1, 25)
                    file.mux(stream.encode(picture))
        file.mux(first.encode())
        file.mux(second.encode())
    reader, frames = read(path)
    assert (reader.info.width, reader.info.height, len(frames)) == (WIDTH, HEIGHT, 50)
    assert f"stream 0 ({small[0]}x{small[1]} px)" in reader.warnings[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("pause", [2.0, 20.0, 300.0])
def test_times_are_those_of_the_frames_across_a_pause(tmp_path: Path, suffix: str, pause: float) -> None:
    times = [i * STEP + (pause if i >= 25 else 0.0) for i in range(50)]
    reader, frames = read(write(tmp_path / f"motion{suffix}", [still()] * 50, times))
    assert float(reader.info.fps) == pytest.approx(25, rel=0.01)  # and not the mean of pictures and pause
    assert [frame.time for frame in frames] == pytest.approx(times, abs=2e-3)
    assert frames[25].index - frames[24].index == pytest.approx((pause + STEP) * 25, abs=1)
    assert any("pause of" in warning for warning in reader.warnings)


@pytest.mark.parametrize("jump", [1_000.0, 95_443.7, -1.9, -3_600.0])
def test_a_clock_that_jumps_does_not_stretch_the_video(tmp_path: Path, jump: float) -> None:
    parts = [write(tmp_path / f"{number}.ts", [still()] * 50) for number in (1, 2)]
    later = remuxed(parts[1], tmp_path / "later.ts", shift=4_000.0 + jump)
    path = tmp_path / "clock.ts"
    path.write_bytes(remuxed(parts[0], tmp_path / "a.ts", shift=4_000.0).read_bytes() + later.read_bytes())
    reader, frames = read(path)
    assert len(frames) == 100
    assert np.all(np.diff([frame.time for frame in frames]) > 0)
    assert frames[-1].time < 10
    assert frames[-1].index == pytest.approx(frames[-1].time * 25, abs=2)
    assert any("clock" in warning for warning in reader.warnings)


@pytest.mark.parametrize("claimed", [600, 1000])
def test_a_rate_that_nothing_has_is_not_believed(tmp_path: Path, claimed: int) -> None:
    path = write(tmp_path / "pi.avi", [still()] * 50, rate=Fraction(claimed), codec="mjpeg", pix_fmt="yuvj420p")
    reader, frames = read(path)
    assert frames[-1].time == pytest.approx(49 / 25)
    assert f"claims {claimed} frames/s" in reader.warnings[0]
    assert "--fps" in reader.warnings[0]
    reader, frames = read(path, Reading(fps=12.5))
    assert reader.info.fps == Fraction(25, 2)
    assert frames[-1].time == pytest.approx(49 / 12.5)
    assert reader.warnings == []


@pytest.mark.parametrize("claimed", [5, 120])
def test_the_frames_times_count_more_than_the_rate_in_the_header(tmp_path: Path, claimed: int) -> None:
    times = [i * STEP for i in range(50)]
    reader, frames = read(write(tmp_path / "false.mkv", [still()] * 50, times, rate=Fraction(claimed)))
    assert float(reader.info.fps) == pytest.approx(25, rel=0.01)
    assert [frame.index for frame in frames] == list(range(50))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("rates", [(10, 30), (30, 10, 30), (60, 30), (25, 2, 25)])
def test_frames_are_numbered_by_time_where_the_rate_changes(
    tmp_path: Path, rates: tuple[int, ...], suffix: str
) -> None:
    steps = np.concatenate([np.full(60, 1 / rate) for rate in rates])
    times = np.cumsum(steps).tolist()
    reader, frames = read(write(tmp_path / f"phone{suffix}", [still()] * len(times), times))
    assert len(frames) == len(times)
    assert float(reader.info.fps) == pytest.approx(max(rates), rel=0.03)
    assert [frame.time for frame in frames] == pytest.approx([time - times[0] for time in times], abs=2e-3)
    by_number = [frame.index / float(reader.info.fps) for frame in frames]
    assert by_number == pytest.approx([frame.time for frame in frames], abs=0.05)
    assert reader.warnings == []


def test_raw_streams_say_which_rate_is_assumed(tmp_path: Path) -> None:
    reader, frames = read(write(tmp_path / "raw.h264", [still()] * 30, format="h264"))
    assert len(frames) == 30
    assert "has no times; 25 frames/s is assumed" in reader.warnings[0]


def test_a_part_is_read_with_times_from_its_start(tmp_path: Path) -> None:
    images = [np.full((HEIGHT, WIDTH, 3), 2 * number, np.uint8) for number in range(100)]
    path = write(tmp_path / "long.mp4", images, options={"g": "10"})
    reader, frames = read(path, Reading(start=1.0, end=3.0))
    assert [frame.index for frame in frames] == list(range(50))
    assert frames[0].time == pytest.approx(0, abs=1e-6)
    assert frames[0].image.mean() == pytest.approx(50, abs=4)
    assert reader.info.frame_count == 50
    assert reader.warnings == []


@pytest.mark.parametrize("reading", [Reading(start=4.5), Reading(start=3.0, end=2.0), Reading(start=1.0, end=1.0)])
def test_a_part_that_leaves_nothing_is_refused(tmp_path: Path, reading: Reading) -> None:
    path = write(tmp_path / "short.mp4", [still()] * 50)
    with pytest.raises(VideoError, match="start"):
        read(path, reading)


def test_a_late_start_is_sought(tmp_path: Path) -> None:
    images = [np.full((HEIGHT, WIDTH, 3), number % 250, np.uint8) for number in range(1_000)]
    path = write(tmp_path / "long.mp4", images, options={"g": "50"})
    _, frames = read(path, Reading(start=32.0, end=34.0))
    assert len(frames) == 50
    assert frames[0].image.mean() == pytest.approx(800 % 250, abs=4)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("mpeg2video", ".mpg")])
def test_interlaced_pictures_are_deinterlaced(tmp_path: Path, codec: str, suffix: str) -> None:
    images = []
    for number in range(20):
        fields = []
        for field in (0, 1):
            image = np.full((96, 128, 3), 40, np.uint8)
            image[:, 5 * (2 * number + field) % 100 :][:, :24] = 220
            fields.append(image)
        fields[0][1::2] = fields[1][1::2]
        images.append(fields[0])
    options = {"x264-params": "tff=1"} if codec == "libx264" else {"flags": "+ildct+ilme", "q": "2"}
    reader, frames = read(write(tmp_path / f"camcorder{suffix}", images, codec=codec, options=options))
    assert len(frames) == 20
    assert sum("interlaced" in warning for warning in reader.warnings) == 1

    def combs(image: Image) -> float:
        rows = image.astype(int)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    assert np.mean([combs(frame.image) for frame in frames]) < 0.3 * np.mean([combs(image) for image in images])


@pytest.mark.parametrize("transfer", ["HLG", "PQ"])
@pytest.mark.parametrize("white", [100.0, 203.0])
def test_high_dynamic_range_is_brought_to_the_ordinary_one(tmp_path: Path, transfer: str, white: float) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 256)[None, :, None], (HEIGHT, 256, 3))
    light = np.where(ramp < 0.081, ramp / 4.5, ((ramp + 0.099) / 1.099) ** (1 / 0.45)) * white
    if transfer == "HLG":
        scene = (light / 1000) ** (1 / 1.2)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        coded = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    else:
        power = (light / 10_000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    image = np.round(coded * 255).astype(np.uint8)

    def hdr(stream: Any) -> None:
        stream.codec_context.color_trc = {"HLG": 18, "PQ": 16}[transfer]
        stream.codec_context.color_primaries = stream.codec_context.colorspace = 9

    path = write(tmp_path / "phone.mov", [image] * 3, about=hdr, options={"qp": "4"})
    reader, frames = read(path)
    assert "high dynamic range" in reader.warnings[0]
    shown, wanted = frames[0].image.astype(float), 255 * ramp
    plain = np.abs(image - wanted).mean()
    assert np.abs(shown - wanted).mean() < min(16, plain / 2)


@pytest.mark.parametrize("size", [(48, 64), (96, 48), (32, 24)])
def test_another_shape_in_mid_stream_is_not_squashed(tmp_path: Path, size: tuple[int, int]) -> None:
    first = write(tmp_path / "1.ts", [np.full((HEIGHT, WIDTH, 3), 200, np.uint8)] * 10)
    width, height = size
    disc = np.full((height, width, 3), 100, np.uint8)
    cv2.circle(disc, (width // 2, height // 2), 10, (250, 250, 250), -1)
    second = write(tmp_path / "2.ts", [disc] * 10)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    reader, frames = read(both)
    assert {frame.image.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    ys, xs = np.nonzero(frames[-1].image[..., 0] > 190)
    assert np.ptp(xs) == pytest.approx(np.ptp(ys), abs=2)
    said = [warning for warning in reader.warnings if f"{width}x{height}" in warning]
    assert len(said) == (size != (32, 24)) or len(said) == 1


@pytest.mark.parametrize("kind", ["edit list", "missing beginning", "late beginning"])
def test_a_cut_video_is_not_called_damaged(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (WIDTH, HEIGHT)) for _ in range(100)]
    whole = write(tmp_path / "whole.mp4", images, options={"g": "50", "bf": "0"})
    if kind == "edit list":
        path = remuxed(whole, tmp_path / "cut.mp4", -0.5, options={"avoid_negative_ts": "disabled"})
    elif kind == "missing beginning":
        path = remuxed(whole, tmp_path / "cut.ts", skip=20)
    else:
        path = remuxed(whole, tmp_path / "cut.mkv", 5.0)
    reader, frames = read(path)
    assert 50 <= len(frames) <= 100
    assert reader.warnings == []


def test_a_stream_that_appears_in_mid_file_does_not_end_the_reading(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.ts", [still()] * 60)
    with av.open(str(tmp_path / "more.ts"), "w") as file:
        streams: list[Any] = [file.add_stream("libx264", rate=25, options={"preset": "ultrafast"}) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(60):
            for stream in streams:
                picture = av.VideoFrame.from_ndarray(still(), format="bgr24").reformat(format="yuv420p", threads=1)
                picture.pts, picture.time_base = number + 60, Fraction(1, 25)
                file.mux(stream.encode(picture))
        for stream in streams:
            file.mux(stream.encode())
    both = tmp_path / "both.ts"
    both.write_bytes(plain.read_bytes() * 40 + (tmp_path / "more.ts").read_bytes())
    _, frames = read(both)
    assert len(frames) == 60 * 41


@pytest.mark.parametrize("matrix", [3, 8, 12, 14])
def test_a_colour_space_that_does_not_exist_is_guessed(tmp_path: Path, matrix: int) -> None:
    def odd(stream: Any) -> None:
        stream.codec_context.colorspace = matrix

    _, frames = read(write(tmp_path / "odd.mp4", [still()] * 3, about=odd))
    assert np.abs(frames[0].image.astype(int) - still()).mean() < 30


@pytest.mark.parametrize(("width", "height"), [(4096, 16), (16, 1024), (16, 16)])
def test_the_background_of_odd_shapes_can_be_learnt(tmp_path: Path, width: int, height: int) -> None:
    path = write(tmp_path / "strip.mp4", [still(width, height)] * 12)
    reader, frames = read(path)
    model = BackgroundModel()
    model.start(reader.info)
    assert max(alpha.max() for alpha in model.foreground(frames)) < 128


def test_the_background_is_learnt_as_the_video_is_read(tmp_path: Path) -> None:
    def turn(stream: Any) -> None:
        stream.set_display_matrix([-1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30])

    path = tmp_path / "mirrored.mp4"
    write(path, [still()] * 12, about=turn, muxer={"movflags": "use_metadata_tags"})
    reader, frames = read(path)
    model = BackgroundModel()
    model.start(reader.info)
    assert max(alpha.max() for alpha in model.foreground(frames)) < 128


@pytest.mark.parametrize("count", [2, 3])
def test_two_cameras_in_one_file_are_two_videos(tmp_path: Path, count: int) -> None:
    path = tmp_path / "dash.mkv"
    with av.open(str(path), "w") as file:
        streams: list[Any] = [file.add_stream("mpeg4", rate=25) for _ in range(count + 1)]
        for number, stream in enumerate(streams):
            small = number == count
            stream.width, stream.height, stream.pix_fmt = (16, 16, "yuv420p") if small else (WIDTH, HEIGHT, "yuv420p")
        for time in range(30):
            for number, stream in enumerate(streams):
                image = np.full((stream.height, stream.width, 3), 60 * number + 40, np.uint8)
                picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p", threads=1)
                picture.pts, picture.time_base = time, Fraction(1, 25)
                file.mux(stream.encode(picture))
        for stream in streams:
            file.mux(stream.encode())
    plain = write(tmp_path / "plain.mp4", [still()] * 30)
    _, probes = find_gallery_and_probes(str(plain), [str(path)])
    assert probes == [path.with_name(f"dash.mkv#{number + 1}") for number in range(count)]
    assert distinct_names(probes) == [f"dash-camera-{number + 1}" for number in range(count)]
    for number, probe in enumerate(probes):
        reader, frames = read(probe)
        assert (len(frames), reader.warnings) == (30, [])
        assert frames[0].image.mean() == pytest.approx(60 * number + 40, abs=5)
    assert find_gallery_and_probes(str(path), [str(plain)])[1] == [plain]
    assert list(files_of(probes[0])) == [path]
    assert find_gallery_and_probes(str(probes[0]), [str(probes[1])]) == (probes[0], [probes[1]])
    for gallery in (path, probes[0]):
        with pytest.raises(VideoError, match="both as gallery and as probe"):
            find_gallery_and_probes(str(gallery), [str(path)])
    with pytest.raises(VideoError, match=f"has {count} cameras, and not 9"):
        VideoReader(path.with_name("dash.mkv#9"))


@pytest.mark.parametrize("after", [30, 260])
def test_an_error_of_the_container_is_told_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path = write(tmp_path / "long.mp4", [still(32, 32)] * 300)
    whole = opening.demuxed_packets

    def broken(*given: Any) -> Any:
        for number, packet in enumerate(whole(*given)):
            if number == after:
                raise av.error.InvalidDataError(1, "the disk was pulled out")
            yield packet

    monkeypatch.setattr(opening, "demuxed_packets", broken)
    reader, frames = read(path)
    assert len(frames) == pytest.approx(after, abs=3)
    assert "the disk was pulled out" in reader.warnings[0]


@pytest.mark.parametrize(
    "times", [[0.0], [0.0, 0.04], [0.0, 0.04, 400.0], [0.0, 300.0], [0.0, 50_000.0], [0.0, 0.001, 0.002, 9.0]]
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_few_pictures_with_odd_times_are_read(tmp_path: Path, times: list[float], suffix: str) -> None:
    reader, frames = read(write(tmp_path / f"few{suffix}", [still(32, 32)] * len(times), times))
    assert len(frames) == len(times)
    assert 0.01 <= reader.info.fps <= 300


@pytest.mark.parametrize("kind", ["plain", "turned", "interlaced", "HDR"])
def test_pictures_do_not_stay_in_memory(tmp_path: Path, kind: str) -> None:
    def about(stream: Any) -> None:
        if kind == "turned":
            stream.set_display_matrix([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30])
        if kind == "HDR":
            stream.codec_context.color_trc = 18

    options = {"x264-params": "tff=1"} if kind == "interlaced" else {}
    path = write(tmp_path / "long.mp4", [still()] * 120, about=about, options=options)
    gc.collect()
    gc.disable()
    try:
        with VideoReader(path) as reader:
            assert sum(1 for _ in reader) == 120
            # `isinstance` would ask strange objects of other libraries for their class, and some of them warn.
            alive = sum(issubclass(type(one), av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 20
