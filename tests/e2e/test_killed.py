"""kill -9 of a watch and of a batch at any moment: what was confirmed is neither lost nor doubled unrecognisably."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import app
from app.gallery.sqlite import SqliteGallery
from app.runs.delivery import Journal
from app.runs.events import Webhook, appending
from tests.unit.test_events import Receiver, free_port

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"detector.name": "motion", "segmenter.name": "motion", "gait.name": "gei", "match.threshold": 0.9}
PATIENCE = 240.0  # s; everything takes a few on a quiet machine
SCHEMA = json.loads((Path(app.__file__).parent / "runs" / "events.schema.json").read_text())


def program(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "app", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "GAITPRINT_WEBHOOK_SECRET": "word"},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "errors.txt").open("ab"),
    )


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def whole(lines: list[str]) -> list[dict[str, Any]]:
    """The events of a file, without lines that a kill cut off."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_event_of_a_watch_that_was_acknowledged_is_lost_or_doubled(
    studio: Path, gallery: Path, tmp_path: Path
) -> None:
    kills, events = 4, tmp_path / "events.jsonl"
    moments = random.Random(17)
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    receiver: Receiver | None = None
    config = {
        "gallery": str(gallery),
        "events": str(events),
        "cameras": {
            name: {"address": str(studio / "input_videos" / "probe1.mp4"), "loop": True, "lines": {"middle": line}}
            for name, line in (("yard", [[0.5, 0], [0.5, 1]]), ("hall", [[0.3, 0], [0.3, 1]]))
        },
        "strangers": {"threshold": 0.9},
        "webhook": {"url": url},
        "settings": SETTINGS,
    }
    (tmp_path / "watch.yaml").write_text(json.dumps(config))

    def lines() -> list[str]:
        return events.read_text().splitlines() if events.exists() else []

    for number in range(kills + 1):
        if number == kills // 2:  # until then the webhook cannot be reached
            receiver = Receiver(200, 200, 503, 200, 500, 200, 200, 503, port=port)
        process, wanted = program(tmp_path, "watch", "watch.yaml"), len(lines()) + moments.randint(1, 8)
        wait_for(lambda wanted=wanted: len(lines()) >= wanted, process)
        if number < kills:
            time.sleep(moments.uniform(0, 0.5))
            kill(process)
        else:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    found = whole(lines())
    assert receiver is not None
    keep = timedelta(hours=24)
    rest = Webhook(url, "word", Journal(events, "webhook", keep), keep)  # what the last watch had no time for
    with receiver.arrived:
        assert receiver.arrived.wait_for(lambda: receiver.ids()[-1:] == [found[-1]["id"]], PATIENCE)
    rest.close()
    receiver.end()

    assert len(lines()) - len(found) <= kills, "only a kill cuts a line off"
    for event in found:
        jsonschema.validate(event, SCHEMA)
    runs: dict[str, list[int]] = {}
    for event in found:
        run, _, place = event["id"].partition("-")
        runs.setdefault(run, []).append(int(place))
    assert len(runs) == kills + 1
    for places in runs.values():
        assert places == list(range(1, len(places) + 1)), "each event once, in order, and none is missing"
    kept = {event["id"]: event for event in found}
    arrived = [json.loads(body) for _, body in receiver.requests]
    for event in arrived:
        assert kept[event["id"]] == event, "whatever the webhook got is in the file"
    assert list(dict.fromkeys(receiver.ids())) == list(kept), "the webhook got all of them, in order"
    assert len(arrived) - len(kept) <= 3 + kills + 1, "doubles are what it refused, and one of each run"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_batch_goes_on_where_it_was_killed(studio: Path, gallery: Path, tmp_path: Path) -> None:
    videos = tmp_path / "archive"
    videos.mkdir()
    for number in range(6):
        source = studio / "input_videos" / f"probe{1 + number % 2}.mp4"
        (videos / f"{number}.mp4").write_bytes(source.read_bytes())
    sets = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    moments = random.Random(3)

    def words(output: str) -> list[str]:
        return ["batch", str(videos), "--gallery-db", str(gallery), "--workers", "2", "--output", output, *sets]

    def results(output: str) -> dict[str, Path]:
        # os.walk bears that a folder goes away: a batch that begins makes its folder for a trial, and removes it.
        walked = os.walk(tmp_path / output / "batch")
        return {Path(where).name: Path(where, "results.json") for where, _, files in walked if "results.json" in files}

    def content(path: Path) -> Any:
        report = json.loads(path.read_text())
        return {key: report[key] for key in ("probes", "gallery", "models") if key in report}

    begin = time.monotonic()
    assert program(tmp_path, *words("straight")).wait(PATIENCE) == 0
    straight_took = time.monotonic() - begin
    stamps: dict[str, int] = {}
    kills = 0
    for number in range(4):
        process = program(tmp_path, *words("killed"))
        wanted = min(len(stamps) + number % 2, 5)
        wait_for(lambda wanted=wanted: (tmp_path / "killed").exists() and len(results("killed")) >= wanted, process)
        # A part of what the rest takes on this machine, because a batch that is done cannot be killed.
        time.sleep(moments.uniform(0, 0.5) * straight_took * (6 - wanted) / 6)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        time.sleep(3)  # its workers end with it
        there = results("killed")
        assert set(stamps) <= set(there), f"kill {number} lost a result"
        for path in there.values():
            json.loads(path.read_text())
        stamps = {name: path.stat().st_mtime_ns for name, path in there.items()}
    assert kills >= 2, "at least the first two kills come before it is done"
    process = program(tmp_path, *words("killed"))
    assert process.wait(PATIENCE) == 0
    straight, killed = results("straight"), results("killed")
    assert set(killed) == set(straight) == {str(number) for number in range(6)}
    for name, path in killed.items():
        assert content(path) == content(straight[name])
    for path in killed.values():
        assert {file.name for file in path.parent.iterdir()} == {"results.json", ".made-of"}, "no half files are left"
    with SqliteGallery(gallery) as store:
        named = Counter(str(event.details["video"]) for event in store.log(None, ["identify"]))
    assert all(named[f"{number}.mp4"] >= 2 for number in range(6)), "each video is in the log for each of both ways"


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "new" / "events.jsonl"
    for before, after in (("", ""), ('{"id": 1}\n', '{"id": 1}\n'), ('{"id": 1}\n{"id"', '{"id": 1}\n{"id"\n')):
        with appending(file) as out:
            out.write('{"id": 2}\n')
        file.write_text(before)
        with appending(file) as out:
            out.write('{"id": 2}\n')
        assert file.read_text() == after + '{"id": 2}\n'
    with appending(Path("/dev/null")) as out:
        out.write("where nothing can be read back")
