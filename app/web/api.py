"""The requests of the web page. Everything is addressed by ids; a path never comes from a client."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import re
import tempfile
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BaseModel, Field
from starlette.routing import BaseRoute

import app
from app.gallery.sql import GalleryStore
from app.gallery.store import EnrolledWalk, Merge, Person
from app.gallery.strangers import sightings as seen_live
from app.settings import Blur, MatchSettings
from app.video.formats import VIDEO_SUFFIXES
from app.video.sources import distinct_names, plain_name
from app.web.bin import Binned
from app.web.cameras import Live
from app.web.clients import LONGEST, Client, Clients, Scope
from app.web.coming import Coming
from app.web.jobs import Job, JobStore, Kind
from app.web.options import ConflictError, ForbiddenError, NotThereError, WebError, WebOptions
from app.web.people import People
from app.web.queue import JobQueue
from app.web.results import RunResult
from app.web.security import REPORT_POLICY, Sessions
from app.web.videos import Video, VideoLibrary

if TYPE_CHECKING:
    from app.results.clothes import Colour

_HEARTBEAT = 15.0  # s; proxies close connections that are silent for longer
_MOST_VIDEOS = 20  # in one run
_FEW_RUNS = 4  # on the first page
_MOST_SIGHTINGS = 100
NEWEST = 5000
"""So many of the gallery's newest entries about cameras are looked through for sightings."""
_ABOUT_API = (
    "Send the token of a program as the header Authorization: Bearer TOKEN. x-scope says which scope a request needs. "
    "Fields may be added at any time; none changes its meaning."
)


@dataclass(frozen=True)
class Site:
    """The parts of the application, which handlers of requests use."""

    options: WebOptions
    sessions: Sessions
    videos: VideoLibrary
    jobs: JobStore
    queue: JobQueue
    people: People
    clients: Clients
    live: Live


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_site)]
Name = Annotated[str, Body(embed=True, min_length=1, max_length=100)]
"""The name of a person: ``{"name": ...}``."""
ENROL: dict[str, Any] = {"x-scope": "enrol"}
ADMIN: dict[str, Any] = {"x-scope": "admin"}


def _scope(route: APIRoute) -> Scope:
    """Return the scope that a request needs: what the route says, or else ``read`` to read and ``admin`` to change."""
    usual = "read" if "GET" in (route.methods or ()) else "admin"
    scope: Scope = (route.openapi_extra or {}).get("x-scope", usual)
    return scope


def _allowed(request: Request) -> None:
    """Refuse what the token of a program does not allow; a browser may do everything.

    Raises:
        ForbiddenError: a larger scope is needed.
    """
    client: Client | None = request.state.client
    if client is not None and not client.may(needed := _scope(request.scope["route"])):
        raise ForbiddenError(f"The token of '{client.name}' has the scope {client.scope}, but {needed} is needed.")


router = APIRouter(prefix="/api", dependencies=[Depends(_allowed)])


# Sessions


@router.get("/session")
async def session(site: Here, request: Request) -> Response:
    """Return the session of the browser, the token that its requests need, and what the page needs to know."""
    key = request.cookies.get(site.options.cookie)
    session = site.sessions.find(key)
    if key is None or session is None:
        key, session = site.sessions.begin()
    answer = {
        "token": session.token,
        "signed_in": session.signed_in,
        "password": site.options.password is not None,
        "version": app.__version__,
        "largest_upload": site.options.largest_upload,
        "blur": site.options.blur,
        "input_videos": str(site.options.input_videos),
        "suffixes": sorted(VIDEO_SUFFIXES),
    }
    return with_cookie(JSONResponse(answer), site, key)


@router.post("/login")
async def login(site: Here, request: Request, password: Annotated[str, Body(embed=True, max_length=1000)]) -> Response:
    """Begin a session that may do everything, if the password is right."""
    address = request.client.host if request.client else ""
    wait = site.sessions.wait(address)
    if wait:
        detail = f"Too many wrong passwords. Try again in {wait:.0f} s."
        return JSONResponse({"detail": detail}, 429, {"Retry-After": str(round(wait) + 1)})
    if not site.sessions.is_password(password):
        site.sessions.count_wrong(address)
        return JSONResponse({"detail": "The password is wrong."}, 401)
    site.sessions.end(request.cookies.get(site.options.cookie))
    key, session = site.sessions.begin(signed_in=True)  # a new key, which nobody can have learnt before
    return with_cookie(JSONResponse({"token": session.token}), site, key)


@router.post("/logout", status_code=204)
async def logout(site: Here, request: Request) -> None:
    """End the session."""
    site.sessions.end(request.cookies.get(site.options.cookie))


def with_cookie(response: Response, site: Site, key: str) -> Response:
    """Give a browser the key of its session."""
    response.set_cookie(site.options.cookie, key, httponly=True, samesite="strict", secure=site.options.secure)
    return response


# Programs


@router.get("/clients", openapi_extra=ADMIN)
def clients(site: Here) -> list[Client]:
    """Return the programs that have a token."""
    return site.clients.all()


class NewClient(BaseModel):
    """A program for which a token is made."""

    name: str = Field(min_length=1, max_length=LONGEST)
    scope: Scope = "read"


@router.post("/clients", status_code=201)
def create_client(site: Here, new: NewClient) -> dict[str, str]:
    """Make a token for a program. It is not kept, so nobody can ask for it again."""
    return {"token": site.clients.create(new.name, new.scope)}


@router.delete("/clients/{name:path}", status_code=204)
def revoke_client(site: Here, name: str) -> None:
    """Take a program's token away."""
    site.clients.revoke(name)


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    """Return the description of all requests, in the format OpenAPI."""
    from fastapi.openapi.utils import get_openapi  # late, as hardly anybody asks for it

    routes: list[BaseRoute] = []
    for route in router.routes:
        if isinstance(route, APIRoute):
            shown = copy(route)
            shown.methods = set(route.methods or ()) - {"HEAD"}
            shown.openapi_extra = {"x-scope": _scope(route), "security": [{"token": []}]}
            shown.tags = [route.path.split("/")[2]]
            routes.append(shown)
    schema = get_openapi(title="Gaitprint", version=app.__version__, description=_ABOUT_API, routes=routes)
    schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return JSONResponse(schema)


# Videos


@router.get("/videos")
async def videos(site: Here) -> list[Video]:
    """Return every video that a run can use."""
    return await site.videos.all()


@router.post("/videos", status_code=201, openapi_extra=ENROL)
async def upload(site: Here, request: Request, name: str) -> Video:
    """Store a video that is sent in one piece; the body of the request is the file."""
    announced = int(request.headers.get("content-length") or 0)
    return await site.videos.receive(name, announced, request.stream())


_TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}


def _tus(coming: Coming, status: int = 204, **more: str) -> Response:
    progress = {"Upload-Offset": str(coming.offset), "Upload-Length": str(coming.length)}
    return Response(status_code=status, headers={**_TUS, **progress, **more})


def _whole_number(text: str | None, what: str) -> int:
    if text is None or re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise WebError(f"The header {what} must be a whole number.")
    return int(text)


@router.options("/uploads")
def tus(site: Here) -> Response:
    """Say what this server understands of the protocol tus."""
    about = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination"}
    return Response(status_code=204, headers={**_TUS, **about, "Tus-Max-Size": str(site.options.largest_upload)})


@router.get("/uploads")
def uploads(site: Here) -> list[Coming]:
    """Return the uploads that have not arrived, which can go on."""
    return site.videos.coming.all()


@router.post("/uploads", status_code=201, openapi_extra=ENROL)
def begin_upload(site: Here, request: Request) -> Response:
    """Begin an upload in pieces, as the protocol tus 1.0.0 does (creation).

    The header Upload-Length has its bytes. Upload-Metadata has `filename`, and may have `modified`: when the file was
    changed, in ms since 1970.
    """
    told = {}
    for pair in request.headers.get("upload-metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        with suppress(ValueError):
            told[key] = b64decode(value, validate=True).decode(errors="replace")
    modified = told.get("modified", "")
    coming = site.videos.begin(
        told.get("filename", "video")[:1000],
        _whole_number(request.headers.get("upload-length"), "Upload-Length"),
        int(modified) if re.fullmatch(r"[0-9]{1,15}", modified) else None,
    )
    return _tus(coming, 201, Location=f"uploads/{coming.upload_id}")  # relative, as a proxy may add to the path


@router.get("/uploads/{upload_id}")
def upload_state(site: Here, upload_id: str) -> Response:
    """Say in the header Upload-Offset how many bytes of an upload have arrived; ask with HEAD."""
    return _tus(site.videos.coming.get(upload_id))


@router.patch("/uploads/{upload_id}", openapi_extra=ENROL)
async def append(site: Here, upload_id: str, request: Request) -> Response:
    """Send further bytes of an upload, from Upload-Offset on. With the last ones it becomes a video of the same id."""
    if request.headers.get("content-type") != "application/offset+octet-stream":
        return JSONResponse({"detail": "The content type must be application/offset+octet-stream."}, 415)
    offset = _whole_number(request.headers.get("upload-offset"), "Upload-Offset")
    return _tus(await site.videos.append(upload_id, offset, request.stream()))


@router.delete("/uploads/{upload_id}", openapi_extra=ENROL)
def stop_upload(site: Here, upload_id: str) -> Response:
    """Remove what has arrived of an upload (tus: termination)."""
    site.videos.coming.remove(upload_id)
    return Response(status_code=204, headers=_TUS)


@router.get("/videos/{video_id}")
async def video(site: Here, video_id: str) -> Video:
    """Look into a video, and return it with its header; from now on it has a picture."""
    return await site.videos.look_into(video_id)


@router.get("/videos/{video_id}/thumbnail")
async def thumbnail(site: Here, video_id: str) -> Response:
    """Return a picture of a video."""
    return _file(site, site.videos.thumbnail(site.videos.get(video_id)))


@router.delete("/videos/{video_id}", status_code=204)
async def remove_video(site: Here, video_id: str) -> None:
    """Delete an upload, and what is kept of videos to make runs quicker. Results stay."""
    video = site.videos.get(video_id)
    if any(job.is_open for job in site.jobs.using(video_id)):
        raise ConflictError(f"A run that has not ended uses {video.name}. Cancel it first.")
    async with site.queue.at_rest():
        await asyncio.to_thread(site.people.empty_cache)  # first, so that it can be done again if it is interrupted
        await asyncio.to_thread(site.videos.remove, video)


# Runs


class NewJob(BaseModel):
    """A run that somebody asks for."""

    kind: Kind
    gallery: str | None = None
    probes: list[str] = Field(min_length=1, max_length=_MOST_VIDEOS)
    blur: Blur | None = None
    far: float = Field(default=MatchSettings().far, gt=0, lt=1)


@router.get("/jobs")
async def jobs(site: Here) -> list[dict[str, Any]]:
    """Return every run, the newest first."""
    await _follow_gallery(site)
    return [_public(site, job) for job in site.jobs.all()]


@router.get("/overview")
async def overview(site: Here) -> dict[str, Any]:
    """Return how many people and runs there are, and the newest runs: what the first page shows."""
    await _follow_gallery(site)
    people, jobs = await asyncio.to_thread(site.people.known), site.jobs.all()
    return {"people": len(people.names), "runs": len(jobs), "newest": [_public(site, job) for job in jobs[:_FEW_RUNS]]}


@router.post("/jobs", status_code=201, openapi_extra=ENROL)
async def start(site: Here, new_job: NewJob) -> dict[str, Any]:
    """Put a run into the queue."""
    if (new_job.kind == "compare") != (new_job.gallery is not None):
        raise WebError("Choose the video of the people to recognise, or the gallery.")
    job = Job(
        kind=new_job.kind,
        gallery=new_job.gallery,
        probes=new_job.probes,
        blur=new_job.blur or site.options.blur,
        far=new_job.far,
        names={},
    )
    if len(set(job.videos)) < len(job.videos):
        raise WebError("The same video is chosen twice, so everybody would match themselves.")
    job.names = _distinct([await site.videos.look_into(video_id) for video_id in job.videos])
    await site.queue.submit(job)
    return _public(site, job)


def _distinct(videos: list[Video]) -> dict[str, str]:
    """Return the names of the videos of a run by their ids. The second one of a name gets a number, as its files do."""
    numbered = distinct_names([Path(video.name) for video in videos])
    names = {}
    for video, stem in zip(videos, numbered, strict=True):
        own = Path(video.name)
        names[video.video_id] = video.name if stem == plain_name(own.stem) else f"{stem}{own.suffix}"
    return names


@router.get("/jobs/{job_id}")
async def job(site: Here, job_id: str) -> dict[str, Any]:
    """Return one run."""
    return _public(site, site.jobs.get(job_id))


@router.post("/jobs/{job_id}/cancel", status_code=204, openapi_extra=ENROL)
async def cancel(site: Here, job_id: str) -> None:
    """Stop a run."""
    await site.queue.cancel(site.jobs.get(job_id))


@router.post("/jobs/{job_id}/restart", status_code=204, openapi_extra=ENROL)
async def restart(site: Here, job_id: str) -> None:
    """Begin a run again. Videos that were already analysed to their end are not analysed again."""
    await site.queue.submit(site.jobs.get(job_id))


@router.delete("/jobs/{job_id}", status_code=204)
async def remove_job(site: Here, job_id: str) -> None:
    """Delete a run and its result. Its videos, and walks that were enrolled from it, stay."""
    await asyncio.to_thread(site.jobs.remove, site.jobs.get(job_id))
    await site.queue.announce(job_id)


@router.get("/events")
async def events(site: Here, request: Request) -> Response:
    """Stream the changes of all runs as server-sent events: ``job`` with a run, or ``gone`` with its id."""

    async def stream() -> AsyncIterator[str]:
        revision, queue = 0, site.queue
        yield "retry: 1000\n\n"
        while not queue.closing and request.method == "GET":
            revision, changed = await queue.changes(revision, _HEARTBEAT)
            for job_id in changed:
                job = site.jobs.find(job_id)
                content = _public(site, job) if job else {"job_id": job_id}
                yield f"event: {'job' if job else 'gone'}\ndata: {json.dumps(content)}\n\n"
            if not changed:
                yield ": alive\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _public(site: Site, job: Job) -> dict[str, Any]:
    left = site.queue.left.get(job.job_id) if job.state == "running" else None
    spent = time.time() - (job.started or 0)
    return {
        **job.model_dump(exclude={"labels", "denied", "attempts"}),
        "steps": [step.model_dump() for step in site.queue.steps.get(job.job_id, [])],
        "left": left,
        "share": spent / (spent + left) if left is not None else None,
        "waits_for": site.jobs.before(job) if job.state == "queued" else 0,
    }


# Results


async def _result(site: Here, job_id: str) -> RunResult:
    job = site.jobs.get(job_id)
    result = RunResult(job, site.jobs.result(job))
    if await asyncio.to_thread(site.people.names_forgotten, [result]):
        await _follow_gallery(site)
        raise NotThereError("This run named somebody who has been forgotten since, so its result was deleted.")
    return result


async def _follow_gallery(site: Site) -> None:
    """Delete what shows people who were forgotten on the command line; if a run is going on, this is done later."""
    if not await asyncio.to_thread(site.people.names_forgotten):
        return
    with suppress(ConflictError):
        async with _deleting_runs(site):
            await asyncio.to_thread(site.people.follow_gallery)


@asynccontextmanager
async def _deleting_runs(site: Site) -> AsyncIterator[None]:
    """Let the block delete runs while none is going on, and announce which are gone.

    Raises:
        ConflictError: a run is going on.
    """
    async with site.queue.at_rest():
        before = {job.job_id for job in site.jobs.all()}
        yield
    for job_id in before - {job.job_id for job in site.jobs.all()}:
        await site.queue.announce(job_id)


JobResult = Annotated[RunResult, Depends(_result)]


@router.get("/jobs/{job_id}/result")
def result(site: Here, result: JobResult) -> dict[str, Any]:
    """Return the result of a run, with the names that the gallery gives now."""
    site.people.name_again(result)
    return result.view(site.people.known())


@router.get("/jobs/{job_id}/videos/{place}/boxes")
def boxes(result: JobResult, place: int) -> dict[int, dict[str, Any]]:
    """Return the boxes of everybody in each frame of a video."""
    return result.boxes(place)


@router.get("/jobs/{job_id}/videos/{place}/crops/{track_id}")
def crop(site: Here, result: JobResult, place: int, track_id: int) -> Response:
    """Return a picture of a track."""
    return _file(site, result.crop(place, track_id))


@router.get("/jobs/{job_id}/files/{name}")
def file(site: Here, result: JobResult, name: str) -> Response:
    """Return a file of a run: a painted video, `results.json`, `report.html` ...

    Tables and report have the names that the gallery gives now. The painted video has those of the run.
    """
    for path in (result.folder / "run").iterdir():
        if path.name == name and path.is_file():  # the name is compared, and never becomes part of a path
            policy = {"Content-Security-Policy": REPORT_POLICY} if path.suffix == ".html" else {}
            content = site.people.file_again(result, name)
            if content is not None:
                kind = mimetypes.guess_type(name)[0]
                return Response(content, media_type=f"{kind}; charset=utf-8", headers=policy)
            return _file(site, path, policy)
    raise NotThereError("This run has no such file.")


class Named(BaseModel):
    """Who somebody without a name is."""

    name: str = Field(min_length=1, max_length=100)
    consent: str = Field(default="", max_length=2000)
    retain_days: int | None = Field(default=None, ge=1, le=36525)


class Naming(Named):
    """The name that somebody gives a track."""

    keep_silhouettes: bool = True


@router.post("/jobs/{job_id}/videos/{place}/tracks/{track_id}/person", openapi_extra=ENROL)
def name_track(site: Here, result: JobResult, place: int, track_id: int, naming: Naming) -> dict[str, Any]:
    """Enrol a track under a name, or correct its name. `before` says who had the walk, which an undo needs to know."""
    before = site.people.owner_of(result, place, track_id)
    person_id = site.people.name_track(
        result, place, track_id, naming.name, naming.consent, naming.retain_days, naming.keep_silhouettes
    )
    names = site.people.known().names
    return {
        "person_id": person_id,
        "before": before,
        "undo": before is None or (before != names[person_id] and before in names.values()),
    }


@router.delete("/jobs/{job_id}/videos/{place}/tracks/{track_id}/person", status_code=204)
async def unname_track(site: Here, result: JobResult, place: int, track_id: int) -> None:
    """Take a track out of the gallery again."""
    async with site.queue.at_rest():
        await asyncio.to_thread(site.people.unname_track, result, place, track_id)


class Denied(BaseModel):
    """Somebody of a gallery video who a track is not, or is again not denied to be, by the name that the run shows."""

    name: str = Field(min_length=1, max_length=300)
    denied: bool


@router.put("/jobs/{job_id}/videos/{place}/tracks/{track_id}/denied", status_code=204, openapi_extra=ENROL)
def deny_in_run(site: Here, result: JobResult, place: int, track_id: int, said: Denied) -> None:
    """Remember that a track is not somebody of the run's gallery video, or take that back. The run follows."""
    site.people.deny_in_run(result, place, track_id, said.name, denied=said.denied)


@router.put("/jobs/{job_id}/videos/{place}/tracks/{track_id}/denied/{person_id}", status_code=204, openapi_extra=ENROL)
def deny(site: Here, result: JobResult, place: int, track_id: int, person_id: int) -> None:
    """Remember that a track is not a person: no run gives this walk that name again."""
    site.people.deny(result, place, track_id, person_id, denied=True)


@router.delete(
    "/jobs/{job_id}/videos/{place}/tracks/{track_id}/denied/{person_id}", status_code=204, openapi_extra=ENROL
)
def allow(site: Here, result: JobResult, place: int, track_id: int, person_id: int) -> None:
    """Take back that a track is not a person."""
    site.people.deny(result, place, track_id, person_id, denied=False)


# People


@router.get("/people")
def people(site: Here) -> Response:
    """Return everybody in the gallery."""
    with site.people.gallery() as gallery:
        pictured = gallery.pictured()
        everybody = [_person(person, person.person_id in pictured) for person in gallery.people()]
    return JSONResponse(everybody)  # as it is: FastAPI's own conversion takes longer than all the rest


@router.get("/people/{person_id}")
def person(site: Here, person_id: int) -> dict[str, Any]:
    """Return one person, with their walks."""
    with site.people.gallery() as gallery:
        one = site.people.get(gallery, person_id)
        return {
            **_person(one, person_id in gallery.pictured()),
            "walk_list": [_walk(walk) for walk in gallery.walks(one.name)],
            "denials": [{**asdict(denial), "added": denial.added.isoformat()} for denial in gallery.denials(one.name)],
        }


@router.get("/people/{person_id}/sightings")
def sightings(site: Here, person_id: int) -> list[dict[str, Any]]:
    """Return where a person was seen, the newest run first."""
    with site.people.gallery() as gallery:
        site.people.get(gallery, person_id)
    return site.people.sightings(person_id)


@router.get("/people/{person_id}/cameras")
def seen_by_cameras(site: Here, person_id: int) -> list[dict[str, Any]]:
    """Return when cameras have seen a person, also as a stranger, the newest first."""
    with site.people.gallery() as gallery:
        name = site.people.get(gallery, person_id).name
        return camera_sightings(gallery, [name, *gallery.former_names(name)])


def camera_sightings(gallery: GalleryStore, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return when cameras have seen somebody who has or had these names, for the page; `in_view` is in s."""
    return [
        {
            "time": event.time.isoformat(),
            "camera": event.details.get("source"),
            "event": event.event,
            "in_view": event.details.get("in_view"),
        }
        for event in seen_live(gallery, names, NEWEST)[:_MOST_SIGHTINGS]
    ]


@router.get("/people/{person_id}/standings")
def standings(site: Here, person_id: int) -> list[dict[str, Any]]:
    """Return how far each walk of a person is from their other walks (`own`) and from the nearest other person."""
    return [{**asdict(one), "harms": one.harms} for one in site.people.standings(person_id)]


@router.get("/people/{person_id}/clothes")
def clothes(site: Here, person_id: int) -> dict[str, Any]:
    """Return the colours of upper and lower body, guessed from one picture each, where there is one.

    They are given by the walk in the gallery (its id) and by where a run has seen the person (run/video/track).
    """
    return {key: colours(worn) for key, worn in site.people.clothes(person_id).items()}


def colours(worn: Sequence[Colour] | None) -> list[dict[str, str]] | None:
    """Return colours for the page."""
    return [colour._asdict() for colour in worn] if worn is not None else None


@router.get("/people/{person_id}/picture")
def picture(site: Here, person_id: int) -> Response:
    """Return the newest picture of a person."""
    with site.people.gallery() as gallery:
        jpeg = gallery.thumbnail(site.people.get(gallery, person_id).name)
    if jpeg is None:
        raise NotThereError("There is no picture of this person.")
    return Response(jpeg, media_type="image/jpeg")


@router.patch("/people/{person_id}", status_code=204)
def rename(site: Here, person_id: int, name: Name) -> None:
    """Give a person another name."""
    with site.people.service() as gallery:
        gallery.rename(site.people.get(gallery, person_id).name, name)


class Consent(BaseModel):
    """What somebody agrees to, and until when they are kept; null for no limit."""

    consent: str = Field(min_length=1, max_length=2000)
    expires: AwareDatetime | None


@router.put("/people/{person_id}/consent", status_code=204)
def set_consent(site: Here, person_id: int, agreed: Consent) -> None:
    """Note what a person agrees to from now on, and until when they are kept."""
    with site.people.service() as gallery:
        gallery.set_consent(site.people.get(gallery, person_id).name, agreed.consent, agreed.expires)


@router.get("/people/{person_id}/access", openapi_extra=ADMIN)
def access(site: Here, person_id: int) -> Response:
    """Return a zip with everything that is stored of a person, because they asked for it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - read later; it has no name, so nothing is left if that breaks
    name = site.people.access(person_id, file)
    file.seek(0)
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip"}
    return StreamingResponse(iter(partial(file.read, 1 << 16), b""), media_type="application/zip", headers=headers)


@router.post("/people/{person_id}/merge")
async def merge(
    site: Here, person_id: int, into: Annotated[int, Body(embed=True, alias="person_id")]
) -> dict[str, str]:
    """Give all walks of one person to another, because both are the same person. `key` undoes it for ten minutes."""
    async with site.queue.at_rest():
        return {"key": await asyncio.to_thread(site.people.merge, person_id, into)}


@router.delete("/people/{person_id}/denials/{denial_id}", status_code=204)
def allow_walk(site: Here, person_id: int, denial_id: int) -> None:
    """Take back that a walk is not this person's."""
    site.people.allow(person_id, denial_id)


@router.get("/people/{person_id}/traces")
def traces_of(site: Here, person_id: int) -> dict[str, Any]:
    """Return what is deleted when a person is forgotten, and what stays."""
    with site.people.gallery() as gallery:
        one = site.people.get(gallery, person_id)
    traces = site.people.traces(person_id)
    return {
        "name": one.name,
        "walks": one.walks,
        "results": [_public(site, job) for job in traces.results],
        **{key: [video.name for video in getattr(traces, key)] for key in ("only", "shared", "files")},
    }


@router.delete("/people/{person_id}")
async def forget(site: Here, person_id: int) -> dict[str, Any]:
    """Remove a person with everything derived from them."""
    before = len(site.jobs.all())
    async with site.live.paused(), _deleting_runs(site):
        walks = await asyncio.to_thread(site.people.forget, person_id)
    return {"walks": walks, "results": before - len(site.jobs.all())}


@router.delete("/walks/{walk_id}")
async def forget_walk(site: Here, walk_id: int) -> dict[str, str]:
    """Remove one walk, and what is kept to make runs quicker, because the walk may be in it.

    `key` puts the walk back for ten minutes.
    """
    async with site.queue.at_rest():
        return {"key": await asyncio.to_thread(site.people.forget_walk, walk_id)}


@router.post("/walks/{walk_id}/move", status_code=204)
def move_walk(site: Here, walk_id: int, name: Name) -> None:
    """Give a walk to the person whose it is."""
    with site.people.service() as gallery:
        gallery.move(walk_id, name)


@router.get("/bin")
def bin_(site: Here) -> list[dict[str, Any]]:
    """Return the merges and deleted walks that can be undone, the newest first."""
    return [_binned(entry) for entry in site.people.bin()]


@router.post("/bin/{key}/restore", status_code=204)
def restore(site: Here, key: str) -> None:
    """Undo a merge, or put a deleted walk back."""
    site.people.restore(key)


@router.delete("/bin/{key}", status_code=204)
def discard(site: Here, key: str) -> None:
    """Remove something from the bin for good."""
    site.people.discard(key)


@router.get("/log")
def log(site: Here) -> list[dict[str, Any]]:
    """Return what was done with the gallery, the newest entry first."""
    with site.people.gallery() as gallery:
        return [{**asdict(event), "time": event.time.isoformat()} for event in gallery.log(200)]


def _person(person: Person, has_picture: bool) -> dict[str, Any]:
    return {
        "person_id": person.person_id,
        "name": person.name,
        "consent": person.consent,
        "walks": person.walks,
        "enrolled": person.enrolled.isoformat(),
        "expires": person.expires.isoformat() if person.expires else None,
        "has_picture": has_picture,
    }


def _walk(walk: EnrolledWalk) -> dict[str, Any]:
    return {**asdict(walk), "added": walk.added.isoformat(), "seen_from": walk.seen_from}


def _binned(entry: Binned) -> dict[str, Any]:
    content = entry.content
    if isinstance(content, Merge):
        about: dict[str, Any] = {"name": content.merged.name, "into": content.kept.name}
    else:
        about = {"name": content.owner.name, "person_id": content.owner.person_id, "source": content.walk.source}
    return {
        "key": entry.key,
        "kind": "merge" if isinstance(content, Merge) else "walk",
        "seconds": round(entry.left),
        **about,
    }


def _file(site: Site, path: Path, headers: dict[str, str] | None = None) -> Response:
    own = site.options.folder
    if not path.is_file() or path.resolve() != own.resolve() / path.relative_to(own):  # a link may lead anywhere
        raise NotThereError("This file is not there any more.")
    return FileResponse(path, headers=headers)


def answer_head() -> None:
    """Let all requests that read answer HEAD too, which FastAPI does not do by itself."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")
