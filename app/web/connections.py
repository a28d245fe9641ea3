"""Connections that cannot be held open without end, so that nobody can take all of them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections import Counter
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr

MOST = 200
"""Connections at the same time. It stays well below the 256 files that some systems let a process open."""
MOST_PER_ADDRESS = 50
"""Connections from one address. For this machine only `MOST` counts, because a proxy sends everybody from there."""
HEAD_TIME = 15.0
"""Seconds in which the head of a request must arrive, from its first byte or the beginning of the connection."""
PAUSE = 30.0
"""Seconds that may pass between two pieces of a body."""


_UNHEARD = logging.getLogger(f"{__name__}.unheard")
_UNHEARD.setLevel(logging.ERROR)
"""Takes the place of the server's log of bad requests, which anybody could fill."""


class LimitedConnection(H11Protocol):
    """A connection of the server. It is closed if its client is slow, or has too many others.

    It counts from its first moment. Were TLS left to the server, a connection would only be known, counted and ended in
    time after the client has said what is needed for the encryption.
    """

    tls: ClassVar[ssl.SSLContext | None] = None
    _timer: asyncio.TimerHandle | None = None
    _waits_for_head = False
    _handshake: asyncio.Task[None] | None = None
    _early = b""  # what arrived before the connection was told that it is encrypted

    @classmethod
    def over(cls, context: ssl.SSLContext) -> type[LimitedConnection]:
        """Return the kind of connection that is encrypted."""
        return type(cls.__name__, (cls,), {"tls": context})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _UNHEARD

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, unless there are too many."""
        self.transport, self.client = transport, get_remote_addr(transport)
        others = cast("set[H11Protocol]", self.connections)
        others.add(self)
        address = self.client[0] if self.client else ""
        of_address = Counter(other.client[0] if other.client else "" for other in others)[address]
        if len(others) > MOST or (of_address > MOST_PER_ADDRESS and not _is_loopback(address)):
            transport.abort()
        elif self.tls is not None:
            self._handshake = self.loop.create_task(self._encrypt(transport, self.tls))
        else:
            self._begin(transport)

    async def _encrypt(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        secured = None
        try:
            secured = await self.loop.start_tls(transport, self, tls, server_side=True, ssl_handshake_timeout=HEAD_TIME)
        except OSError:  # the client wants no TLS, or is too slow
            transport.abort()
        self._handshake = None
        if secured is None or secured.is_closing():
            self.connections.discard(self)
            return
        self._begin(secured)
        if self._early:
            self.data_received(self._early)

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle bytes, and wait for the next ones only so long."""
        if self._handshake is not None:
            self._early += data
            return
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Set the timer for what must arrive next; further bytes of a head do not prolong the time for it."""
        state = self.conn.their_state
        if state is h11.IDLE and self._waits_for_head:
            return
        self._waits_for_head = state is h11.IDLE
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if state in (h11.IDLE, h11.SEND_BODY):
            self._timer = self.loop.call_later(HEAD_TIME if state is h11.IDLE else PAUSE, self._out_of_time)

    def _out_of_time(self) -> None:
        self._timer, self._waits_for_head = None, False
        if self.flow.read_paused:  # the client has sent all that was taken; it waits for us
            self._watch()
        else:
            self.transport.abort()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a Unix socket
        return True
