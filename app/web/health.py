"""For whoever watches over the server: whether it works, and numbers about it in Prometheus' text format."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

import app
from app.errors import GaitprintError
from app.web.api import Here, Site
from app.web.jobs import State

router = APIRouter()
_BEGUN = time.time()
_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text exposition format


@router.get("/healthz")
async def healthz(site: Here) -> Response:
    """Say whether the gallery can be read; anybody may ask."""
    try:
        await asyncio.to_thread(_count_people, site)
    except GaitprintError:  # the reason may name files of this machine
        return JSONResponse({"status": "the gallery cannot be read"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics")
async def metrics(site: Here, request: Request) -> Response:
    """Return numbers about runs and people. Where there is a password, it or a program's token is needed as a bearer
    token.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    is_client = scheme.lower() == "bearer" and site.clients.find(token) is not None
    if site.options.password is not None and not is_client:
        address = request.client.host if request.client else ""
        if site.sessions.wait(address):
            return PlainTextResponse("Too many wrong passwords.\n", 429)
        if scheme.lower() != "bearer" or not site.sessions.is_password(token):
            if scheme:
                site.sessions.count_wrong(address)
            return PlainTextResponse("The password is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
    runs = Counter(job.state for job in site.jobs.all())
    people, walks = await asyncio.to_thread(_count_people, site)
    lines = [
        "# HELP gaitprint_info The version of the program.",
        "# TYPE gaitprint_info gauge",
        f'gaitprint_info{{version="{app.__version__}"}} 1',
        "# HELP gaitprint_start_time_seconds When the server was started.",
        "# TYPE gaitprint_start_time_seconds gauge",
        f"gaitprint_start_time_seconds {_BEGUN:.3f}",
        "# HELP gaitprint_runs Runs that the page has, by state.",
        "# TYPE gaitprint_runs gauge",
        *(f'gaitprint_runs{{state="{state}"}} {runs[state]}' for state in get_args(State)),
        "# HELP gaitprint_people People in the gallery.",
        "# TYPE gaitprint_people gauge",
        f"gaitprint_people {people}",
        "# HELP gaitprint_walks Walks in the gallery.",
        "# TYPE gaitprint_walks gauge",
        f"gaitprint_walks {walks}",
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=_TYPE)


def _count_people(site: Site) -> tuple[int, int]:
    with site.people.gallery() as gallery:
        people = gallery.people()
    return len(people), sum(person.walks for person in people)
