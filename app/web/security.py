"""Decides which requests are allowed: host names, sessions, tokens against forged requests, a password, headers, sizes.

All is judged by what the router will use, above all the path in the ASGI scope: `Request.url` also contains the Host
header, which the sender is free to choose.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.clients import Client, Clients
from app.web.options import WebOptions

TOKEN_HEADER = "X-Gaitprint-Token"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_SCHEMES = ("http", "https")  # whichever it is here: a proxy may provide TLS
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_OPEN_TO_ALL = {"/api/session", "/api/login"}
_LIFETIME = 12 * 3600.0  # s without a request after which a session ends
_MOST_SESSIONS = 1000
_MINUTE, _TRIES, _ALL_TRIES = 60.0, 5, 30  # the most wrong passwords a minute, from one address and in total
_UPLOADS = re.compile(r"POST /api/videos|PATCH /api/uploads/[^/]+")
"""Requests whose bodies may be large; the library of videos limits them."""
_LARGEST_BODY = 64 << 10  # bytes of any other
_LARGEST_HEAD = 32 << 10  # bytes of path, query and headers
_BODY_TIME = 15.0  # s in which it must arrive
# A name or an IPv4 address, or an IPv6 address in brackets, then perhaps a port (RFC 9110, section 7.2).
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; media-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For `report.html`, which contains its script and style; it can request nothing but its videos."""


@dataclass
class Session:
    """A browser: the token that its requests must carry, and whether it has sent the password."""

    token: str
    signed_in: bool
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions of browsers, by the value of their cookie. They end with the program.

    Without a `password` everybody is let in. One that is `guessable`, because somebody chose it, may be tried only a
    few times a minute.
    """

    def __init__(self, password: str | None, *, guessable: bool = True) -> None:
        self._password = hashlib.sha256(password.encode()).digest() if password is not None else None
        self._guessable = guessable
        self._sessions: dict[str, Session] = {}
        self._wrong: dict[str, deque[float]] = defaultdict(deque)

    @property
    def need_password(self) -> bool:
        """Whether there is a password."""
        return self._password is not None

    def find(self, key: str | None) -> Session | None:
        """Return the session of a cookie; None if it is unknown or too old."""
        session = self._sessions.get(key or "")
        if session is None or time.monotonic() - session.used > _LIFETIME:
            return None
        session.used = time.monotonic()
        return session

    def begin(self, *, signed_in: bool = False) -> tuple[str, Session]:
        """Make a session, and return it with the value of its cookie."""
        if len(self._sessions) >= _MOST_SESSIONS:  # those that have sent the password are kept longest
            oldest = min(self._sessions, key=lambda k: (self._sessions[k].signed_in, self._sessions[k].used))
            del self._sessions[oldest]
        key = secrets.token_urlsafe(32)
        self._sessions[key] = Session(secrets.token_urlsafe(32), signed_in or self._password is None)
        return key, self._sessions[key]

    def end(self, key: str | None) -> None:
        """End a session."""
        self._sessions.pop(key or "", None)

    def is_password(self, password: str) -> bool:
        """Whether it is the right password; the comparison always takes the same time."""
        digest = hashlib.sha256(password.encode()).digest()
        return self._password is not None and hmac.compare_digest(digest, self._password)

    def wait(self, address: str) -> float:
        """Return how many s an address must wait before it may try a password; 0 if it may now."""
        if not self._guessable:
            return 0.0
        now = time.monotonic()
        for key, most in ((address, _TRIES), ("", _ALL_TRIES)):
            wrong = self._wrong[key]
            while wrong and now - wrong[0] > _MINUTE:
                wrong.popleft()
            if len(wrong) >= most:
                return _MINUTE - (now - wrong[0])
            if not wrong:
                del self._wrong[key]
        return 0.0

    def count_wrong(self, address: str) -> None:
        """Count a wrong password."""
        for key in (address, "") if self._guessable else ():
            self._wrong[key].append(time.monotonic())


class Guard:
    """Checks every request before the application gets it, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, options: WebOptions, sessions: Sessions, clients: Clients) -> None:
        self._app, self._options, self._sessions, self._clients = app, options, sessions, clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
            await send(message)

        request = Request(scope)
        client = self._client(request)
        scope["state"] = {**scope.get("state", {}), "client": client}
        refused = self._refusal(request, client)
        if refused is None and not _UPLOADS.fullmatch(f"{scope['method']} {scope['path']}"):
            body = await _whole_body(request, receive)
            if isinstance(body, bytes):
                receive = _replayed(body, receive)
            else:
                refused = body
        if refused is None:
            await self._app(scope, receive, with_headers)
        else:
            await refused(scope, receive, with_headers)

    def _client(self, request: Request) -> Client | None:
        """Return the program that sends the request; None for a browser, and for a token that nobody has."""
        token = _bearer(request)
        return self._clients.find(token) if token is not None and request.scope["path"].startswith("/api/") else None

    def _refusal(self, request: Request, client: Client | None) -> JSONResponse | None:
        head = [*(part for header in request.scope["headers"] for part in header), request.scope["query_string"]]
        if sum(map(len, head)) + len(request.scope["path"]) > _LARGEST_HEAD:
            return _refused(
                431, f"The head of the request is larger than {_LARGEST_HEAD >> 10} KiB, which is the limit."
            )
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _refused(
                421,
                "This server has another name. If the name in the address is right, start it with --host-name NAME.",
            )
        if any(re.fullmatch(r"[0-9]{1,19}", length) is None for length in request.headers.getlist("content-length")):
            return _refused(400, "The length of the request is not a number.")
        path = request.scope["path"]
        if client is not None:  # which no other page can send: a browser adds cookies by itself, but never a token
            return None
        if path.startswith("/api/") and _bearer(request) is not None:
            return _refused(401, "This token is not known, or it was revoked.")
        session = self._sessions.find(request.cookies.get(self._options.cookie))
        if path.startswith("/api/") and path not in _OPEN_TO_ALL and not (session and session.signed_in):
            return _refused(401, "Please sign in." if self._sessions.need_password else "Please load the page again.")
        if request.method in _SAFE:
            return None
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in {f"{scheme}://{hosts[0].lower()}" for scheme in _SCHEMES}:
            return _refused(403, "This request comes from another web page.")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refused(403, "This request comes from another web page.")
        token = request.headers.get(TOKEN_HEADER, "")
        if session is None or not hmac.compare_digest(token.encode(), session.token.encode()):
            return _refused(403, "Please load the page again.")
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server. If not, a foreign name was bound to its address (DNS rebinding)."""
        parsed = _HOST.fullmatch(host)
        if parsed is None:
            return False
        name = parsed["name"].strip("[]").lower().rstrip(".")
        if name in _LOCAL or name in self._options.host_names:
            return True
        return not self._options.local_only and _is_address(name)  # an address cannot be rebound


def _bearer(request: Request) -> str | None:
    """Return the bearer token of a request (RFC 6750)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _whole_body(request: Request, receive: Receive) -> bytes | JSONResponse:
    """Read the body of a request, or return why it is refused."""
    too_large = _refused(413, f"The request is larger than {_LARGEST_BODY >> 10} KiB, which is the limit.")
    if int(request.headers.get("content-length", "0")) > _LARGEST_BODY:
        return too_large

    async def read() -> bytes | JSONResponse:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return _refused(400, "The request ended before its end.")
            body += message.get("body", b"")
            if len(body) > _LARGEST_BODY:
                return too_large
            if not message.get("more_body", False):
                return bytes(body)

    try:
        return await asyncio.wait_for(read(), _BODY_TIME)
    except asyncio.TimeoutError:
        return _refused(408, f"The request did not arrive within {_BODY_TIME:.0f} s.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a function that gives `body`, which was read already, and then whatever `receive` gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
