"""PoseGait: its features, and that it learns; there are no published weights to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from app.gait.embedder import NetworkEmbedder
from app.gait.models.posegait import FEATURES, PoseGait, pose_features
from app.gait.opengait import load_network
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile

# A person who stands, arms down: x and y of COCO-17, px.
STANDING = torch.tensor(
    [
        (50, 10), (51, 9), (49, 9), (52, 10), (48, 10), (60, 20), (40, 20), (60, 40), (40, 40), (60, 60), (40, 60),
        (55, 60), (45, 60), (55, 90), (45, 90), (55, 120), (45, 120),
    ],
    dtype=torch.float32,
)  # fmt: skip


def walk(person: int, seed: int, frames: int = 20) -> torch.Tensor:
    """Legs that swing, longer for one person than for another: (frames, 17, 3)."""
    noise = torch.Generator().manual_seed(seed)
    points = STANDING.repeat(frames, 1, 1)
    swing = torch.sin(torch.arange(frames) * 0.6 + seed)
    points[:, 13:17, 1] += 8.0 * person
    points[:, [13, 15], 0] += 10 * swing[:, None]
    points[:, [14, 16], 0] -= 10 * swing[:, None]
    points += torch.randn(points.shape, generator=noise)
    return torch.cat([points, torch.ones(frames, 17, 1)], 2)


def test_features_are_those_of_the_pose() -> None:
    features = pose_features(torch.stack([STANDING, STANDING + torch.tensor([4.0, 0.0])])[None])[0]
    assert features.shape == (FEATURES, 2)
    pose, directions, angles, lengths, motion = torch.split(features[:, 0], [28, 13, 8, 13, 28])
    torch.testing.assert_close(pose.reshape(14, 2)[[1, 9]], torch.tensor([[0.0, 0.0], [-5 / 40, 70 / 40]]))
    torch.testing.assert_close(directions[[0, 2]], torch.tensor([1.0, 0.0]))  # upwards, downwards
    torch.testing.assert_close(angles[[1, 5]], torch.tensor([1.0, 1.0]))  # elbow and knee are straight
    torch.testing.assert_close(angles[0], torch.tensor(0.5))  # neck, shoulder, elbow
    torch.testing.assert_close(lengths[8], torch.tensor(30 / 40))
    torch.testing.assert_close(motion, torch.zeros(28))  # it is seen from the neck


def test_place_and_size_do_not_matter() -> None:
    points = walk(0, 0)[None]
    torch.testing.assert_close(
        pose_features(points), pose_features(3 * points + torch.tensor([7.0, 9.0, 0.0])), rtol=1e-3, atol=1e-3
    )


def test_joints_in_one_place_give_finite_features() -> None:
    assert torch.isfinite(pose_features(torch.zeros(1, 3, 17, 3))).all()


def test_a_checkpoint_is_a_gait_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseGait(widths=(4, 6, 8), channels=10, classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    keypoints = walk(0, 0, 70)
    with torch.inference_mode():
        expected = network.embed(network.input_of(keypoints[None, 5:65]))
        torch.testing.assert_close(loaded.embed(PoseGait.input_of(keypoints[None, 5:65])), expected)
    model = NetworkEmbedder(CheckpointFile(tmp_path / "net.pt", "given"), GaitSettings())
    silhouettes = np.zeros((70, 64, 64), np.uint8)
    (embedding,) = model.embed([GaitSequence(np.arange(70), silhouettes, 25.0, keypoints.numpy())])
    np.testing.assert_allclose(embedding.parts, expected[0].T, rtol=1e-4, atol=1e-5)


def test_it_learns_who_walks() -> None:
    torch.manual_seed(0)
    people = torch.arange(4).repeat(4)
    network = PoseGait(widths=(4, 8), channels=16, classes=4)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for step in range(40):
        x = torch.cat([network.input_of(walk(int(p), 100 * step + i)[None]) for i, p in enumerate(people)])
        _, logits = network(x)
        assert logits is not None
        loss = F.cross_entropy(logits[..., 0], people)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    with torch.inference_mode():
        fresh = torch.cat([network.input_of(walk(int(p), 99_000 + i)[None]) for i, p in enumerate(people)])
        units = F.normalize(network.embed(fresh)[..., 0])
    near = units @ units.T - 2 * torch.eye(16)
    assert (people[near.argmax(1)] == people).float().mean() > 0.6  # by chance 0.2
