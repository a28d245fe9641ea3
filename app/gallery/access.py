"""Everything that is stored of one person, as a zip that they can read: the answer to a request for access."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from PIL import Image as Picture

from app.gallery.sql import GalleryStore
from app.gallery.store import JSON, EnrolledWalk, Event, NewWalk, name_key

_README = """\
All that this program has stored of {name}.

person.json            the name, earlier names, the note on consent, since when and until when
walks/N/walk.json      a walk: the name of its video, the track, the length, when it was added, the gait network, what
                       was measured of it, and of how many others somebody said that this walk is not theirs
walks/N/embedding.csv  the numbers by which the walk is recognised; a line for each part of the body
walks/N/views.csv      the same for up to four parts of a longer walk, one after the other
walks/N/picture.jpg    a picture of the walk
walks/N/silhouettes/   the silhouettes of the walk, by the number of the frame
walks/N/keypoints.csv  joints of the body: frame, joint, x and y in pixels, and how sure each is
denials.json           walks of which somebody said that they are somebody else's
log.json               what was done with this person, and when they were recognised
{more}
Whether walks have a picture, silhouettes or keypoints was decided when they were added. The names of others are left
out. Videos are not included, because they may show others too.
"""
_FACTS = frozenset(
    (
        *("walk_id", "walks", "walk_ids", "track_id", "source", "seconds", "frame", "distance", "margin"),
        *("probability", "threshold", "in_view", "expires"),
    )
)
"""Details of the log that say nothing about others."""
_NAMES = frozenset(["name", "new", "into", "to", "before", "stranger"])


def write_access(
    gallery: GalleryStore, name: str, out: IO[bytes], more: Iterable[tuple[str, str, bytes]] = ()
) -> list[str]:
    """Write a zip with all that a gallery has of a person to the seekable `out`; return the names of the files in it.

    `more` is what the caller has of the person: for each file its name, what it is, and its content. What it is may be
    empty for files that an earlier one has explained.

    Raises:
        GalleryError: nobody has that name.
    """
    person = gallery.person(name)
    former = gallery.former_names(person.name)
    names = {name_key(one) for one in (person.name, *former)}
    explained = []
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        about = {**asdict(person), "former_names": former}
        del about["person_id"]
        archive.writestr("person.json", _json(about))
        for listed in gallery.walks(person.name):
            walk = gallery.walk(listed.walk_id)
            _write_walk(archive, listed, walk, len(gallery.denied([walk.embedding])[0]))
        denials = [
            {"source": denial.source, "track_id": denial.track_id, "added": denial.added}
            for denial in gallery.denials(person.name)
        ]
        archive.writestr("denials.json", _json(denials))
        told = (_own(event, names) for event in gallery.log(None))
        archive.writestr("log.json", _json([event for event in told if event is not None]))
        for file, what, content in more:
            archive.writestr(file, content)
            if what:
                explained.append(f"{file:<22} {what}")
        archive.writestr("README.txt", _README.format(name=person.name, more="\n".join(explained)))
        return archive.namelist()


def _write_walk(archive: ZipFile, listed: EnrolledWalk, walk: NewWalk, not_of: int) -> None:
    folder = f"walks/{listed.walk_id}"
    about = {**asdict(listed), "seen_from": listed.seen_from, "said_not_to_be_of": not_of}
    del about["person_id"]
    archive.writestr(f"{folder}/walk.json", _json(about))
    archive.writestr(f"{folder}/embedding.csv", _table(walk.embedding.parts.tolist()))
    if walk.embedding.pieces is not None:
        archive.writestr(
            f"{folder}/views.csv", _table([part for view in walk.embedding.pieces.tolist() for part in view])
        )
    if walk.thumbnail is not None:
        archive.writestr(f"{folder}/picture.jpg", walk.thumbnail)
    if walk.silhouettes is None:
        return
    for index, silhouette in zip(walk.silhouettes.frame_indices.tolist(), walk.silhouettes.silhouettes, strict=True):
        png = io.BytesIO()
        Picture.fromarray(silhouette).save(png, "PNG")
        archive.writestr(f"{folder}/silhouettes/{index:06d}.png", png.getvalue())
    if walk.silhouettes.keypoints is not None:
        rows = [
            [index, joint, *np.round(values, 3).tolist()]
            for index, joints in zip(walk.silhouettes.frame_indices.tolist(), walk.silhouettes.keypoints, strict=True)
            for joint, values in enumerate(joints)
        ]
        archive.writestr(f"{folder}/keypoints.csv", _table(rows))


def _own(event: Event, names: set[str]) -> Mapping[str, JSON] | None:
    """Return what an entry of the log says about the person of these names; None for an entry about others."""

    def is_own(value: JSON) -> bool:
        return isinstance(value, str) and name_key(value) in names

    if not any(is_own(value) for key, value in event.details.items() if key in _NAMES):
        return None
    details: dict[str, JSON] = {key: value for key, value in event.details.items() if key in _FACTS}
    for key in _NAMES & event.details.keys():
        if event.details[key] is not None:
            details[key] = event.details[key] if is_own(event.details[key]) else "(somebody else)"
    return {"time": event.time.isoformat(), "event": event.event, **details}


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, default=str) + "\n"


def _table(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
