"""Uploads: what is taken in, under which name, and what a broken one leaves behind."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from app.video.formats import HEAD, VIDEO_SUFFIXES
from app.video.reader import VideoReader
from app.web.inspection import Header
from app.web.options import NotThereError, TooLargeError, WebError, WebOptions
from app.web.videos import Video, VideoLibrary, container_of, safe_stem
from tests.clips import Scene, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, Scene((), width=64, height=48, seconds=0.2))
    return path.read_bytes()


@pytest.fixture
def options(tmp_path: Path) -> WebOptions:
    return WebOptions(folder=tmp_path / "web", input_videos=tmp_path / "input", largest_upload=1 << 20, most_uploads=2)


async def _chunks(content: bytes, size: int = 100) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def receive(library: VideoLibrary, name: str, content: bytes) -> Video:
    return asyncio.run(library.receive(name, len(content), _chunks(content)))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("walk.mp4", "walk"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\my walk.MOV", "my walk"),
        ("..", "video"),
        ("", "video"),
        (".hidden.mp4", "hidden"),
        ("a\0b\n<c>.mp4", "a_b_c"),
        ("Straße é 日本.mp4", "Straße é 日本"),
        ("x" * 300 + ".mp4", "x" * 80),
        ("...mp4", "video"),
        ("..mp4", "video"),
        ("CON.mp4", "_CON"),
        ("nul.mov", "_nul"),
        ("\udcff.mp4", "video"),
    ],
)
def test_names_from_outside_become_harmless(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


def test_the_first_bytes_tell_a_video(clip: bytes) -> None:
    assert container_of(clip[:512]) == ".mp4"
    assert container_of(b"\x1a\x45\xdf\xa3" + b"\0" * 30 + b"webm") == ".webm"
    assert container_of(b"RIFF\0\0\0\0AVI LIST") == ".avi"
    assert container_of((b"G" + b"\0" * 187) * 3) == ".ts"
    for other in (
        b"",
        b"G" * 100,
        b"<!doctype html>",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"#!/bin/sh\n" * 60,
    ):
        assert container_of(other) is None, other


def test_an_upload_is_listed_and_kept_over_a_restart(options: WebOptions, clip: bytes) -> None:
    video = receive(VideoLibrary(options), "../my walk.exe", clip)
    library = VideoLibrary(options)  # another one: the program was started anew
    library.tidy()
    assert asyncio.run(library.all()) == [video] == [library.get(video.video_id)]
    assert (video.name, video.bytes, video.seen.width, video.seen.height) == ("my walk.mp4", len(clip), 64, 48)
    assert library.path(video).read_bytes() == clip
    assert library.thumbnail(video).read_bytes().startswith(b"\xff\xd8")
    assert receive(library, "my walk.mp4", clip).name == "my walk 2.mp4", "runs name their files by the stem"
    with pytest.raises(TooLargeError, match="2 uploads"):
        receive(library, "third.mp4", clip)
    library.remove(video)
    with pytest.raises(NotThereError):
        library.get(video.video_id)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello" * 500, "not a video"), (b"", "not a video"), (b"\0\0\0\x20ftypisom" + b"\0" * 600, "clip.mp4")],
)
def test_what_is_no_video_leaves_nothing(options: WebOptions, content: bytes, message: str) -> None:
    library = VideoLibrary(options)
    with pytest.raises(WebError, match=message):
        receive(library, "clip.mp4", content)
    assert not list(options.folder.glob("uploads/*"))


def test_too_large_however_it_is_announced(options: WebOptions, clip: bytes) -> None:
    library, large = VideoLibrary(options), clip + bytes(1 << 20)
    with pytest.raises(TooLargeError, match="larger than 1 MiB"):
        asyncio.run(library.receive("x.mp4", len(large), _chunks(b"")))
    with pytest.raises(TooLargeError, match="larger than 1 MiB"):
        asyncio.run(library.receive("x.mp4", 0, _chunks(large, 1 << 16)))
    assert not list(options.folder.glob("uploads/*"))


def test_a_broken_connection_leaves_nothing(options: WebOptions, clip: bytes) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield clip[:1000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(VideoLibrary(options).receive("x.mp4", len(clip), breaks()))
    assert not list(options.folder.glob("uploads/*"))


def test_a_killed_upload_is_cleared_away(options: WebOptions) -> None:
    half = options.folder / "uploads" / ".0123.partial"
    half.mkdir(parents=True)
    (half / "content").write_bytes(b"half a video")
    VideoLibrary(options).tidy()
    assert not half.exists()


def test_the_input_folder_is_listed_but_never_touched(options: WebOptions, clip: bytes) -> None:
    options.input_videos.mkdir()
    (options.input_videos / "walk.mp4").write_bytes(clip)
    (options.input_videos / "notes.txt").write_text("no video")
    (options.input_videos / "broken.mp4").write_bytes(clip[:600])
    library = VideoLibrary(options)
    broken, video = asyncio.run(library.all())
    assert (video.name, video.source, library.path(video)) == ("walk.mp4", "input", options.input_videos / "walk.mp4")
    with pytest.raises(WebError, match=r"broken\.mp4"):
        asyncio.run(library.look_into(broken.video_id))
    assert asyncio.run(library.all()) == [video], "what cannot be read is told once, and then not listed any more"
    with pytest.raises(WebError, match="delete it there"):
        library.remove(video)
    (options.input_videos / "walk.mp4").write_bytes(clip + b"\0" * 8)
    (changed,) = asyncio.run(library.all())
    assert changed.video_id != video.video_id, "a changed file is another video"


def test_nobody_waits_for_a_look_into_the_videos(options: WebOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    async def inspected(video: Path, thumbnail: Path) -> Header:
        looks.append(video.name)
        await asyncio.sleep(0.01)
        thumbnail.write_bytes(b"picture")
        return Header(width=64, height=48, fps=25.0, frames=10)

    monkeypatch.setattr("app.web.videos.inspect", inspected)
    options.input_videos.mkdir()
    for number in range(30):
        (options.input_videos / f"{number:02d}.mp4").write_bytes(b"film")
    library = VideoLibrary(options)
    listed = asyncio.run(library.all())
    assert (len(listed), looks, {video.seen for video in listed}) == (30, [], {None})

    async def look_into_one() -> list[Video]:
        return await asyncio.gather(*(library.look_into(listed[7].video_id) for _ in range(5)))

    assert {video.seen.frames for video in asyncio.run(look_into_one()) if video.seen} == {10}
    assert looks == ["07.mp4"]
    assert library.thumbnail(listed[7]).read_bytes() == b"picture"
    assert [video.name for video in asyncio.run(VideoLibrary(options).all()) if video.seen] == ["07.mp4"]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="every name is text there")
def test_a_file_whose_name_is_no_text_does_not_lose_the_others(options: WebOptions, clip: bytes) -> None:
    options.input_videos.mkdir()
    for name in (b"a.mp4", b"caf\xe9.mp4", b"\xff\xfe.mov"):
        (options.input_videos / os.fsdecode(name)).write_bytes(clip)
    assert [video.name for video in asyncio.run(VideoLibrary(options).all())] == ["a.mp4"]


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (("walk.mp4", "walk.mp4"), "walk"),
        (("Walk.mp4", "wALK.mov"), "walk"),
        (("Caf\u00e9.mp4", "CAFE\u0301.mp4"), "caf\u00e9"),
        (("a/walk.mp4", "b\\walk.avi"), "walk"),
    ],
)
def test_uploads_at_the_same_time_get_different_names(
    options: WebOptions, clip: bytes, names: tuple[str, str], stem: str
) -> None:
    library = VideoLibrary(options)

    async def both() -> list[Video]:
        return await asyncio.gather(*(library.receive(name, len(clip), _chunks(clip)) for name in names))

    found = {unicodedata.normalize("NFC", Path(video.name).stem.casefold()) for video in asyncio.run(both())}
    assert found == {stem, f"{stem} 2"}, "whichever comes first"


@pytest.mark.parametrize(
    ("name", "stored"), [("walk.MP4", "walk.mp4"), ("walk.mov", "walk.mov"), ("walk.avi", "walk.mov"), ("w", "w.mov")]
)
def test_what_cameras_call_mp4_keeps_its_name(options: WebOptions, clip: bytes, name: str, stored: str) -> None:
    assert clip[4:8] == b"ftyp"
    of_quicktime = clip[:8] + b"qt  " + clip[12:]
    assert asyncio.run(VideoLibrary(options).receive(name, len(clip), _chunks(of_quicktime))).name == stored


def test_uploads_at_the_same_time_keep_to_the_limit(options: WebOptions, clip: bytes) -> None:
    library = VideoLibrary(options)

    async def many(content: bytes) -> list[Video | BaseException]:
        uploads = (library.receive(f"{number}.mp4", 0, _chunks(content)) for number in range(6))
        return await asyncio.gather(*uploads, return_exceptions=True)

    broken = asyncio.run(many(b"no video" * 100))
    assert [type(one) for one in broken].count(WebError) == options.most_uploads
    outcome = asyncio.run(many(clip))
    assert [type(one) for one in outcome] == [Video] * 2 + [TooLargeError] * 4, "failed uploads do not count"
    assert len(list(options.folder.glob("uploads/*"))) == 2


@pytest.mark.parametrize("video_id", ["..", "../uploads", "a" * 31, "/etc/passwd", "A" * 32, ""])
def test_ids_are_never_paths(options: WebOptions, video_id: str) -> None:
    with pytest.raises(NotThereError):
        VideoLibrary(options).get(video_id)


_CODECS = {
    ".3gp": "mpeg4", ".3g2": "mpeg4", ".flv": "flv1", ".gif": "gif", ".ivf": "libvpx",
    ".m2v": "mpeg2video", ".mjpeg": "mjpeg", ".mxf": "mpeg2video", ".rm": "rv10",
    ".ogv": "libvpx", ".vob": "mpeg2video", ".mpg": "mpeg1video", ".webm": "libvpx", ".wmv": "wmv2", ".asf": "wmv2",
    ".y4m": "rawvideo", ".h264": "libx264", ".hevc": "libx265", ".dv": "dvvideo", ".m4v": "mpeg4", ".obu": "libsvtav1",
}  # fmt: skip
_MUXERS = {
    ".3g2": "3g2", ".3gp": "3gp", ".asf": "asf", ".avi": "avi", ".dv": "dv", ".flv": "flv", ".gif": "gif",
    ".h264": "h264", ".hevc": "hevc", ".ivf": "ivf", ".m2ts": "mpegts", ".m2v": "mpeg2video", ".m4v": "m4v",
    ".mjpeg": "mjpeg", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".mpg": "mpeg", ".mxf": "mxf", ".nut": "nut",
    ".obu": "obu", ".ogv": "ogg", ".rm": "rm", ".ts": "mpegts", ".vob": "vob", ".webm": "webm", ".wmv": "asf",
    ".y4m": "yuv4mpegpipe",
}  # fmt: skip


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Give the thread its scheduling back: SVT-AV1 makes the thread that encodes a real-time one where root runs it.

    Later threads would inherit that, and those that wait actively, as torch's do, then never let another one run.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system cannot be asked for it")
def test_writing_av1_leaves_the_priority_of_the_tests_alone() -> None:
    before = os.sched_getscheduler(0)
    _written(".obu")
    assert os.sched_getscheduler(0) == before


def _written(suffix: str) -> bytes:
    """Write a short video in a format; skip where this FFmpeg cannot."""
    with _usual_priority():
        return _encoded(suffix)


def _encoded(suffix: str) -> bytes:
    size = {".dv": (720, 576), ".3gp": (176, 144), ".3g2": (176, 144)}.get(suffix, (128, 96))
    pixels = {"gif": "rgb8", "mjpeg": "yuvj420p"}
    buffer = io.BytesIO()
    codec = _CODECS.get(suffix, "mpeg4")
    options = {"mpegts_m2ts_mode": "1"} if suffix == ".m2ts" else {}
    try:
        out = av.open(buffer, "w", format=_MUXERS[suffix], options=options)
        stream = out.add_stream(codec, rate=25, options={"preset": "12"} if codec == "libsvtav1" else {})
    except ValueError as error:
        pytest.skip(f"this FFmpeg cannot write it: {error}")
    stream.width, stream.height = size
    stream.pix_fmt = pixels.get(codec, "yuv420p")
    with out:
        for number in range(8):
            picture = np.random.default_rng(number).integers(0, 256, (size[1] // 8, size[0] // 8, 3)).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture.repeat(8, 0).repeat(8, 1), format="rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", sorted(_MUXERS))
def test_what_the_command_line_opens_can_be_uploaded(suffix: str, tmp_path: Path) -> None:
    assert suffix in VIDEO_SUFFIXES
    content = _written(suffix)
    kind = container_of(content[:HEAD])
    assert kind in VIDEO_SUFFIXES
    file = tmp_path / f"upload{kind}"
    file.write_bytes(content)
    with VideoReader(file) as reader:
        assert next(iter(reader)).image.std() > 20


def test_an_upload_that_was_cut_out_of_a_stream() -> None:
    stream = _written(".ts")
    for start in (1, 100, 187, 188, 300):
        assert container_of(stream[start:][:HEAD]) == ".ts"


@pytest.mark.parametrize(
    "content",
    [b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 40, b"ffconcat version 1.0\nfile /etc/passwd\n" * 40,
     b"<?xml version='1.0'?><MPD>" + b" " * 600, b"\0" * 1024, b"ID3" + bytes(600), b"\x89PNG\r\n\x1a\n" + bytes(600),
     b"\0\0\1\0\1\0 " + bytes(600)],
)  # fmt: skip
def test_playlists_and_other_files_are_no_videos(content: bytes, options: WebOptions) -> None:
    assert container_of(content[:HEAD]) is None
    with pytest.raises(WebError, match="not a video"):
        receive(VideoLibrary(options), "walk.mp4", content)


def test_the_input_folder_has_the_videos_that_the_command_line_finds(options: WebOptions, clip: bytes) -> None:
    options.input_videos.mkdir()
    for name in ("a.mp4", "b.M4V", ".hidden.mp4", "notes.txt", "without_suffix"):
        (options.input_videos / name).write_bytes(clip)
    (options.input_videos / "folder.mp4").mkdir()
    assert [video.name for video in asyncio.run(VideoLibrary(options).all())] == ["a.mp4", "b.M4V"]
