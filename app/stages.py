"""The interfaces of the stages.

A stage takes a batch and returns a batch in the same order. It knows no output paths, prints nothing and keeps no
global state. What the user should know goes to ``logging.getLogger(__name__).warning``; what stops the work is a
`GaitprintError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from app.progress import Progress, Silent, Stoppable, Stopwatch
from app.settings import Settings, cores
from app.types import (
    BodyMotion,
    Detections,
    Embedding,
    Floats,
    Frame,
    GaitSequence,
    Matte,
    ModelCard,
    PartMap,
    TrackedBoxes,
    VideoInfo,
)

T = TypeVar("T")
U = TypeVar("U")


class VideoStage(Protocol):
    """What the stages that look at frames have in common."""

    card: ModelCard

    def start(self, video: VideoInfo) -> None:
        """Prepare for another video. A stage that learnt from an earlier video forgets it; networks do nothing."""
        return


@runtime_checkable
class Detector(VideoStage, Protocol):
    """Finds people."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame, boxes clipped to the frame, sorted by falling score.

        Frames come in the order of the video, but some may be missing.
        """


@runtime_checkable
class Tracker(Protocol):
    """Follows people through one video. Every video needs a new tracker."""

    def update(self, detections: Detections, passed: int = 1) -> TrackedBoxes:
        """Take the detections of the next frame and return the confirmed tracks that it shows. Ids start at 1.

        `passed` is the time since the frame before, in looks (`app.video.looks.Looks`).
        """


@runtime_checkable
class Segmenter(VideoStage, Protocol):
    """Cuts people out of their background."""

    threshold: float
    """Probability from which a pixel counts as body, 0..1, as the model recommends it."""

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        """Return for each frame one matte per box ((N, 4) px); a matte covers the box with a margin.

        Frames come in the order of the video, but some may be missing. The crops of all frames run as one batch.
        """


@runtime_checkable
class PoseEstimator(VideoStage, Protocol):
    """Finds the joints of people."""

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        """Return for each frame the keypoints of its boxes ((N, 4) px): float32 (N, 17, 3).

        The joints are the 17 of COCO. Each has its x and y in px of the frame, where pixels have their centres at
        halves as in boxes, and a score in 0..1. A joint may lie outside of its box. Frames come in the order of the
        video, but some may be missing.
        """


@runtime_checkable
class Parser(VideoStage, Protocol):
    """Says which part of the body each px of a person shows."""

    def parse(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[PartMap]]:
        """Return for each frame one map per box ((N, 4) px); a map covers the box with a margin.

        Frames come in the order of the video, but some may be missing. The crops of all frames run as one batch.
        """


@runtime_checkable
class BodyEstimator(Protocol):
    """Fits a body in space to the keypoints of walks."""

    card: ModelCard

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        """Return the body of each walk, in its frames. Each walk has keypoints, and at least one frame."""


@runtime_checkable
class GaitModel(Protocol):
    """Turns walks into embeddings. A model whose card says `keypoints` or `parts` gets walks that have them."""

    card: ModelCard

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk. A walk has at least one silhouette."""


@runtime_checkable
class UsesBody(Protocol):
    """A gait model that may need bodies in space: see `ModelCard.body`."""

    body: BodyEstimator | None
    """What fits them; whoever builds the model gives it."""


@dataclass(frozen=True)
class Stages:
    """The models of a run, loaded once and used for every video.

    `tracker` makes a new tracker for so many looks a second. `pose` is None if nothing needs keypoints, `body` if
    nothing needs a body in space, and `parser` if nothing needs body parts.
    """

    detector: Detector
    segmenter: Segmenter
    gait: GaitModel
    settings: Settings
    tracker: Callable[[float], Tracker]
    pose: PoseEstimator | None = None
    body: BodyEstimator | None = None
    parser: Parser | None = None

    def cards(self) -> dict[str, ModelCard]:
        """Return the card of each stage that has a model."""
        pose = {"pose": self.pose.card} if self.pose is not None else {}
        body = {"body": self.body.card} if self.body is not None else {}
        parser = {"parser": self.parser.card} if self.parser is not None else {}
        found = {"detector": self.detector.card, "segmenter": self.segmenter.card}
        return {**found, **pose, **body, **parser, "gait": self.gait.card}

    def twin(self) -> Stages:
        """Return stages for another video that is looked at meanwhile: they share the networks, and nothing else.

        What a stage learns of a video is in the attributes that its `of_video` names. They must be such that `start`
        makes them new; what two stages share, their twins share.
        """
        made: dict[int, Any] = {}

        def twin(stage: T) -> T:
            other = copy(stage)
            for name in getattr(stage, "of_video", ()):
                learnt = getattr(stage, name)
                setattr(other, name, made.setdefault(id(learnt), copy(learnt)))
            return other

        return replace(
            self,
            detector=twin(self.detector),
            segmenter=twin(self.segmenter),
            pose=twin(self.pose) if self.pose is not None else None,
            parser=twin(self.parser) if self.parser is not None else None,
        )

    def start(self, video: VideoInfo) -> Tracker:
        """Prepare every stage for another video and return a new tracker for it."""
        self.detector.start(video)
        self.segmenter.start(video)
        if self.pose is not None:
            self.pose.start(video)
        if self.parser is not None:
            self.parser.start(video)
        return self.tracker(min(float(video.fps), self.settings.video.looks))

    def summary(self) -> str:
        """Name the models in one short line, with the file of each model that does not come with Gaitprint."""
        names: dict[str, dict[str, None]] = {}
        for card in self.cards().values():
            place = card.origin if card.origin in ("embedded", "weight-free") else str(card.file)
            names.setdefault(place, {})[card.name] = None
        models = ", ".join(f"{', '.join(here)} ({place})" for place, here in names.items())
        return f"Models: {models}. Speed: {self.settings.speed}, {self.settings.video.looks:g} looks a second."

    def lines(self) -> Iterator[str]:
        """Say for each stage which model it uses, where it comes from and what its licence is."""
        where = {"given": "given", "found": "found in", "embedded": "embedded", "weight-free": "weight-free"}
        for stage, card in self.cards().items():
            place = f"{where[card.origin]} {card.file}" if card.file else where[card.origin]
            note = f" ({card.note})" if card.note else ""
            reason = f"; used because {card.reason}" if card.reason else ""
            yield f"{stage}: {card.name}, {place}, {card.runtime}, licence {card.licence}{note}{reason}"


@dataclass(frozen=True)
class Run:
    """What one run carries along: its models, where its progress is shown, and how long each step takes."""

    stages: Stages
    progress: Progress = field(default_factory=Silent)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def side_by_side(self, work: Callable[[T, Run], U], items: Sequence[T], threads: int = 2) -> list[U]:
        """Return ``work(item, run)`` for each item, in their order; `threads` of them are worked at at once.

        Each of them gets a run of its own: its stages share the networks with the others, and nothing else. They are
        worked at one after the other where progress can be shown of one only (see `app.progress.Progress`).

        Raises:
            Exception: that of the first item, in the order of items, whose work failed. The others are stopped.
        """
        threads = min(threads, cores(), len(items), getattr(self.progress, "at_once", 1))
        if threads < 2:
            return [work(item, self) for item in items]
        progress = Stoppable(self.progress)
        with ThreadPoolExecutor(threads, thread_name_prefix="video") as pool:
            runs = [replace(self, stages=self.stages.twin(), progress=progress) for _ in items]
            futures = [pool.submit(work, item, run) for item, run in zip(items, runs, strict=True)]
            try:
                return [future.result() for future in futures]
            finally:  # after an error or Ctrl-C
                progress.stop()
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def settings(self) -> Settings:
        """The settings that the models were loaded with."""
        return self.stages.settings
