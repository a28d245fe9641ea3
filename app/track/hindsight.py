"""Tracks put right in hindsight, because people walk on as they came.

A tracker decides at once. Where two people cover each other, or somebody is hidden, it can only guess, and the boxes
that it then sees lead it astray. A second later more is known: how everybody came, and how everybody went on. A line
through the places of a second before, and one through those of a second after, tell who is who.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from app.track.bytetrack import iou
from app.types import Doubles, Floats, Ints, TrackedBoxes

T = TypeVar("T")

_WINDOW = 1.0
"""Seconds before and after, in which people are taken to walk straight and evenly."""
_LINK = 2.0
"""For so many seconds somebody may be hidden and still be joined to where they came out."""
_FEWEST_LOOKS = 4
"""A line needs so many places."""
_MEETING = 0.25
"""IoU from which two people cover each other so much that their tracks may have been exchanged."""
_LONGEST_MEETING = 3.0
"""After more seconds together than this, a straight line says nothing about who is who."""
_PAUSE = 0.4
"""Two people who part for at most so many seconds still meet."""
_LOST = 0.5
"""Whoever comes back after more seconds than this in the track that they left may be somebody else."""
_CLEARLY = 0.3
"""Tracks are exchanged where that fits so much better (`_Line.gap`)."""
_FITS = 0.6
"""Two tracks with at most this gap are joined."""
_NOT_RECORDED = 1.0
"""Seconds without a look after which nobody is joined to anybody from before."""
_BETTER_BOX = 0.1
"""Two boxes of a meeting are exchanged where the sum of their IoU with the ways rises by more than this."""


@dataclass(frozen=True)
class Exchange:
    """Two tracks change places, from frame `first` on and up to frame `last`; None: for good.

    If `one` had ended before, and `other` has only then started, they are one track from now on, `one`.
    """

    one: int
    other: int
    first: int
    last: int | None = None

    def covers(self, frame: int) -> bool:
        """Return whether the tracks change places in this frame."""
        return frame >= self.first and (self.last is None or frame <= self.last)

    def relabelled(self, tracked: TrackedBoxes, frame: int) -> TrackedBoxes:
        """Return the tracks of a frame as they are after the exchange, sorted by id."""
        if not self.covers(frame):
            return tracked
        other = {self.one: self.other, self.other: self.one}
        return _sorted(
            replace(tracked, track_ids=_of(other.get(number, number) for number in tracked.track_ids.tolist()))
        )


@dataclass(frozen=True)
class _Line:
    """Where somebody is: the middle of the feet in px as a straight line over seconds, and the usual size in px."""

    speed: Doubles
    start: Doubles
    width: float
    height: float

    @classmethod
    def through(cls, seconds: Doubles, boxes: Floats) -> _Line:
        feet = np.stack([boxes[:, [0, 2]].mean(axis=1), boxes[:, 3]], axis=1)
        speed, start = np.polyfit(seconds, feet, 1)
        width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0).tolist()
        return cls(speed, start, max(width, 1.0), max(height, 1.0))

    def box(self, second: float) -> Doubles:
        """Return the box (4,) px in which the person is then."""
        x, y = (self.start + self.speed * second).tolist()
        return np.array([x - self.width / 2, y - self.height, x + self.width / 2, y])

    def is_near(self, box: Floats, second: float) -> bool:
        """Return whether somebody in a box (4,) px may be on this line then: within two heights, and about as tall."""
        left, top, right, bottom = box.tolist()
        x, y = (self.start + self.speed * second).tolist()
        apart = np.hypot((left + right) / 2 - x, bottom - y)
        return bool(apart <= 2 * self.height and 0.5 <= (bottom - top) / self.height <= 2)

    def gap(self, other: _Line, second: float) -> float:
        """Return how badly two lines fit one person, in heights of the person; 0 where they are one line.

        The lines are compared where they meet in time. A difference of speed counts by what it makes in half a second,
        and one of the height by twice its logarithm.
        """
        height = (self.height + other.height) / 2
        apart = self.start + self.speed * second - other.start - other.speed * second
        faster = (self.speed - other.speed) / 2
        taller = 2 * abs(float(np.log(self.height / other.height)))
        return float(np.linalg.norm(apart) + np.linalg.norm(faster)) / height + taller


@dataclass
class _Meeting:
    """Two tracks that cover each other from frame `first` to frame `last`."""

    one: int
    other: int
    first: int
    last: int


@dataclass
class _Newcomer:
    """A track that starts in frame `first`.

    The tracker may say that it goes on with the track `before`, which was last seen in frame `last`.
    """

    first: int
    track_id: int
    before: int | None = None
    last: int = -1


_Path: TypeAlias = list[tuple[int, Floats]]
"""The last seconds of a track: frame indices and boxes (4,) px."""


class Hindsight:
    """Finds what a tracker got wrong in one video, a second or two later.

    Args:
        fps: frames per second of the video, to whose frames all indices belong.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._window = _WINDOW * fps
        self._horizon = (2 * _WINDOW + max(2 * _LINK, _LONGEST_MEETING + _PAUSE) + 1) * fps
        self._frame = -1
        self._paths: dict[int, _Path] = {}
        self._ids: dict[int, int] = {}  # by the ids of the tracker
        self._newest = 0
        self._meetings: list[_Meeting] = []
        self._newcomers: list[_Newcomer] = []

    def update(self, frame: int, tracked: TrackedBoxes) -> tuple[TrackedBoxes, list[Exchange]]:
        """Take the tracks of the next look.

        Args:
            frame: its index.
            tracked: as the tracker gives them.

        Returns:
            The tracks with the ids that they have by now, which are not the tracker's, and exchanges: what has just
            turned out to be wrong up to this frame. It is still wrong in the tracks that are returned.
        """
        exchanges = []
        if self._frame >= 0 and frame - self._frame > _NOT_RECORDED * self._fps:
            # Nothing was recorded for a while. Somebody else may stand there now, so nobody is followed across it.
            exchanges = self.end()
            self._paths.clear()
        ids = [self._id_of(number, frame) for number in tracked.track_ids.tolist()]
        for track_id, box in zip(ids, tracked.boxes, strict=True):
            self._paths.setdefault(track_id, []).append((frame, box))
        self._frame = frame
        self._note_meetings(ids, tracked.boxes)
        now = _sorted(replace(tracked, track_ids=_of(ids)))
        exchanges += self._decide(frame - self._window)
        oldest = frame - self._horizon
        for track_id, path in list(self._paths.items()):
            if path[-1][0] < oldest:
                del self._paths[track_id]
            elif path[0][0] < oldest - self._window:  # not at every look
                path[:] = [look for look in path if look[0] >= oldest]
        return now, exchanges

    def end(self) -> list[Exchange]:
        """Return what is still wrong when the video has ended."""
        return self._decide(np.inf)

    def is_settled(self, track_id: int, last: int) -> bool:
        """Return whether nothing changes any more in a track whose last box is in frame `last`."""
        hidden_until = last + 2 * _LINK * self._fps  # twice, because a newcomer may have been in another track before
        return (
            self._frame > hidden_until
            and not any(last < newcomer.first <= hidden_until for newcomer in self._newcomers)
            and not any(track_id in (meeting.one, meeting.other) for meeting in self._meetings)
        )

    def _id_of(self, number: int, frame: int) -> int:
        """Return the id of a track of the tracker, a new one for whoever is new or comes back after a while."""
        before = self._ids.get(number)
        last = self._paths[before][-1][0] if before in self._paths else -1
        if before is not None and (
            frame - last <= _LOST * self._fps or self._line(before, last - self._window, last) is None
        ):
            return before
        self._newest += 1
        self._ids[number] = self._newest
        if self._frame >= 0:
            self._newcomers.append(_Newcomer(frame, self._newest, before, last))
        return self._newest

    def _note_meetings(self, ids: Sequence[int], boxes: Floats) -> None:
        frame = self._frame
        rows, columns = np.nonzero(np.triu(iou(boxes, boxes) > _MEETING, 1))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            one, other = sorted((ids[row], ids[column]))
            for meeting in self._meetings:
                if (meeting.one, meeting.other) == (one, other) and frame - meeting.last <= _PAUSE * self._fps + 1:
                    meeting.last = frame
                    break
            else:
                self._meetings.append(_Meeting(one, other, frame, frame))

    def _decide(self, until: float) -> list[Exchange]:
        """Decide on everything that was over by a frame."""
        exchanges: list[Exchange] = []
        over = [meeting for meeting in self._meetings if meeting.last <= until]
        for meeting in sorted(over, key=lambda meeting: (meeting.last, meeting.one, meeting.other)):
            self._meetings.remove(meeting)
            exchanges += self._after_meeting(meeting)
        for newcomer in [newcomer for newcomer in self._newcomers if newcomer.first <= until]:  # in the order of time
            self._newcomers.remove(newcomer)
            exchanges += self._came_out(newcomer)
        return exchanges

    def _line(self, track_id: int, first: float, last: float) -> _Line | None:
        """Return the line through the places of a track from one frame to another; None where there are too few."""
        looks = [look for look in self._paths.get(track_id, ()) if first <= look[0] <= last]
        if len(looks) < _FEWEST_LOOKS:
            return None
        frames, boxes = zip(*looks, strict=True)
        return _Line.through(np.array(frames) / self._fps, np.stack(boxes))

    def _line_before(self, track_id: int, frame: int) -> _Line | None:
        """Return the line on which somebody came who was last seen shortly before a frame."""
        seen = [index for index, _ in self._paths.get(track_id, ()) if frame - _LINK * self._fps <= index < frame]
        return self._line(track_id, seen[-1] + 1 - self._window, seen[-1]) if seen else None

    def _line_after(self, track_id: int, frame: int) -> _Line | None:
        """Return the line on which somebody went on who was seen again shortly after a frame."""
        seen = [index for index, _ in self._paths.get(track_id, ()) if frame < index <= frame + _LINK * self._fps]
        return self._line(track_id, seen[0], seen[0] - 1 + self._window) if seen else None

    def _after_meeting(self, meeting: _Meeting) -> Iterator[Exchange]:
        """Exchange what follows a meeting, and single boxes of it, where they fit the other's way better."""
        one, other, first, last = meeting.one, meeting.other, meeting.first, meeting.last
        if last - first > _LONGEST_MEETING * self._fps:
            return
        came, came_too = (self._line_before(track_id, first) for track_id in (one, other))
        went, went_too = (self._line_after(track_id, last) for track_id in (one, other))
        if came is None or came_too is None or went is None or went_too is None:
            return
        middle = (first + last) / 2 / self._fps
        stay = came.gap(went, middle) + came_too.gap(went_too, middle)
        change = came.gap(went_too, middle) + came_too.gap(went, middle)
        if change + _CLEARLY < stay:
            went, went_too = went_too, went
            yield self._done(Exchange(one, other, last + 1))
        others = dict(self._paths[other])
        for frame, box in list(self._paths[one]):
            if first <= frame <= last and frame in others:
                second, share = frame / self._fps, (frame - first) / max(last - first, 1)
                ways = [
                    (1 - share) * before.box(second) + share * after.box(second)
                    for before, after in ((came, went), (came_too, went_too))
                ]
                overlaps = iou(np.stack([box, others[frame]]), np.stack(ways).astype(np.float32))
                if overlaps[0, 1] + overlaps[1, 0] > overlaps[0, 0] + overlaps[1, 1] + _BETTER_BOX:
                    yield self._done(Exchange(one, other, frame, frame))

    def _came_out(self, newcomer: _Newcomer) -> Iterator[Exchange]:
        """Join a track to the one that it continues: one that had ended, or one that went over to somebody else."""
        first, track_id = newcomer.first, newcomer.track_id
        line = self._line(track_id, first, first + self._window)
        fits = {} if line is None else self._continued(first, line)
        before = newcomer.before if newcomer.before in self._paths else None
        if before is not None and self._paths[before][-1][0] >= first:
            before = None  # somebody else goes on in it
        # The tracker is believed unless something else fits clearly better.
        own = fits.get(before, np.inf) if before is not None else np.inf
        best = min(fits, key=fits.__getitem__, default=None)
        if best is not None and fits[best] <= _FITS and fits[best] + _CLEARLY * (before is not None) < own:
            yield self._done(Exchange(best, track_id, first))
        elif before is not None and (line is None or own <= _FITS):
            yield self._done(Exchange(before, track_id, first))
        elif line is not None and (went_over := self._went_over(first, track_id, line)) is not None:
            other, since = went_over
            yield self._done(Exchange(other, track_id, since))
            yield from self._came_out(_Newcomer(since, track_id))  # now it has whom the other track went over to
        elif before is not None:
            yield self._done(Exchange(before, track_id, first))

    def _continued(self, first: int, line: _Line) -> dict[int, float]:
        """Return how well each track that had ended before frame `first` fits the line of somebody who came then."""
        found = {}
        for track_id, path in self._paths.items():
            last, box = path[-1]
            if first - _LINK * self._fps <= last < first and line.is_near(box, last / self._fps):
                before = self._line(track_id, last - self._window, last)
                if before is not None:
                    found[track_id] = before.gap(line, (first + last) / 2 / self._fps)
        return found

    def _went_over(self, first: int, track_id: int, line: _Line) -> tuple[int, int] | None:
        """Return the track that was heading to where `track_id` came out, but went over to somebody else, and when."""
        found, most = None, _CLEARLY
        for other, path in self._paths.items():
            if other == track_id:
                continue
            for frame, box in path:
                if not first - _LINK * self._fps <= frame < first or not line.is_near(box, frame / self._fps):
                    continue
                came = self._line(other, frame - self._window, frame - 1)
                went = self._line(other, frame, frame + self._window)
                if came is None or went is None:
                    continue
                fits = came.gap(line, (frame + first) / 2 / self._fps)
                if fits <= _FITS and (better := came.gap(went, frame / self._fps) - fits) > most:
                    found, most = (other, frame), better
        return found

    def _done(self, exchange: Exchange) -> Exchange:
        """Do an exchange in the paths and in what is still to be decided."""
        one, other = exchange.one, exchange.other
        moved = exchanged(self._paths.pop(one), self._paths.pop(other), exchange, lambda look: look[0])
        self._paths.update({track_id: path for track_id, path in zip((one, other), moved, strict=True) if path})
        if exchange.last is None:
            new = {one: other, other: one}
            self._ids = {number: new.get(track_id, track_id) for number, track_id in self._ids.items()}
            for meeting in self._meetings:
                if meeting.first >= exchange.first:
                    pair = (new.get(meeting.one, meeting.one), new.get(meeting.other, meeting.other))
                    meeting.one, meeting.other = sorted(pair)
            for newcomer in self._newcomers:
                if newcomer.first >= exchange.first:
                    newcomer.track_id = new.get(newcomer.track_id, newcomer.track_id)
                if newcomer.before is not None and newcomer.last >= exchange.first:
                    newcomer.before = new.get(newcomer.before, newcomer.before)
        return exchange


def exchanged(
    one: Sequence[T], other: Sequence[T], exchange: Exchange, frame_of: Callable[[T], int]
) -> tuple[list[T], list[T]]:
    """Return what two tracks have after an exchange, each sorted by frame as it was before."""
    stay, go = (
        [[item for item in items if exchange.covers(frame_of(item)) is gone] for items in (one, other)]
        for gone in (False, True)
    )
    first, second = (sorted(own + new, key=frame_of) for own, new in zip(stay, reversed(go), strict=True))
    return first, second


def _of(ids: Iterable[int]) -> Ints:
    return np.array(list(ids), np.int64)


def _sorted(tracked: TrackedBoxes) -> TrackedBoxes:
    order = np.argsort(tracked.track_ids)
    return TrackedBoxes(tracked.track_ids[order], tracked.boxes[order], tracked.scores[order])
