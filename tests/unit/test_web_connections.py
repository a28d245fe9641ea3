"""Connections that send nothing, or too slowly, or are too many."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")

import uvicorn
from starlette.types import Receive, Scope, Send

from app.errors import SettingsError
from app.web import connections
from app.web.connections import LimitedConnection
from app.web.server import _tls

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
GOOD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIME", 0.3)
    monkeypatch.setattr(connections, "PAUSE", 0.3)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then answer."""
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    if message["type"] == "http.request":
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"good"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path.with_suffix(".crt")]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def _served(
    client: Callable[[Connect], Awaitable[None]], certificate: Path | None = None, log_level: str = "error"
) -> None:
    """Run `client` against a server."""
    kind = LimitedConnection if certificate is None else LimitedConnection.over(_tls(certificate, None))

    async def run() -> None:
        config = uvicorn.Config(_answer, http=kind, lifespan="off", log_level=log_level, port=0)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            await asyncio.wait_for(client(lambda: asyncio.open_connection("127.0.0.1", port)), 20)
        finally:
            server.should_exit = True
            await task

    asyncio.run(run())


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 10) == b""
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"],
)
def test_a_half_open_connection_is_closed(sent: bytes) -> None:
    async def client(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(sent)
        assert await _is_closed(reader)
        writer.close()

    _served(client)


def test_a_head_that_trickles_in_is_not_waited_for() -> None:
    async def client(connect: Connect) -> None:
        reader, writer = await connect()
        with suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"G")
                await writer.drain()
                await asyncio.sleep(0.05)
                if reader.at_eof():
                    break
            else:
                pytest.fail("the connection stays open")
        assert await _is_closed(reader)
        writer.close()

    _served(client)


def test_a_half_open_second_request_is_closed() -> None:
    async def client(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(GOOD)
        assert (await reader.readuntil(b"good")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HT")
        assert await _is_closed(reader)
        writer.close()

    _served(client)


def test_an_answer_may_take_its_time_and_a_body_may_come_in_pieces() -> None:
    async def client(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(GOOD.replace(b" / ", b" /slow "))
        assert (await reader.readuntil(b"good")).startswith(b"HTTP/1.1 200")
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        assert (await reader.readuntil(b"good")).startswith(b"HTTP/1.1 200")
        writer.close()

    _served(client)


@pytest.mark.parametrize("limit", ["MOST", "MOST_PER_ADDRESS"])
def test_connections_are_limited_and_others_are_served_again(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, limit, 3)
    monkeypatch.setattr(connections, "_is_loopback", lambda address: False)

    async def client(connect: Connect) -> None:
        held = [await connect() for _ in range(30)]
        closed = await asyncio.gather(*(_is_closed(reader) for reader, _ in held[3:]))
        assert all(closed)
        await asyncio.gather(*(_is_closed(reader) for reader, _ in held[:3]))
        reader, writer = await connect()
        writer.write(GOOD)
        assert (await reader.readuntil(b"good")).startswith(b"HTTP/1.1 200")
        for _, other in [*held, (reader, writer)]:
            other.close()

    _served(client)


HELLO = bytes.fromhex("16030100c8010000c40303")  # the beginning of what a TLS client says first


@pytest.mark.parametrize("sent", [b"", HELLO[:3], HELLO, GOOD, b"\0" * 4000])
def test_half_open_tls_is_closed_and_says_nothing(
    sent: bytes, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def client(connect: Connect) -> None:
        held = [await connect() for _ in range(20)]
        for _, writer in held:
            writer.write(sent)
        await asyncio.wait_for(asyncio.gather(*(_is_closed(reader) for reader, _ in held)), 5)
        for _, writer in held:
            writer.close()

    _served(client, certificate)
    assert caplog.text == ""


@pytest.mark.parametrize("limit", ["MOST", "MOST_PER_ADDRESS"])
def test_half_open_tls_counts_and_others_are_served_again(
    limit: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, limit, 3)
    monkeypatch.setattr(connections, "_is_loopback", lambda address: False)
    monkeypatch.setattr(connections, "HEAD_TIME", 2.0)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def client(connect: Connect) -> None:
        loop = asyncio.get_running_loop()
        held = [await connect() for _ in range(30)]
        begun = loop.time()
        await asyncio.gather(*(_is_closed(reader) for reader, _ in held[3:]))
        assert loop.time() - begun < 1.5, "nobody waits for those that are too many"
        await asyncio.gather(*(_is_closed(reader) for reader, _ in held[:3]))
        port = held[0][1].get_extra_info("peername")[1]
        for _ in range(8):  # one after the other, more than are allowed at once
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            writer.write(GOOD)
            assert (await reader.readuntil(b"good")).startswith(b"HTTP/1.1 200")
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        for _, other in held:
            other.close()

    _served(client, certificate)


def test_what_arrives_with_the_handshake_is_not_lost(certificate: Path) -> None:
    """A client may send its request together with the last words of the handshake."""
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def client(connect: Connect) -> None:
        for _ in range(20):
            reader, writer = await connect()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trusting.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await asyncio.wait_for(reader.read(65536), 5))
            tls.write(GOOD)
            writer.write(outgoing.read())  # both at once
            answer = b""
            while b"good" not in answer:
                incoming.write(await asyncio.wait_for(reader.read(65536), 5))
                with suppress(ssl.SSLWantReadError):
                    while piece := tls.read():
                        answer += piece
            assert answer.startswith(b"HTTP/1.1 200")
            writer.close()

    _served(client, certificate)


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, certificate: Path) -> None:
    (tmp_path / "wrong.pem").write_text("no certificate")
    encrypted = tmp_path / "encrypted.pem"
    words = ["pkey", "-in", certificate, "-out", encrypted, "-aes128", "-passout", "pass:secret"]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    for path, key in ((tmp_path / "wrong.pem", None), (certificate, tmp_path / "wrong.pem"), (certificate, encrypted)):
        with pytest.raises(SettingsError, match=r"cannot be used.*must not be encrypted"):
            _tls(path, key)


def test_bad_requests_do_not_fill_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    async def client(connect: Connect) -> None:
        bad = (b"nonsense", b"GET / HTTP/1.1\r\nX : y", GOOD[:-2] + b"Connection: upgrade\r\nUpgrade: websocket")
        for request in bad:
            reader, writer = await connect()
            writer.write(request + b"\r\n\r\n")
            assert (await reader.read(12)).startswith(b"HTTP/1.1")
            writer.close()

    _served(client, log_level="info")
    said = capfd.readouterr().err
    assert "Started server process" in said
    assert "WARNING" not in said
