"""Looking after the gallery from the page: enrolling from results, correcting names, forgetting with every trace."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from app.errors import GalleryError
from app.files import written_whole
from app.gallery.sqlite import SqliteGallery, clean_name
from app.gallery.store import GalleryStore, NewWalk, Person
from app.web.jobs import Job, JobStore
from app.web.options import ConflictError, NotThereError, WebError, WebOptions
from app.web.outcome import KeptWalks
from app.web.results import Known, RunResult
from app.web.videos import Video, VideoLibrary


@dataclass(frozen=True)
class Traces:
    """Where a person can be seen: `results` name them; `only` are uploads that show nobody else; `shared` videos show
    others too, and `files` lie in the input folder, so both of these stay.
    """

    results: list[Job]
    only: list[Video]
    shared: list[Video]
    files: list[Video]


class People:
    """The gallery, and what the page's runs have to do with it. Methods block and may be called from any thread."""

    def __init__(self, options: WebOptions, jobs: JobStore, videos: VideoLibrary) -> None:
        self._options, self._jobs, self._videos = options, jobs, videos

    def gallery(self) -> SqliteGallery:
        """Open the gallery."""
        return SqliteGallery(self._options.gallery)

    def known(self) -> Known:
        """Return who is in the gallery now."""
        with self.gallery() as gallery:
            names = {person.person_id: person.name for person in gallery.people()}
            return Known(names, {walk.walk_id: walk.person_id for walk in gallery.walks()})

    def get(self, gallery: GalleryStore, person_id: int) -> Person:
        """Return a person.

        Raises:
            NotThereError: there is none of that id.
        """
        for person in gallery.people():
            if person.person_id == person_id:
                return person
        raise NotThereError("This person is not in the gallery any more.")

    def name_track(
        self, result: RunResult, place: int, track_id: int, name: str, consent: str, retain_days: int | None, keep: bool
    ) -> int:
        """Store the walk of a track under a name; where it is under another one already, it moves.

        Args:
            result: the run.
            place: of the video in the run.
            track_id: the track in the video.
            name: the person, who is made where there is none of that name.
            consent: what they agreed to; needed for somebody new.
            retain_days: for somebody new, days after which they are forgotten.
            keep: whether the silhouettes are stored too.

        Returns:
            The person's id.

        Raises:
            WebError: the walk cannot be used, or there is no consent.
        """
        from app.pipeline.enrol import already_enrolled

        name, walk = clean_name(name), _new_walk(result, place, track_id, keep)
        with self.gallery() as gallery:
            known = {person.name: person for person in gallery.people()}
            consent = consent.strip() or (known[name].consent if name in known else "")
            if not consent:
                raise WebError(f"Write down what {name} has agreed to: nobody is enrolled without it.")
            before = already_enrolled(walk, gallery)  # from this run, or from another of the same video
            if before is None or name not in known:
                person = gallery.enrol(name, [walk], consent=consent, retain_days=retain_days)
                walk_id = max(walk.walk_id for walk in gallery.walks(person.name))
                if before is not None:
                    gallery.forget_walk(before[1])
            else:
                person, walk_id = known[name], before[1]
                if before[0] != name:
                    gallery.move_walk(walk_id, name)
        result.job.labels[f"{place}/{track_id}"] = walk_id
        self._jobs.save(result.job)
        return person.person_id

    def unname_track(self, result: RunResult, place: int, track_id: int) -> None:
        """Take back what `name_track` did."""
        walk_id = result.job.labels.pop(f"{place}/{track_id}", None)
        if walk_id is None:
            raise NotThereError("This walk is not in the gallery.")
        with self.gallery() as gallery, suppress(GalleryError):
            gallery.forget_walk(walk_id)
        self._jobs.save(result.job)

    def merge(self, person_id: int, into_id: int) -> None:
        """Two names were one person."""
        if person_id == into_id:
            raise ConflictError("This is the same person.")
        with self.gallery() as gallery:
            gallery.merge(self.get(gallery, person_id).name, self.get(gallery, into_id).name)
        for result in self._results():
            for identity in result.outcome.identities:
                identity.person_id = into_id if identity.person_id == person_id else identity.person_id
            with written_whole(result.folder / "outcome.json") as temporary:
                temporary.write_text(result.outcome.model_dump_json(indent=1), encoding="utf-8")

    def traces(self, person_id: int) -> Traces:
        """Find everything that shows a person."""
        results, known = self._results(), self.known()
        naming = [result for result in results if result.names(person_id, known)]
        only: list[Video] = []
        shared: list[Video] = []
        files: list[Video] = []
        for video_id in dict.fromkeys(video_id for result in naming for video_id in result.job.videos):
            seen = set().union(*(result.persons_in(video_id, known) for result in results))
            if person_id not in seen:
                continue
            with suppress(NotThereError):
                video = self._videos.get(video_id)
                (files if video.source == "input" else only if seen == {person_id} else shared).append(video)
        return Traces([result.job for result in naming], only, shared, files)

    def forget(self, person_id: int) -> int:
        """Remove a person with all results that name them and all uploads that show nobody else.

        The gallery comes last, so that what was interrupted can be done again.

        Returns:
            How many walks the gallery had of them.
        """
        with self.gallery() as gallery:
            name = self.get(gallery, person_id).name
            traces = self.traces(person_id)
            for job in traces.results:
                self._jobs.remove(job)
            for video in traces.only:
                self._videos.remove(video)
            self.empty_cache()
            return gallery.forget(name)

    def expire(self) -> None:
        """Forget everybody whose time is over."""
        with self.gallery() as gallery:
            now = datetime.now(timezone.utc)
            over = [person for person in gallery.people() if person.expires is not None and person.expires <= now]
        for person in over:
            self.forget(person.person_id)

    def empty_cache(self) -> None:
        """Delete what is kept of videos already followed: their tracks and silhouettes."""
        shutil.rmtree(self._options.folder / "work", ignore_errors=True)
        (self._options.folder / "worker.log").unlink(missing_ok=True)

    def _results(self) -> list[RunResult]:
        return [RunResult(job, self._jobs.result(job)) for job in self._jobs.all() if job.state == "done"]


def _new_walk(result: RunResult, place: int, track_id: int, keep: bool) -> NewWalk:
    """Make a walk for the gallery from what a run has kept of a track."""
    video, track = result.track(place, track_id)
    seen = result.outcome.videos[place]
    kept = KeptWalks(result.folder, seen.name)
    embedding = kept.embedding(track_id)
    if track["status"] == "unusable" or embedding is None:
        raise WebError(f"This walk cannot be used: {track['reason']}.")
    crop = result.folder / "crops" / seen.name / f"{track_id}.jpg"
    return NewWalk(
        embedding,
        source=result.job.names[seen.video_id],
        track_id=track_id,
        seconds=round((track["frames"][-1] + 1 - track["frames"][0]) / video["fps"], 3),
        silhouettes=kept.sequence(track_id, track["part_of"], video["fps"]) if keep else None,
        thumbnail=crop.read_bytes() if crop.is_file() else None,
    )
