"""The composition root: the one place that knows which concrete classes a run uses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.checkpoints import checkpoint_roots
from app.detect.motion import MotionDetector
from app.errors import SettingsError
from app.motion import BackgroundModel
from app.registry import detectors, gait_models, pose_models, segmenters
from app.segment.motion import MotionSegmenter
from app.settings import Settings, cores
from app.stages import Detector, GaitModel, PoseEstimator, Segmenter, Tracker
from app.track.bytetrack import ByteTracker
from app.types import ModelCard, VideoInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stages:
    """The networks of a run, loaded once and used for every video; `pose` is None where nothing asks for keypoints."""

    detector: Detector
    segmenter: Segmenter
    gait: GaitModel
    settings: Settings
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
        return ByteTracker(self.settings.track, float(video.fps))

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
            yield f"{stage}: {card.name}, {place}, {card.runtime}, licence {card.licence}{note}"


def build(settings: Settings) -> Stages:
    """Load the models that `settings` name, or the best that are found.

    Raises:
        SettingsError: an unknown name, or a pose network is needed and there is none.
        CheckpointError: a file that is missing, unsafe or of the wrong kind.
        MissingExtraError: an optional package is needed.
    """
    import torch

    torch.set_num_threads(settings.detector.threads or cores())
    roots = checkpoint_roots(settings.checkpoints)
    detector_entry, detector_file = detectors.choose(settings.detector.name, settings.detector.checkpoint, roots)
    segmenter_entry, segmenter_file = segmenters.choose(settings.segmenter.name, settings.segmenter.checkpoint, roots)
    gait_entry, gait_file = gait_models.choose(settings.gait.name, settings.gait.checkpoint, roots)
    background = BackgroundModel()  # one for both, so that each frame is subtracted once
    detector: Detector
    segmenter: Segmenter
    if detector_entry.build is MotionDetector:
        detector = MotionDetector(None, settings.detector, background)
    else:
        detector = detector_entry.build(detector_file, settings.detector)
    if segmenter_entry.build is MotionSegmenter:
        segmenter = MotionSegmenter(None, settings.segmenter, background)
    else:
        segmenter = segmenter_entry.build(segmenter_file, settings.segmenter)
    gait = gait_entry.build(gait_file, settings.gait)
    return Stages(detector, segmenter, gait, settings, _pose(settings, gait.card, roots))


def _pose(settings: Settings, gait: ModelCard, roots: tuple[Path, ...]) -> PoseEstimator | None:
    """Load the pose network where something asks for keypoints."""
    asks = f"the gait model '{gait.name}'" if gait.keypoints else "painting" if settings.pose.paint else None
    if settings.pose.when == "never" and asks is not None:
        raise SettingsError(f"pose.when is 'never', but {asks} needs keypoints: set it to 'auto'.")
    if settings.pose.when != "always" and asks is None:
        return None
    entry, file = pose_models.choose(settings.pose.name, settings.pose.checkpoint, roots)
    return entry.build(file, settings.pose)
