"""Train the network that lifts keypoints into space.

It is a small temporal convolution network in the manner of Pavllo et al. (CVPR 2019): residual blocks over time, which
see 2.6 s. For each frame it gives the points of the body in the walking frame and from where the camera sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from app.body.mannequin import COCO, FEATURES, POINTS, RATE
from app.lab.training.bodies import BodyBatches, Motions
from app.lab.training.engine import Task, fit, load_trained
from app.lab.training.export import export
from app.lab.training.settings import Few, TrainSettings, Width
from app.progress import Progress

OUTPUTS = POINTS * 3 + 3
"""Numbers for each frame: the points, sine and cosine of the azimuth, and the elevation."""
_COCO = torch.from_numpy(COCO)


@dataclass(frozen=True)
class BodyTrainSettings(TrainSettings):
    """Settings of the training."""

    walks: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Walks to learn from, of `app.lab.training.bodies.SECONDS` each."""
    frames: Few = 48
    """Frames of a clip."""
    width: Width = 112
    kernel: Annotated[int, Field(ge=1, le=99)] = 3
    """Frames that a convolution spans. With 1 the network sees every frame by itself."""


class BodyNetwork(nn.Module):
    """From features (N, T, 56) to points, azimuth and elevation (N, T, 81): see `OUTPUTS`."""

    def __init__(self, width: int = 112, kernel: int = 3) -> None:
        super().__init__()
        self.stem = _conv(FEATURES, width, kernel, 1)
        self.blocks = nn.ModuleList(_Block(width, kernel, dilation) for dilation in (1, 2, 4, 8))
        self.head = nn.Conv2d(width, OUTPUTS, 1)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.stem(features.transpose(1, 2).unsqueeze(-1)))
        for block in self.blocks:
            x = block(x)
        return self.head(x).squeeze(-1).transpose(1, 2)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.over_time = _conv(width, width, kernel, dilation)
        self.mixed = _conv(width, width, 1, 1)
        self.dropout = nn.Dropout(0.05)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(F.relu(self.mixed(F.relu(self.over_time(x)))))  # type: ignore[no-any-return]


def _conv(inputs: int, outputs: int, kernel: int, dilation: int) -> nn.Sequential:
    # Two-dimensional, because kernels of that kind are stored in 8 bits.
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, (kernel, 1), padding=(dilation * (kernel // 2), 0), dilation=(dilation, 1), bias=False
        ),
        nn.BatchNorm2d(outputs, momentum=0.05),
    )


def decoded(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return points (..., 26, 3) m, the azimuth's direction (..., 2) of length 1, the elevation (...) radians."""
    points = outputs[..., : POINTS * 3].reshape(*outputs.shape[:-1], POINTS, 3)
    return points, F.normalize(outputs[..., -3:-1], dim=-1), outputs[..., -1]


def in_camera(points: Tensor, direction: Tensor, elevation: Tensor) -> Tensor:
    """Return points (..., P, 3) in a camera's axes; `direction` (..., 2) is sine and cosine of the azimuth."""
    sa, ca = direction.unbind(-1)
    ce, se, zero = elevation.cos(), elevation.sin(), torch.zeros_like(sa)
    rows = [-sa, ca, zero, se * ca, se * sa, -ce, -ce * ca, -ce * sa, -se]
    view = torch.stack(rows, -1).reshape(*elevation.shape, 3, 3)
    return points @ view.mT


class BodyTask(Task):
    """Joints in the walking frame and in the camera's axes, how they move, and the view."""

    def __init__(self, settings: BodyTrainSettings, held_out: BodyBatches) -> None:
        super().__init__(BodyNetwork(settings.width, settings.kernel), settings)
        self._held_out = held_out

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        points, direction, elevation = decoded(self.network(batch["features"]))
        true = batch["points"]
        true_direction = torch.stack([batch["azimuth"].sin(), batch["azimuth"].cos()], -1)
        walking = (points - true).norm(dim=-1).mean()
        seen = in_camera(points, direction, elevation) - in_camera(true, true_direction, batch["elevation"])
        camera = seen.norm(dim=-1).mean()
        moving = (points.diff(dim=1) - true.diff(dim=1)).norm(dim=-1).mean()
        view = (direction - true_direction).norm(dim=-1).mean() + (elevation - batch["elevation"]).abs().mean()
        loss = walking + camera + moving + 0.5 * view
        return {"loss": loss, "walking": walking, "camera": camera, "view": view}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return errors on walks not learnt from: of joints in the camera in mm, and of the azimuth in degrees."""
        joints, angles = [], []
        for number in range(8):
            batch = self._held_out[number]
            points, direction, elevation = decoded(network(batch["features"]))
            true_direction = torch.stack([batch["azimuth"].sin(), batch["azimuth"].cos()], -1)
            seen = in_camera(points, direction, elevation) - in_camera(
                batch["points"], true_direction, batch["elevation"]
            )
            joints.append(seen[..., _COCO, :].norm(dim=-1).mean())
            angles.append((direction * true_direction).sum(-1).clamp(-1, 1).acos().rad2deg().mean())
        return {"mpjpe": 1000 * float(torch.stack(joints).mean()), "azimuth": float(torch.stack(angles).mean())}


def train(settings: BodyTrainSettings, progress: Progress | None = None) -> nn.Module:
    """Train the network, or continue a training that was stopped: see `app.lab.training.engine.fit`."""
    motions = Motions.made(settings.out / "motions.npz", settings.walks, settings.seed, progress)
    context = settings.kernel > 1
    batches = BodyBatches(motions, settings.batch, settings.frames, settings.seed, context)
    return fit(BodyTask(settings, held_out(settings)), batches, settings)


def held_out(settings: BodyTrainSettings) -> BodyBatches:
    """Return walks that are not learnt from."""
    motions = Motions.made(settings.out / "held-out.npz", 48, settings.seed + 1_000)
    return BodyBatches(motions, 32, settings.frames, settings.seed + 1_000, settings.kernel > 1)


def export_network(settings: BodyTrainSettings, path: Path) -> float:
    """Write the trained network as `app.body.lift` reads it."""
    network = load_trained(BodyNetwork(settings.width, settings.kernel), settings.out, "body network")
    with torch.inference_mode():
        figures = BodyTask(settings, held_out(settings)).check(network)
    text = f"MPJPE {figures['mpjpe']:.0f} mm, azimuth {figures['azimuth']:.1f} degrees on simulated keypoints"
    return export(
        network, {"features": torch.randn(1, 40, FEATURES, generator=torch.Generator().manual_seed(0))}, ["body"], path,
        dynamic={name: {0: "batch", 1: "frames"} for name in ("features", "body")},
        metadata={"kind": "lift26", "rate": f"{RATE:g}", "licence": "Apache-2.0", "figures": text}, storage="int8",
    )  # fmt: skip
