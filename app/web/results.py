"""What a finished run found, as the page shows it, and who can be seen in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.web.jobs import Job
from app.web.options import NotThereError
from app.web.outcome import Outcome

_GAP = 0.5  # s: shorter absences leave no gap in the timeline


@dataclass(frozen=True)
class Known:
    """The gallery as it is now: people's `names` by their ids, and the `owners` of walks by theirs."""

    names: Mapping[int, str]
    owners: Mapping[int, int]


class RunResult:
    """The result folder of a job that is done.

    Raises:
        NotThereError: there is none.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        if not folder.is_dir():
            raise NotThereError("This run has no result.")
        self.job, self.folder = job, folder
        self.outcome = Outcome.read(folder)
        self._report = json.loads((folder / "run" / "results.json").read_bytes())
        gallery = self._report.get("gallery")
        self._videos: list[dict[str, Any]] = [*([gallery] if gallery else []), *self._report["probes"]]
        self._persons = {known.name: known.person_id for known in self.outcome.identities}

    def view(self, known: Known) -> dict[str, Any]:
        """Return everything but the boxes, with today's names."""
        return {
            "videos": [self._video(place, known) for place in range(len(self._videos))],
            "identities": [identity.model_dump() for identity in self.outcome.identities],
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
        """Return who a track is, by somebody's word or else by the run; None where the gallery does not know."""
        word = known.owners.get(self.job.labels.get(f"{place}/{track['track_id']}", 0))
        return word if word is not None else self._persons.get(track["identity"])

    def names(self, person_id: int, known: Known) -> bool:
        """Whether a person's name stands anywhere in this result: in pictures, among candidates, or as a label."""
        return person_id in self._persons.values() or person_id in map(known.owners.get, self.job.labels.values())

    def persons_in(self, video_id: str, known: Known) -> set[int | None]:
        """Return who walks through a video; None among them stands for people whom the gallery does not know."""
        return {
            self.person(place, track, known)
            for place, seen in enumerate(self.outcome.videos)
            for track in self._videos[place]["tracks"]
            if seen.video_id == video_id and track["status"] != "unusable"
        }

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
        return {
            **{key: value for key, value in track.items() if key not in ("frames", "boxes")},
            "person": {"person_id": person_id, "name": name} if name is not None else None,
            "labelled": self.job.labels.get(f"{place}/{track['track_id']}") in known.owners,
            "spans": _spans(track["frames"], fps),
        }


def _spans(frames: Sequence[int], fps: float) -> list[tuple[float, float]]:
    """Return when somebody was seen, in s: pieces without a gap of more than half a second."""
    pieces: list[tuple[float, float]] = []
    first = before = frames[0]
    for index in [*frames[1:], None]:
        if index is None or index - before > _GAP * fps:
            pieces.append((round(first / fps, 3), round((before + 1) / fps, 3)))
            first = index if index is not None else first
        before = index if index is not None else before
    return pieces
