"""Train a gait network that sees how joints move.

Its input is what `app.body.observed.features` makes of keypoints. The lifting network of `app.lab.training.body`, which
stays as it is, adds the joints in the walking frame, where walks from all cameras are alike. Residual convolutions over
time follow, then the mean and the deviation over time. It learns from walkers who are not drawn, seen by random
cameras, with the errors of a pose network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from app.body.mannequin import FEATURES, RATE
from app.body.observed import features, mirrored
from app.errors import SettingsError
from app.gait.joints import KIND
from app.lab.training.bodies import Acquaintances, filmed, spoilt
from app.lab.training.body import OUTPUTS, BodyNetwork
from app.lab.training.engine import Task, fit, load_trained
from app.lab.training.export import export, stored_weights
from app.lab.training.losses import contrastive
from app.lab.training.settings import Depth, Few, TrainSettings, Width
from app.progress import Progress
from app.settings import Amount
from app.types import Floats, Ints
from app.weights.checkpoints import HOME, load_strictly

_INPUTS = FEATURES + OUTPUTS


@dataclass(frozen=True)
class JointsTrainSettings(TrainSettings):
    """Settings of the training. A batch has `batch` people with `walks_each` walks each."""

    lifting: Path = HOME / "embedded" / "body" / "gaitprint-body.onnx"
    """The lifting network, an ONNX file that ``train body`` has exported."""
    people: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    """People to learn from."""
    walks: Few = 4
    """Walks of each of them."""
    walks_each: Few = 3
    frames: tuple[Few, Few] = (18, 30)
    """Fewest and most frames of a walk, at `app.body.mannequin.RATE` a second. The number is drawn for each batch."""
    width: Width = 192
    depth: Depth = 4
    """Residual blocks over time."""
    parts: Few = 6
    """Parts of the embedding. In a fusion, a network counts as much as it has parts."""
    channels: Width = 128
    """Numbers of each part."""
    scale: Amount = 20.0
    """The inverse of the contrastive loss's temperature."""
    entropy: Amount = 0.5
    """Weight of the cross entropy of the people to learn from."""


class JointsNetwork(nn.Module):
    """From features (N, T, 56) to an embedding (N, C, P) whose parts have unit length."""

    def __init__(self, settings: JointsTrainSettings) -> None:
        super().__init__()
        self._parts, self._channels, width = settings.parts, settings.channels, settings.width
        self.lift = BodyNetwork().requires_grad_(False).eval()
        self.scaled = nn.BatchNorm2d(_INPUTS, affine=False, momentum=0.02)
        self.stem = nn.Conv2d(_INPUTS, width, 1)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(settings.depth)))
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * width), nn.Linear(2 * width, 512), nn.GELU(),
            nn.Linear(512, settings.parts * settings.channels),
        )  # fmt: skip

    def train(self, mode: bool = True) -> JointsNetwork:
        super().train(mode)
        self.lift.eval()
        return self

    def forward(self, seen: Tensor) -> Tensor:
        both = torch.cat([seen, self.lift(seen)], -1).transpose(1, 2).unsqueeze(-1)
        x = self.blocks(self.stem(self.scaled(both))).squeeze(-1)
        mean = x.mean(2)
        spread = ((x - mean[..., None]).square().mean(2) + 1e-5).sqrt()
        parts: Tensor = self.head(torch.cat([mean, spread], 1)).float()
        return F.normalize(parts.reshape(-1, self._channels, self._parts), dim=1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # Two-dimensional, because kernels of that kind are stored in 8 bits.
        self.over_time = nn.Conv2d(width, width, (5, 1), padding=(2, 0))
        self.norm = nn.BatchNorm2d(width)
        self.mixed = nn.Conv2d(width, width, 1)
        self.mixed_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.norm(self.over_time(x)))
        return x + self.mixed_norm(self.mixed(y))  # type: ignore[no-any-return]


class JointsBatches:
    """Batches of walks: ``batches[step]`` depends on nothing but the seed and the step.

    A batch has ``features`` float32 (N, T, 56), every walk from a camera of its own, and ``people`` int64 (N,).
    """

    def __init__(self, known: Acquaintances, settings: JointsTrainSettings) -> None:
        self._known, self._settings = known, settings

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, step, 0x107A])
        people = rng.choice(len(self._known), settings.batch, replace=False)
        walks = np.concatenate([rng.choice(self._known.walks, settings.walks_each, replace=False) for _ in people])
        owners = np.repeat(people, settings.walks_each)
        seen = self.seen(owners, walks, rng)
        most = seen.shape[1]
        frames = int(rng.integers(settings.frames[0], min(settings.frames[1], most) + 1))
        start = int(rng.integers(most - frames + 1))
        turned = rng.random(len(seen)) < 0.5
        seen[turned] = mirrored(seen[turned])
        return {
            "features": torch.from_numpy(seen[:, start : start + frames].copy()),
            "people": torch.from_numpy(owners),
        }

    def seen(self, owners: Ints, walks: Ints, rng: np.random.Generator) -> Floats:
        """Return the features (N, T, 56) of such walks of such people, each from a random camera."""
        points, root, heading = self._known.motion(owners, walks)
        flat, azimuth, _ = filmed(points, root, heading, rng)
        scores = np.ones((*flat.shape[:-1], 1), np.float32)
        return features(spoilt(np.concatenate([flat, scores], -1).astype(np.float32), azimuth, rng))


class JointsTask(Task):
    """The contrastive loss of the mean of all parts, and the cross entropy of the people."""

    settings: JointsTrainSettings

    def __init__(self, settings: JointsTrainSettings, held_out: JointsBatches, unknown: Acquaintances) -> None:
        network = JointsNetwork(settings)
        counts = {
            name: value for name, value in network.lift.state_dict().items() if name.endswith("num_batches_tracked")
        }
        load_strictly(
            network.lift, {**stored_weights(settings.lifting), **counts}, settings.lifting, "a lifting network"
        )
        super().__init__(network, settings)
        self.classes = nn.Parameter(0.1 * torch.randn(settings.people, settings.channels, settings.parts))
        self._held_out, self._unknown = held_out, unknown

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        embedding, people = self.network(batch["features"]).flatten(1), batch["people"]
        parts = self.settings.parts
        with torch.autocast(embedding.device.type, enabled=False):
            nearness = contrastive(embedding @ embedding.mT / parts, people, self.settings.scale)
            logits = embedding @ F.normalize(self.classes, dim=1).flatten(1).mT / parts
            entropy = F.cross_entropy(1.2 * self.settings.scale * logits, people, label_smoothing=0.1)
        return {"loss": nearness + self.settings.entropy * entropy, "contrastive": nearness, "entropy": entropy}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return rank-1 in % among people not learnt from: one walk in the gallery, each walk from another camera."""
        rng = np.random.default_rng(0x7E57)
        everybody = np.arange(len(self._unknown))
        found = []
        for walk in range(self._unknown.walks):
            seen = self._held_out.seen(everybody, np.full(len(everybody), walk), rng)
            found.append(network(torch.from_numpy(seen)).flatten(1))
        right = [
            float(((probe @ gallery.mT).argmax(1) == torch.arange(len(everybody))).float().mean())
            for one, gallery in enumerate(found)
            for other, probe in enumerate(found)
            if one != other
        ]
        return {"rank1": 100 * sum(right) / len(right)}


def train(settings: JointsTrainSettings, progress: Progress | None = None) -> nn.Module:
    """Train the network, or continue a training that was stopped: see `app.lab.training.engine.fit`."""
    if settings.batch > settings.people or not 2 <= settings.walks_each <= settings.walks:
        raise SettingsError(
            f"A batch has {settings.batch} people with {settings.walks_each} walks each, and there are "
            f"{settings.people} people with {settings.walks}. Make batch or walks_each smaller, or people or walks "
            "larger; walks_each is 2 at least."
        )
    task = _task(settings)  # before the long work, because a file may be missing
    known = Acquaintances.made(settings.out / "people.npz", settings.people, settings.walks, settings.seed, progress)
    return fit(task, JointsBatches(known, settings), settings)


def _task(settings: JointsTrainSettings) -> JointsTask:
    unknown = Acquaintances.made(settings.out / "held-out.npz", 48, settings.walks, settings.seed + 1_000)
    return JointsTask(settings, JointsBatches(unknown, settings), unknown)


def export_network(settings: JointsTrainSettings, path: Path) -> float:
    """Write the trained network as `app.gait.joints` reads it."""
    network = load_trained(JointsNetwork(settings), settings.out, "joints network")
    with torch.inference_mode():
        figures = _task(settings).check(network)
    text = f"rank-1 {figures['rank1']:.0f} % among 48 people, any camera, simulated keypoints"
    most = settings.frames[1]
    return export(
        network,
        {"features": torch.randn(1, most, FEATURES, generator=torch.Generator().manual_seed(0))},
        ["embedding"],
        path,
        dynamic={"features": {0: "batch", 1: "frames"}, "embedding": {0: "batch"}},
        metadata={
            "kind": KIND, "rate": f"{RATE:g}", "piece": str(most), "licence": "Apache-2.0", "figures": text,
            "note": "trained on virtual walkers alone",
        },
        storage="int8",
    )  # fmt: skip
