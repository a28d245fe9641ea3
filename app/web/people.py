"""The gallery as the web page looks after it: people are enrolled from results, corrected, and forgotten.

`app.gallery.service` does the work. What only the web page keeps, which is results and uploads, is removed from here.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from threading import RLock
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from app.errors import GalleryError
from app.files import explained, write_text
from app.gallery.opening import exists, open_store, open_strangers, shown
from app.gallery.redaction import Redaction
from app.gallery.service import GalleryService
from app.gallery.sql import GalleryStore
from app.gallery.store import Event, Merge, NewWalk, Person
from app.gallery.strangers import Strangers
from app.recognise.stature import stature_measure
from app.results.gait_table import read_gait_table
from app.settings import MatchSettings, Settings
from app.types import ModelCard
from app.walks.quality import picture_height
from app.web.bin import Bin, Binned, DeletedWalk
from app.web.jobs import Job, JobStore
from app.web.options import ConflictError, NotThereError, WebError, WebOptions, damaged
from app.web.outcome import StoredWalks
from app.web.results import FORGOTTEN, Known, RunResult
from app.web.videos import Video, VideoLibrary

if TYPE_CHECKING:
    from app.recognise.judge import Learnt
    from app.recognise.standing import Standing
    from app.results.clothes import Colour
    from app.results.report import Report

logger = logging.getLogger(__name__)

_WALK_REMOVED = "forget walk"  # the event in the gallery's log
_CHANGES = (
    "enrol",
    "rename",
    "merge",
    "undo merge",
    "move",
    "import",
    "re-embed",
    "forget",
    "expire",
    "deny",
    "allow",
    _WALK_REMOVED,
)
"""The events in the log after which walks may have other names."""
_MOST_AGAIN = 32
"""So many runs that were named again are kept in memory."""
_MOST_SIGHTINGS, _NEWEST = 60, 12


@dataclass(frozen=True)
class Traces:
    """Where a person can be seen.

    `results` name them, or show them in a video that is called after them. `only` are uploads that show nobody else.
    The other two stay when the person is forgotten: `shared` videos show others too, and `files` lie in the input
    folder.
    """

    results: list[Job]
    only: list[Video]
    shared: list[Video]
    files: list[Video]


class People:
    """The gallery, and what the runs of the web page know about its people.

    Methods block, and may be called from any thread.
    """

    def __init__(self, options: WebOptions, jobs: JobStore, videos: VideoLibrary) -> None:
        self._options, self._jobs, self._videos = options, jobs, videos
        self._metric = Settings.load(options.config, options.assignments).match.metric
        # Held while a walk is enrolled and its label written: in between, the walk would seem to be forgotten.
        self._lock = RLock()
        self._bin = Bin()
        self._latest: GalleryStore | None = None
        """The gallery that was opened last; the next one need not read all walks for a search again."""
        self._again: dict[str, tuple[object, Report]] = {}
        self._learnt: tuple[int, dict[ModelCard, Learnt]] = 0, {}
        self._known: tuple[list[tuple[int, datetime]], Known | None] = [], None

    @contextmanager
    def service(self) -> Iterator[GalleryService]:
        """Open the gallery, and do things with it one after the other."""
        folders = [self._options.folder / "work"]
        with self._lock, self.gallery() as store, ExitStack() as stack:
            strangers = open_strangers(self._options.gallery)
            if strangers is not None:
                stack.enter_context(strangers)
            yield GalleryService(store, folders, self._metric, self._before_forgetting, strangers)

    @contextmanager
    def strangers(self) -> Iterator[tuple[GalleryService, Strangers]]:
        """Open the gallery and its strangers; `NotThereError` where it has none."""
        with self.service() as gallery:
            if gallery.strangers is None:
                raise NotThereError("This gallery has no strangers: `python -m app watch` gives numbers to them.")
            yield gallery, gallery.strangers

    def drop_stranger(self, stranger_id: int) -> int:
        """Remove a stranger for good; return how many walks they had.

        Raises:
            NotThereError: there is no such stranger.
            GalleryError: another program uses one of the folders.
        """
        with self.strangers() as (gallery, strangers):
            name = self.get(strangers.store, stranger_id).name
            strangers.store.need_writable()
            gallery.clear_caches()
            self.empty_cache()
            return strangers.drop(name)

    def gallery(self) -> GalleryStore:
        """Open the gallery to read from it.

        Raises:
            ConflictError: it is not the gallery that the results in the folder are about.
            GalleryError: it cannot be read.
        """
        path, known = self._options.gallery, self._known_log()
        if not exists(path) and (known is not None or any(result.names_anybody for result in self._results())):
            raise ConflictError(
                f"The results in {self._options.folder} name people of a gallery, but {shown(path)} does not exist. "
                "Nothing was deleted. Check that its disk is connected. Otherwise give that gallery with "
                "--gallery-db, or another --folder."
            )
        store = open_store(path, create=known is None)
        try:
            if known is not None:
                self._check_continues(store, known)
                if self._latest is not None:
                    store.take_over(self._latest)
            self._note_log(store)
            self._latest = store
        except BaseException:
            store.close()
            raise
        return store

    def known(self) -> Known:
        """Return who is in the gallery now. It is read again when the gallery's log has gone on."""
        with self.gallery() as store:
            return self._known_in(store)

    def _known_in(self, store: GalleryStore) -> Known:
        # First, so that nothing newer is missed.
        last = [(event.event_id, event.time) for event in store.log(1, _CHANGES)]
        newest, known = self._known
        if known is not None and newest == last:
            return known
        names = {person.person_id: person.name for person in store.people()}
        owners = {walk.walk_id: walk.person_id for walk in store.walks()}
        removals = self._removals(store)  # read last, so that it has everybody who is removed meanwhile
        walks = {cast(int, event.details["walk_id"]) for event in removals if event.event == _WALK_REMOVED}
        people = {cast(int, event.details["person_id"]) for event in removals if event.event != _WALK_REMOVED}
        self._known = last, Known(names, owners, people, walks)
        return self._known[1]

    def check_gallery(self) -> None:
        """Make sure that the results in the folder are about people of this gallery.

        Raises:
            ConflictError: they were made with another one, or with a newer state of it.
        """
        unmarked = self._known_log() is None
        if unmarked and not exists(self._options.gallery) and not any(r.names_anybody for r in self._results()):
            return  # a new gallery is made when it is first needed
        with self.gallery():
            pass
        if not unmarked:
            return
        known = self.known()
        if not known.forgotten and any(result.names(FORGOTTEN, known) for result in self._results()):
            self._mark.unlink(missing_ok=True)
            raise ConflictError(
                f"The results in {self._options.folder} name people who are not in {shown(self._options.gallery)} and "
                "were not forgotten there. Nothing was deleted. Give their gallery with --gallery-db, or another "
                "--folder."
            )

    @property
    def _mark(self) -> Path:
        return self._options.folder / "gallery"

    def _known_log(self) -> list[str] | None:
        """Return what was noted about the log of the gallery: the time of its first entry, then number and time of its
        last one, which version 0.1.0 did not note. None if no gallery was used yet."""
        return self._mark.read_text(encoding="utf-8").split() if self._mark.is_file() else None

    def _check_continues(self, store: GalleryStore, known: Sequence[str]) -> None:
        """Make sure that the log of the gallery continues the one that was noted.

        Only then does a person who is missing from it count as forgotten, so that what shows them is deleted.

        Raises:
            ConflictError: it is the log of another gallery, or of an older copy of the file.
        """
        first, *last = known
        first_use = store.first_use()
        if first_use is None or first_use.isoformat() != first:
            raise ConflictError(
                f"The results in {self._options.folder} were made with another gallery than "
                f"{shown(self._options.gallery)}. Nothing was deleted. Give that gallery with "
                "--gallery-db, or another --folder."
            )
        time = store.time_of(int(last[0])) if last else None
        if last and (time is None or time.isoformat() != last[1]):
            raise ConflictError(
                f"{shown(self._options.gallery)} is an older copy of the gallery that the results in "
                f"{self._options.folder} were made with. Nothing was deleted. Put the newest copy back, or give "
                "another --folder."
            )

    def _note_log(self, store: GalleryStore) -> None:
        """Note which gallery the results in the folder belong to, and how far its log goes."""
        first_use, last = store.first_use(), store.log(1, _CHANGES)  # not what cameras see, which comes all the time
        if first_use is None or not last:
            return
        known = [first_use.isoformat(), str(last[0].event_id), last[0].time.isoformat()]
        if known != self._known_log():
            write_text(self._mark, "\n".join(known))

    def get(self, gallery: GalleryStore | GalleryService, person_id: int) -> Person:
        """Return a person; `NotThereError` where there is none of that id."""
        for person in gallery.people():
            if person.person_id == person_id:
                return person
        raise NotThereError("This person is not there any more.")

    def name_track(
        self, result: RunResult, place: int, track_id: int, name: str, consent: str, retain_days: int | None, keep: bool
    ) -> int:
        """Store the walk of a track, at a `place` in the run, under a name, and return the id of the person, who may be
        new.

        Where it is under another name already, it moves. Whoever has no walk left then was a mistyped name, and becomes
        one person with the other. Somebody new needs a consent, and is forgotten after `retain_days`. `keep` is whether
        the silhouettes are stored too.

        Raises:
            WebError: the walk cannot be used.
            GalleryError: the name cannot be used, or there is no consent.
        """
        walk = _new_walk(result, place, track_id, keep)
        labels, label = result.job.labels, f"{place}/{track_id}"
        with self.service() as gallery:
            before = _owner(gallery, labels.get(label))
            # The gallery may have this walk already: from this run, or from another run of the same video.
            enrolment = gallery.add_walks(name, [walk], consent=consent, retain_days=retain_days, move=True)
            (labels[label],) = enrolment.walk_ids
            self._jobs.save(result.job)
            if before is not None and before.walks == 1 and before.person_id != enrolment.person.person_id:
                gallery.merge(before.name, name)
        return enrolment.person.person_id

    def owner_of(self, result: RunResult, place: int, track_id: int) -> str | None:
        """Return who has the walk of a track in the gallery already, from this run or another; None for nobody."""
        with self.service() as gallery:
            found = gallery.find(_new_walk(result, place, track_id, keep=False))
            return None if found is None else found[0].name

    def deny(self, result: RunResult, place: int, track_id: int, person_id: int, *, denied: bool) -> None:
        """Remember that a track is not a person, or take that back; all runs of the video follow.

        Raises:
            NotThereError: there is no such track or person.
            WebError: the walk cannot be used.
        """
        walk = _new_walk(result, place, track_id, keep=False)
        with self._lock, self.gallery() as store:
            name = self.get(store, person_id).name
            if denied:
                store.deny(walk, name)
                return
            known = store.denied([walk.embedding])[0].get(name)
            if known is not None:
                store.allow(known)

    def deny_in_run(self, result: RunResult, place: int, track_id: int, name: str, *, denied: bool) -> None:
        """Remember that a track is not somebody of the run's gallery video, or take that back.

        Who has a name in the gallery is denied there too, so that other runs follow.

        Raises:
            NotThereError: there is no such track in a probe, or nobody of that name in the gallery video.
        """
        result.track(place, track_id)
        with self._lock:
            known = self.known()
            hers = result.called(name, known) if place > 0 else []
            if not hers:
                raise NotThereError(f"Nobody in the gallery video of this run is called {name}.")
            before, key = result.job.denied, f"{place}/{track_id}"
            others = [other for other in before.get(key, []) if other not in hers]
            before[key] = [*others, *hers] if denied else others
            if not before[key]:
                del before[key]
            self._jobs.save(result.job)
            for person_id in [person_id for person_id, other in known.names.items() if other == name]:
                self.deny(result, place, track_id, person_id, denied=denied)

    def allow(self, person_id: int, denial_id: int) -> None:
        """Take back that a walk is not a person's.

        Raises:
            NotThereError: there is no such person, or nothing of the kind was said about them.
        """
        with self._lock, self.gallery() as store:
            said = store.denials(self.get(store, person_id).name)
            if denial_id not in [denial.denial_id for denial in said]:
                raise NotThereError("There is no such correction, or it was taken back already.")
            store.allow(denial_id)

    def unname_track(self, result: RunResult, place: int, track_id: int) -> None:
        """Take the walk that `name_track` enrolled out of the gallery again, and a person who was only enrolled for it.

        Raises:
            NotThereError: the track is not named.
            GalleryError: another program uses one of the folders.
        """
        walk_id = result.job.labels.get(f"{place}/{track_id}")
        if walk_id is None:
            raise NotThereError("This walk is not in the gallery.")
        with self.service() as gallery:
            owner = _owner(gallery, walk_id)
            if owner is not None:  # it may have been removed elsewhere
                gallery.forget_walk(walk_id)
            del result.job.labels[f"{place}/{track_id}"]
            self._jobs.save(result.job)
            if owner is not None and owner.walks == 1 and not self._is_named(owner.person_id):
                gallery.forget(owner.name)

    def _is_named(self, person_id: int) -> bool:
        """Whether a result names a person; it would be deleted if that person were forgotten."""
        known = self.known()
        return any(result.names(person_id, known) for result in self._results())

    def name_again(self, result: RunResult) -> None:
        """Let the walks of a run have the names that the gallery gives them now, if it has changed since.

        The files of the run stay as they are, and so do the walks of the people in a gallery video, unless somebody has
        said who they are not.
        """
        with self._lock, self.gallery() as store:
            self._name_again(result, store)

    def _name_again(self, result: RunResult, store: GalleryStore) -> None:
        if result.job.kind == "compare":
            self._compare_again(result)
            return
        changes = store.log(1, _CHANGES)
        if not changes or (result.job.kind == "identify" and _before(changes[0], result.job)):
            return
        report = result.report()
        if report is None:
            return
        state = changes[0].event_id
        named_in, again = self._again.get(result.job.job_id, (0, report))
        if named_in != state:
            from app.web.naming import name_again  # late, as the server itself needs nothing of what computes

            settings = Settings.load(self._options.config, self._options.assignments, {"match.far": result.job.far})
            try:
                learnt = partial(self._learnt_from, store, state, settings.match)
                again = name_again(report, result.folder, result.outcome, store, settings.match, learnt)
            except GalleryError as error:  # nobody can be compared: nobody is left, or another network made them
                logger.info("%s: not named again, because %s", result.job.job_id, error)
                return
            self._keep_again(result, state, again)
        result.name_again(again, self._known_in(store))

    def _compare_again(self, result: RunResult) -> None:
        """Let the walks have other names that are not whom the run took them for, as somebody said."""
        report, denied = result.report(), result.job.denied
        if not denied or report is None:
            return
        said = [(key, *names) for key, names in sorted(denied.items())]
        said_then, again = self._again.get(result.job.job_id, (None, report))
        if said_then != said:
            from app.web.naming import compare_again  # late, as the server itself needs nothing of what computes

            match = Settings.load(self._options.config, self._options.assignments).match
            again = compare_again(report, result.folder, result.outcome, denied, match)
            self._keep_again(result, said, again)
        result.compare_again(again)

    def _keep_again(self, result: RunResult, state: object, again: Report) -> None:
        self._again.pop(result.job.job_id, None)
        self._again[result.job.job_id] = state, again
        for oldest in list(self._again)[:-_MOST_AGAIN]:
            del self._again[oldest]

    def _learnt_from(self, store: GalleryStore, state: int, match: MatchSettings, card: ModelCard) -> Learnt:
        """Return what a judge learns from the gallery in a state; all runs of a gait model share it."""
        from app.recognise.judge import Learnt

        known_in, learnt = self._learnt
        if known_in != state:
            self._learnt = state, (learnt := {})
        if card not in learnt:
            learnt[card] = Learnt.of(store, card, match)
        return learnt[card]

    def file_again(self, result: RunResult, name: str) -> str | None:
        """Return a table or the report of a run with the names that the gallery gives now.

        None for any other file, and where the run says what its files say. Where it knows the people of a gallery
        video, these have the names that somebody gave them.
        """
        if name not in ("results.json", "results.csv", "report.html"):
            return None
        names, said = result.said(self.known())
        if result.job.kind == "compare" and not said and not result.job.denied:
            return None
        self.name_again(result)
        from app.results.report import to_csv, to_json
        from app.web.naming import name_as_said, page_again

        if result.job.kind == "compare":
            report = result.report()
            again = report and name_as_said(report, names, said)
        else:
            again = result.again
        if again is None:
            return None
        if name == "report.html":
            with self.gallery() as store:
                return page_again(again, result.folder, result.outcome, store, names)
        return (to_json if name == "results.json" else to_csv)(again)

    def merge(self, person_id: int, into_id: int) -> str:
        """Give all walks of one person to another, because both are the same person; return the key with which
        `restore` undoes it.
        """
        with self.service() as gallery:
            return self._bin.put(gallery.merge(self.get(gallery, person_id).name, self.get(gallery, into_id).name))

    def forget_walk(self, walk_id: int) -> str:
        """Remove one walk; return the key with which `restore` puts it back.

        Raises:
            GalleryError: there is no such walk, or another program uses one of the folders.
        """
        with self.service() as gallery:
            walk = gallery.store.walk(walk_id)
            return self._bin.put(DeletedWalk(gallery.forget_walk(walk_id), walk_id, walk))

    def bin(self) -> list[Binned]:
        """Return what can be undone, the newest first."""
        with self._lock:
            self._bin.keep_only(self.known().names.keys())
            return self._bin.all()

    def restore(self, key: str) -> None:
        """Take a merge back, or put a deleted walk back.

        Raises:
            NotThereError: it is not in the bin any more.
            GalleryError: somebody has the name of the merged person now.
        """
        with self.service() as gallery:
            self._bin.keep_only({person.person_id for person in gallery.people()})
            content = self._bin.get(key)
            if isinstance(content, Merge):
                gallery.undo_merge(content)
            else:
                owner = self.get(gallery, content.owner.person_id)
                (walk_id,) = gallery.add_walks(owner.name, [content.walk]).walk_ids
                for job in self._jobs.all():  # it has a new number now
                    named = [label for label, labelled in job.labels.items() if labelled == content.walk_id]
                    if named:
                        job.labels |= dict.fromkeys(named, walk_id)
                        self._jobs.save(job)
            self._bin.remove(key)

    def discard(self, key: str) -> None:
        """Remove an entry of the bin for good."""
        with self._lock:
            self._bin.remove(key)

    def traces(self, person_id: int) -> Traces:
        """Find everything that shows a person."""
        results, known = self._results(), self.known()
        naming = [result for result in results if result.names(person_id, known)]
        called = self._called(person_id, results, known)
        hers: set[str] = set()
        only: list[Video] = []
        shared: list[Video] = []
        files: list[Video] = []
        for video_id in dict.fromkeys(video_id for result in naming for video_id in result.job.videos):
            seen = set().union(*(result.persons_in(video_id, known) for result in results))
            if person_id not in seen:
                continue
            hers.add(video_id)
            with suppress(NotThereError):
                video = self._videos.get(video_id)
                (files if video.source == "input" else only if seen == {person_id} else shared).append(video)
        for result in results:
            own = (name for video_id, name in result.job.names.items() if video_id in hers)
            if result not in naming and any(called.text(name) != name for name in own):
                naming.append(result)
        return Traces([result.job for result in naming], only, shared, files)

    def sightings(self, person_id: int) -> list[dict[str, Any]]:
        """Return the walks of a person in all runs, the newest first, at most `_MOST_SIGHTINGS`.

        The newest runs are named again. Of the others, those count that name the person by themselves.
        """
        found: list[dict[str, Any]] = []
        with self._lock, self.gallery() as store:
            known = self._known_in(store)
            for place, result in enumerate(self._results()):
                if place < _NEWEST:
                    self._name_again(result, store)
                elif not result.names(person_id, known):
                    continue
                found += result.walks_of(person_id, known)
                if len(found) >= _MOST_SIGHTINGS:
                    break
        return found[:_MOST_SIGHTINGS]

    def clothes(self, person_id: int) -> dict[str, Sequence[Colour]]:
        """Return the colours that a person wears: by the id of the walk, and by run, video and track (``ID/0/1``)."""
        from app.results.clothes import clothes_of  # late, as the server itself needs nothing of what computes

        with self.gallery() as store:
            walks = store.walks(self.get(store, person_id).name)
            pictures = {str(walk.walk_id): store.walk(walk.walk_id).thumbnail for walk in walks[-_MOST_SIGHTINGS:]}
        for seen in self.sightings(person_id):
            job = self._jobs.get(seen["job_id"])
            crop = RunResult(job, self._jobs.result(job)).crop(seen["place"], seen["track_id"])
            key = f"{job.job_id}/{seen['place']}/{seen['track_id']}"
            pictures[key] = crop.read_bytes() if crop.is_file() else None
        found = {key: clothes_of(picture) for key, picture in pictures.items() if picture is not None}
        return {key: clothes for key, clothes in found.items() if clothes is not None}

    def access(self, person_id: int, out: IO[bytes]) -> str:
        """Write a zip with everything that is stored of a person, here and in the gallery; return their name."""
        known, traces = self.known(), self.traces(person_id)
        names = {kind: [video.name for video in getattr(traces, kind)] for kind in ("only", "shared", "files")}

        def more() -> Iterator[tuple[str, str, bytes]]:
            told = "videos that show this person: 'only' show nobody else, 'files' lie in the input folder"
            yield "videos.json", told, json.dumps(names, ensure_ascii=False, indent=1).encode()
            told = "where runs have seen this person, with a picture beside each"
            for job in traces.results:
                result = RunResult(job, self._jobs.result(job))
                for seen in result.walks_of(person_id, known):
                    place = f"runs/{job.job_id[:8]}-{seen['place']}-{seen['track_id']}"
                    crop = result.crop(seen["place"], seen["track_id"])
                    if crop.is_file():
                        yield f"{place}.jpg", "", crop.read_bytes()
                    yield f"{place}.json", told, json.dumps(seen, ensure_ascii=False, indent=1).encode()
                    told = ""

        with self.service() as gallery:
            name = self.get(gallery, person_id).name
            gallery.access(name, out, more())
            return name

    def standings(self, person_id: int) -> list[Standing]:
        """Return which walks of a person help to recognise them, and which look more like somebody else's."""
        # Late, as the server itself needs nothing of what computes.
        from app.recognise.scores import scores_among, scores_path
        from app.recognise.standing import standings
        from app.weights.checkpoints import checkpoint_roots

        settings = Settings.load(self._options.config, self._options.assignments)
        roots = checkpoint_roots(settings.checkpoints)
        with self.gallery() as store:
            beside = [scores_path(file) for file in (store.path, settings.gait.checkpoint) if file is not None]
            paths = [*beside, *(path for root in roots for path in sorted(root.rglob("*.scores.json")))]
            name = self.get(store, person_id).name
            return standings(
                store, name, settings.match, lambda model_id: scores_among(paths, model_id, settings.match.metric)
            )

    def _called(self, person_id: int, results: Sequence[RunResult], known: Known) -> Redaction:
        """Find the names of a person in texts: those of the gallery, and those that results gave them."""
        identities = (identity for result in results for identity in result.outcome.identities)
        names = {identity.name for identity in identities if known.who(identity) == person_id}
        if person_id in known.names:
            with self.gallery() as store:
                names |= {known.names[person_id], *store.former_names(known.names[person_id])}
        return Redaction(names)

    def forget(self, person_id: int) -> int:
        """Remove a person with all results that name them and all uploads that show nobody else; return how many walks
        they had.

        Raises:
            GalleryError: another program uses one of the folders. Then nobody is forgotten.
        """
        with self.service() as gallery:
            walks = gallery.forget(self.get(gallery, person_id).name)
            self._bin.keep_only({person.person_id for person in gallery.people()})
            return walks

    def expire(self, now: datetime | None = None) -> None:
        """Forget everybody whose time is over, as `forget` does."""
        with self.service() as gallery:
            gallery.expire(now)

    def forgotten_and_due(self) -> tuple[int, bool]:
        """Return how many people were ever forgotten, and whether somebody's time is over now."""
        now = datetime.now(timezone.utc)
        with self.gallery() as store:
            is_due = any(person.expires is not None and person.expires <= now for person in store.people())
        return len(self.known().forgotten), is_due

    def names_forgotten(self, results: Sequence[RunResult] | None = None) -> bool:
        """Whether results (None: any) name somebody who was forgotten elsewhere, such as on the command line."""
        with self._lock:
            known = self.known()
            return any(result.names(FORGOTTEN, known) for result in (self._results() if results is None else results))

    def follow_gallery(self) -> None:
        """Remove what shows people and walks that were forgotten elsewhere, as `forget` does."""
        with self._lock:
            if self.names_forgotten():
                self._erase(FORGOTTEN)
            with self.gallery() as store:
                removed = [event.time.timestamp() for event in self._removals(store) if event.event == _WALK_REMOVED]
            cached = (self._options.folder / "work" / "cache").glob("*")
            if any(path.stat().st_mtime < max(removed, default=0) for path in cached):
                self.empty_cache()
            self._bin.keep_only(self.known().names.keys())

    def empty_cache(self) -> None:
        """Delete what runs of the web page keep of videos that were analysed: their tracks and silhouettes.

        Raises:
            OutputError: there is no permission.
        """
        work = self._options.folder / "work"
        with explained(work):
            if work.exists():
                shutil.rmtree(work)
            (self._options.folder / "worker.log").unlink(missing_ok=True)

    def _before_forgetting(self, people: Sequence[Person]) -> None:
        self.empty_cache()
        for person in people:
            self._erase(person.person_id)

    def _erase(self, person_id: int) -> None:
        """Remove the results that name a person, and the uploads that show nobody else."""
        traces = self.traces(person_id)
        called = self._called(person_id, self._results(), self.known())
        self.empty_cache()
        for video in traces.only:
            self._videos.remove(video)
        self._take_out_of_names(called)
        for job in traces.results:  # last, because they say who is seen in the videos
            self._jobs.remove(job)

    def _take_out_of_names(self, called: Redaction) -> None:
        """Rename the uploads that are called after a person, and take the name out of what is kept of runs."""
        for video in self._videos.uploads():
            if called.text(video.name) != video.name:
                self._videos.rename(video, called.text(video.name))
        for coming in self._videos.coming.all():
            if called.text(coming.name) != coming.name:
                self._videos.coming.rename(coming, called.text(coming.name))
        now = {video.video_id: video.name for video in self._videos.uploads()}
        for job in self._jobs.all():
            names = job.names.items()
            changes = {
                "names": {
                    one: name if called.text(name) == name else now.get(one, called.text(name)) for one, name in names
                },
                "message": None if job.message is None else called.text(job.message),
                "warnings": [called.text(warning) for warning in job.warnings],
            }
            changed = job.model_copy(update=changes)
            if changed != job:
                self._jobs.save(changed)

    def _removals(self, store: GalleryStore) -> list[Event]:
        """Return the entries of the gallery's log about people and walks that were removed."""
        return store.log(None, ("forget", "expire", _WALK_REMOVED))

    def _results(self) -> list[RunResult]:
        return [RunResult(job, self._jobs.result(job)) for job in self._jobs.all() if job.state == "done"]


def _owner(gallery: GalleryService, walk_id: int | None) -> Person | None:
    """Return whose walk it is; None where there is no such walk."""
    owner = next((walk.person_id for walk in gallery.walks() if walk.walk_id == walk_id), None)
    return next((person for person in gallery.people() if person.person_id == owner), None)


def _before(event: Event, job: Job) -> bool:
    """Whether something was done with the gallery before a run has begun."""
    return job.started is not None and event.time.timestamp() < job.started


def _new_walk(result: RunResult, place: int, track_id: int, keep: bool) -> NewWalk:
    """Make a walk for the gallery from what a run has kept of a track."""
    video, track = result.track(place, track_id)
    used = result.outcome.videos[place]
    stored = StoredWalks(result.folder, used.name)
    embedding = stored.embedding(track_id)
    if track["status"] == "unusable" or embedding is None:
        raise WebError(f"This walk cannot be used: {track['reason']}.")
    crop = result.crop(place, track_id)
    stature = track.get("stature")  # results of an earlier version have none
    try:
        height = picture_height(np.array(track["boxes"], np.float32).reshape(-1, 4))
        gait = read_gait_table(crop.with_name("gait.csv")).get(track_id, [])
    except ValueError as error:
        raise damaged(crop.with_name("gait.csv"), str(error)) from error
    return NewWalk(
        embedding,
        source=result.job.names[used.video_id],
        track_id=track_id,
        seconds=round((track["frames"][-1] + 1 - track["frames"][0]) / video["fps"], 3),
        silhouettes=stored.sequence(track_id, video["fps"]) if keep else None,
        thumbnail=crop.read_bytes() if crop.is_file() else None,
        measures=(height, *([] if stature is None else [stature_measure(**stature)]), *gait),
    )
