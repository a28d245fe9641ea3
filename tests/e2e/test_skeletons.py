"""Skeletons from the command line: painted, kept with the features, and said clearly when they cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.types import Image
from tests.contract.samples import onnx_pose
from tests.e2e.conftest import Demo


@pytest.fixture
def options(tmp_path: Path) -> list[object]:
    """Only the project's own checkpoints are there."""
    return ["--probe", "probe1", "--output", tmp_path / "out", "--set", f"checkpoints={tmp_path / 'none'}"]


def results(output: Path) -> list[Path]:
    return sorted((output / "OutputVideos").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def report_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return content


def picture(video: Path, index: int) -> Image:
    with av.open(str(video)) as container:
        frame = next(frame for place, frame in enumerate(container.decode(video=0)) if place == index)
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


@pytest.mark.slow
def test_skeletons_are_painted_and_kept(demo: Demo, options: list[object], tmp_path: Path) -> None:
    network = onnx_pose(tmp_path / "joints.onnx", licence="MIT")
    before = demo(*options)
    assert before.code == 0, before.out + before.err
    assert "joints" not in before.out
    after = demo(*options, "--pose", "--pose-checkpoint", network)
    assert after.code == 0, after.out + after.err
    assert f"joints ({network})" in " ".join(after.out.split())
    assert "of an earlier run" not in after.out, "that had no keypoints"
    plain, skeletons = results(tmp_path / "out")
    one, other = report_of(plain), report_of(skeletons)
    assert "pose" not in one["models"]
    assert "pose" not in one["timings"]
    assert other["models"]["pose"]["licence"] == "MIT"
    assert other["timings"]["pose"] > 0
    assert one["gallery"] == other["gallery"]
    assert one["probes"] == other["probes"]

    track = next(track for track in other["gallery"]["tracks"] if track["identity"])
    with np.load(
        tmp_path / "out" / "GaitFeatures" / "gallery" / f"{track['track_id']:03d}.npz", allow_pickle=False
    ) as features:
        frames, keypoints = features["frame_indices"], features["keypoints"]
    assert keypoints.shape == (len(frames), 17, 3)
    assert keypoints.dtype == np.float32
    index = int(frames[len(frames) // 2])
    _, y1, _, y2 = track["boxes"][track["frames"].index(index)]
    joints = keypoints[len(frames) // 2]
    assert (joints[:, 1] > y1).all()
    assert (joints[:, 1] < y2).all()
    pictures = [picture(folder / "gallery.mp4", index).astype(int) for folder in (plain, skeletons)]
    changed = np.abs(pictures[0] - pictures[1]).max(axis=2) > 40
    for x, y in joints[5:, :2].round().astype(int):
        assert changed[y - 2 : y + 3, x - 2 : x + 3].any(), "a joint"
    assert changed.mean() < 0.1

    again = demo(*options, "--pose", "--pose-checkpoint", network)
    assert again.code == 0
    assert again.out.count("of an earlier run are used") == 2
    assert (picture(results(tmp_path / "out")[-1] / "gallery.mp4", index) == pictures[1]).all()


def test_without_a_network_it_says_what_to_do(
    demo: Demo, options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.weights.checkpoints.HOME", tmp_path / "nowhere")
    demo(*options, "--pose").failed_with("The pose stage needs a checkpoint", "--pose-checkpoint FILE")
    demo(*options, "--pose", "--pose-checkpoint", tmp_path / "gone.onnx").failed_with("There is no checkpoint")
    never = demo(*options, "--pose", "--set", "pose.when=never")
    never.failed_with("pose.when is 'never', but painting needs keypoints")
    assert not (tmp_path / "out").exists()
