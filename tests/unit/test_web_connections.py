"""Connections that send nothing, or too slowly, or are too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")

import uvicorn
from starlette.types import Receive, Scope, Send

from app.web import connections
from app.web.connections import LimitedConnection

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


def _served(client: Callable[[Connect], Awaitable[None]]) -> None:
    """Run `client` against a server."""

    async def run() -> None:
        config = uvicorn.Config(_answer, http=LimitedConnection, lifespan="off", log_level="error", port=0)
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
