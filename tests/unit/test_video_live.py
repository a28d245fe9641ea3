"""Cameras and addresses: how they are opened, what the messages say, and what happens when they break off."""

from __future__ import annotations

import base64
import logging
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from app.errors import VideoError
from app.types import Frame
from app.video import live
from app.video.live import LiveSource, Outage, Pause
from app.video.sources import public_name
from app.video.writer import VideoWriter

PASSWORD = "s3c@ret"
ADDRESS = "me:s3c%40ret@127.0.0.1"


class Camera(ThreadingHTTPServer):
    """An MJPEG camera that sends `rate` JPEGs a second and `frames` of them in each connection.

    If it is `silent`, the connection then stays open without pictures. It takes `most` connections. Every eight
    pictures the size changes to the next of `sizes`. The grey of a picture tells which connection it belongs to. At
    ``/still`` it answers each request with one picture, which changes with each `repeats` requests.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.rate, self.frames, self.silent, self.connections, self.sent = 100.0, 10_000, False, 0, 0
        self.most, self.repeats = 1000, 1
        self.sizes = [(64, 48)]
        super().__init__(("127.0.0.1", port), Stream)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not report that a viewer has gone."""


class Stream(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        login = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != login:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        if self.path == "/page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>no video</html>" * 100)
            return
        if self.path.startswith("/still"):
            self._still()
            return
        if not self.path.startswith("/stream") or self.server.connections == self.server.most:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        self.server.connections += 1
        for number in range(self.server.frames):
            width, height = self.server.sizes[min(number // 8, len(self.server.sizes) - 1)]
            self.server.sent = number
            grey = np.full((height, width, 3), 40 * self.server.connections, np.uint8)
            grey[:, : width // 2] = number % 250
            picture = cv2.imencode(".jpg", grey)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(1 / self.server.rate)
        while self.server.silent:
            time.sleep(0.05)

    def _still(self) -> None:
        """Answer with one picture, or with several, whatever kind the address names."""
        kind = next((kind for kind in ("png", "bmp", "webp") if kind in self.path), "jpeg")
        self.server.sent += 1
        if self.server.sent > self.server.frames:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", f"image/{kind}")
        many = 20 if "several" in self.path else 1
        pictures = []
        for number in range(many):
            grey = np.full((48, 64, 3), 40, np.uint8)
            grey[:, :32] = 5 * (self.server.sent // self.server.repeats + number)
            pictures.append(cv2.imencode(f".{kind}", grey)[1].tobytes())
        if "unsized" not in self.path:
            self.send_header("Content-Length", str(sum(map(len, pictures))))
        self.end_headers()
        for picture in pictures:
            self.wfile.write(picture)
            time.sleep(1 / self.server.rate)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    monkeypatch.setattr(live, "_PAUSES", (0.05, 0.1))
    with Camera() as server:
        yield server
        server.silent = False
        server.shutdown()


def address(camera: Camera, path: str = "stream") -> str:
    return f"http://{ADDRESS}:{camera.server_port}/{path}?token=hidden"


def taken(source: LiveSource, count: int, seconds: float = 20.0) -> list[Frame | Outage]:
    """Take the next `count` frames and outages."""
    found: list[Frame | Outage] = []
    end = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < end, f"only {len(found)} of {count} came"
        one = source.take()
        if one is not None:
            found.append(one)
    return found


def test_frames_are_numbered_by_their_time_if_the_rate_is_not_known(camera: Camera) -> None:
    camera.rate = 10
    with LiveSource(address(camera)) as source:
        assert (source.info.width, source.info.height, float(source.info.fps)) == (64, 48, 25.0)
        frames: list[Frame] = []
        while not frames or frames[-1].time < 1.5:
            frames += [one for one in taken(source, 1) if isinstance(one, Frame)]
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert len(frames) < 25, "10 come in a second"
    assert indices[-1] == round(25 * frames[-1].time)


@pytest.mark.parametrize(
    "path",
    [
        "still.jpg",
        "still",
        "still.cgi",
        "still-png",
        "still.png",
        "still-bmp",
        "still-webp",
        "still-unsized.jpg",
        "still-unsized-png",
    ],
)
def test_a_camera_of_still_pictures_is_asked_again_and_again(
    path: str, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_BETWEEN_STILLS", 0.04)
    with LiveSource(address(camera, path), depth=50) as source:
        begun = time.monotonic()
        frames = [one for one in taken(source, 8) if isinstance(one, Frame)]
        assert time.monotonic() - begun > 0.2, "it is not asked without a pause"
    assert len(frames) == 8, "no outage"
    shades = [int(frame.image[:, :24].mean()) for frame in frames]
    assert shades == sorted(shades)
    assert len(set(shades)) == 8
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))
    assert all(abs(frame.index - 25 * frame.time) < 8 for frame in frames)


def test_a_still_picture_that_has_not_changed_is_no_new_frame(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_BETWEEN_STILLS", 0.01)
    camera.repeats = 4
    with LiveSource(address(camera, "still.jpg"), depth=50) as source:
        frames = [one for one in taken(source, 4) if isinstance(one, Frame)]
        assert camera.sent >= 12
    assert len({int(frame.image[:, :24].mean()) for frame in frames}) == len(frames) == 4


def test_still_pictures_that_fail_are_an_outage(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_BETWEEN_STILLS", 0.01)
    camera.frames = 3
    with LiveSource(address(camera, "still.jpg"), depth=50) as source:
        *frames, outage = taken(source, 4)
        assert all(isinstance(frame, Frame) for frame in frames)
        assert isinstance(outage, Outage)
        assert "s3c" not in outage.reason
        assert "hidden" not in outage.reason
        camera.frames = 1000
        assert isinstance(taken(source, 1)[0], Frame)


def test_a_stream_in_the_format_of_still_pictures_is_a_stream(camera: Camera) -> None:
    with LiveSource(address(camera, "still-several"), depth=50) as source:
        found = taken(source, 21)
    assert [type(one) for one in found] == [Frame] * 20 + [Outage]
    assert camera.sent == 1


def test_only_frames_that_are_looked_at_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: self.is_set())  # played as fast as it goes
    path = tmp_path / "second.mp4"
    with VideoWriter(path, 64, 48, Fraction(25)) as writer:
        for number in range(25):
            writer.write(np.full((48, 64, 3), 10 * number, np.uint8), number / 25)
    source = LiveSource(str(path), depth=6, looks=5.0)
    source._work()
    found = [source.take() for _ in range(5)]
    assert [frame.index for frame in found if isinstance(frame, Frame)] == [0, 5, 10, 15, 20]
    assert source.ended
    assert source.dropped == 0, "the others took no room"


@pytest.mark.parametrize("taken_at", ["once", "late"])
def test_pauses_of_a_recording_are_told_before_the_next_frame(
    taken_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: self.is_set())  # played as fast as it goes
    pictures = np.zeros((12, 48, 64, 3), np.uint8)
    path = tmp_path / "pauses.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = 40 * number + (5000 if number >= 5 else 0) + (400 if number >= 9 else 0)
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    source = LiveSource(str(path), depth=50 if taken_at == "once" else 3)
    source._work()
    found = []
    while not source.ended:
        found.append(source.take())
    kinds = [one if isinstance(one, Pause) else type(one) for one in found]
    if taken_at == "once":
        assert kinds == [Frame] * 5 + [Pause(125)] + [Frame] * 4 + [Pause(10)] + [Frame] * 3
    else:
        assert kinds == [Frame] * 3 + [Pause(125)], "of pauses that wait together the longest counts"


def test_a_camera_that_dies_is_found_again(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    camera.frames, camera.most = 6, 1
    with LiveSource(address(camera), depth=50) as source:
        first = taken(source, 7)
        camera.shutdown()
        camera.server_close()
        assert isinstance(first[-1], Outage)
        assert "the other side ended it" in first[-1].reason
        time.sleep(0.5)
        with Camera(camera.server_port) as again:
            again.connections = 4
            frame = taken(source, 1)[0]
            again.shutdown()
    assert isinstance(frame, Frame)
    assert isinstance(first[-2], Frame)
    assert frame.time > first[-2].time + 0.45
    assert frame.index == round(25 * frame.time), "the time away counts"
    assert frame.image[:, 40:].mean() > 150, "it is a picture of the new connection"
    assert "broke off" in caplog.text
    assert "is back after" in caplog.text
    assert "s3c" not in caplog.text
    assert "hidden" not in caplog.text


def test_a_source_that_falls_silent_is_an_outage(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.4)
    camera.frames, camera.silent = 6, True
    with LiveSource(address(camera), depth=50) as source:
        *_, last = taken(source, 7)
        assert isinstance(last, Outage)
        assert "no answer" in last.reason
        assert isinstance(taken(source, 1)[0], Frame)
    assert camera.connections >= 2


def test_closing_does_not_wait_for_a_silent_source(camera: Camera) -> None:
    camera.frames, camera.silent = 6, True
    with LiveSource(address(camera), depth=50) as source:
        taken(source, 6)
        begun = time.monotonic()
    assert time.monotonic() - begun < live._PATIENCE - 1


def test_pictures_of_another_size_are_scaled_to_the_first(
    camera: Camera, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LEAST_IDLE", -1.0)  # no frame is skipped
    camera.sizes = [(64, 48), (32, 24), (128, 96)]
    with LiveSource(address(camera), depth=50) as source:
        frames = taken(source, 30)
    assert {frame.image.shape for frame in frames if isinstance(frame, Frame)} == {(48, 64, 3)}
    told = [record.getMessage().partition(" now ")[2] for record in caplog.records]
    assert [text[:10] for text in told if text] == ["gives 32x2", "gives 128x"]


def test_a_backlog_of_pictures_is_thrown_away(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    square = live._square

    def slow(*of: Any) -> Any:
        """Wait until four more pictures have been sent."""
        until = camera.sent + 4
        while camera.sent < until:
            time.sleep(0.005)
        return square(*of)

    monkeypatch.setattr(live, "_square", slow)
    lags = []
    with LiveSource(address(camera)) as source:
        while camera.sent < 500:
            frame = source.take()
            if isinstance(frame, Frame):
                lags.append((camera.sent - int(frame.image[24, 8, 0]) + 9) % 250)  # JPEG is not exact
        assert source.dropped > 50
    assert min(lags[-60:]) < 60, "three quarters are too many: 450 wait at the end otherwise"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("http://127.0.0.1:{port}/stream", "another user name or password"),
        ("http://me:s3cret@127.0.0.1:{port}/stream", "another user name or password"),
        ("http://" + ADDRESS + ":{port}/nothing", "nothing at this path"),
        ("http://" + ADDRESS + ":{port}/page", "closed the connection|no video"),
        ("http://" + ADDRESS.replace("127.0.0.1", "camera.invalid") + "/", "no machine of this name"),
        ("rtsp://" + ADDRESS + ":9/stream", "nothing listens at this port"),
        ("rtsp://me:s3c/ret@127.0.0.1:9/stream", "not spelt correctly.*%2F"),
        ("foo://" + ADDRESS + "/stream", "not known"),
    ],
)
def test_the_error_of_a_source_says_why_but_no_password(
    name: str, complaint: str, camera: Camera, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VideoError, match=complaint) as caught:
        LiveSource(name.format(port=camera.server_port))
    assert "s3c" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3c" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("password", ["secret", "se@cret", "se/cret", "se?cret", "se#cret", "se:cret"])
def test_a_public_name_never_contains_the_password(password: str) -> None:
    assert public_name(f"rtsp://me:{password}@10.0.0.7:554/cam?token=x#y") == "rtsp://10.0.0.7:554/cam"


@pytest.mark.parametrize(
    "rest",
    [
        "cam?user=me@home.org&password=s3cret",
        "user=me&password=s3cret&channel=1.sdp",
        "user=me_password=s3cret_0.sdp",
    ],
)
def test_nor_the_password_among_the_options(rest: str) -> None:
    shown = public_name(f"rtsp://10.0.0.7:554/{rest}")
    assert shown.startswith("rtsp://")
    assert "s3c" not in shown


class Capture:
    """Stands for OpenCV's class: a camera that gives two pictures."""

    asked: tuple[int, int]

    def __init__(self, number: int, backend: int) -> None:
        Capture.asked, self._left = (number, backend), 2

    def isOpened(self) -> bool:  # noqa: N802
        return Capture.asked[0] != 5

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        return (True, np.zeros((24, 32, 3), np.uint8)) if self._left >= 0 else (False, None)

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FPS: 30.0}[what]

    def release(self) -> None: ...


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for /dev of a Linux machine."""
    monkeypatch.setattr(live, "_DEVICES", tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    return tmp_path


@pytest.mark.parametrize(
    ("system", "backend"),
    [
        ("linux", cv2.CAP_V4L2),
        ("darwin", cv2.CAP_AVFOUNDATION),
        ("win32", cv2.CAP_DSHOW),
        ("freebsd14", cv2.CAP_ANY),
    ],
)
def test_each_system_has_its_own_backend_for_cameras(
    system: str, backend: int, devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    (devices / "video2").touch()
    source = LiveSource("2")
    assert Capture.asked == (2, backend)
    assert (source.name, source.info.width, source.info.height, float(source.info.fps)) == ("camera 2", 32, 24, 30.0)
    with pytest.raises(
        VideoError, match=r"There is no camera 5\. There are: 2" if system == "linux" else "Camera 5 can"
    ):
        LiveSource("5")


def test_a_camera_that_is_missing_or_in_use(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(VideoError, match=r"There is no camera 0\. This machine has none"):
        LiveSource("0")
    (devices / "video5").touch()
    with pytest.raises(VideoError, match="no other program uses it"):
        LiveSource("5")


def test_a_camera_that_is_pulled_out_and_put_in_again(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(live, "_PAUSES", (0.01,))
    (devices / "video0").touch()
    with LiveSource("0", depth=50) as source:
        kinds = [type(one) for one in taken(source, 5)]
    assert kinds == [Frame, Frame, Outage, Frame, Frame]
