"""Events reach a webhook and an MQTT broker, signed and in order, and what cannot be delivered is counted."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from app.cli.terminal import write_json
from app.runs.events import Broker, Lines, Mqtt, Webhook, signature
from app.runs.watch import Journeys, WayConfig
from tests.mosquitto import program, running


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"event": "named", "time": "2026-11-29T12:00:00+00:00", "source": "yard", "number": number, **more}


class Receiver:
    """A server that answers with the given statuses in turn, then with 200."""

    def __init__(self, *statuses: int) -> None:
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

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def wait(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 10)


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    found = Receiver(*getattr(request, "param", ()))
    yield found
    found.server.shutdown()
    found.server.server_close()


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
    nobody = Webhook("http://127.0.0.1:9/", "secret", pauses=(60,), room=2)
    for number in range(10):
        nobody.send(event(number))
    assert nobody.dropped >= 7
    nobody.close()


def test_lines_are_written_at_once() -> None:
    out = io.StringIO()
    Lines(out, lambda one, to: write_json(one, to=to)).send(event())
    assert json.loads(out.getvalue()) == event()


def test_home_assistant_learns_of_cameras_and_of_who_was_seen(tmp_path: Path) -> None:
    if find_spec("paho") is None:
        pytest.skip('needs paho-mqtt: pip install -e ".[cameras]"')
    if program() is None:
        pytest.skip("needs the broker mosquitto: apt-get install mosquitto")
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
        "time": "2026-11-29T12:00:00+00:00",
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
