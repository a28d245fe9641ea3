"""Naming people while they are in view: each track has a sliding window, and votes of many looks decide its name."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from threading import Event as Flag

import numpy as np

from app.errors import SettingsError, VideoError
from app.gait.embeddings import embed
from app.gallery.sql import GalleryStore
from app.gallery.store import JSON, NewWalk
from app.progress import Stopwatch
from app.recognise.covisible import covisible
from app.recognise.judge import Decision, Judge, Scene
from app.recognise.stature import statures
from app.recognise.strangers import StrangerJudge
from app.results.pictures import silhouettes_jpeg
from app.results.portraits import crop_of, jpeg
from app.results.render import region_to_blur
from app.settings import QualitySettings
from app.stages import Stages
from app.types import Embedding, Floats, Frame, GaitSequence, Image, Ints, Sureness, Track, TrackedBoxes, VideoInfo
from app.video.areas import Areas, Point, Stillness, foot
from app.video.blur import blur
from app.video.live import Outage, Pause, Source
from app.video.looks import Looks
from app.video.paint import Label, Painter
from app.video.writer import VideoWriter
from app.walks.quality import ENOUGH_RATE, Reason
from app.walks.sequences import CutOut, SeenBox, Walk, cut_out, walk_of

Emit = Callable[[dict[str, JSON]], None]
"""Receives one event."""

_NOBODY = TrackedBoxes(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
_FEWEST_MISSES = 3
"""A person has left only after so many frames without them: where most are dropped, a second may be one frame."""
_PAIRS = (1, 3, 10, 30)
"""The numbers of pairs of people in view together at which threshold and scores are learnt again."""
_REMEMBERED = 30
"""So many people are remembered, by one embedding each, because they show what the camera does to everybody."""
_LOOKS = 100
"""So many of the last looks at a person are remembered, to tell who was in view at the same time."""
_LONGEST_STILL = 5.0
"""After so many seconds without movement people are looked for all the same."""
_TALLER = 1.1
"""A person's picture is replaced by one in which they are taller by this factor."""
_FEWEST_VOTES = 2
"""A name needs at least so many votes, and more than half of all votes."""


@dataclass(frozen=True)
class LiveOptions:
    """How a live source is watched. All times are in seconds.

    `window` is the length of the walk that is looked at, `every` is the time between two looks, and `votes` is the
    number of last looks that are counted. `report_drops` is the shortest time between two reports of dropped frames.
    The watch ends after `seconds`; None means that it has no limit. People whose time is over are forgotten once in
    `expire_every`. With `may_be_empty`, people are followed also while nobody is in the gallery.
    """

    window: float = 4.0
    every: float = 1.0
    votes: int = 8
    report_drops: float = 5.0
    seconds: float | None = None
    expire_every: float = 60.0
    may_be_empty: bool = False


@dataclass
class WatchSummary:
    """How many frames a watch has seen and dropped, how often the source broke off, and how long it lasted (s)."""

    frames: int = 0
    dropped: int = 0
    outages: int = 0
    seconds: float = 0.0


@dataclass
class _Person:
    """Somebody in view, with the last seconds of their walk.

    `since` and `last` are the times in s at which the person was first and last seen. `last_count` is the number of
    frames that the watch had seen before the last one with this person. `reason` says why the walk of the last look
    cannot be used, and `why` why that look gave no name. `embedding` is of the longest walk of
    all `looks` that could be used. `picture` is the person where they were `tallest` (px).
    """

    track_id: int
    since: float
    last: float
    last_count: int
    votes: deque[str | None]
    boxes: deque[SeenBox] = field(default_factory=deque)
    cuts: deque[CutOut] = field(default_factory=deque)
    identity: str | None = None
    probability: float | None = None
    reason: str | None = None
    why: str | None = None
    embedding: Embedding | None = None
    looks: int = 0
    picture: Image | None = None
    tallest: float = 0.0

    def show(self, image: Image, box: Floats) -> None:
        """Keep the picture, uint8 (H, W, 3) BGR, in which the person is largest."""
        height = float(box[3] - box[1])
        if height > _TALLER * self.tallest and (picture := crop_of(image, box)) is not None:
            self.tallest, self.picture = height, picture

    def forget_before(self, frame: int) -> None:
        while self.boxes and self.boxes[0][0] < frame:
            self.boxes.popleft()
        while self.cuts and self.cuts[0].frame_index < frame:
            self.cuts.popleft()

    def window(self, info: VideoInfo, settings: QualitySettings) -> Walk:
        """Return the last seconds as a walk."""
        dropped = Counter(cut.reason for cut in self.cuts if cut.reason is not None)
        return walk_of(self.track_id, self.boxes, self.cuts, dropped, info, settings)

    def verdict(self) -> tuple[str | None, int]:
        """Return the name that more than half of the votes agree on, and their number; else the present name and 0."""
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
) -> WatchSummary:
    """Watch a source until it ends or `stop` is set, and report who appears, who it is, and who leaves.

    Memory does not grow. Only the last seconds of the people in view are kept. Of the last people who left, one
    embedding each is kept until the watch ends, because together they show what the camera does to everybody. Where
    the machine is too slow, frames are dropped evenly, which is reported too.

    Args:
        source: an open `app.video.live.LiveSource`.
        gallery: the people to know. People who are enrolled meanwhile are known at once. Events about people are
            written to its log.
        emit: called with every event: ``appeared``, ``named``, ``renamed``, ``left`` and ``dropped``, and ``lost`` and
            ``back`` about the source.
        stop: a flag that ends the watch when it is set.
        expire: forgets everybody in the gallery whose time is over (`app.gallery.service.GalleryService.expire`).

    Raises:
        VideoError: a recording broke off.
        GalleryError: nobody in the gallery can be compared.
        SettingsError: a stage has to read the whole video beforehand.
    """
    stop, failure = stop or Flag(), None
    watcher = Watcher(source, gallery, stages, emit, live)
    with _painting(save, watcher, gallery) as paint:
        start = last_expiry = time.monotonic()
        while not (stop.is_set() or source.ended):
            now = time.monotonic()
            if live.seconds is not None and now - start >= live.seconds:
                break
            if expire is not None and now - last_expiry >= live.expire_every:
                expire()
                last_expiry = now
            try:
                news = source.take()
            except VideoError as error:  # raised at the end, so that the painted video is complete up to here
                failure = error
                break
            if isinstance(news, Outage):
                watcher.lose(news)
            elif isinstance(news, Pause):
                watcher.pause(news)
            elif news is not None:
                paint(news, watcher.look(news))
        watcher.end()
    if failure is not None:
        raise failure
    return watcher.summary


class Watcher:
    """Follows the people of a live source, frame by frame, and lets the judge name them."""

    def __init__(
        self,
        source: Source,
        gallery: GalleryStore,
        stages: Stages,
        emit: Emit,
        live: LiveOptions,
        strangers: StrangerJudge | None = None,
        areas: Areas | None = None,
    ) -> None:
        self._strangers, self._areas = strangers, areas or Areas()
        self._photographs = strangers is not None and strangers.pictures and stages.settings.output.blur == "none"
        self._stillness, self._still_since = Stillness(), 0.0
        self._feet: dict[int, Point] = {}
        for card in (stages.detector.card, stages.segmenter.card):
            if card.needs_recording and not source.is_file:
                raise SettingsError(
                    f"The {card.stage} '{card.name}' has to read the whole video before it starts, but "
                    f"'{source.name}' is not a recorded video. Choose a network; python -m app models lists them."
                )
        self.info, self.stages = source.info, stages
        self._source, self._gallery, self._emit = source, gallery, emit
        self._live = live
        if gallery.read_only:
            gallery.need_log()
        # With strangers, nobody need be known.
        is_empty = (strangers is not None or live.may_be_empty) and not gallery.people()
        self._judge = None if is_empty else Judge.of(gallery, stages.gait.card, stages.settings.match)
        if self._judge is not None:
            self._judge.explain()
        self._seen: dict[int, tuple[Embedding, deque[int], Track]] = {}
        self._pairs = 0
        self._tracker = stages.start(source.info)
        self._looks = Looks(float(source.info.fps), stages.settings.video.looks)
        self._tracked = _NOBODY
        self._watch = Stopwatch()
        self._people: dict[int, _Person] = {}
        self.summary = WatchSummary()
        self._begun = time.monotonic()
        self._now, self._index = 0.0, 0
        self._next_look = live.every
        self._dropped, self._next_report = 0, live.report_drops
        self._lost = False
        self._window = round(live.window * float(source.info.fps))
        self._patience = round(stages.settings.track.lost_seconds * self._looks.rate)
        self._passed = 1  # looks since the one before, without those that were dropped

    def look(self, frame: Frame) -> TrackedBoxes:
        """Look at a frame, and return the tracks in it; those of the last look where another is not yet due."""
        away, self._now, self._index = frame.time - self._now, frame.time, frame.index
        self.summary.frames += 1
        self.summary.seconds = self._now
        if self._lost:
            self._lost = False
            self._report("back", away=round(away, 2))
        if not self._looks.due(frame.index):
            return self._tracked
        if self._is_empty(frame):
            self._passed += 1
            return self._tracked
        (detections,) = self.stages.detector.detect([frame])
        detections = self._areas.keep(detections, self.info)
        tracked = self._tracked = self._tracker.update(detections, self._passed)
        self._passed = 1
        for track_id, box, score in zip(
            tracked.track_ids.tolist(), tracked.boxes, tracked.scores.tolist(), strict=True
        ):
            if track_id not in self._people:
                votes: deque[str | None] = deque(maxlen=self._live.votes)
                self._people[track_id] = _Person(track_id, frame.time, frame.time, 0, votes)
                self._report("appeared", track_id=track_id, box=[round(float(side), 1) for side in box])
            person = self._people[track_id]
            person.last, person.last_count = frame.time, self.summary.frames - 1
            person.boxes.append((frame.index, box, score))
            self._cross(person, foot(box, self.info))
        settings = self.stages.settings
        for cut in cut_out(
            [(frame, tracked)],
            self.info,
            self.stages.segmenter,
            settings,
            self._watch,
            self.stages.pose,
            self.stages.parser,
            self.stages.gait.card.pictures,
        ):
            person = self._people[cut.track_id]
            person.cuts.append(cut)
            if self._photographs and cut.reason is None and person.identity is None:
                person.show(frame.image, person.boxes[-1][1])
        for person in list(self._people.values()):
            person.forget_before(person.boxes[-1][0] - self._window + 1)
            is_gone = self._now - person.last > settings.track.lost_seconds
            if is_gone and self.summary.frames - person.last_count > _FEWEST_MISSES:
                self._leave(person)
        if self._now >= self._next_look:
            self._next_look = self._now + self._live.every
            self._name()
        if self._now >= self._next_report:
            self._report_drops()
        return tracked

    def _is_empty(self, frame: Frame) -> bool:
        """Whether nobody is in view and nothing moved, so that nobody need be looked for, except now and then."""
        if self._people or self._source.is_file:  # what a recording shows does not depend on how fast it is looked at
            return False
        if self._stillness.is_still(frame.image) and frame.time - self._still_since < _LONGEST_STILL:
            return True
        self._still_since = frame.time
        return False

    def _cross(self, person: _Person, place: Point) -> None:
        """Report the lines that a person has crossed since the last look."""
        before = self._feet.get(person.track_id)
        self._feet[person.track_id] = place
        for line, side in self._areas.crossed(before, place) if before is not None else ():
            self._report("crossed", track_id=person.track_id, name=person.identity, line=line, to=side)

    def lose(self, outage: Outage) -> None:
        """Note that the source broke off. People who are in view when it is back get new tracks."""
        self._leave_all()
        self._tracked = _NOBODY
        self._passed = self._patience + 2
        self.summary.outages += 1
        self._lost = True
        self._report("lost", reason=outage.reason)

    def pause(self, pause: Pause) -> None:
        """Note that nothing was recorded for a while. After more than a person may be hidden, people get new tracks."""
        looks = self._looks.number(pause.frames)
        self._passed = max(self._passed, 1 + looks)
        if looks > self._patience:
            self._tracked = _NOBODY
            self._leave_all()

    def end(self) -> None:
        """Report that everybody left, and the last dropped frames."""
        self._leave_all()
        self._report_drops()
        self.summary.dropped = self._source.dropped

    def labels(self, tracked: TrackedBoxes) -> list[Label]:
        """Return what is painted at the people of one frame."""
        labels = []
        for track_id, box in zip(tracked.track_ids.tolist(), tracked.boxes, strict=True):
            person = self._people.get(track_id)
            usable = person is None or person.reason is None or person.identity is not None
            note = "" if usable or person is None else (person.reason or "").partition(":")[0]
            sureness, doubtful = Sureness.of(person.probability if person else None, None)
            name = person.identity if person else None
            labels.append(Label(box, name, sureness, note=note, usable=usable, doubtful=doubtful))
        return labels

    def _name(self) -> None:
        """Let the judge decide about everybody's last seconds, and count its decisions as votes."""
        usable: list[tuple[_Person, Track, GaitSequence]] = []
        for person in self._people.values():
            if person.boxes[-1][0] <= self._index - self._window:  # not in view any more
                continue
            walk = person.window(self.info, self.stages.settings.quality)
            person.reason = person.why = walk.reason
            if walk.reason is None and walk.sequence is not None:
                usable.append((person, walk.track, walk.sequence))
        if not usable:
            return
        embeddings = embed(self.stages.gait, [sequence for _, _, sequence in usable])
        tracks = [track for _, track, _ in usable]
        scene = self._learn(embeddings, tracks)
        if self._judge is None and self._gallery.people():  # somebody was enrolled meanwhile
            self._judge = Judge.of(self._gallery, self.stages.gait.card, self.stages.settings.match)
        for (person, _, _), embedding in zip(usable, embeddings, strict=True):
            person.looks += 1
            if person.embedding is None or embedding.frames >= person.embedding.frames:
                person.embedding = embedding
        if self._judge is None:
            for person, _, _ in usable:
                person.why = "the gallery is empty"
            return
        decisions: dict[int, Decision] = {}
        seen = [track for _, _, track in self._seen.values()]
        known = statures(seen, scene.embeddings, scene.frames, self.info, seen)
        found = self._judge.decide(embeddings, tracks, scene, known)
        for (person, _, _), decision in zip(usable, found, strict=True):
            decisions[person.track_id] = decision
            person.votes.append(decision.identity)
        self._settle([person for person, _, _ in usable], decisions)
        for person, _, _ in usable:
            if decisions[person.track_id].identity == person.identity:
                person.probability = decisions[person.track_id].probability

    def _learn(self, embeddings: list[Embedding], tracks: list[Track]) -> Scene:
        """Learn what this camera does to walks, and how far apart different people are here.

        Returns everything that is known of the camera: the last walk of each of the last people. Those who were looked
        at in the same frame are different people.
        """
        for embedding, track in zip(embeddings, tracks, strict=True):
            _, looks, _ = self._seen.pop(track.track_id, (embedding, deque[int](maxlen=_LOOKS), track))
            looks.append(self._index)
            self._seen[track.track_id] = embedding, looks, track
        for track_id in list(self._seen)[:-_REMEMBERED]:
            del self._seen[track_id]
        scene = Scene(
            [embedding for embedding, _, _ in self._seen.values()],
            [_track_of(track_id, looks) for track_id, (_, looks, _) in self._seen.items()],
        )
        before, pairs = self._pairs, int(covisible(scene.frames).sum()) // 2
        self._pairs = max(before, pairs)
        if self._judge is not None and bisect_right(_PAIRS, self._pairs) > bisect_right(_PAIRS, before):
            card, match = self.stages.gait.card, self.stages.settings.match
            self._judge = Judge.of(self._gallery, card, match, together=[scene])
            self._judge.explain()
            for person in self._people.values():  # votes by the earlier threshold no longer count
                person.votes.clear()
        return scene

    def _settle(self, people: list[_Person], decisions: dict[int, Decision]) -> None:
        """Change names where the votes agree. A name goes to only one person in view, the one with more votes."""
        names_in_use = {person.identity for person in self._people.values() if person not in people}
        for person in sorted(people, key=lambda person: (-person.verdict()[1], person.track_id)):
            name, count = person.verdict()
            decision = decisions[person.track_id]
            if name is not None and name in names_in_use:
                person.why = f"somebody else in view is more likely {name}"
                name = None
            elif name is None and decision.identity is not None:
                agree = person.votes.count(decision.identity)
                person.why = f"not sure yet: {agree} of {len(person.votes)} looks say {decision.identity}"
            elif name is None:
                person.why = decision.reason or "nobody in the gallery walks like this"
            names_in_use.add(name)
            if name == person.identity:
                continue
            before, person.identity, person.probability = person.identity, name, None
            details: dict[str, JSON] = {"name": name, "votes": f"{count} of {len(person.votes)}"}
            if name is not None and decision.identity == name:
                details |= {"distance": _rounded(decision.distance), "margin": _rounded(decision.margin)}
                details |= {"probability": _rounded(decision.probability)}
            if before is None:
                self._report("named", track_id=person.track_id, **details)
            else:
                self._report("renamed", track_id=person.track_id, before=before, **details)

    def _leave_all(self) -> None:
        for person in list(self._people.values()):
            self._leave(person)

    def _leave(self, person: _Person) -> None:
        del self._people[person.track_id]
        self._feet.pop(person.track_id, None)
        in_view = round(person.last - person.since, 2)
        why = None
        if person.identity is None:
            why = person.why
            if why is None:  # nobody looked at this walk; it may be too short for that
                why = person.window(self.info, self.stages.settings.quality).reason
            if why is not None:
                why += self._slow_rate(why)
            why = why or f"gone before the next look, which comes every {self._live.every:g} s"
        stranger = self._stranger(person)
        self._report("left", track_id=person.track_id, name=person.identity, in_view=in_view, reason=why, **stranger)

    def _stranger(self, person: _Person) -> dict[str, JSON]:
        """Return which stranger has left; nothing for a person with a name, or whose walk was hardly seen."""
        unknown = person.identity is None and person.embedding is not None and person.looks >= _FEWEST_VOTES
        if self._strangers is None or not unknown or person.embedding is None:
            return {}
        seconds = round(person.last - person.since, 3)
        picture = self._picture_of(person) if self._strangers.pictures else None
        walk = NewWalk(person.embedding, self._source.name, person.track_id, seconds=seconds, thumbnail=picture)
        frames = np.array([frame for frame, _, _ in person.boxes], np.int64)
        track = _track_of(person.track_id, frames)
        met = self._strangers.meet(walk, track, self._begun + person.since, self._begun + person.last)
        return {"stranger": met.name, "new": met.is_new, "probability": _rounded(met.probability)}

    def _picture_of(self, person: _Person) -> bytes | None:
        """Return a photograph of a stranger, a JPEG; where people are blurred, their last silhouettes."""
        if person.picture is not None:
            return jpeg(person.picture)
        sequence = person.window(self.info, self.stages.settings.quality).sequence
        return silhouettes_jpeg(sequence) if sequence is not None else None

    def _slow_rate(self, why: str) -> str:
        """Return a remark for a walk that cannot be used, if too few of the pictures could be looked at."""
        rate = self.summary.frames / max(self._now, 1.0)
        is_of_walk = any(why.startswith(reason.value) for reason in Reason)
        slow = is_of_walk and rate < ENOUGH_RATE <= float(self.info.fps)
        return f"; only {rate:.2g} pictures a second were looked at" if slow else ""

    def _report_drops(self) -> None:
        self._next_report = self._now + self._live.report_drops
        new = self._source.dropped - self._dropped
        if new:
            self._dropped += new
            self._report("dropped", frames=new, altogether=self._dropped, of=self._dropped + self.summary.frames)

    def _report(self, event: str, **details: JSON) -> None:
        place: dict[str, JSON] = {"seconds": round(self._now, 3), "frame": self._index}
        moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._emit({"event": event, "time": moment, "source": self._source.name, **place, **details})
        if "track_id" in details:  # the gallery's log is about people
            self._gallery.record(event, source=self._source.name, **place, **details)


@contextmanager
def _painting(
    save: Path | None, watcher: Watcher, gallery: GalleryStore
) -> Iterator[Callable[[Frame, TrackedBoxes], None]]:
    """Yield a function that paints a frame into the file `save`; without a file it does nothing."""
    info, output = watcher.info, watcher.stages.settings.output
    with VideoWriter(save, info.width, info.height, info.fps, output) if save else nullcontext() as writer:
        if writer is None:
            yield lambda frame, tracked: None
            return
        painter = Painter([person.name for person in gallery.people()], info.width, info.height)

        def paint(frame: Frame, tracked: TrackedBoxes) -> None:
            labels = watcher.labels(tracked)
            regions = (region_to_blur(label.box, label.identity, output.blur) for label in labels)
            blur(frame.image, (region for region in regions if region is not None))
            writer.write(painter.paint(frame.image, labels), frame.time)

        yield paint


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _track_of(track_id: int, looks: Sequence[int] | Ints) -> Track:
    """Return a track that says only in which frames somebody was looked at."""
    count = len(looks)
    return Track(track_id, np.array(looks, np.int64), np.zeros((count, 4), np.float32), np.ones(count, np.float32))
