"""The web application, and the server that runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import posixpath
import re
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from filelock import FileLock, Timeout

from app.errors import GaitprintError, SettingsError, reason_of
from app.files import explained
from app.web.api import Site, answer_head, with_cookie
from app.web.cameras import Live
from app.web.clients import Clients
from app.web.connections import LimitedConnection
from app.web.health import router as health
from app.web.jobs import JobStore
from app.web.live import router  # that of app.web.api, with further requests
from app.web.options import ConflictError, WebError, WebOptions
from app.web.people import People
from app.web.queue import JobQueue
from app.web.security import Guard, Sessions
from app.web.videos import VideoLibrary

logger = logging.getLogger(__name__)

_FOLLOW_EVERY = 60.0  # s
_ID = "[0-9a-f]{32}"
# What the application's folders hold, as regular expressions. It deletes whatever else is in them.
_OWN = {
    "clients": r"[0-9a-f]{64}\.json",
    "coming": _ID,
    "uploads": _ID,
    "inputs": _ID,
    "jobs": rf"{_ID}\.json",
    "results": _ID,
    "work": "cache|OutputVideos|GaitSilhouette|GaitFeatures",
}
_MOST_FAULTS = 10  # of a request that are told
_PAGES = Path(__file__).parent / "pages"
_MODULES = "".join(
    f'<link rel="modulepreload" href="{{root}}js/{path.name}">' for path in sorted((_PAGES / "js").glob("*.js"))
)
"""All scripts are asked for at once, because a browser would find each only in another one."""
answer_head()


def create_app(options: WebOptions) -> FastAPI:
    """Put the application together. Its queue works while the application runs.

    Raises:
        ConflictError: the folder's results were made with another gallery, or it holds what is not of the application.
    """
    _need_own(options.folder)
    sessions = Sessions(options.password or options.token, guessable=options.password is not None)
    videos, jobs = VideoLibrary(options), JobStore(options.folder)
    queue, people = JobQueue(options, jobs, videos), People(options, jobs, videos)
    people.check_gallery()
    clients, live = Clients(options.folder), Live(options, videos)
    site = Site(options, sessions, videos, jobs, queue, people, clients, live)

    @contextlib.asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        with _private(options.folder):
            async with running():
                yield

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        videos.tidy()
        await asyncio.to_thread(people.follow_gallery)  # before anything is served or used by a run
        following = _keep_following(queue, people, videos, live)
        tasks = [asyncio.create_task(work) for work in (queue.run(), live.run(), following)]
        yield
        await queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    application = FastAPI(title="Gaitprint", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    application.state.site = site
    application.add_middleware(Guard, options=options, sessions=sessions, clients=clients)
    application.add_exception_handler(GaitprintError, _explained)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.include_router(router)
    application.include_router(health)
    with_more = (f"/{kind}{rest}" for kind in ("runs", "people", "strangers") for rest in ("", "/{rest:path}"))
    for address in ("/", *with_more, "/live", "/about", "/programs"):
        application.add_api_route(address, _page, methods=["GET", "HEAD"], include_in_schema=False)
    application.mount("/", StaticFiles(directory=_PAGES))
    application.add_exception_handler(404, _nowhere)
    return application


def _need_own(folder: Path) -> None:
    """Make sure that the folders in which the application deletes things hold nothing but its own.

    Raises:
        ConflictError: there is something else.
    """
    for name, own in _OWN.items():
        for path in (folder / name).glob("*"):
            if not re.fullmatch(rf"{own}|\..*\.partial.*|\.DS_Store|Thumbs\.db|desktop\.ini", path.name):
                raise ConflictError(
                    f"{path} does not belong to the web page, which would delete it. Move it away, or give "
                    "another --folder."
                )


@contextlib.contextmanager
def _private(folder: Path) -> Iterator[None]:
    """Let only the user whose server it is read what it and its runs write; also what an earlier version wrote."""
    for name in (*_OWN, "gallery", "worker.log", "cameras.json"):
        path = folder / name
        with contextlib.suppress(OSError):  # it is not there, or another user's
            path.chmod(0o700 if path.is_dir() else 0o600)
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


async def _keep_following(queue: JobQueue, people: People, videos: VideoLibrary, live: Live) -> None:
    """Forget people whose time is over, or who were forgotten elsewhere, as soon as no run stands in the way; and
    uploads that nobody goes on with.
    """
    forgotten: int | None = None
    while True:
        with contextlib.suppress(GaitprintError):
            now, is_due = await asyncio.to_thread(people.forgotten_and_due)
            if is_due or (forgotten is not None and now != forgotten):
                async with live.paused():  # cameras may show who is forgotten
                    await asyncio.to_thread(people.expire)
            forgotten = now
        await asyncio.to_thread(videos.coming.remove_old)
        with contextlib.suppress(ConflictError):
            async with queue.at_rest():
                for step in (people.follow_gallery, people.expire):
                    try:
                        await asyncio.to_thread(step)
                    except GaitprintError as error:
                        logger.warning("The gallery could not be followed: %s", error)
                    except Exception:  # whatever it was, it must be tried again: people rely on being forgotten
                        logger.exception("The gallery could not be followed.")
        await asyncio.sleep(_FOLLOW_EVERY)


async def _page(request: Request, token: str = "") -> Response:
    """Return the page. Its addresses are relative, so a proxy can put it below any path.

    The link that is printed at the start carries a token, which lets its browser in.
    """
    site: Site = request.app.state.site
    if token and site.options.token is not None and site.sessions.is_password(token):
        key, _ = site.sessions.begin(signed_in=True)
        return with_cookie(RedirectResponse("./", 303), site, key)  # the token leaves the address
    root = f"{posixpath.relpath('/', posixpath.dirname(request.scope['path']))}/"
    html = (_PAGES / "index.html").read_text(encoding="utf-8").replace("{modules}", _MODULES)
    return HTMLResponse(html.replace("{root}", root))


async def _nowhere(request: Request, error: Exception) -> Response:
    """Answer a browser that asks for an unknown address with the page, which says so, and anybody else in JSON."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/api/")
    if not wants_page:
        return JSONResponse({"detail": "There is nothing at this address."}, 404)
    page = await _page(request)
    page.status_code = 404
    return page


async def _explained(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, error.status if isinstance(error, WebError) else 422)


async def _invalid(request: Request, error: Exception) -> Response:
    """Say what is wrong with a request and where, and never repeat what it holds, such as a password."""
    assert isinstance(error, RequestValidationError)
    detail = []
    for fault in error.errors()[:_MOST_FAULTS]:
        place = ".".join(map(str, fault["loc"][1:])) if fault["type"] != "extra_forbidden" else ""
        detail.append({"type": fault["type"], "msg": f"{place}: {fault['msg']}" if place else fault["msg"]})
    return JSONResponse({"detail": detail}, 422)


class _Server(uvicorn.Server):
    """A server that ends streams of events when it stops, instead of waiting for their readers."""

    def __init__(self, config: uvicorn.Config, queue: JobQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().create_task(self._queue.close())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGHUP, which says that the terminal was closed, end the server as SIGTERM does."""
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        is_main = threading.current_thread() is threading.main_thread()
        with contextlib.ExitStack() as stack:
            if hangup is not None and is_main and signal.getsignal(hangup) != signal.SIG_IGN:
                stack.callback(signal.signal, hangup, signal.signal(hangup, self.handle_exit))
            stack.enter_context(super().capture_signals())
            yield


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket; port 0 stands for any free one.

    Raises:
        SettingsError: the address does not belong to this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        why = reason_of(error).partition(" (while")[0]
        raise SettingsError(f"The server cannot listen at {host}, port {port}: {why}. Give another --port.") from error


def _tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")  # without one, OpenSSL would ask in the terminal
    except OSError as error:
        raise SettingsError(
            f"The certificate {certificate} with the key {key} cannot be used: {reason_of(error)}. Both must be "
            "PEM files that belong together, and the key must not be encrypted."
        ) from error
    return context


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let no other server use `folder` during the block.

    Raises:
        OutputError: the folder cannot be made.
        ConflictError: another server uses it.
    """
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = FileLock(folder / "lock").acquire(blocking=False)
        except Timeout as error:
            raise ConflictError(f"Another server uses {folder}. End it, or give another --folder.") from error
    with lock:
        yield


def serve(
    options: WebOptions,
    listener: socket.socket,
    certificate: Path | None = None,
    key: Path | None = None,
    announce: Callable[[], object] = lambda: None,
) -> None:
    """Serve at a bound socket until Ctrl-C, SIGTERM or SIGHUP; `announce` is called when nothing stands in the way.

    Raises:
        OutputError: the folder for uploads and results cannot be made.
        ConflictError: another server uses that folder, or its results were made with another gallery.
        SettingsError: the certificate or its key cannot be used.
    """
    with alone_in(options.folder):
        application = create_app(options)
        config = uvicorn.Config(
            application,
            http=LimitedConnection if certificate is None else LimitedConnection.over(_tls(certificate, key)),
            ws="none",
            h11_max_incomplete_event_size=32 << 10,  # bytes of a request's head
            log_level="warning",
            access_log=False,  # addresses contain names and ids
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        announce()
        _Server(config, application.state.site.queue).run(sockets=[listener])
