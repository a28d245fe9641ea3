"""Pose networks: which files are recognised, where joints land, and when a run loads one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import CheckpointError, SettingsError
from app.gait.gei import GaitEnergyImage
from app.pose.onnx_pose import OnnxPose
from app.runs.build import _pose, build
from app.settings import PoseSettings, Settings
from app.types import Frame, ModelCard
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import pose_models
from tests.contract.samples import STANDING, onnx_pose

GAIT = GaitEnergyImage().card


def picture(red: int) -> Frame:
    image = np.zeros((200, 300, 3), np.uint8)
    image[..., 2] = red  # frames are BGR
    return Frame(0, 0.0, image)


def network(path: Path, threads: int = 2) -> OnnxPose:
    return OnnxPose(CheckpointFile(path, "given"), PoseSettings(threads=threads))


BOXES = np.array([[100, 40, 140, 140], [200, 100, 300, 200]], np.float32)


@pytest.mark.parametrize("shape", [(1, 3, 48, 32), (1, 48, 32, 3), ("N", 3, 48, 32)])
def test_joints_land_where_the_window_lies(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    (poses,) = network(onnx_pose(tmp_path / "p.onnx", shape)).estimate([picture(204)], [BOXES])
    red = 204 / 255 if shape[3] == 3 else (204 / 255 - 0.5) / 0.5
    # 100 px high with a margin of 10 px all round; at the frame's corner cut off.
    for pose, (left, top, right, bottom) in zip(poses, [(90, 30, 150, 150), (190, 90, 300, 200)], strict=True):
        x, y = STANDING.T + np.array([[0.1 * red], [0.0]])
        np.testing.assert_allclose(pose[:, 0], left + x * (right - left), atol=0.01)
        np.testing.assert_allclose(pose[:, 1], top + y * (bottom - top), atol=0.01)
        np.testing.assert_allclose(pose[:, 2], 0.9, atol=1e-6)


def test_metadata_is_read(tmp_path: Path) -> None:
    words: dict[str, Any] = {
        "mean": "0,0,0",
        "std": "1,1,1",
        "margin": "0.5",
        "aspect": "1",
        "licence": "MIT",
        "note": "drawn",
    }
    estimator = network(onnx_pose(tmp_path / "mine.onnx", **words))
    assert (estimator.card.name, estimator.card.licence, estimator.card.note) == ("mine", "MIT", "drawn")
    ((pose,),) = estimator.estimate([picture(0)], [BOXES[:1]])
    np.testing.assert_allclose(pose[:, 0], 20 + STANDING[:, 0] * 200, atol=0.01)  # 200 px high with the margin
    with pytest.raises(CheckpointError, match=r"bad\.onnx: its property 'margin' must be a number from 0 to 10"):
        network(onnx_pose(tmp_path / "bad.onnx", margin="wide"))


def test_threads_do_not_change_the_answer(tmp_path: Path) -> None:
    path = onnx_pose(tmp_path / "p.onnx")
    frames, boxes = [picture(red) for red in (0, 90, 255)], [BOXES, BOXES[:0], BOXES[1:]]
    two, one = (network(path, threads).estimate(frames, boxes) for threads in (2, 1))
    assert [len(poses) for poses in two] == [2, 0, 1]
    for ours, theirs in zip(two, one, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def need_refused(path: Path) -> None:
    (entry,) = pose_models.entries()
    assert entry.accepts is not None
    assert not entry.accepts(path)
    with pytest.raises(CheckpointError, match=r"is not a pose checkpoint .* kind=pose17"):
        pose_models.choose("auto", path, ())


def test_only_pose_networks_are_recognised(tmp_path: Path) -> None:
    assert pose_models.recognise(onnx_pose(tmp_path / "p.onnx")).name == "onnx-pose"
    need_refused(onnx_pose(tmp_path / "other.onnx", kind="movenet"))
    need_refused(onnx_pose(tmp_path / "open.onnx", (1, 3, "h", "w")))
    need_refused(onnx_pose(tmp_path / "three.onnx", (3, 3, 48, 32)))
    need_refused(onnx_pose(tmp_path / "short.onnx", answer=(51,), form=(51,)))


def test_sizes_that_the_file_leaves_open_are_read_from_an_output(tmp_path: Path) -> None:
    assert network(onnx_pose(tmp_path / "open.onnx", answer=("joints", "numbers"))).card.name == "open"
    with pytest.raises(CheckpointError, match=r"few\.onnx answers one crop with \(1, 51\), not 17 keypoints"):
        network(onnx_pose(tmp_path / "few.onnx", answer=("joints", "numbers"), form=(1, 51)))


@pytest.mark.parametrize("name", ["selfie_segmentation", "yolox_nano"])
def test_networks_for_other_things_are_refused(shared: Path, name: str) -> None:
    need_refused(shared / "models" / f"{name}.onnx")


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("score", [7.0, -2.0, float("nan")])
def test_scores_outside_of_0_to_1_are_refused(tmp_path: Path, score: float) -> None:
    with pytest.raises(
        CheckpointError, match=r"p\.onnx (answers noise with scores .* decoding|cannot be used: it gives numbers that)"
    ):
        network(onnx_pose(tmp_path / "p.onnx", score=score))
    assert OnnxPose(CheckpointFile(onnx_pose(tmp_path / "p.onnx", score=1.0005), "given"), PoseSettings())


def test_a_score_slightly_above_1_becomes_1(tmp_path: Path) -> None:
    ((pose,),) = network(onnx_pose(tmp_path / "p.onnx", score=1.0005)).estimate([picture(0)], [BOXES[:1]])
    assert pose[:, 2].max() == 1.0


def load(settings: PoseSettings, folder: Path, gait: ModelCard = GAIT) -> str | None:
    """Build what a run with these settings loads; `folder` is its folder of checkpoints."""
    estimator = _pose(Settings(pose=settings), gait, (folder,))
    return estimator.card.name if estimator is not None else None


def test_a_run_loads_a_network_only_if_something_needs_keypoints(tmp_path: Path) -> None:
    skeletons = replace(GAIT, keypoints=True)
    (tmp_path / "embedded" / "pose").mkdir(parents=True)
    own = onnx_pose(tmp_path / "embedded" / "pose" / "own.onnx")
    assert load(PoseSettings(), tmp_path) is None
    assert load(PoseSettings(checkpoint=own), tmp_path) is None
    assert load(PoseSettings(when="never"), tmp_path) is None
    assert load(PoseSettings(paint=True), tmp_path) == "own"
    assert load(PoseSettings(when="always"), tmp_path) == "own"
    assert load(PoseSettings(), tmp_path, skeletons) == "own"
    (tmp_path / "pose").mkdir()
    onnx_pose(tmp_path / "pose" / "better.onnx")
    assert load(PoseSettings(paint=True), tmp_path) == "better"
    assert load(PoseSettings(paint=True, checkpoint=own), tmp_path) == "own"
    with pytest.raises(SettingsError, match=r"pose\.when is 'never', but painting needs keypoints"):
        load(PoseSettings(when="never", paint=True), tmp_path)
    with pytest.raises(SettingsError, match=r"pose\.when is 'never', but the gait model 'gei' needs keypoints"):
        load(PoseSettings(when="never"), tmp_path, skeletons)


@pytest.mark.parametrize("name", ["auto", "onnx-pose"])
def test_the_error_for_a_missing_network_says_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="needs a checkpoint and none was found in") as caught:
        load(PoseSettings(name=name, paint=True), tmp_path)
    assert str(tmp_path / "embedded/pose") in str(caught.value)
    assert "--pose-checkpoint FILE" in str(caught.value)


def test_the_stages_of_a_run_name_the_pose_network(tmp_path: Path) -> None:
    plain = Settings(checkpoints=tmp_path)
    assert list(build(plain).cards()) == ["detector", "segmenter", "gait"]
    path = onnx_pose(tmp_path / "p.onnx")
    stages = build(replace(plain, pose=PoseSettings(checkpoint=path, when="always")))
    assert list(stages.cards()) == ["detector", "segmenter", "pose", "gait"]
    assert any(line.startswith(f"pose: p, given {path}") for line in stages.lines())
