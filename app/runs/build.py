"""The composition root: the only place that knows which concrete classes a run uses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from app.errors import SettingsError
from app.progress import Progress, Silent, Stopwatch
from app.settings import Settings
from app.stages import BodyEstimator, GaitModel, PoseEstimator, Run, Stages, UsesBody
from app.track import ByteTracker
from app.types import ModelCard
from app.video.background import SubtractsBackground
from app.walks.kept import KeptBodies, KeptEmbeddings
from app.weights.checkpoints import checkpoint_roots
from app.weights.registry import body_models, detectors, gait_models, parsers, pose_models, segmenters

logger = logging.getLogger(__name__)


def begin(
    settings: Settings, progress: Progress | None = None, announce: Callable[[Stages], None] = lambda stages: None
) -> Run:
    """Begin a run: load its models (`build`), call `announce` with them, and start its clock."""
    watch = Stopwatch()
    with watch.measure("load"):
        stages = build(settings)
    announce(stages)
    return Run(stages, progress or Silent(), watch)


def build(settings: Settings) -> Stages:
    """Load the models that `settings` name, or choose them from those that are found.

    Raises:
        SettingsError: a name is unknown, a pose network is needed and there is none, or `gait.config` is given for a
            gait model that reads none.
        CheckpointError: a file is missing, unsafe or of the wrong kind.
        MissingExtraError: an optional package is needed.
    """
    roots = checkpoint_roots(settings.checkpoints)
    detector = detectors.build(settings.detector, roots)
    segmenter = segmenters.build(settings.segmenter, roots)
    if isinstance(detector, SubtractsBackground) and isinstance(segmenter, SubtractsBackground):
        segmenter.background = detector.background  # shared, so that each frame is compared with it only once
    gait, body = build_gait(settings, roots)
    if settings.body.show and body is None:
        body = _body(settings, roots)
    if settings.gait.config is not None and not gait.card.runtime.startswith("torch"):
        raise SettingsError(
            f"gait.config={settings.gait.config} belongs to a checkpoint of OpenGait, but the gait model is "
            f"'{gait.card.name}'. Give --gait-checkpoint too, or leave the setting out."
        )
    needs_parts = settings.parser.when == "always" or gait.card.parts
    new_score = detector.card.sure if settings.track.new_score is None else settings.track.new_score
    return Stages(
        detector,
        segmenter,
        gait,
        settings,
        tracker=partial(ByteTracker, settings=replace(settings.track, new_score=new_score)),
        pose=_pose(settings, gait.card, roots),
        body=body,
        parser=parsers.build(settings.parser, roots) if needs_parts else None,
    )


built = lru_cache(maxsize=2)(build)
"""`build`, or the stages of an earlier call with the same settings."""


def build_gait(settings: Settings, roots: tuple[Path, ...]) -> tuple[GaitModel, BodyEstimator | None]:
    """Load the gait model, and what fits bodies for it if it needs them; errors as of `build`."""
    gait = gait_models.build(settings.gait, roots)
    calibrated = settings.gait.input == "calibrated"
    body = _body(settings, roots) if calibrated or gait.card.body else None
    if gait.card.body:
        assert isinstance(gait, UsesBody)
        gait.body = body
    if gait.card.pictures:
        gait = KeptEmbeddings(gait, settings.gait)
    if calibrated and body is not None:
        from app.walks.calibrated import CalibratedGait  # other runs need nothing of it

        gait = CalibratedGait(gait, body)
    return gait, body


def _body(settings: Settings, roots: tuple[Path, ...]) -> BodyEstimator:
    return KeptBodies(body_models.build(settings.body, roots), settings.body)


def _pose(settings: Settings, gait: ModelCard, roots: tuple[Path, ...]) -> PoseEstimator | None:
    """Load the pose network if keypoints are needed."""
    users = {
        f"the gait model '{gait.name}'": gait.keypoints,
        "painting": settings.pose.paint,
        "body.show": settings.body.show,
    }
    user = next((name for name, needs in users.items() if needs), None)
    if settings.pose.when == "never" and user is not None:
        raise SettingsError(f"pose.when is 'never', but {user} needs keypoints. Set it to 'auto'.")
    if settings.pose.when != "always" and user is None:
        return None
    return pose_models.build(settings.pose, roots)
