"""Strangers who keep a number: people without a name whom cameras have seen.

Their walks lie in a store of their own, so that nobody is ever recognised as a stranger in place of a person of the
gallery. Where they were seen stands in the gallery's log, as it does for people. Who gets a name takes the number along
as a former name; so all earlier sightings are theirs, and forgetting the person reaches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from app.errors import GalleryError
from app.gallery.sql import GalleryStore
from app.gallery.store import Event, Person, clean_name, kept_until, name_key

SEEN = ("named", "renamed", "left")
"""Events of a watch that tell who was seen."""


class Strangers:
    """The strangers of a gallery. Every method raises `GalleryError` as `GalleryStore` does."""

    def __init__(self, gallery: GalleryStore, store: GalleryStore) -> None:
        """Put the people of `gallery` and the strangers of `store` together."""
        self.gallery, self.store = gallery, store

    def close(self) -> None:
        """Close the store of the strangers; the gallery stays open."""
        self.store.close()

    def merge(self, name: str, into: str) -> Person:
        """Two numbers turned out to be one stranger: `into` keeps all walks; return who stays."""
        self.store.merge(name, into)
        return self.store.person(into)

    def name(self, stranger: str, name: str, *, consent: str = "", retain_days: int | None = None) -> Person:
        """Make a stranger a person of the gallery, or give their walks to a person who is there already.

        Somebody who is new needs a `consent`, and is forgotten after `retain_days`, if that is not None.

        Raises:
            GalleryError: there is no consent, or no such stranger.
        """
        name = clean_name(name)
        self.store.need_writable()
        (record,) = self.store.records(stranger)
        known = record.person
        present = next((one for one in self.gallery.people() if name_key(one.name) == name_key(name)), None)
        if present is None and not consent.strip():
            raise GalleryError(f"What has {name} agreed to? Nobody is enrolled without a note on their consent.")
        now = datetime.now(timezone.utc)
        expires = kept_until(retain_days, now)
        person = replace(known, name=name, consent=consent.strip(), enrolled=now, expires=expires)
        self.gallery.restore([record._replace(person=person)], merge=True)
        self.gallery.add_former_names(name, [known.name, *self.store.former_names(known.name)])
        self.gallery.record("name stranger", name=name, stranger=known.name)
        self.store.forget(known.name)
        return self.gallery.person(name)

    def drop(self, stranger: str) -> int:
        """Remove a stranger and the number from the log; return how many walks they had."""
        names = [self.store.person(stranger).name, *self.store.former_names(stranger)]
        self.store.need_writable()
        self.gallery.redact(names)
        return self.store.forget(stranger)

    def expire(self, now: datetime | None = None) -> list[str]:
        """Drop every stranger whose time is over, and return their numbers."""
        now = now or datetime.now(timezone.utc)
        over = [one.name for one in self.store.people() if one.expires is not None and one.expires <= now]
        for name in over:
            self.drop(name)
        return over


def last_seen(strangers: Strangers, newest: int | None = None) -> dict[int, list[datetime]]:
    """Return when live cameras have seen each stranger, by id, the newest first; `newest` as in `sightings`."""
    ids = {
        name: one.person_id
        for one in strangers.store.people()
        for name in (one.name, *strangers.store.former_names(one.name))
    }
    found: dict[int, list[datetime]] = {}
    for event in strangers.gallery.log(newest, SEEN):
        if (known := ids.get(str(event.details.get("stranger")))) is not None:
            found.setdefault(known, []).append(event.time)
    return found


def sightings(gallery: GalleryStore, names: Sequence[str], newest: int | None = None) -> list[Event]:
    """Return when somebody was seen by live cameras, the newest first, under any of these names.

    With `newest`, only so many of the newest sightings of anybody are looked through.
    """
    return [
        event
        for event in gallery.log(newest, SEEN)
        if event.details.get("name") in names or event.details.get("stranger") in names
    ]
