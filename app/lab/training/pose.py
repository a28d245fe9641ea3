"""Training of the network that finds a person's 17 keypoints: the segmenter's training, of which it exports a head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.lab.training.person import KeypointsOnly
from app.lab.training.segmenter import SegmenterTrainSettings, exported, figures_of, train, trained

__all__ = ["PoseTrainSettings", "export_network", "train"]


@dataclass(frozen=True)
class PoseTrainSettings(SegmenterTrainSettings):
    """Those of the network for crops of one person, both heads."""


def export_network(settings: PoseTrainSettings, path: Path) -> float:
    """Write the keypoints' half of the trained network as `app.pose.onnx_pose` reads it."""
    network = trained(settings)
    figures = figures_of(network, settings)
    text = f"PCK at 0.1 {figures['pck']:.2f}, ankles {figures['ankles']:.2f}, of people in held-out COCO pictures"
    return exported(KeypointsOnly(network), "keypoints", path, {"kind": "pose17", "figures": text})
