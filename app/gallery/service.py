"""What is done with a gallery, with all its consequences: the one place for the command line, the web page and Python.

`GalleryStore` keeps people and their walks. Forgetting somebody concerns more than the store: output folders keep the
silhouettes of videos that were analysed, so that these need not be analysed again. These caches go first and the person
goes last. Whatever is interrupted can therefore simply be done again. While another program uses one of the folders,
nobody is forgotten, unless their time is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TypeVar

from app.errors import GalleryError
from app.gallery.access import write_access
from app.gallery.distances import Metric, is_same_recording
from app.gallery.sql import GalleryStore
from app.gallery.store import EnrolledWalk, Merge, NewWalk, Person, Record, clean_name, name_key
from app.gallery.strangers import Strangers
from app.gallery.transfer import read_gallery, remove_killed_exports, write_gallery
from app.progress import Progress, Silent
from app.types import Measure
from app.workspace import clear_cache

logger = logging.getLogger(__name__)

Self = TypeVar("Self", bound="GalleryService")


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment did.

    `added` are the ids of the walks that `person` received; `present` are those of the walks that the person had
    already, each with the walk that was given.
    """

    person: Person
    added: tuple[int, ...] = ()
    present: tuple[tuple[NewWalk, int], ...] = ()

    @property
    def walk_ids(self) -> tuple[int, ...]:
        """The ids of all walks that were given, whether they were new or not."""
        return (*self.added, *(walk_id for _, walk_id in self.present))


class GalleryService:
    """A gallery, and everything that depends on it. A context manager, which closes the store.

    Every method raises `GalleryError` as `GalleryStore` does.
    """

    def __init__(
        self,
        store: GalleryStore,
        folders: Sequence[Path] = (),
        metric: Metric = "euclidean",
        before_forgetting: Callable[[Sequence[Person]], None] | None = None,
        strangers: GalleryStore | None = None,
    ) -> None:
        """Put a service above a store.

        Args:
            folders: output folders whose caches may show people of the gallery. The folder of the gallery's own file
                is always among them.
            metric: of the settings; it decides whether two walks are the same recording.
            before_forgetting: removes what the caller itself keeps of people and their videos. It is called after the
                caches are cleared and before people are removed; with nobody where a single walk is removed.
            strangers: the store of the gallery's strangers; None where there are none.
        """
        self.strangers = Strangers(store, strangers) if strangers is not None else None
        self.store = store
        own = [store.path.parent] if store.path is not None else []
        self.folders = list(dict.fromkeys(folder.absolute() for folder in (*own, *folders)))
        if store.path is not None:
            remove_killed_exports(store.path)
        self._metric = metric
        self._before_forgetting = before_forgetting

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores; the gallery cannot be used afterwards."""
        if self.strangers is not None:
            self.strangers.close()
        self.store.close()

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names."""
        return self.store.people()

    def walks(self, name: str | None = None) -> list[EnrolledWalk]:
        """Return the walks of one person, or of everybody, in the order in which they were added."""
        return self.store.walks(name)

    def add_walks(
        self,
        name: str,
        walks: Sequence[NewWalk],
        *,
        consent: str = "",
        retain_days: int | None = None,
        move: bool = False,
    ) -> Enrolment:
        """Add walks, at least one, to a person, who is made where there is none of that name.

        A walk that the person has already, from the same recording, is not added again.

        Args:
            consent: what the person agreed to, and how. It may be empty for somebody who is in the gallery: then what
                they agreed to before holds.
            retain_days: after how many days `expire` forgets the person; None: no limit, or the earlier one stays.
            move: whether a walk that the gallery has under another name goes to `name`. Otherwise it is an error.

        Raises:
            GalleryError: a walk belongs to somebody else, there is no consent, or see `GalleryStore.enrol`.
        """
        name = clean_name(name)
        person = next((known for known in self.store.people() if name_key(known.name) == name_key(name)), None)
        consent = consent.strip() or (person.consent if person is not None else "")
        if not consent:
            raise GalleryError(f"What has {name} agreed to? Nobody is enrolled without a note on their consent.")
        new, present, replaced = [], [], []
        for walk in walks:
            known = self.find(walk)
            if known is None:
                new.append(walk)
                continue
            owner, walk_id = known
            if person is not None and owner.person_id == person.person_id:
                present.append((walk, walk_id))
            elif not move:
                raise GalleryError(
                    f"Track {walk.track_id} of {walk.source} is in the gallery already, as walk {walk_id} of "
                    f"'{owner.name}'. If this is {name}, give the walk to them with `python -m app gallery move`, or "
                    f"correct the name with `python -m app gallery rename`."
                )
            elif person is not None:
                self.store.move_walk(walk_id, person.name)
                present.append((walk, walk_id))
            else:  # nobody has that name yet, and a person is only made with a walk
                new.append(walk)
                replaced.append(walk_id)
        for denials in self.store.denied([walk.embedding for walk in walks]):
            for denied, denial_id in denials.items():
                if name_key(denied) == name_key(name):  # somebody has said so, and says the opposite now
                    self.store.allow(denial_id)
        if not new and walks and person is not None:
            return Enrolment(self.store.person(person.name), (), tuple(present))
        enrolled = self.store.enrol(name, new, consent=consent, retain_days=retain_days)
        added = [walk.walk_id for walk in self.store.walks(enrolled.name)][-len(new) :]
        for walk_id in replaced:
            self.store.forget_walk(walk_id)
        return Enrolment(enrolled, tuple(added), tuple(present))

    def find(self, walk: NewWalk) -> tuple[Person, int] | None:
        """Return who has this very recording of a walk already, and its id; None where it is new."""
        if walk.embedding.model_id not in self.store.model_ids():
            return None
        ((nearest, *_),) = self.store.search([walk.embedding], 1, self._metric)
        if not is_same_recording(nearest.distance, walk.embedding, self._metric):
            return None
        return self.store.owner(nearest.walk_id), nearest.walk_id

    def rename(self, name: str, new: str) -> None:
        """Give a person another name, which must be free."""
        self.store.rename(name, new)

    def merge(self, name: str, into: str) -> Merge:
        """Give all walks of one person to another, because both are the same person; return what that changed."""
        return self.store.merge(name, into)

    def undo_merge(self, merge: Merge) -> None:
        """Make two people of one again (`GalleryStore.undo_merge`)."""
        self.store.undo_merge(merge)

    def set_consent(self, name: str, consent: str, expires: datetime | None) -> None:
        """Note what a person agrees to from now on, and until when they are kept (`GalleryStore.set_consent`)."""
        self.store.set_consent(name, consent, expires)

    def access(self, name: str, out: IO[bytes], more: Iterable[tuple[str, str, bytes]] = ()) -> list[str]:
        """Write a zip with everything that is stored of a person, who asked for it (`write_access`)."""
        files = write_access(self.store, name, out, more)
        self.store.record("access", name=self.store.person(name).name)
        return files

    def move(self, walk_id: int, name: str) -> None:
        """Give a walk to the person whose it is."""
        self.store.move_walk(walk_id, name)

    def set_measures(self, walk_id: int, measures: Sequence[Measure]) -> None:
        """Note what was measured of a walk; what was noted before goes."""
        self.store.set_measures(walk_id, measures)

    def forget(self, name: str) -> int:
        """Remove a person and everything derived from them, in the caches too; return how many walks they had.

        Raises:
            GalleryError: nobody has that name, or another program uses one of the folders; then nobody is forgotten.
        """
        person = self.store.person(name)
        self.store.need_writable()
        self.clear_caches()
        self._prepare([person])
        return self.store.forget(person.name)

    def forget_walk(self, walk_id: int) -> Person:
        """Remove one walk, and the caches; return whose it was, who stays in the gallery.

        Raises:
            GalleryError: there is no such walk, or another program uses one of the folders.
        """
        owner = self.store.owner(walk_id)
        self.store.need_writable()
        self.clear_caches()
        self._prepare([])
        self.store.forget_walk(walk_id)
        return self.store.person(owner.name)

    def expire(self, now: datetime | None = None) -> list[str]:
        """Forget everybody whose time is over, as `forget` does, and return their names; strangers too.

        Nobody is kept longer because another program uses one of the folders. Its cache is then cleared as soon as
        nobody uses the folder any more.
        """
        now = now or datetime.now(timezone.utc)
        gone = self.strangers.expire(now) if self.strangers is not None else []
        expired = [person for person in self.store.people() if person.expires is not None and person.expires <= now]
        if not expired:
            return gone
        for folder in self.folders:
            if not clear_cache(folder, later=True):
                logger.warning(
                    "Another program is at work in %s. The cache of videos there is deleted when it ends.", folder
                )
        self._prepare(expired)
        return [*self.store.expire(now), *gone]

    def export(self, path: str | Path, progress: Progress | None = None) -> tuple[int, int]:
        """Write everybody into one file; return how many people and walks it holds (`write_gallery`)."""
        people, walks = write_gallery(self.store, Path(path), progress or Silent())
        self.store.record("export", people=people, walks=walks)
        return people, walks

    def import_file(
        self, path: str | Path, *, merge: bool = False, progress: Progress | None = None, total: int | None = None
    ) -> tuple[int, int]:
        """Add the people of a file that `export` wrote, all or none; return how many people and walks came in.

        Where people of one name are not the same person, as `merge` says, such a name is an error. `total` is how many
        people the file holds, where the caller knows it.
        """
        with (progress or Silent()).stage("Importing people", total) as advance:

            def records() -> Iterator[Record]:
                for record in read_gallery(Path(path)):
                    yield record
                    advance(1)

            return self.store.restore(records(), merge=merge)

    def clear_caches(self) -> None:
        """Delete what the output folders keep of videos: whoever is to be forgotten may be in any of them.

        Raises:
            GalleryError: another program uses one of the folders.
        """
        for folder in self.folders:
            if not clear_cache(folder):
                raise GalleryError(
                    f"Another program is at work in {folder}, and keeps silhouettes of people there. Nobody was "
                    f"forgotten. Wait for that program or end it, then try again."
                )

    @property
    def caches(self) -> str:
        """The caches that are cleared when somebody is forgotten, for people to read."""
        return " and ".join(str(folder / "cache") for folder in self.folders)

    def _prepare(self, people: Sequence[Person]) -> None:
        if self._before_forgetting is not None:
            self._before_forgetting(people)
