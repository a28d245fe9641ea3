"""What the page shows: times instead of frames, shares instead of pixels, file names instead of paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from app.results.pictures import TrackPictures
from app.results.report import ModelReport, Report, TrackReport, VideoReport
from app.settings import Settings
from app.video.colours import UNKNOWN, UNUSABLE, colour_of

_GAP = 0.5  # in s; a shorter absence leaves no gap in the timeline
_MOST_TICKS = 7  # on a time axis
_STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # between ticks, in s
_MOST_CARDS = 24  # of people, where fewer were recognised
_NEAREST = 4  # candidates that are visible at once
_MOST_COLUMNS, _MOST_ROWS = 60, 200  # of the table of distances


@dataclass(frozen=True)
class ShownVideo:
    """A video of a run: its report, the painted copy, pictures by track id, and a painted picture of it, a JPEG."""

    report: VideoReport
    painted: Path
    pictures: Mapping[int, TrackPictures]
    poster: bytes | None = None


@dataclass(frozen=True)
class Colours:
    """The colours of the painted videos, as CSS writes them."""

    identities: Sequence[str]

    @cached_property
    def _named(self) -> dict[str, tuple[int, int, int]]:
        return {name: colour_of(place) for place, name in reversed(list(enumerate(self.identities)))}

    def of(self, identity: str | None, *, usable: bool = True) -> str:
        """Return the colour of an identity, of somebody unknown, or of a track that was not used."""
        red, green, blue = self._named.get(identity or "", UNKNOWN) if usable else UNUSABLE
        return f"rgb({red} {green} {blue})"


@dataclass(frozen=True)
class CandidateView:
    """A bar that shows how far an identity is. Its length is `share`, 0..1; the `chosen` one is the walk's name."""

    name: str
    colour: str
    distance: float
    share: float
    chosen: bool


@dataclass(frozen=True)
class TrackView:
    """One track as a card."""

    track: TrackReport
    video: VideoView
    colour: str
    pictures: TrackPictures
    near: Sequence[CandidateView]
    far: Sequence[CandidateView]
    threshold_share: float | None

    @property
    def candidates(self) -> list[CandidateView]:
        return [*self.near, *self.far]

    @property
    def id(self) -> str:
        return f"{self.video.id}-track-{self.track.track_id}"

    @property
    def name(self) -> str:
        if self.track.status == "unusable":
            return f"track {self.track.track_id}"
        if self.track.identity is None:
            return "unknown"
        return self.track.identity + "?" * self.doubtful

    @property
    def doubtful(self) -> bool:
        return self.track.identity is not None and self.track.sureness.doubtful

    @property
    def sureness(self) -> str:
        text = self.track.sureness.text
        if self.track.identity is None:
            if not self.track.candidates:
                return ""
            return f"nearest: {self.track.candidates[0].identity}, {text}" if text else ""
        return f"probability {text}" if self.track.probability is not None else text

    @property
    def start(self) -> float:
        return self.track.frames[0] / self.video.fps

    @property
    def end(self) -> float:
        return (self.track.frames[-1] + 1) / self.video.fps

    @property
    def stretches(self) -> list[tuple[float, float]]:
        """When the track is in view: starts and lengths as shares of the track's time, 0..1."""
        frames = np.asarray(self.track.frames)
        breaks = np.flatnonzero(np.diff(frames) > _GAP * self.video.fps)
        firsts, lasts = frames[np.r_[0, breaks + 1]], frames[np.r_[breaks, len(frames) - 1]]
        whole = frames[-1] - frames[0] + 1
        return [
            (float((first - frames[0]) / whole), float((last - first + 1) / whole))
            for first, last in zip(firsts, lasts, strict=True)
        ]


@dataclass(frozen=True)
class RowView:
    """A line of a timeline."""

    name: str
    colour: str
    tracks: Sequence[TrackView]


class VideoView:
    """One video with its timeline and tracks."""

    def __init__(self, shown: ShownVideo, role: str, identifier: str, source: str, colours: Colours) -> None:
        self.role, self.id, self.source, self.report = role, identifier, source, shown.report
        self.painted, self.poster = shown.painted.name, shown.poster
        self.name = shown.report.name
        self.fps = shown.report.fps
        self.seconds = max(shown.report.frame_count, 1) / self.fps
        tracks = [self._track(track, shown, colours) for track in shown.report.tracks]
        self.used = [view for view in tracks if view.track.status != "unusable"]
        self.unused = [view for view in tracks if view.track.status == "unusable"]
        self.named = [view for view in self.used if view.track.identity]
        self.identities = {view.track.identity for view in self.named}
        self.rows = list(self._rows(colours))

    def _track(self, track: TrackReport, shown: ShownVideo, colours: Colours) -> TrackView:
        # The near candidates decide the scale. The bars of those that are further away have the full length.
        nearest = [candidate.distance for candidate in track.candidates[:_NEAREST]]
        longest = max([*nearest, 1.2 * (track.threshold or 0.0)]) or 1.0
        candidates = [
            CandidateView(
                c.identity,
                colours.of(c.identity),
                c.distance,
                min(1.0, c.distance / longest),
                c.identity == track.identity,
            )
            for c in track.candidates
        ]
        return TrackView(
            track,
            self,
            colours.of(track.identity, usable=track.status != "unusable"),
            shown.pictures.get(track.track_id, TrackPictures()),
            [c for place, c in enumerate(candidates) if place < _NEAREST or c.chosen],
            [c for place, c in enumerate(candidates) if place >= _NEAREST and not c.chosen],
            track.threshold / longest if track.threshold is not None else None,
        )

    def _rows(self, colours: Colours) -> Iterable[RowView]:
        """Yield a line for each identity and each unknown walk, then as few lines as possible for unusable tracks."""
        by_name: dict[str, list[TrackView]] = {}
        for view in self.used:
            by_name.setdefault(view.track.identity or f"unknown, track {view.track.track_id}", []).append(view)
        for name, views in sorted(
            by_name.items(), key=lambda item: (item[1][0].track.identity is None, item[1][0].start)
        ):
            yield RowView(name + "?" * all(view.doubtful for view in views), views[0].colour, views)
        lanes: list[list[TrackView]] = []
        for view in sorted(self.unused, key=lambda view: view.start):
            free = next((lane for lane in lanes if lane[-1].end <= view.start), None)
            if free is None:
                lanes.append(free := [])
            free.append(view)
        for place, lane in enumerate(lanes):
            yield RowView("" if place else "not used", colours.of(None, usable=False), lane)

    @property
    def ticks(self) -> list[float]:
        """Round times in s for the axis, none of them so late that its label would leave the page."""
        coarsest = math.ceil(self.seconds / _MOST_TICKS)
        step = next((step for step in _STEPS if self.seconds / step <= _MOST_TICKS), coarsest)
        return [place * step for place in range(math.floor(0.96 * self.seconds / step) + 1)]


@dataclass(frozen=True)
class PersonView:
    """A person of the gallery, and the probe walks that have this person's name."""

    name: str
    colour: str
    portrait: bytes | None
    walks: Sequence[TrackView]

    @property
    def doubtful(self) -> bool:
        return bool(self.walks) and all(view.doubtful for view in self.walks)


@dataclass(frozen=True)
class MatrixView:
    """Distances of probe walks to identities: `cells` by row, None where two were not compared. Nearness is 0..1."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[TrackView]
    cells: Sequence[Sequence[CandidateView | None]]
    least: float
    most: float
    left_out: tuple[int, int]

    def nearness(self, distance: float) -> float:
        return (self.most - distance) / (self.most - self.least) if self.most > self.least else 1.0


@dataclass(frozen=True)
class ReportView:
    """The whole page."""

    report: Report
    gallery: VideoView | None
    probes: Sequence[VideoView]
    identities: Sequence[str]
    colours: Colours
    portraits: Mapping[str, bytes]

    @property
    def videos(self) -> list[VideoView]:
        return [*self.probes, *([self.gallery] if self.gallery else [])]

    @cached_property
    def walks(self) -> list[TrackView]:
        return [view for video in self.probes for view in video.used]

    @property
    def shows_bodies(self) -> bool:
        return any(view.pictures.body is not None for video in self.videos for view in video.used)

    @property
    def knows_statures(self) -> bool:
        return any(track.stature is not None for video in self.videos for track in video.report.tracks)

    @cached_property
    def named(self) -> int:
        return sum(len(video.named) for video in self.probes)

    @cached_property
    def compared(self) -> bool:
        return any(view.near for view in self.walks)

    @property
    def closed(self) -> bool:
        return self.compared and all(view.track.threshold is None for view in self.walks)

    @cached_property
    def people(self) -> list[PersonView]:
        """Those who were recognised, in the order of the gallery, then as many others as there is room for."""
        crops = {
            view.track.identity: view.pictures.crop
            for view in sorted(self.gallery.named if self.gallery else [], key=lambda view: len(view.track.frames))
        }
        people = [
            PersonView(
                name,
                self.colours.of(name),
                self.portraits.get(name) or crops.get(name),
                [view for view in self.walks if view.track.identity == name],
            )
            for name in dict.fromkeys(self.identities)
        ]
        recognised = sum(bool(person.walks) for person in people)
        return sorted(people, key=lambda person: not person.walks)[: max(_MOST_CARDS, recognised)]

    @property
    def more_people(self) -> int:
        """How many people of the gallery are not among `people`."""
        return len(set(self.identities)) - len(self.people)

    @cached_property
    def matrix(self) -> MatrixView | None:
        """The table of distances. Where there are too many identities, it has those that are nearest to any walk."""
        rows = [view for view in self.walks if view.near]
        nearest: dict[str, float] = {}
        for view in rows:
            for candidate in view.candidates:
                nearest[candidate.name] = min(candidate.distance, nearest.get(candidate.name, math.inf))
        if not nearest:
            return None
        in_table = set(sorted(nearest, key=nearest.__getitem__)[:_MOST_COLUMNS])
        names = [name for name in dict.fromkeys([*self.identities, *nearest]) if name in in_table]
        first_rows = rows[:_MOST_ROWS]
        by_name = [{candidate.name: candidate for candidate in view.candidates} for view in first_rows]
        cells = [[row.get(name) for name in names] for row in by_name]
        distances = [cell.distance for row in cells for cell in row if cell]
        return MatrixView(
            [(name, self.colours.of(name)) for name in names],
            first_rows,
            cells,
            min(distances),
            max(distances),
            (len(rows) - len(first_rows), len(nearest) - len(names)),
        )

    @cached_property
    def warnings(self) -> list[str]:
        return [
            warning.replace(video.report.video, video.name)
            for video in self.videos
            for warning in video.report.warnings
        ]

    @cached_property
    def failures(self) -> list[str]:
        """The reasons why probes could not be used."""
        return [failure.reason.replace(failure.video, Path(failure.video).name) for failure in self.report.failures]

    @cached_property
    def models(self) -> list[tuple[str, ModelReport, str]]:
        """The stage, the model and its file name, for each stage."""
        return [
            (stage, model, Path(model.file).name if model.file else "") for stage, model in self.report.models.items()
        ]

    @cached_property
    def settings(self) -> list[tuple[str, str, bool]]:
        """The name and the value of each setting, and whether it differs from the default."""
        default = dict(_flat(asdict(Settings())))
        return [(name, value, value != default.get(name)) for name, value in _flat(self.report.settings)]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Path) or (isinstance(value, str) and ("/" in value or "\\" in value)):
            yield f"{prefix}{key}", Path(value).name
        else:
            yield f"{prefix}{key}", " x ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
