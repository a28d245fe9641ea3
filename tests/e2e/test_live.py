"""A source is watched as it plays: who comes, who it is, who goes; and nothing is ever waited for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.detect.motion import MotionDetector
from app.errors import SettingsError, VideoError
from app.gait.gei import GaitEnergyImage
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.runs.enrol import enrol_walks
from app.runs.live import LiveOptions, Watcher, WatchSummary, watch
from app.segment.motion import MotionSegmenter
from app.settings import MatchSettings, OutputSettings, QualitySettings, Settings
from app.stages import Run, Stages
from app.track.bytetrack import ByteTracker
from app.types import Detections, Frame
from app.video.live import LiveSource, Outage, Pause, Source
from app.video.reader import VideoReader
from app.video.sources import public_name
from app.walks.analyse import analyse
from tests.clips import Scene, write_clip

ROOT = Path(__file__).resolve().parents[2]


def stages(folder: Path) -> Stages:
    settings = Settings(
        output=OutputSettings(folder, silhouettes=False, features=False), match=MatchSettings(threshold=0.9)
    )
    return Stages(
        MotionDetector(None, settings.detector),
        MotionSegmenter(None, settings.segmenter),
        GaitEnergyImage(),
        settings,
        partial(ByteTracker, settings=settings.track),
    )


@pytest.fixture(scope="module")
def known(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the two people of `gallery.mp4`."""
    return Path(shutil.copy(enrolled, tmp_path_factory.mktemp("live") / "known.db"))


class Played:
    """A file whose frames come as fast as they are taken; of each `every` one comes through."""

    def __init__(self, path: Path, every: int = 1) -> None:
        self.name, self.is_file, self.dropped, self._every = str(path), True, 0, every
        with VideoReader(path) as reader:
            self.info = reader.info
            self._frames = list(reader)

    @property
    def ended(self) -> bool:
        return not self._frames

    def take(self) -> Frame | None:
        frame, *self._frames = self._frames
        self.dropped += len(self._frames[: self._every - 1])
        del self._frames[: self._every - 1]
        return frame


def watched(source: Source, known: Path, folder: Path, **more: Any) -> tuple[list[dict[str, Any]], WatchSummary]:
    events: list[dict[str, Any]] = []
    live = LiveOptions(window=2.0, every=0.4, report_drops=1.0, **more)
    with SqliteGallery(known) as gallery:
        painted = folder / "painted.mp4"
        summary = watch(source, gallery, stages(folder), events.append, live, save=painted)
    return events, summary


def test_who_comes_is_named_and_leaves(studio: Path, known: Path, tmp_path: Path) -> None:
    events, summary = watched(Played(studio / "input_videos" / "probe1.mp4"), known, tmp_path)
    assert (summary.frames, summary.dropped) == (90, 0)
    came = {event["track_id"] for event in events if event["event"] == "appeared"}
    assert came == {event["track_id"] for event in events if event["event"] == "left"}
    assert not [event for event in events if event["event"] == "left" and event["name"] and event["reason"]]
    named = [event for event in events if event["event"] == "named"]
    assert {event["name"] for event in named} == {"Anna", "Ben"}
    for event in named:
        assert event["seconds"] > 1.0, "not before there is evidence"
        assert event["distance"] <= 0.9
        assert event["margin"] > 0
    times = [event["seconds"] for event in events]
    assert times == sorted(times)
    with av.open(str(tmp_path / "painted.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 90
    with SqliteGallery(known) as gallery:
        logged = [(event.event, event.details.get("name")) for event in gallery.log(1000)]
    assert logged.count(("appeared", None)) >= len(came)
    assert ("named", "Anna") in logged


@pytest.mark.parametrize(
    ("settings", "live", "words"),
    [
        ({"match": MatchSettings(threshold=1e-6)}, {}, "beyond the threshold"),
        ({"quality": QualitySettings(min_height=1000)}, {}, "but 1000 px are needed"),
        ({"quality": QualitySettings(min_seconds=60)}, {}, "but 60.0 s are needed"),
        ({}, {"every": 100.0}, "gone before the next look, which comes every 100 s"),
        ({}, {"votes": 1}, r"not sure yet: 1 of 1 looks say (Anna|Ben)"),
    ],
)
def test_who_leaves_without_a_name_is_told_why(
    settings: dict[str, Any], live: dict[str, Any], words: str, studio: Path, known: Path, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    own = stages(tmp_path)
    own = replace(own, settings=replace(own.settings, **settings))
    with SqliteGallery(known) as gallery:
        options = LiveOptions(**{"window": 2.0, "every": 0.4, **live})
        watch(Played(studio / "input_videos" / "probe1.mp4"), gallery, own, events.append, options)
        logged = [event.details.get("reason") for event in gallery.log(1000, ["left"])]
    left = [event for event in events if event["event"] == "left" and event["in_view"] > 2]
    assert len(left) >= 2
    for event in left:
        assert event["name"] is None
        assert re.search(words, event["reason"]), event["reason"]
        assert event["reason"] in logged
    assert {event["source"] for event in events} == {str(studio / "input_videos" / "probe1.mp4")}


def test_one_person_enrolled_is_known_once_two_were_seen_together(studio: Path, tmp_path: Path) -> None:
    own = replace(stages(tmp_path), settings=replace(stages(tmp_path).settings, match=MatchSettings()))
    gallery_video = studio / "input_videos" / "gallery.mp4"
    video = analyse(gallery_video, "gallery", Run(own))
    events: list[dict[str, Any]] = []
    with SqliteGallery(tmp_path / "known.db") as gallery:
        gallery.enrol("Anna", enrol_walks(video, [video.usable()[0].track.track_id], thumbnails=False), consent="yes")
        live = LiveOptions(window=2.0, every=0.4)
        watch(Played(gallery_video), gallery, own, events.append, live)
    assert {event["name"] for event in events if event["event"] == "named"} == {"Anna"}


def test_people_whose_time_ends_are_forgotten_meanwhile(studio: Path, known: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    copy = shutil.copy(known, tmp_path / "copy.db")
    with GalleryService(SqliteGallery(Path(copy))) as gallery:
        later = datetime.now(timezone.utc) + timedelta(days=2)
        (walk,) = next(walks for _, walks, _ in gallery.store.records("Anna"))
        gallery.store.enrol("Anna", [walk], consent="yes", retain_days=1)
        live = LiveOptions(window=2.0, every=0.4, expire_every=0.0)
        own = replace(stages(tmp_path), settings=replace(stages(tmp_path).settings, match=MatchSettings(threshold=0.9)))
        probe = Played(studio / "input_videos" / "probe1.mp4")
        watch(probe, gallery.store, own, events.append, live, expire=lambda: gallery.expire(later))
        assert [person.name for person in gallery.people()] == ["Ben"]
    assert {event["name"] for event in events if event["event"] == "named"} == {"Ben"}


def test_dropped_frames_are_told_and_names_are_found_without_them(studio: Path, known: Path, tmp_path: Path) -> None:
    events, summary = watched(Played(studio / "input_videos" / "probe1.mp4", every=2), known, tmp_path)
    assert (summary.frames, summary.dropped) == (45, 45)
    dropped = [event for event in events if event["event"] == "dropped"]
    assert sum(event["frames"] for event in dropped) == dropped[-1]["altogether"] == 45
    assert dropped[-1]["of"] == 90
    assert len(dropped) in (3, 4), "once a second"
    named = [event for event in events if event["event"] == "named"]
    assert {event["track_id"] for event in named} == {1, 2}
    assert {event["name"] for event in named} <= {"Anna", "Ben"}, "who is who is a close call at 12 frames a second"


@pytest.mark.parametrize("gone", [0, 30])
def test_a_reason_that_comes_from_few_pictures_names_them(gone: int, studio: Path, known: Path, tmp_path: Path) -> None:
    played = Played(studio / "input_videos" / "probe1.mp4", every=7)
    last = played._frames[-1]
    empty = np.full_like(last.image, 90)
    played._frames += [Frame(last.index + i, last.time + i / 25, empty) for i in range(1, 7 * gone)]
    own = stages(tmp_path)

    class Everywhere:
        """Sees the same person in every picture that is not empty."""

        card = own.detector.card

        def start(self, *_: Any) -> None: ...

        def detect(self, frames: Any) -> list[Detections]:
            box = np.float32([[100, 40, 160, 220]])
            seen = Detections(box, np.float32([0.9]))
            return [Detections.none() if frame.image.std() < 1e-3 else seen for frame in frames]

    events: list[dict[str, Any]] = []
    with SqliteGallery(known) as gallery:
        own = replace(own, detector=Everywhere())  # type: ignore[arg-type]
        watch(played, gallery, own, events.append, LiveOptions(window=2.0, every=0.4))
    (left,) = [event for event in events if event["event"] == "left"]
    assert re.search(r"needed; only [345](\.\d)? pictures a second were looked at", left["reason"]), left["reason"]
    assert "0.0 s" not in left["reason"], "the walk is that of the time when the person was in view"


def test_nothing_is_kept_of_who_left(studio: Path, known: Path, tmp_path: Path) -> None:
    played = Played(studio / "input_videos" / "probe1.mp4")
    once = played._frames
    played._frames = [Frame(90 * turn + f.index, 3.6 * turn + f.time, f.image) for turn in range(3) for f in once]
    live = LiveOptions(window=2.0, every=10.0)
    with SqliteGallery(known) as gallery:
        watcher = Watcher(played, gallery, stages(tmp_path), lambda event: None, live)
        while (frame := played.take()) is not None:
            watcher.look(frame)
            held = watcher._people.values()
            assert len(held) <= 4
            assert all(len(person.boxes) <= 50 and len(person.cuts) <= 50 for person in held), "two seconds"
            if played.ended:
                break
        watcher.end()
        assert not watcher._people
    assert watcher.summary.frames == 270


def test_a_file_is_played_at_its_own_speed_and_nobody_is_waited_for(studio: Path) -> None:
    begun = time.monotonic()
    with LiveSource(str(studio / "input_videos" / "probe1.mp4"), loop=True) as source:
        indices: list[int] = []
        while len(indices) < 12:
            frame = source.take()
            if isinstance(frame, Frame):
                assert frame.time <= time.monotonic() - begun, "never before its time"
                assert frame.time == pytest.approx(frame.index / 25)
                indices.append(frame.index)
                time.sleep(0.13)
    assert indices == sorted(set(indices))
    assert indices[-1] >= 18, "three came for each taken"
    assert source.dropped >= 10
    assert not source.ended


def test_full_means_one_in_for_each_one_out(studio: Path) -> None:
    source = LiveSource(str(studio / "input_videos" / "probe1.mp4"), depth=2)  # not playing
    picture = np.zeros((240, 320, 3), np.uint8)
    taken = []
    for index in range(20):
        source.offer(Frame(index, index / 25, picture))
        if index % 4 == 3:
            frame = source.take()
            assert isinstance(frame, Frame)
            taken.append(frame.index)
    assert taken == [0, 1, 4, 8, 12], "evenly spaced once full"
    assert source.dropped == 20 - 5 - 1


def test_no_password_is_said() -> None:
    assert public_name("rtsp://me:secret@10.0.0.7:554/cam?token=x") == "rtsp://10.0.0.7:554/cam"
    assert public_name("0") == "camera 0"
    assert public_name("/home/me/street.mp4") == "street.mp4"


def test_sources_that_cannot_be_watched(studio: Path, known: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no video"):
        LiveSource(str(tmp_path / "missing.mp4"))
    with pytest.raises(VideoError, match="cannot be opened"):
        LiveSource("http://127.0.0.1:9/stream")
    with served(studio / "input_videos") as address, pytest.raises(SettingsError, match=r"motion.*whole video"):
        watched(LiveSource(f"{address}/probe1.mp4"), known, tmp_path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_at_an_address_is_played_at_its_own_speed_to_its_end(tmp_path: Path) -> None:
    write_clip(tmp_path / "brief.mp4", Scene((), seconds=1.2, width=320, height=240), index_first=True)
    begun = time.monotonic()
    with served(tmp_path) as address, LiveSource(f"{address}/brief.mp4") as source:
        assert (source.info.width, source.info.height, float(source.info.fps)) == (320, 240, 25.0)
        assert not source.is_file
        frames = []
        while not source.ended:
            frame = source.take()
            if isinstance(frame, Frame):
                assert frame.time <= time.monotonic() - begun, "never before its time"
                frames.append(frame.index)
    assert frames == sorted(set(frames))
    assert len(frames) + source.dropped == 30


class Breaking(Played):
    """One that breaks off after 60 frames, for three seconds."""

    outage: Outage | None = Outage("the cable")

    def take(self) -> Frame | Outage:  # type: ignore[override]
        if len(self._frames) == 30 and self.outage is not None:
            told, self.outage = self.outage, None
            return told
        frame = super().take()
        assert frame is not None
        return frame if self.outage is not None else Frame(frame.index + 75, frame.time + 3, frame.image)


def test_who_is_seen_after_an_outage_is_somebody_new(studio: Path, known: Path, tmp_path: Path) -> None:
    source: Any = Breaking(studio / "input_videos" / "probe1.mp4")
    events, summary = watched(source, known, tmp_path)
    assert (summary.frames, summary.outages) == (90, 1)
    kinds = [event["event"] for event in events]
    lost, back = kinds.index("lost"), kinds.index("back")
    assert events[lost]["reason"] == "the cable"
    assert events[back]["away"] == pytest.approx(3.04)
    assert back == lost + 1
    before = {event["track_id"] for event in events[:lost] if event["event"] == "appeared"}
    after = {event["track_id"] for event in events[back:] if event["event"] == "appeared"}
    assert before == {event["track_id"] for event in events[:lost] if event["event"] == "left"}
    assert after
    assert not before & after
    with SqliteGallery(known) as gallery:
        assert not {"lost", "back"} & {event.event for event in gallery.log(1000)}, "its log is about people"


class Paused(Played):
    """One that recorded nothing for a while after 60 frames."""

    def __init__(self, path: Path, frames: int) -> None:
        super().__init__(path)
        self._frames: list[Any] = [
            *self._frames[:60],
            Pause(frames),
            *(Frame(f.index + frames, f.time + frames / 25, f.image) for f in self._frames[60:]),
        ]


@pytest.mark.parametrize(("frames", "ends"), [(5, False), (20, False), (40, True), (5000, True)])
def test_pauses_of_a_file_end_tracks_as_in_pass_1(
    frames: int, ends: bool, studio: Path, known: Path, tmp_path: Path
) -> None:
    events, summary = watched(Paused(studio / "input_videos" / "probe1.mp4", frames), known, tmp_path)
    assert summary.frames == 90
    before = {event["track_id"] for event in events if event["event"] == "appeared" and event["seconds"] < 2.4}
    after = {event["track_id"] for event in events if event["event"] == "appeared" and event["seconds"] >= 2.4}
    gone = {event["track_id"] for event in events if event["event"] == "left" and event["seconds"] < 2.4}
    assert len(before) == 2
    if ends:
        assert gone == before, "they leave before the pause"
        assert len(after) == 2
    else:
        assert not gone
        assert len(after) <= 2, "people may walk far while nothing is recorded"


@pytest.fixture
def started(studio: Path, known: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, watching a clip that is played over and over."""

    def listen() -> None:  # whoever runs the tests in the background may have Ctrl-C ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = ["identify", "--live", "probe1.mp4", "--loop", "--gallery-db", known, "--save", tmp_path / "live.mp4"]
    methods = ["--detector", "motion", "--segmenter", "motion", "--gait", "gei", "--threshold", "0.9"]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, command), *methods],
        cwd=studio,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=listen,
    )
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_ends_it_well(started: subprocess.Popen[str], tmp_path: Path) -> None:
    assert started.stdout is not None
    lines: list[str] = []
    while not lines or json.loads(lines[-1])["event"] != "left":  # somebody came and went
        lines.append(started.stdout.readline())
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 0, err
    events = [json.loads(line) for line in [*lines, *out.splitlines()]]
    inside: set[int] = set()
    for event in events:
        if event["event"] == "appeared":
            inside.add(event["track_id"])
        elif event["event"] == "left":
            inside.discard(event["track_id"])
    assert not inside, "everybody has left at the end"
    assert "Frames:" in err
    assert "Traceback" not in err
    with av.open(str(tmp_path / "live.mp4")) as video:
        assert next(video.decode(video=0)).width == 320
    assert [path.name for path in tmp_path.iterdir()] == ["live.mp4"]
