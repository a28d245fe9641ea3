"""Naming people while they are seen: every track has a sliding window, and its name settles as evidence grows."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from threading import Event as Flag

import numpy as np

from app.errors import SettingsError, VideoError
from app.gallery.distances import distances_between
from app.gallery.store import JSON, GalleryStore
from app.progress import Stopwatch
from app.recognise.covisible import covisible
from app.recognise.judge import Decision, Judge
from app.settings import Blur
from app.stages import Stages
from app.types import Detections, Embedding, Floats, Frame, GaitSequence, Sureness, Track, TrackedBoxes, VideoInfo
from app.video.blur import blur, head_region
from app.video.live import Outage, Source
from app.video.paint import Label, Painter
from app.video.writer import VideoWriter
from app.walks.quality import Reason, walk_reason
from app.walks.sequences import CutOut, cut_out

Emit = Callable[[dict[str, JSON]], None]
"""Takes one event."""

_FEWEST_MISSES = 3
"""Frames without somebody before they have left: where most are dropped, a second may be one frame."""
_PAIRS = (1, 3, 10, 30)
"""Numbers of pairs of people seen together at which threshold and scores are decided anew; no more are counted."""
_FEWEST_VOTES = 2
"""Votes that a name needs, and more than half of all."""


@dataclass(frozen=True)
class LiveOptions:
    """How a live source is watched. Times in seconds.

    `window` is how much of a walk is looked at, `every` how often, `votes` how many of the last looks are counted,
    `report_drops` the shortest time between two reports of dropped frames; `seconds` ends the watch, None never does.
    `expire_every` is how often people whose time is over are forgotten.
    """

    window: float = 4.0
    every: float = 1.0
    votes: int = 8
    report_drops: float = 5.0
    seconds: float | None = None
    expire_every: float = 60.0


@dataclass
class Seen:
    """What came of a watch."""

    frames: int = 0
    dropped: int = 0
    outages: int = 0
    seconds: float = 0.0


@dataclass
class _Person:
    """Somebody in view, and what the last seconds said about them."""

    track_id: int
    since: float
    last: float
    look: int
    votes: deque[str | None]
    boxes: deque[tuple[int, Floats, float]] = field(default_factory=deque)
    cuts: deque[CutOut] = field(default_factory=deque)
    identity: str | None = None
    probability: float | None = None
    reason: str | None = None

    def forget_before(self, frame: int) -> None:
        while self.boxes and self.boxes[0][0] < frame:
            self.boxes.popleft()
        while self.cuts and self.cuts[0].frame_index < frame:
            self.cuts.popleft()

    def window(self, info: VideoInfo) -> tuple[Track, GaitSequence | None, Counter[Reason]]:
        """The last seconds as a track, its silhouettes, and why frames are missing."""
        frames, boxes, scores = zip(*self.boxes, strict=True)
        track = Track(self.track_id, np.array(frames), np.stack(boxes), np.array(scores, np.float32))
        good = [(one.frame_index, one.silhouette, one.keypoints) for one in self.cuts if one.silhouette is not None]
        dropped = Counter(one.reason for one in self.cuts if one.reason is not None)
        if not good:
            return track, None, dropped
        indices, silhouettes, keypoints = zip(*good, strict=True)
        joints = np.stack(keypoints) if keypoints[0] is not None else None
        return track, GaitSequence(np.array(indices), np.stack(silhouettes), float(info.fps), joints), dropped

    def verdict(self) -> tuple[str | None, int]:
        """The name that more than half of the votes agree on, or None, and how many do."""
        name, count = Counter(self.votes).most_common(1)[0] if self.votes else (None, 0)
        return (name, count) if count >= _FEWEST_VOTES and 2 * count > len(self.votes) else (self.identity, 0)


def watch(
    source: Source,
    gallery: GalleryStore,
    stages: Stages,
    emit: Emit,
    live: LiveOptions,
    *,
    save: Path | None = None,
    stop: Flag | None = None,
    expire: Callable[[], object] | None = None,
) -> Seen:
    """Watch a source until it ends or `stop` is set, and tell who comes, who it is, and who goes.

    Memory does not grow: of everybody in view the last seconds are kept, of those who left nothing but
    a few distances to others, which say how far apart people are here. Where the machine
    is too slow frames are dropped, evenly, and that is told too.

    Args:
        source: an open `app.video.live.LiveSource`.
        gallery: the people to know; who is enrolled meanwhile is known at once. Events are written to its log.
        stages: the models, and the settings.
        emit: called with every event: ``appeared``, ``named``, ``renamed``, ``left``, ``dropped``, and of the source
            ``lost`` and ``back``.
        live: how the source is watched.
        save: a painted video to be written.
        stop: ends the watch.
        expire: forgets everybody in the gallery whose time is over (`app.gallery.service.GalleryService.expire`).

    Raises:
        VideoError: a recording broke off.
        GalleryError: nobody in the gallery can be compared.
        SettingsError: a stage needs a whole video beforehand.
    """
    stop, broken = stop or Flag(), None
    watcher = Watcher(source, gallery, stages, emit, live)
    with _painting(save, watcher) as paint:
        begun = expired = time.monotonic()
        while not (stop.is_set() or source.ended):
            now = time.monotonic()
            if live.seconds is not None and now - begun >= live.seconds:
                break
            if expire is not None and now - expired >= live.expire_every:
                expire()
                expired = now
            try:
                came = source.take()
            except VideoError as error:  # what was seen so far is kept
                broken = error
                break
            if isinstance(came, Outage):
                watcher.lose(came)
            elif came is not None:
                paint(came, watcher.look(came))
        watcher.end()
    if broken is not None:
        raise broken
    return watcher.seen


class Watcher:
    """Everything that is known while a source is watched."""

    def __init__(
        self,
        source: Source,
        gallery: GalleryStore,
        stages: Stages,
        emit: Emit,
        live: LiveOptions,
    ) -> None:
        for card in (stages.detector.card, stages.segmenter.card):
            if card.needs_recording and not source.is_file:
                raise SettingsError(
                    f"The {card.stage} '{card.name}' reads the whole video before it starts, and '{source.name}' is "
                    "not a recorded video. Choose a network (python -m app models lists them)."
                )
        self.info, self.stages = source.info, stages
        self._source, self._gallery, self._emit = source, gallery, emit
        self._live = live
        self._judge = Judge.of(gallery, stages.gait.card, stages.settings.match)
        self._together: dict[tuple[int, int], float] = {}
        self._tracker = stages.start(source.info)
        self._watch = Stopwatch()
        self._people: dict[int, _Person] = {}
        self.seen = Seen()
        self._now, self._index = 0.0, 0
        self._next_look = live.every
        self._dropped, self._next_report = 0, live.report_drops
        self._lost = False

    def look(self, frame: Frame) -> TrackedBoxes:
        """Take in a frame, and return who is seen in it."""
        (found,) = self.stages.detector.detect([frame])
        tracked = self._tracker.update(found)
        away, self._now, self._index = frame.time - self._now, frame.time, frame.index
        if self._lost:
            self._lost = False
            self._tell("back", away=round(away, 2))
        for track_id, box, score in zip(
            tracked.track_ids.tolist(), tracked.boxes, tracked.scores.tolist(), strict=True
        ):
            if track_id not in self._people:
                votes: deque[str | None] = deque(maxlen=self._live.votes)
                self._people[track_id] = _Person(track_id, frame.time, frame.time, 0, votes)
                self._tell("appeared", track_id=track_id, box=[round(float(side), 1) for side in box])
            person = self._people[track_id]
            person.last, person.look = frame.time, self.seen.frames
            person.boxes.append((frame.index, box, score))
        settings = self.stages.settings
        for one in cut_out(
            [(frame, tracked)], self.info, self.stages.segmenter, settings, self._watch, self.stages.pose
        ):
            self._people[one.track_id].cuts.append(one)
        self.seen.frames += 1
        self.seen.seconds = self._now
        oldest = self._index - round(self._live.window * float(self.info.fps)) + 1
        for person in list(self._people.values()):
            person.forget_before(oldest)
            gone = self._now - person.last > settings.track.lost_seconds
            if gone and self.seen.frames - person.look > _FEWEST_MISSES:
                self._leave(person)
        if self._now >= self._next_look:
            self._next_look = self._now + self._live.every
            self._name()
        if self._now >= self._next_report:
            self._report_drops()
        return tracked

    def lose(self, outage: Outage) -> None:
        """Take in that the source broke off: whoever is seen when it is back is somebody new."""
        self._leave_all()
        patience = round(self.stages.settings.track.lost_seconds * float(self.info.fps))
        for _ in range(patience + 1):
            self._tracker.update(Detections.none())
        self.seen.outages += 1
        self._lost = True
        self._tell("lost", reason=outage.reason)

    def end(self) -> None:
        """Say that everybody is out of sight."""
        self._leave_all()
        self._report_drops()
        self.seen.dropped = self._source.dropped

    def known(self) -> list[str]:
        """Everybody in the gallery, by name."""
        return [person.name for person in self._gallery.people()]

    def labels(self, tracked: TrackedBoxes) -> list[Label]:
        """What is to be painted at the people of one frame."""
        labels = []
        for track_id, box in zip(tracked.track_ids.tolist(), tracked.boxes, strict=True):
            person = self._people.get(track_id)
            usable = person is None or person.reason is None or person.identity is not None
            note = "" if usable or person is None else (person.reason or "").partition(":")[0]
            sure, doubtful = Sureness.of(person.probability if person else None, None)
            who = person.identity if person else None
            labels.append(Label(box, who, sure, note=note, usable=usable, doubtful=doubtful))
        return labels

    def _name(self) -> None:
        """Look at everybody's last seconds and let them vote."""
        usable: list[tuple[_Person, Track, GaitSequence]] = []
        for person in self._people.values():
            if not person.boxes:
                continue
            track, sequence, dropped = person.window(self.info)
            person.reason = walk_reason(track, sequence, dropped, self.info, self.stages.settings.quality)
            if person.reason is None and sequence is not None:
                usable.append((person, track, sequence))
        if not usable:
            return
        embeddings = self.stages.gait.embed([sequence for _, _, sequence in usable])
        tracks = [track for _, track, _ in usable]
        self._learn(embeddings, tracks)
        decisions: dict[int, Decision] = {}
        for (person, _, _), decision in zip(usable, self._judge.decide(embeddings, tracks), strict=True):
            decisions[person.track_id] = decision
            person.votes.append(decision.identity)
        self._settle([person for person, _, _ in usable], decisions)
        for person, _, _ in usable:
            if decisions[person.track_id].identity == person.identity:
                person.probability = decisions[person.track_id].probability

    def _learn(self, embeddings: list[Embedding], tracks: list[Track]) -> None:
        """Learn how far apart different people are here, from those seen together."""
        before = len(self._together)
        if before >= _PAIRS[-1]:
            return
        distances = distances_between(embeddings, embeddings, self.stages.settings.match.metric)
        apart = np.triu(covisible([track.frame_indices for track in tracks]))
        for one, other in np.argwhere(apart).tolist():
            self._together[tracks[one].track_id, tracks[other].track_id] = float(distances[one, other])
        if bisect_right(_PAIRS, len(self._together)) > bisect_right(_PAIRS, before):
            card, match = self.stages.gait.card, self.stages.settings.match
            self._judge = Judge.of(self._gallery, card, match, together=self._together)
            for person in self._people.values():  # what was voted by another threshold no longer counts
                person.votes.clear()

    def _settle(self, people: list[_Person], decisions: dict[int, Decision]) -> None:
        """Change the names on which the votes agree; of two people in view with one name, who has more votes has it."""
        taken = {person.identity for person in self._people.values() if person not in people}
        for person in sorted(people, key=lambda person: (-person.verdict()[1], person.track_id)):
            name, count = person.verdict()
            if name is not None and name in taken:
                name = None
            taken.add(name)
            if name == person.identity:
                continue
            before, person.identity, person.probability = person.identity, name, None
            details: dict[str, JSON] = {"name": name, "votes": f"{count} of {len(person.votes)}"}
            decision = decisions[person.track_id]
            if name is not None and decision.identity == name:
                details |= {"distance": _rounded(decision.distance), "margin": _rounded(decision.margin)}
                details |= {"probability": _rounded(decision.probability)}
            if before is None:
                self._tell("named", track_id=person.track_id, **details)
            else:
                self._tell("renamed", track_id=person.track_id, before=before, **details)

    def _leave_all(self) -> None:
        for person in list(self._people.values()):
            self._leave(person)

    def _leave(self, person: _Person) -> None:
        del self._people[person.track_id]
        in_view = round(person.last - person.since, 2)
        self._tell("left", track_id=person.track_id, name=person.identity, in_view=in_view)

    def _report_drops(self) -> None:
        self._next_report = self._now + self._live.report_drops
        new = self._source.dropped - self._dropped
        if new:
            self._dropped += new
            self._tell("dropped", frames=new, altogether=self._dropped, of=self._dropped + self.seen.frames)

    def _tell(self, event: str, **details: JSON) -> None:
        place: dict[str, JSON] = {"seconds": round(self._now, 3), "frame": self._index}
        moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._emit({"event": event, "time": moment, **place, **details})
        if "track_id" in details:  # the gallery's log is about people
            self._gallery.record(event, source=self._source.name, **place, **details)


@contextmanager
def _painting(save: Path | None, watcher: Watcher) -> Iterator[Callable[[Frame, TrackedBoxes], None]]:
    """Yield what paints a frame into the file `save`, or does nothing."""
    info, which = watcher.info, watcher.stages.settings.output.blur
    with VideoWriter(save, info.width, info.height, info.fps) if save else nullcontext() as writer:
        if writer is None:
            yield lambda frame, tracked: None
            return
        painter = Painter(watcher.known(), info.width, info.height)

        def paint(frame: Frame, tracked: TrackedBoxes) -> None:
            labels = watcher.labels(tracked)
            blur(frame.image, _regions(labels, which))
            writer.write(painter.paint(frame.image, labels), frame.time)

        yield paint


def _regions(labels: list[Label], which: Blur) -> list[Floats]:
    if which == "none":
        return []
    if which == "faces":
        return [head_region(label.box) for label in labels]
    return [label.box for label in labels if which == "everyone" or label.identity is None]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
