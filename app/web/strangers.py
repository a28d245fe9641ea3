"""The requests about strangers: people without a name whom cameras have seen, and who keep a number."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, Response

from app.gallery.store import EnrolledWalk, Person
from app.gallery.strangers import last_seen
from app.web.api import NEWEST, Here, Named, camera_sightings, colours, router
from app.web.options import NotThereError

__all__ = ["router"]  # that of `app.web.api`, with the requests below


@router.get("/strangers")
def strangers(site: Here) -> list[dict[str, Any]]:
    """Return everybody who has a number instead of a name, who was seen last first.

    `seen` are the quarters of hours in which cameras have seen them, as far as the newest entries of the log tell.
    """
    with site.people.service() as gallery:
        if gallery.strangers is None:
            return []
        store = gallery.strangers.store
        walks: dict[int, list[EnrolledWalk]] = {}
        for walk in store.walks():
            walks.setdefault(walk.person_id, []).append(walk)
        pictured, seen = store.pictured(), last_seen(gallery.strangers, NEWEST)
        everybody = [
            {
                **_stranger(one, walks.get(one.person_id, []), one.person_id in pictured),
                "seen": sorted({_quarter(time) for time in seen.get(one.person_id, [])}),
            }
            for one in store.people()
        ]
    return sorted(everybody, key=lambda one: str(one["last_seen"]), reverse=True)


@router.get("/strangers/{stranger_id}")
def stranger(site: Here, stranger_id: int) -> dict[str, Any]:
    """Return a stranger, and when cameras have seen them, the newest first.

    `clothes` of a walk are the colours of upper and lower body, guessed from its picture.
    """
    from app.results.clothes import clothes_of  # late, as the server itself needs nothing of what computes

    with site.people.strangers() as (gallery, found):
        one = site.people.get(found.store, stranger_id)
        names = [one.name, *found.store.former_names(one.name)]
        seen = camera_sightings(gallery.store, names)
        walks = found.store.walks(one.name)
        pictures = {walk.walk_id: found.store.walk(walk.walk_id).thumbnail for walk in walks}
        kept = [
            {
                "walk_id": walk.walk_id,
                "camera": walk.source,
                "added": walk.added.isoformat(),
                "seconds": walk.seconds,
                "has_picture": (picture := pictures[walk.walk_id]) is not None,
                "clothes": colours(clothes_of(picture)) if picture is not None else None,
            }
            for walk in walks
        ]
        return {**_stranger(one, walks, any(pictures.values())), "sightings": seen, "walk_list": kept}


@router.get("/strangers/{stranger_id}/picture")
def stranger_picture(site: Here, stranger_id: int) -> Response:
    """Return the newest picture of a stranger, a JPEG: a photograph, or silhouettes where people are blurred."""
    with site.people.strangers() as (_, found):
        jpeg = found.store.thumbnail(site.people.get(found.store, stranger_id).name)
    return _picture(jpeg)


@router.get("/strangers/{stranger_id}/walks/{walk_id}/picture")
def stranger_walk_picture(site: Here, stranger_id: int, walk_id: int) -> Response:
    """Return the picture of one walk of a stranger, a JPEG."""
    with site.people.strangers() as (_, found):
        walks = found.store.walks(site.people.get(found.store, stranger_id).name)
        own = any(walk.walk_id == walk_id for walk in walks)
        jpeg = found.store.walk(walk_id).thumbnail if own else None
    return _picture(jpeg)


def _picture(jpeg: bytes | None) -> Response:
    if jpeg is None:
        raise NotThereError("There is no picture of this stranger.")
    return Response(jpeg, media_type="image/jpeg")


@router.post("/strangers/{stranger_id}/name")
def name_stranger(site: Here, stranger_id: int, named: Named) -> dict[str, int]:
    """Make a stranger a person of the gallery, or give their walks to a person; all earlier sightings are theirs."""
    with site.people.strangers() as (_, found):
        one = site.people.get(found.store, stranger_id)
        person = found.name(one.name, named.name, consent=named.consent, retain_days=named.retain_days)
        return {"person_id": person.person_id}


@router.post("/strangers/{stranger_id}/merge", status_code=204)
def merge_strangers(site: Here, stranger_id: int, into: Annotated[int, Body(embed=True, alias="stranger_id")]) -> None:
    """Give all walks of one stranger to another, because both are the same person."""
    with site.people.strangers() as (_, found):
        found.merge(site.people.get(found.store, stranger_id).name, site.people.get(found.store, into).name)


@router.delete("/strangers/{stranger_id}")
async def drop_stranger(site: Here, stranger_id: int) -> dict[str, int]:
    """Remove a stranger for good, in the log too, and what is kept of videos to make runs quicker."""
    async with site.live.paused(), site.queue.at_rest():
        return {"walks": await asyncio.to_thread(site.people.drop_stranger, stranger_id)}


def _quarter(time: datetime) -> str:
    """Return when the quarter of an hour began: enough to tell the day wherever somebody reads it, and few to send."""
    return time.replace(minute=time.minute // 15 * 15, second=0, microsecond=0).isoformat()


def _stranger(one: Person, walks: list[EnrolledWalk], has_picture: bool) -> dict[str, Any]:
    last: datetime = max((walk.added for walk in walks), default=one.enrolled)
    return {
        "stranger_id": one.person_id,
        "name": one.name,
        "walks": one.walks,
        "first_seen": one.enrolled.isoformat(),
        "last_seen": last.isoformat(),
        "expires": one.expires.isoformat() if one.expires else None,
        "cameras": sorted({walk.source for walk in walks}),
        "has_picture": has_picture,
    }
