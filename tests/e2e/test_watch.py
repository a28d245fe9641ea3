"""Several cameras in one process: people, strangers, ways between cameras, and one that is broken."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

import app
from app.cli.main import app as cli
from app.errors import GalleryError, SettingsError, VideoError
from app.gallery.opening import open_store, open_strangers
from app.gallery.service import GalleryService
from app.gallery.store import NewWalk
from app.recognise.strangers import StrangerOptions
from app.runs.build import build
from app.runs.delivery import Event
from app.runs.enrol import enrol_walks
from app.runs.events import VERSION
from app.runs.live import LiveOptions
from app.runs.watch import CameraConfig, Watch, WatchConfig
from app.runs.watch_check import check_watch
from app.settings import Settings
from app.stages import Run
from app.types import Frame, VideoInfo
from app.video.live import LiveSource, Outage, Pause
from app.video.reader import VideoReader
from app.walks.analyse import analyse
from tests.e2e.test_live import stages


class Kept:
    """A sink that keeps all events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.dropped, self.closed = 0, False

    def send(self, event: Event) -> None:
        self.events.append(dict(event))

    def close(self) -> None:
        self.closed = True


class Quick(LiveSource):
    """A file whose frames come as fast as they are taken, so that a busy machine drops none."""

    def __enter__(self) -> Quick:
        self._frames = list(VideoReader(self.info.path))
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def take(self, wait: float = 0.2) -> Frame | Outage | Pause | None:
        return self._frames.pop(0) if self._frames else None

    @property
    def ended(self) -> bool:
        return not self._frames


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runs.watch.LiveSource", Quick)


LIVE = LiveOptions(window=2.0, every=0.4)


def run_until_done(watch: Watch, *names: str) -> None:
    """Run a watch until these cameras have shown their files."""
    stop = threading.Event()

    def end() -> None:
        while not all(watch.cameras[name].done for name in names):
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=end, daemon=True).start()
    watch.run(stop)


@pytest.fixture(scope="module")
def known(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NewWalk]:
    """A walk of Anna, one of the two people of the videos."""
    folder = tmp_path_factory.mktemp("known")
    video = analyse(studio / "input_videos" / "gallery.mp4", "gallery", Run(stages(folder)))
    return enrol_walks(video, [video.usable()[0].track.track_id], thumbnails=False)


def gallery_of(known: list[NewWalk], folder: Path) -> GalleryService:
    """A gallery in which Anna is known and Ben is not."""
    place = folder / "gallery.db"
    store = open_store(place)
    store.enrol("Anna", known, consent="yes")
    return GalleryService(store, strangers=open_strangers(place, create=True))


@pytest.mark.usefixtures("quick")
def test_identify_watches_several_sources_under_names_of_their_own(
    studio: Path, known: list[NewWalk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``identify --live A B`` is a watch without a configuration."""
    monkeypatch.chdir(studio)
    gallery = gallery_of(known, tmp_path)
    gallery.close()
    monkeypatch.setattr("app.runs.build.build", lambda settings: stages(tmp_path))
    options = ["--gallery-db", str(tmp_path / "gallery.db"), "--events", str(tmp_path / "events.jsonl")]
    command = ["identify", "--live", "gallery.mp4", "gallery.mp4", *options, "--set", f"output.folder={tmp_path}"]
    ended = CliRunner().invoke(cli, command)
    assert ended.exit_code == 0, ended.output
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["source"] for event in events} == {"gallery", "gallery-2"}
    assert {(event["source"], event["name"]) for event in events if event["event"] == "named"} >= {
        ("gallery", "Anna"),
        ("gallery-2", "Anna"),
    }
    assert "gallery-2: " in ended.output


@pytest.mark.usefixtures("quick")
def test_cameras_share_people_and_strangers_and_a_broken_one_disturbs_nobody(
    studio: Path, known: list[NewWalk], tmp_path: Path
) -> None:
    video, sink = str(studio / "input_videos" / "probe1.mp4"), Kept()
    cameras = {
        "yard": CameraConfig(video, lines={"middle": ((0.5, 0.0), (0.5, 1.0))}),
        "hall": CameraConfig(video),
        "masked": CameraConfig(video, ignore=(((0, 0), (1, 0), (1, 1), (0, 1)),)),
        "gone": CameraConfig("http://127.0.0.1:9/video"),
        "missing": CameraConfig(str(tmp_path / "missing.mp4")),
    }
    with gallery_of(known, tmp_path) as gallery:
        config = WatchConfig(cameras, strangers=StrangerOptions(threshold=0.9))
        watch = Watch(config, gallery, stages(tmp_path), [sink], LIVE)
        run_until_done(watch, "yard", "hall", "masked")
        assert gallery.strangers is not None
        strangers = [person.name for person in gallery.strangers.store.people()]
    assert sink.closed
    schema = json.loads((Path(app.__file__).parent / "runs" / "events.schema.json").read_text())
    for event in sink.events:
        jsonschema.validate(event, schema)
    assert schema["properties"]["version"]["const"] == VERSION
    by_camera = {name: [e for e in sink.events if e["source"] == name] for name in cameras}
    for name in ("yard", "hall"):
        assert {event["name"] for event in by_camera[name] if event["event"] == "named"} == {"Anna"}
        assert "stranger-0001" in {event.get("stranger") for event in by_camera[name] if event["event"] == "left"}
    assert strangers[0] == "stranger-0001"
    assert not [event for event in by_camera["masked"] if event["event"] == "appeared"]
    assert by_camera["gone"] == by_camera["missing"] == []
    assert watch.cameras["gone"].broken >= 1
    assert watch.cameras["missing"].done
    assert [event["line"] for event in by_camera["yard"] if event["event"] == "crossed"]
    moved = [event for event in sink.events if event["event"] == "moved"]
    assert {event.get("name") or event["stranger"] for event in moved} >= {"Anna"}


@pytest.mark.usefixtures("quick")
def test_a_fault_in_one_camera_leaves_the_others_alone(
    studio: Path,
    known: list[NewWalk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    video, sink, take = str(studio / "input_videos" / "probe1.mp4"), Kept(), Quick.take

    def fails(self: Quick, wait: float = 0.2) -> object:
        if self.name == "sick":
            raise ZeroDivisionError("a fault")
        return take(self, wait)

    monkeypatch.setattr(Quick, "take", fails)
    monkeypatch.setattr("app.runs.watch._PAUSES", (60.0,))
    with gallery_of(known, tmp_path) as gallery:
        config = WatchConfig({"sick": CameraConfig(video), "well": CameraConfig(video)})
        watch = Watch(config, gallery, stages(tmp_path), [sink], LIVE)
        run_until_done(watch, "well")
    assert watch.cameras["sick"].broken >= 1
    assert watch.cameras["well"].broken == 0
    assert {event["source"] for event in sink.events} == {"well"}
    assert "because of a fault of this program" in caplog.text


@pytest.mark.slow
def test_the_configuration_is_followed_when_it_changes(studio: Path, known: list[NewWalk], tmp_path: Path) -> None:
    video, file, sink = studio / "input_videos" / "probe1.mp4", tmp_path / "watch.yaml", Kept()
    file.write_text(f"cameras: {{yard: {{address: '{video}', loop: true}}}}\n")
    with gallery_of(known, tmp_path) as gallery:
        watch, stop = Watch(WatchConfig.read(file), gallery, stages(tmp_path), [sink], LIVE), threading.Event()
        running = threading.Thread(target=watch.run, args=(stop, file))
        running.start()
        file.write_text("cameras: nonsense\n")
        time.sleep(2.5)
        assert set(watch.cameras) == {"yard"}
        file.write_text(f"cameras: {{hall: {{address: '{video}', loop: true}}}}\n")
        end = time.monotonic() + 20
        while set(watch.cameras) != {"hall"} and time.monotonic() < end:
            time.sleep(0.1)
        stop.set()
        running.join()
    assert set(watch.cameras) == {"hall"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kept", ["photograph", "silhouettes", "nothing"])
def test_strangers_are_kept_with_a_picture(studio: Path, known: list[NewWalk], tmp_path: Path, kept: str) -> None:
    used = stages(tmp_path)
    used = replace(used, settings=used.settings.changed({"output.blur": "faces" if kept == "silhouettes" else "none"}))
    options = StrangerOptions(threshold=0.9, pictures=kept != "nothing")
    config = WatchConfig({"yard": CameraConfig(str(studio / "input_videos" / "probe1.mp4"))}, strangers=options)
    with gallery_of(known, tmp_path) as gallery:
        run_until_done(Watch(config, gallery, used, [Kept()], LIVE), "yard")
        assert gallery.strangers is not None
        (jpeg,) = {gallery.strangers.store.thumbnail(one.name) for one in gallery.strangers.store.people()}
        if jpeg is not None:
            gallery.strangers.name("stranger-0001", "Ben", consent="yes")
            assert gallery.store.thumbnail("Ben") == jpeg
    sizes = {"photograph": (128, 256), "silhouettes": (3 * 44, 64), "nothing": None}
    assert (Picture.open(BytesIO(jpeg)).size if jpeg is not None else None) == sizes[kept]


def test_mistakes_in_a_configuration_are_named(tmp_path: Path) -> None:
    file = tmp_path / "watch.yaml"
    for text, words in (
        ("cameras: {}", "cameras"),
        ("camera: {a: 1}", "'camera' is unknown. Did you mean 'cameras'"),
        ("cameras: {a: {adress: 0}}", "'cameras.a.adress' is unknown. Did you mean 'address'"),
        ("cameras: {a: {address: 0, colour: red}}", "colour"),
        (
            "cameras: {a: {address: 0, hours: late}}",
            "hours' cannot be used: write two times of day, for example 06:00-22:00",
        ),
        ("cameras: {a: {address: 0, ignore: [[[0, 0], [1, 2], [1, 1]]]}}", "ignore"),
        ("cameras: {a: {address: 0}}\nways: [{between: [a, b], seconds: [1, 2]}]", "do not exist: b"),
        ("cameras: {a: {address: 0}}\nsettings: {match.fra: 1}", "match.far"),
        ("cameras: {a: {address: 0}}\nstrangers: {retain_days: 0}", "retain_days"),
        ("cameras: {a: {address: 0, rate: .inf}}", "rate"),
        ("cameras: {a: {address: 0}}\nmqtt: {host: x, keep_hours: .inf}", "keep_hours"),
        ("cameras: {a: {address: 0}}\nwebhook: {url: 'http://x', keep_hours: 1.0e+30}", "keep_hours"),
        ("cameras: {a: {source: 0}}", "'cameras.a.source' is unknown. 'address' is missing"),
    ):
        file.write_text(text)
        with pytest.raises(SettingsError, match=words):
            WatchConfig.read(file)
        assert CliRunner().invoke(cli, ["watch", str(file), "--check"]).exit_code != 0
    file.write_text("cameras: {a: {address: 0, hours: '22:00-06:00'}}\nstrangers: {}\n")
    config = WatchConfig.read(file)
    assert config.strangers == StrangerOptions()
    at_night = [config.cameras["a"].is_open(datetime(2026, 1, 1, hour)) for hour in (5, 6, 21, 22)]
    assert at_night == [True, False, False, True]


MOTION = "settings: {detector.name: motion, segmenter.name: motion, gait.name: gei}"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("gallery: nowhere.db  # strangers", "models and gallery does not work: There is no gallery at nowhere.db"),
        ("settings: {detector.name: motio}", "models and gallery does not work: .*'motio'"),
        ("gallery: PLACE/video.mp4/gallery.db\nstrangers: {}", "models and gallery does not work: .*cannot be made"),
        ("events: PLACE", "events does not work: .* is a folder"),
        (
            "webhook: {url: 'http://127.0.0.1:9', secret_variable: NOT_SET}",
            "webhook does .*set the environment variable NOT_SET",
        ),
        ("webhook: {url: 'http://127.0.0.1:9'}", "webhook does not work: .*cannot be reached"),
        ("mqtt: {host: 127.0.0.1, port: 9}", "broker does not work: .*(cannot be reached|needs paho-mqtt)"),
    ],
)
def test_a_check_finds_what_the_watch_would_lack(
    lines: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAITPRINT_WEBHOOK_SECRET", "secret")
    (tmp_path / "video.mp4").touch()
    more = [line for line in ("strangers: {}", f"gallery: {tmp_path / 'new.db'}", MOTION) if line[:7] not in lines]
    text = "\n".join(["cameras: {a: {address: 'rtsp://me:hush@127.0.0.1:9/x'}}", lines, *more])
    (tmp_path / "watch.yaml").write_text(text.replace("PLACE", str(tmp_path)))
    before = sorted(tmp_path.iterdir())
    answer = CliRunner().invoke(cli, ["watch", str(tmp_path / "watch.yaml"), "--check"])
    assert answer.exit_code != 0
    assert isinstance(answer.exception, SettingsError)
    assert re.search(words, answer.output), answer.output
    assert "camera a does not work: 'rtsp://127.0.0.1:9/x' cannot be opened: nothing listens" in answer.output
    assert words.split(" does")[0] in str(answer.exception)
    assert "hush" not in answer.output
    assert sorted(tmp_path.iterdir()) == before


def test_a_check_says_what_works(
    studio: Path, known: list[NewWalk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runs.watch_check.PATIENCE", 60)
    gallery_of(known, tmp_path).close()
    file = tmp_path / "watch.yaml"
    file.write_text(
        f"gallery: {tmp_path / 'gallery.db'}\nevents: {tmp_path / 'events.jsonl'}\n{MOTION}\n"
        f"cameras: {{yard: {{address: '{studio / 'input_videos' / 'probe1.mp4'}'}}}}\n"
    )
    answer = CliRunner().invoke(cli, ["watch", str(file), "--check"])
    assert answer.exit_code == 0, answer.output
    assert "models and gallery works: 1 person is known" in answer.output
    assert "events works" in answer.output
    assert re.search(r"camera yard works: \d+x\d+ px, 25 pictures a second", answer.output)
    assert not (tmp_path / "events.jsonl").exists()


def test_a_check_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr("app.runs.watch_check.PATIENCE", 0.2)

    def wait(address: str) -> VideoInfo:
        never.wait(60)
        raise VideoError("too late")

    monkeypatch.setattr("app.runs.watch_check.first_look", wait)
    config = WatchConfig({"a": CameraConfig("rtsp://nowhere")}, str(tmp_path / "new.db"))
    *_, camera = check_watch(config, Settings())
    never.set()
    assert (camera.what, camera.works, camera.said) == ("camera a", False, "There was no answer within 0 s.")


@pytest.mark.usefixtures("quick")
def test_the_command_watches_files(studio: Path, known: list[NewWalk], tmp_path: Path) -> None:
    video, file = studio / "input_videos" / "probe1.mp4", tmp_path / "watch.yaml"
    gallery_of(known, tmp_path).close()
    file.write_text(
        f"gallery: {tmp_path / 'gallery.db'}\n"
        f"events: {tmp_path / 'events.jsonl'}\n"
        f"cameras: {{yard: {{address: '{video}'}}, hall: {{address: '{video}', rate: 5}}}}\n"
        "strangers: {threshold: 0.9}\n"
        "settings: {detector.name: motion, segmenter.name: motion, gait.name: gei, match.threshold: 0.9}\n"
    )
    answer = CliRunner().invoke(cli, ["watch", str(file), "--seconds", "20"])
    assert answer.exit_code == 0, answer.output
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["source"] for event in events} == {"yard", "hall"}


def test_each_camera_has_what_stages_learn_of_a_video_for_itself(tmp_path: Path) -> None:
    one = stages(tmp_path)
    one.segmenter.background = one.detector.background  # type: ignore[attr-defined]
    other = one.twin()
    assert other.detector.background is not one.detector.background  # type: ignore[attr-defined]
    assert other.detector.background is other.segmenter.background  # type: ignore[attr-defined]
    networks = build(Settings())
    twin = networks.twin()
    assert twin.detector._session is networks.detector._session  # type: ignore[attr-defined]
    assert twin.detector._looking is not networks.detector._looking  # type: ignore[attr-defined]
    info = VideoInfo(Path("a"), 64, 64, Fraction(25))
    twin.start(info)
    assert twin.detector._looking._name == "a"  # type: ignore[attr-defined]
    assert networks.detector._looking._name != "a"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
def test_a_gallery_that_cannot_forget_now_stops_no_watch(
    studio: Path,
    known: list[NewWalk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def expire(self: GalleryService, now: datetime | None = None) -> list[str]:
        raise GalleryError("the server cannot be reached")

    with gallery_of(known, tmp_path) as gallery:
        monkeypatch.setattr(GalleryService, "expire", expire)
        cameras = {"yard": CameraConfig(str(studio / "input_videos" / "probe1.mp4"), rate=1)}
        watch = Watch(WatchConfig(cameras), gallery, stages(tmp_path), [Kept()], replace(LIVE, expire_every=0.0))
        run_until_done(watch, "yard")
    assert watch.cameras["yard"].frames == 90
    assert "the server cannot be reached" in caplog.text
