"""Events reach a webhook and an MQTT broker, signed and in order, and what cannot be delivered is counted."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

import app
from app.cli.terminal import write_json
from app.errors import OutputError
from app.runs.delivery import Courier, InMemory, Journal
from app.runs.events import Broker, Lines, Mqtt, Webhook, appending, ask_broker, ask_webhook, signature
from app.runs.watch import Journeys, WayConfig
from tests.mosquitto import program, running

NOW = datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"event": "named", "time": NOW, "source": "yard", "number": number, **more}


class Receiver:
    """A server that answers with the given statuses in turn, then with 200; at a port, or one of its own."""

    def __init__(self, *statuses: int, port: int = 0) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.arrived = threading.Condition()
        waiting, outer = list(statuses), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.arrived:
                    outer.requests.append((dict(self.headers), body))
                    status = waiting.pop(0) if waiting else 200
                    outer.arrived.notify_all()
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def wait(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 60)

    def ids(self) -> list[str]:
        """The ids of the events that came, in their order."""
        with self.arrived:
            return [json.loads(body)["id"] for _, body in self.requests]

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    found = Receiver(*getattr(request, "param", ()))
    yield found
    found.end()


@pytest.mark.parametrize("receiver", [(503, 500)], indirect=True)
def test_a_webhook_is_signed_and_tried_again(receiver: Receiver) -> None:
    hook = Webhook(receiver.url, "secret", pauses=(0.01,))
    for number in (1, 2):
        hook.send(event(number))
    receiver.wait(4)
    hook.close()
    assert [json.loads(body)["number"] for _, body in receiver.requests] == [1, 1, 1, 2]
    for headers, body in receiver.requests:
        assert headers["X-Gaitprint-Signature"] == signature("secret", headers["X-Gaitprint-Time"], body)
        assert headers["X-Gaitprint-Signature"] != signature("other", headers["X-Gaitprint-Time"], body)
    assert hook.dropped == 0


@pytest.mark.parametrize("receiver", [(400,)], indirect=True)
def test_what_a_webhook_refuses_or_has_no_room_for_is_counted(receiver: Receiver) -> None:
    hook = Webhook(receiver.url, "secret", pauses=(0.01,))
    hook.send(event(1))
    hook.send(event(2))
    receiver.wait(2)
    hook.close()
    assert hook.dropped == 1
    nobody = Webhook("http://127.0.0.1:9/", "secret", InMemory(room=2), pauses=(60,))
    for number in range(10):
        nobody.send(event(number))
    assert nobody.dropped == 8
    nobody.close()
    assert nobody.dropped == 10


def test_an_event_waits_where_a_webhook_points_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """A client that followed would send a GET without the event, and take its answer for a yes."""
    receiver = Receiver(301, 308, 302)
    hook = Webhook(receiver.url, "secret", pauses=(0.01,))
    hook.send(event(1))
    receiver.wait(4)
    hook.close()
    receiver.end()
    assert [json.loads(body)["number"] for _, body in receiver.requests] == [1, 1, 1, 1]
    assert hook.dropped == 0
    assert re.search(r"redirects \(status 301\).*webhook\.url", caplog.text)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("200 OK", "It answers"),
        ("204 No Content\r\nAllow: OPTIONS, POST", "It answers"),
        ("405 Method Not Allowed\r\nAllow: POST", "It answers"),
        ("401 Unauthorized", "It answers"),
        ("501 Not Implemented", "It answers"),
        ("405 Method Not Allowed\r\nAllow: GET, HEAD", "allows GET, HEAD, and not POST"),
        ("301 Moved\r\nLocation: https://example.org/hook", "redirects to https://example.org/hook"),
        ("404 Not Found", "nothing is there"),
        ("503 Service Unavailable", "with a fault"),
        ("is this HTTP", "cannot be reached"),
    ],
)
def test_a_webhook_is_asked_without_an_event(answer: str, said: str) -> None:
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(1 << 16).decode())
                status = answer if said == "cannot be reached" else f"HTTP/1.1 {answer}"
                connection.sendall(f"{status}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            told = ask_webhook(f"http://127.0.0.1:{server.getsockname()[1]}/hook")
        except OutputError as error:
            told = f"Error: {error}"
        thread.join(10)
    assert said in told
    assert told.startswith("Error") == (said != "It answers")
    (question,) = asked
    assert question.startswith("OPTIONS /hook HTTP/1.1\r\n")
    assert question.endswith("\r\n\r\n"), "it has no body"


HOURS = timedelta(hours=24)


def told(file: Path, *ids: str, ago: timedelta = timedelta()) -> None:
    """Add events to a file."""
    moment = (datetime.now(timezone.utc) - ago).isoformat()
    with appending(file) as out:
        for name in ids:
            write_json(event(id=name) | {"time": moment}, to=out)


def hook_of(file: Path, url: str, receiver: str = "webhook") -> Webhook:
    return Webhook(url, "secret", Journal(file, receiver, HOURS), HOURS, pauses=(0.01,))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


SENDER = """
import sys, time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from app.cli.terminal import write_json
from app.runs.delivery import Journal
from app.runs.events import Lines, Webhook, appending
file, url, word, most = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
keep = timedelta(hours=24)
with appending(file) as out:
    sinks = [
        Lines(out, lambda one, to: write_json(one, to=to)),
        Webhook(url, "secret", Journal(file, "webhook", keep), keep, pauses=(0.01,)),
    ]
    for number in range(1, most + 1):
        moment = datetime.now(timezone.utc).isoformat()
        for sink in sinks:
            sink.send({"event": "named", "time": moment, "source": "yard", "id": f"{word}-{number}"})
        time.sleep(0.002)
    for sink in sinks:
        sink.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_event_reaches_the_webhook_whatever_is_killed_or_gone_meanwhile(tmp_path: Path) -> None:
    file, port = tmp_path / "events.jsonl", free_port()

    def watch(word: str, most: int = 100_000) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", SENDER, str(file), f"http://127.0.0.1:{port}/", word, str(most)]
        return subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(Path(app.__file__).parents[1])})

    def kill_after(process: subprocess.Popen[bytes], count: Callable[[], int]) -> None:
        wanted, end = count() + 40, time.monotonic() + 120
        while count() < wanted:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        process.kill()
        process.wait()

    def lines() -> int:
        return file.read_bytes().count(b"\n") if file.exists() else 0

    kill_after(watch("a"), lines)  # while nobody is there
    receivers = [Receiver(503, 503, port=port)]
    kill_after(watch("b"), lambda: len(receivers[0].requests))
    receivers[0].end()
    kill_after(watch("c"), lines)
    receivers.append(Receiver(port=port))
    assert watch("d", 30).wait(120) == 0
    hook = hook_of(file, receivers[1].url)  # what the farewell had no time for
    written = [one["id"] for line in file.read_text().splitlines() if (one := _whole(line))]
    with receivers[1].arrived:
        assert receivers[1].arrived.wait_for(
            lambda: receivers[1].requests[-1:] and receivers[1].ids()[-1] == "d-30", 120
        )
    hook.close()
    arrived = [name for receiver in receivers for name in receiver.ids()]
    assert list(dict.fromkeys(arrived)) == written, "each event, in order"
    assert len(arrived) - len(written) <= 5, "two that were refused, and one for each time it was killed"
    receivers[1].end()


def _whole(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:  # cut off by a kill
        return None


def test_a_fault_with_one_event_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    brought, last = list[Any](), threading.Event()

    def deliver(one: Any, closed: threading.Event) -> bool:
        if one["number"] == 1:
            raise ZeroDivisionError
        brought.append(one["number"])
        last.set()
        return True

    waiting = InMemory()
    waiting.put(event(1))
    courier = Courier("webhook", waiting, deliver)
    courier.send(event(2))
    assert last.wait(60)
    courier.close()
    assert (brought, courier.dropped) == ([2], 1)
    assert "because of a fault of this program" in caplog.text


def test_what_is_too_old_waits_no_longer(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.touch()
    Journal(file, "webhook", HOURS)
    told(file, "old-1", "old-2", ago=timedelta(hours=25))
    told(file, "new-1")
    hook = hook_of(file, receiver.url)
    receiver.wait(1)
    hook.close()
    assert (receiver.ids(), hook.dropped) == (["new-1"], 2)


def test_a_webhook_that_is_new_gets_nothing_of_what_was_before(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    told(file, "a-1", "a-2")
    hook = hook_of(file, receiver.url)
    told(file, "b-1")
    hook.send(event())
    receiver.wait(1)
    hook.close()
    assert receiver.ids() == ["b-1"]


@pytest.mark.parametrize("change", ["a line is gone", "emptied", "no place", "no such place"])
def test_where_the_file_was_changed_meanwhile_what_is_not_too_old_is_sent_again(
    change: str, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    told(file)
    hook = hook_of(file, receiver.url)
    told(file, "old-1", ago=timedelta(hours=25))
    told(file, "a-1", "a-2")
    hook.send(event())
    receiver.wait(2)
    hook.close()
    place = tmp_path / "events.jsonl.webhook"
    if change == "a line is gone":
        lines = file.read_text().splitlines(keepends=True)
        file.write_text(lines[0] + lines[2])
    elif change == "emptied":
        file.write_text("")
    elif change == "no place":
        place.write_text("{}")
    else:
        place.write_text('{"line": 1000000, "end": 1000100, "id": "a-2"}')
    told(file, "b-1")
    hook = hook_of(file, receiver.url)
    again = {"a line is gone": ["a-2"], "emptied": []}.get(change, ["a-1", "a-2"])
    receiver.wait(3 + len(again))
    hook.close()
    assert receiver.ids() == ["a-1", "a-2", *again, "b-1"]
    assert json.loads(place.read_text())["id"] == "b-1"


def test_a_file_that_is_emptied_while_it_is_followed_goes_on(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    told(file)
    hook = hook_of(file, receiver.url)
    for name in ("a-1", "a-2", "a-3"):
        told(file, name)
    hook.send(event())
    receiver.wait(3)
    file.write_text("")
    told(file, "b-1")
    hook.send(event())
    receiver.wait(4)
    hook.close()
    assert receiver.ids() == ["a-1", "a-2", "a-3", "b-1"]


def test_each_receiver_goes_on_from_its_own_place(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    told(file)
    away = hook_of(file, f"http://127.0.0.1:{free_port()}/", "other")
    hook = hook_of(file, receiver.url)
    told(file, "a-1", "a-2")
    for one in (hook, away):
        one.send(event())
    receiver.wait(2)
    hook.close()
    away.close()
    assert (hook.dropped, away.dropped) == (0, 0)
    later = hook_of(file, receiver.url, "other")
    receiver.wait(4)
    later.close()
    assert receiver.ids() == ["a-1", "a-2"] * 2


def test_lines_are_written_at_once() -> None:
    out = io.StringIO()
    Lines(out, lambda one, to: write_json(one, to=to)).send(event())
    assert json.loads(out.getvalue()) == event()


@pytest.fixture
def mqtt() -> None:
    """Skip where there is no broker for tests."""
    if find_spec("paho") is None:
        pytest.skip('needs paho-mqtt: pip install -e ".[cameras]"')
    if program() is None:
        pytest.skip("needs the broker mosquitto: apt-get install mosquitto")


def test_what_a_broker_has_not_taken_is_published_by_the_next_watch(
    mqtt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    file = tmp_path / "events.jsonl"
    told(file)
    monkeypatch.setattr("app.runs.events.FAREWELL", 0.1)
    monkeypatch.setattr("app.runs.delivery.FAREWELL", 0.1)
    sink = Mqtt(Broker("127.0.0.1", free_port()), ["yard"], Journal(file, "mqtt", HOURS))
    told(file, "a-1", "a-2")
    sink.send(event())
    sink.close()
    assert sink.dropped == 0
    monkeypatch.undo()
    heard: Queue[str] = Queue()
    with running(tmp_path) as port:
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _data, message: heard.put(json.loads(message.payload)["id"])
        client.connect("127.0.0.1", port)
        client.subscribe("gaitprint/yard/event", qos=1)
        client.loop_start()
        sink = Mqtt(Broker("127.0.0.1", port), ["yard"], Journal(file, "mqtt", HOURS))
        told(file, "b-1")
        sink.send(event())
        assert [heard.get(timeout=60) for _ in range(3)] == ["a-1", "a-2", "b-1"]
        sink.close()
        client.disconnect()
        client.loop_stop()
    assert heard.empty()
    assert json.loads((tmp_path / "events.jsonl.mqtt").read_text())["id"] == "b-1"


@pytest.mark.parametrize("refuses", [True, False])
def test_a_broker_that_is_away_is_told_once_and_its_events_wait(
    refuses: bool, mqtt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.runs.events.FAREWELL", 0.1)
    monkeypatch.setattr("app.runs.delivery.FAREWELL", 0.1)
    said = r"refuses the connection \(Not authorized\)\. Check mqtt\.user" if refuses else "cannot be reached"
    with ExitStack() as stack:
        port = stack.enter_context(running(tmp_path, refuses=True)) if refuses else free_port()
        sink = Mqtt(Broker("127.0.0.1", port), ["yard"])
        sink.send(event(1, name="Anna"))
        end = time.monotonic() + 30
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1.5)  # it tries again after a second
        sink.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert re.search(said, caplog.text)
    assert sink.dropped == 1, "it was still waiting, in memory"


def test_a_broker_is_asked_without_an_event(mqtt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paho.mqtt.client import Client

    monkeypatch.setattr(Client, "publish", lambda *_, **__: pytest.fail("nothing is to be published"))
    monkeypatch.setattr("app.runs.events._TIMEOUT", 2.0)
    with running(tmp_path) as port:
        assert ask_broker(Broker("127.0.0.1", port)) == "The broker 127.0.0.1 takes the connection."
    with running(tmp_path, refuses=True) as port, pytest.raises(OutputError, match=r"\(Not authorized\)\. Check"):
        ask_broker(Broker("127.0.0.1", port, user="me", password="wrong"))
    with pytest.raises(OutputError, match=r"cannot be reached.*\(Connection refused\)"):
        ask_broker(Broker("127.0.0.1", free_port()))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OutputError, match="Is it an MQTT broker"):
        ask_broker(Broker("127.0.0.1", silent.getsockname()[1]))


def test_home_assistant_learns_of_cameras_and_of_who_was_seen(mqtt: None, tmp_path: Path) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    heard: Queue[tuple[str, str]] = Queue()
    with running(tmp_path) as port:
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _data, message: heard.put((message.topic, message.payload.decode()))
        client.connect("127.0.0.1", port)
        client.subscribe("#", qos=1)
        client.loop_start()
        sink = Mqtt(Broker("127.0.0.1", port), ["yard", "back door"])
        sink.send(event(1, name="Anna", probability=0.9))
        sink.send(event(2, name=None))
        sink.close()
        found: dict[str, list[str]] = {}
        while "offline" not in found.get("gaitprint/status", []):
            topic, text = heard.get(timeout=10)
            found.setdefault(topic, []).append(text)
        client.disconnect()
        client.loop_stop()
    assert found["gaitprint/status"] == ["online", "offline"]
    assert [json.loads(text)["number"] for text in found["gaitprint/yard/event"]] == [1, 2]
    assert [json.loads(text)["name"] for text in found["gaitprint/yard/last"]] == ["Anna"]
    sensor = json.loads(found["homeassistant/sensor/gaitprint_back_door/config"][0])
    assert sensor["state_topic"] == "gaitprint/back_door/last"
    assert sensor["device"]["name"] == "Gaitprint back door"
    assert sink.dropped == 0


def test_those_who_were_seen_long_ago_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runs.watch._REMEMBERED", 3)
    journeys = Journeys([])
    for number in (1, 2, 1, 3, 4):
        assert journeys.follow(event(name=f"stranger {number}"), 10.0 * number) is None
    assert list(journeys._last) == ["stranger 1", "stranger 3", "stranger 4"], "the second was seen the longest ago"
    assert journeys.follow({**event(name="stranger 1"), "source": "hall"}, 90.0) is not None


def test_one_event_when_somebody_goes_from_one_camera_to_another() -> None:
    journeys = Journeys([WayConfig(("yard", "hall"), (5, 60))])
    assert journeys.follow(event(name="Anna"), 10.0) is None
    assert journeys.follow(event(name="Anna", event="left", in_view=4.0), 12.0) is None
    moved = journeys.follow({**event(name="Anna", probability=0.8), "source": "hall"}, 30.0)
    assert moved == {
        "event": "moved",
        "time": NOW,
        "source": "hall",
        "from": "yard",
        "name": "Anna",
        "probability": 0.8,
        "took": 18.0,
        "expected": True,
    }
    assert journeys.follow({**event(name="Anna", event="left"), "source": "hall"}, 31.0) is None
    assert journeys.follow({**event(name=None), "source": "hall"}, 31.0) is None
    stranger = {**event(name=None, event="left", stranger="stranger-0001"), "source": "roof"}
    assert journeys.follow(stranger, 40.0) is None
    found = journeys.follow({**stranger, "source": "yard"}, 45.0)
    assert found is not None
    assert (found["stranger"], found["expected"]) == ("stranger-0001", False)
