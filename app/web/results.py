"""The result of a run as the page shows it, and who can be seen in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from app.errors import reason_of
from app.types import Sureness
from app.video.colours import css_colour
from app.web.jobs import Job
from app.web.options import NotThereError, WebError, damaged
from app.web.outcome import KnownIdentity, Outcome

if TYPE_CHECKING:
    from app.results.report import Report

_GAP = 0.5  # s; shorter absences leave no gap in the timeline

FORGOTTEN = 0
"""Stands for everybody who is no longer in the gallery; the ids of people begin at 1."""


@dataclass(frozen=True)
class Known:
    """The gallery as it is now: the `names` of people by their ids, and the `owners` of walks by the ids of walks.

    `forgotten` are the ids of people who were forgotten, and `removed` those of single walks that were removed.
    """

    names: Mapping[int, str]
    owners: Mapping[int, int]
    forgotten: Set[int] = frozenset()
    removed: Set[int] = frozenset()

    def who(self, identity: KnownIdentity) -> int | None:
        """Return the id of the person whom a run gave this name; None if the name did not come from the gallery.

        Somebody who was merged into another person is found by their walks, which that person has now.
        """
        if identity.person_id is None or identity.person_id in self.names:
            return identity.person_id
        if identity.person_id in self.forgotten:
            return FORGOTTEN
        owners = Counter(self.owners[walk_id] for walk_id in identity.walks if walk_id in self.owners)
        return owners.most_common(1)[0][0] if owners else FORGOTTEN

    def owner(self, walk_id: int) -> int | None:
        """Return whose walk it is; None if the walk was removed from the gallery but its owner was not."""
        return None if walk_id in self.removed else self.owners.get(walk_id, FORGOTTEN)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Candidate(_Part):
    identity: str


class _Track(_Part):
    track_id: int
    frames: list[int] = Field(min_length=1)
    boxes: list[list[FiniteFloat]]
    status: str
    reason: str | None
    identity: str | None
    confidence: FiniteFloat | None
    probability: FiniteFloat | None
    candidates: list[_Candidate]


class _Video(_Part):
    video: str
    width: int
    height: int
    fps: FiniteFloat = Field(gt=0)
    frame_count: int
    warnings: list[str]
    tracks: list[_Track]


class _Report(_Part):
    """What the page needs of `results.json`, which an earlier version of the program may have written."""

    models: dict[str, Any]
    timings: dict[str, Any]
    gallery: _Video | None = None
    probes: list[_Video]


def _refuse(number: str) -> float:
    raise ValueError(f"{number} is no JSON")


class RunResult:
    """The result folder of a job that is done; `NotThereError` where there is no such folder."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        try:
            self.outcome = Outcome.read(folder)
        except WebError:
            if not folder.is_dir():  # asked only now, because thousands of results are looked through at once
                raise NotThereError("This run has no result.") from None
            raise
        self._identities = {identity.name: identity for identity in self.outcome.identities}
        self._painted: dict[tuple[int, int], str | None] | None = None
        self.again: Report | None = None
        """What the run says with the gallery as it is now; None if that is what `results.json` says (`name_again`)."""

    @cached_property
    def _report(self) -> dict[str, Any]:
        path = self.folder / "run" / "results.json"
        try:
            report: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=_refuse)
            _Report.model_validate(report)
        except ValidationError as error:
            raise damaged(path, f"{error.error_count()} faults") from error
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(path, reason_of(error)) from error
        return report

    @cached_property
    def _videos(self) -> list[dict[str, Any]]:
        gallery = self._report.get("gallery")
        videos = [*([gallery] if gallery else []), *self._report["probes"]]
        ids = [seen.video_id for seen in self.outcome.videos]
        if len(videos) != len(ids) or not self.job.names.keys() >= set(ids):
            raise damaged(self.folder / "outcome.json", "it is about other videos")
        return videos

    def report(self) -> Report | None:
        """Return the content of `results.json`; None where another version of the program wrote it."""
        from app.results.report import Report

        try:
            return Report.model_validate(self._report)
        except ValidationError:
            return None

    def name_again(self, report: Report, known: Known) -> None:
        """Go on with the names of `report`, which was made with the gallery as it is now (`app.web.naming`)."""
        colours = {
            known.who(identity): identity.colour for identity in self.outcome.identities if identity.colour is not None
        }
        self.compare_again(report)
        tracks = [track for video in self._videos for track in video["tracks"]]
        named = {track["identity"] for track in tracks if track["identity"] is not None}
        near = {candidate["identity"] for track in tracks for candidate in track["candidates"]}
        free = (css_colour(place) for place in count(len(colours)))
        wanted = named | near
        ids = sorted((name, person_id) for person_id, name in known.names.items() if name in wanted)
        self._identities = {
            name: KnownIdentity(
                name=name,
                colour=colours.get(person_id) or (next(free) if name in named else None),
                person_id=person_id,
            )
            for name, person_id in ids
        }

    def compare_again(self, report: Report) -> None:
        """Go on with the names of `report`, which are among those that the run has given (`app.web.naming`)."""
        if self._painted is None:  # otherwise it has been named again before
            self._painted = {
                (place, track["track_id"]): track["identity"]
                for place, video in enumerate(self._videos)
                for track in video["tracks"]
            }
        self.again = report
        self._report = report.model_dump(mode="json")
        self.__dict__.pop("_videos", None)  # they are taken from the report when they are next needed

    def called(self, name: str, known: Known) -> list[str]:
        """Return what the run calls the people of its gallery video who are called `name` now."""
        return [one.name for one in self.outcome.identities if self._present_name(one.name, known) == name]

    def said(self, known: Known) -> tuple[dict[str, str], dict[tuple[int, int], str]]:
        """Return the present names of people by what the run calls them, and those that somebody gave to tracks.

        A track is meant by the place of its video and its id.
        """
        names = {identity.name: self._present_name(identity.name, known) for identity in self.outcome.identities}
        tracks = {}
        for key, walk_id in self.job.labels.items():
            place, track_id = map(int, key.split("/"))
            if name := known.names.get(known.owner(walk_id) or FORGOTTEN):
                tracks[place, track_id] = name
        return names, tracks

    def view(self, known: Known) -> dict[str, Any]:
        """Return everything but the boxes, with the present names of people."""
        return {
            "videos": [self._video(place, known) for place in range(len(self._videos))],
            "identities": [
                {"name": self._present_name(identity.name, known), "colour": identity.colour}
                for identity in self._identities.values()
                if identity.colour is not None or self._painted is None
            ],
            "failures": self.outcome.failures,
            "models": self._report["models"],
            "timings": self._report["timings"],
            "files": sorted(path.name for path in (self.folder / "run").iterdir()),
        }

    def boxes(self, place: int) -> dict[int, dict[str, Any]]:
        """Return frame indices and boxes (px) of each track of a video."""
        return {
            track["track_id"]: {"frames": track["frames"], "boxes": track["boxes"]}
            for track in self._video_at(place)["tracks"]
        }

    def track(self, place: int, track_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a video and one of its tracks, as `results.json` has them.

        Raises:
            NotThereError: there is no such video or track.
        """
        video = self._video_at(place)
        for track in video["tracks"]:
            if track["track_id"] == track_id:
                return video, track
        raise NotThereError("There is no such track.")

    def person(self, place: int, track: Mapping[str, Any], known: Known) -> int | None:
        """Return who a track is, as somebody said or else as the run found; None if it is nobody of the gallery."""
        label = self._label(place, track, known)
        return self._who(track["identity"], known) if label is None else label

    def names(self, person_id: int, known: Known) -> bool:
        """Whether a person's name is anywhere in this result: in pictures, among candidates, or as a label."""
        by_run = map(known.who, self.outcome.identities)
        return person_id in by_run or person_id in map(known.owner, self.job.labels.values())

    @property
    def names_anybody(self) -> bool:
        """Whether people of a gallery are named in this result, by the run or by somebody."""
        return bool(self.job.labels) or any(known.person_id is not None for known in self.outcome.identities)

    def crop(self, place: int, track_id: int) -> Path:
        """Return the path of the picture of a track, a JPEG, which may not exist.

        Raises:
            NotThereError: there is no such track.
        """
        self.track(place, track_id)
        return self.folder / "run" / "crops" / self.outcome.videos[place].name / f"{track_id}.jpg"

    def persons_in(self, video_id: str, known: Known) -> set[int | None]:
        """Return who walks in a video; None among them stands for people who are not in the gallery."""
        return {
            self.person(place, track, known)
            for place, seen in enumerate(self.outcome.videos)
            if seen.video_id == video_id
            for track in self._videos[place]["tracks"]
            if track["status"] != "unusable"
        }

    def walks_of(self, person_id: int, known: Known) -> list[dict[str, Any]]:
        """Return where and when a person walks in the videos, and how sure that is."""
        return [
            {
                "job_id": self.job.job_id,
                "created": self.job.created,
                "place": place,
                "video": self.job.names[self.outcome.videos[place].video_id],
                "track_id": track["track_id"],
                "begin": track["frames"][0] / video["fps"],
                "end": (track["frames"][-1] + 1) / video["fps"],
                "labelled": bool(self._label(place, track, known)),
                "sureness": Sureness.of(track["probability"], track["confidence"]).text,
            }
            for place, video in enumerate(self._videos)
            for track in video["tracks"]
            if track["status"] != "unusable" and self.person(place, track, known) == person_id
        ]

    def _video_at(self, place: int) -> dict[str, Any]:
        if not 0 <= place < len(self._videos):
            raise NotThereError("There is no such video in this run.")
        return self._videos[place]

    def _video(self, place: int, known: Known) -> dict[str, Any]:
        video, seen = self._videos[place], self.outcome.videos[place]
        return {
            "video_id": seen.video_id,
            "name": self.job.names[seen.video_id],
            "role": "gallery" if seen.video_id == self.job.gallery else "probe",
            "painted": seen.painted,
            **{key: video[key] for key in ("width", "height", "fps", "frame_count")},
            "warnings": [warning.replace(video["video"], seen.name) for warning in video["warnings"]],
            "tracks": [self._track(place, track, video["fps"], known) for track in video["tracks"]],
        }

    def _track(self, place: int, track: Mapping[str, Any], fps: float, known: Known) -> dict[str, Any]:
        person_id = self.person(place, track, known)
        name = known.names.get(person_id) if person_id is not None else None
        candidates = [self._candidate(one, known) for one in track["candidates"]]
        return {
            **{key: value for key, value in track.items() if key not in ("frames", "boxes")},
            "identity": self._present_name(track["identity"], known) if track["identity"] is not None else None,
            "candidates": candidates,
            "person": {"person_id": person_id, "name": name} if name is not None else None,
            "labelled": bool(self._label(place, track, known)),
            "painted": self._painted_name(place, track),
            "sureness": Sureness.of(track["probability"], track["confidence"])._asdict(),
            "spans": _spans(track["frames"], fps),
        }

    def _candidate(self, candidate: Mapping[str, Any], known: Known) -> dict[str, Any]:
        person_id = self._who(candidate["identity"], known)
        name = self._present_name(candidate["identity"], known)
        return {**candidate, "identity": name, "person_id": person_id if person_id in known.names else None}

    def _painted_name(self, place: int, track: Mapping[str, Any]) -> str | None:
        """Return the name of a track that is painted into the video."""
        name: str | None = track["identity"] if self._painted is None else self._painted[place, track["track_id"]]
        return name

    def _label(self, place: int, track: Mapping[str, Any], known: Known) -> int | None:
        """Return who a track is, as somebody said."""
        walk_id = self.job.labels.get(f"{place}/{track['track_id']}")
        return known.owner(walk_id) if walk_id is not None else None

    def _present_name(self, name: str, known: Known) -> str:
        """Return the present name of the person whom a run called `name`."""
        person_id = self._who(name, known)
        return name if person_id is None else known.names.get(person_id, name)

    def _who(self, name: str | None, known: Known) -> int | None:
        """Return the id of the person whom the run called `name`; None if it is nobody of the gallery.

        The people of a gallery video have numbers, until somebody names them in that video.
        """
        identity = self._identities.get(name or "")
        person_id = known.who(identity) if identity is not None else None
        if person_id is not None or name is None or self.job.kind != "compare" or not self.job.labels:
            return person_id
        same = (self._label(0, track, known) for track in self._videos[0]["tracks"] if track["identity"] == name)
        return next((label for label in same if label), None)


def _spans(frames: Sequence[int], fps: float) -> list[tuple[float, float]]:
    """Return when somebody was seen, in s, as spans without a gap of more than half a second."""
    spans: list[tuple[float, float]] = []
    first = before = frames[0]
    for index in [*frames[1:], None]:
        if index is None or index - before > _GAP * fps:
            spans.append((round(first / fps, 3), round((before + 1) / fps, 3)))
            first = index if index is not None else first
        before = index if index is not None else before
    return spans
