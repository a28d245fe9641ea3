"""The interfaces of the stages: batch in, batch out, order kept; no paths, no printing, no globals.

Something worth telling the user goes to ``logging.getLogger(__name__).warning``; something that stops the work is
a `GaitprintError`. A stage that learns from the video (background subtraction) starts anew with `start`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from app.progress import Progress, Silent, Stopwatch
from app.settings import Settings
from app.types import (
    Detections,
    Embedding,
    Floats,
    Frame,
    GaitSequence,
    Matte,
    ModelCard,
    TrackedBoxes,
    VideoInfo,
)


@runtime_checkable
class Detector(Protocol):
    """Finds people."""

    card: ModelCard

    def start(self, video: VideoInfo) -> None:
        """Forget what was learnt from an earlier video. Networks do nothing here."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame, boxes clipped to the frame, sorted by falling score.

        Frames arrive in order and without gaps.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Follows people through one video; made anew for each."""

    def update(self, detections: Detections) -> TrackedBoxes:
        """Take the next frame's detections and return the confirmed tracks seen in it. Ids start at 1."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Cuts people out of their background."""

    card: ModelCard
    threshold: float
    """Probability from which a pixel counts as body, 0..1; the model's own recommendation."""

    def start(self, video: VideoInfo) -> None:
        """Forget what was learnt from an earlier video. Networks do nothing here."""

    def segment(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[list[Matte]]:
        """Return for each frame one matte per box ((N, 4) px), the crop being the box with a margin.

        Frames rise in time but may have gaps. The crops of all frames are run as one batch.
        """
        ...


@runtime_checkable
class PoseEstimator(Protocol):
    """Finds the joints of people."""

    card: ModelCard

    def start(self, video: VideoInfo) -> None:
        """Forget what was learnt from an earlier video. Networks do nothing here."""

    def estimate(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        """Return for each frame the keypoints of its boxes ((N, 4) px): float32 (N, 17, 3).

        The joints are COCO's 17, each with its x and y in px of the frame, pixels having their centres at halves as in
        boxes, and its score in 0..1. A joint may lie outside its box. Frames rise in time but may have gaps.
        """
        ...


@runtime_checkable
class GaitModel(Protocol):
    """Turns walks into embeddings. One whose card says `keypoints` gets walks that have them."""

    card: ModelCard

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        """Return one embedding per walk. A walk has at least one silhouette."""
        ...


@dataclass(frozen=True)
class Stages:
    """The models of a run, loaded once and used for every video.

    `tracker` makes a fresh tracker for a video with the given frame rate (1/s); `pose` is None where nothing needs
    keypoints.
    """

    detector: Detector
    segmenter: Segmenter
    gait: GaitModel
    settings: Settings
    tracker: Callable[[float], Tracker]
    pose: PoseEstimator | None = None

    def cards(self) -> dict[str, ModelCard]:
        """Return the card of each stage that has a model."""
        pose = {"pose": self.pose.card} if self.pose is not None else {}
        return {"detector": self.detector.card, "segmenter": self.segmenter.card, **pose, "gait": self.gait.card}

    def start(self, video: VideoInfo) -> Tracker:
        """Make every stage forget earlier videos and return a fresh tracker."""
        self.detector.start(video)
        self.segmenter.start(video)
        if self.pose is not None:
            self.pose.start(video)
        return self.tracker(float(video.fps))

    def summary(self) -> str:
        """Name the models in one short line, and the file of each that does not come with the program."""
        names: dict[str, dict[str, None]] = {}
        for card in self.cards().values():
            place = card.origin if card.origin in ("embedded", "weight-free") else str(card.file)
            names.setdefault(place, {})[card.name] = None
        return "Models: " + ", ".join(f"{', '.join(of)} ({place})" for place, of in names.items())

    def lines(self) -> Iterator[str]:
        """Say for each stage which model, from where, under which licence."""
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

    @property
    def settings(self) -> Settings:
        """The settings that the models were loaded with."""
        return self.stages.settings
