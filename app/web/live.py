"""The requests about cameras: which there are, what they show, and what they have seen."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Body, Response
from pydantic import BaseModel

from app.video.sources import public_name
from app.web.api import Here
from app.web.cameras import Camera
from app.web.strangers import router

__all__ = ["router"]  # that of `app.web.api`, with further requests
_WAIT = 1.0  # s for a new picture


@router.get("/live")
async def live(site: Here, after: int = 0) -> dict[str, Any]:
    """Return the cameras with their states, and what they have seen since the event with the number `after`.

    Of each camera: `frames` that were looked at, frames `dropped`, and the `latency`: how much later than the quickest
    picture so far the last one was done, in s.
    """
    cameras = [
        {
            "name": camera.name,
            "address": public_name(camera.address) if camera.address else None,
            "video_id": camera.video_id,
            **site.live.seen(camera.name).state,
        }
        for camera in site.live.known.cameras
    ]
    events = [event for event in site.live.events if event["number"] > after]
    watching = site.live.known.watching
    return {
        "watching": watching,
        "strangers": site.live.known.strangers,
        "problem": site.live.problem,
        "cameras": cameras,
        "events": events,
    }


@router.get("/live/cameras/{name}/picture")
async def live_picture(site: Here, name: str, after: int = 0) -> Response:
    """Return the newest picture of a camera, a JPEG, as soon as its number is higher than `after`; 204 after a second.

    The header X-Picture has the `number`, and `labels`: `box` (left, top, right, bottom in shares of width and height)
    and `name` of everybody in view, null for somebody unknown.
    """
    seen = await site.live.picture(name, after, _WAIT)
    if seen.number <= after:
        return Response(status_code=204)
    about = {"number": seen.number, "labels": seen.about["labels"], "latency": seen.about["latency"]}
    return Response(seen.jpeg, media_type="image/jpeg", headers={"X-Picture": json.dumps(about)})


@router.put("/live/watching", status_code=204)
async def set_watching(site: Here, watching: Annotated[bool, Body(embed=True)]) -> None:
    """Begin to watch all cameras, or stop it."""
    await site.live.set_watching(watching)


@router.put("/live/strangers", status_code=204)
async def set_strangers(site: Here, strangers: Annotated[bool, Body(embed=True)]) -> None:
    """Give lasting numbers to strangers from now on, or no more. The watch begins again."""
    await site.live.set_strangers(strangers)


@router.post("/live/cameras", status_code=201)
async def add_camera(site: Here, camera: Camera) -> dict[str, str]:
    """Add a camera, by its address or with a video in its place. The watch begins again with it."""
    await site.live.add(camera)
    return {"name": camera.name}


class Tried(BaseModel):
    """A camera that is tried before it is added."""

    address: str | None = None
    video_id: str | None = None


@router.post("/live/test")
async def test_camera(site: Here, tried: Tried) -> Response:
    """Return a picture of a camera, a JPEG, or say why there is none."""
    camera = Camera(name="test", address=tried.address or None, video_id=tried.video_id)
    return Response(await site.live.test(camera), media_type="image/jpeg")


@router.delete("/live/cameras/{name}", status_code=204)
async def remove_camera(site: Here, name: str) -> None:
    """Remove a camera. The watch of the others begins again."""
    await site.live.remove(name)
