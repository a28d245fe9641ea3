"""Each stage can be loaded and used by itself, and importing the packages is quick."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.body import load_body_estimator
from app.detect import load_detector
from app.errors import CheckpointError, SettingsError
from app.gait import load_gait_model
from app.parse import load_parser
from app.pose import load_pose_estimator
from app.segment import load_segmenter
from app.stages import BodyEstimator, Detector, GaitModel, Parser, PoseEstimator, Segmenter, Tracker
from app.track import ByteTracker
from app.video import read_video

LOADERS: dict[str, tuple[Callable[..., Any], type]] = {
    "detector": (load_detector, Detector),
    "segmenter": (load_segmenter, Segmenter),
    "pose": (load_pose_estimator, PoseEstimator),
    "parser": (load_parser, Parser),
    "body": (load_body_estimator, BodyEstimator),
    "gait": (load_gait_model, GaitModel),
}
HEAVY = ("torch", "onnxruntime", "av", "cv2", "paddle", "ultralytics")


def test_importing_the_stages_imports_nothing_heavy() -> None:
    packages = "app.detect, app.segment, app.pose, app.parse, app.body, app.track, app.gait, app.video, app.crops"
    code = f"import sys, {packages}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stage", LOADERS)
def test_a_stage_loads_without_arguments(stage: str) -> None:
    load, interface = LOADERS[stage]
    model = load()
    assert isinstance(model, interface)
    assert model.card.stage == stage
    assert model.card.origin in ("found", "embedded", "weight-free")


@pytest.mark.parametrize("stage", LOADERS)
def test_mistakes_are_explained(stage: str, tmp_path: Path) -> None:
    load, _ = LOADERS[stage]
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load(tmp_path / "missing.onnx")
    with pytest.raises(SettingsError, match="called 'nonsense'"):
        load(name="nonsense")
    with pytest.raises(SettingsError, match=f"no setting '{stage}.colour'"):
        load(colour="red")


def test_settings_reach_the_stage() -> None:
    detector = load_detector(name="motion", score=0.7)
    assert detector._settings.score == 0.7  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=r"'detector\.score' cannot be 7"):
        load_detector(score=7)


def test_a_tracker_needs_only_the_frame_rate() -> None:
    assert isinstance(ByteTracker(25.0), Tracker)


def test_a_video_is_opened_by_its_name() -> None:
    with read_video("input_videos/gallery.mp4") as video:
        assert next(iter(video)).image.shape == (video.info.height, video.info.width, 3)
