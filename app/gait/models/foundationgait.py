"""FoundationGait: "FoundationGait", arXiv:2512.00691, ECCV 2026.

DeepGaitV2's pseudo-3D network, made deeper and trained without names on two million walks in the way of GaitSSB
(`app.gait.models.gaitssb`): a student sees walks in bands, and should find each of them among the whole walks that its
teacher sees. The teacher is a moving average of the student. Embeddings are the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.gait.base import TemporalNetwork
from app.gait.layers import (
    BasicBlock,
    BasicBlockP3d,
    ConvNorm,
    PartClassifier,
    PartLinear,
    pool_pyramid,
    residual_stage,
)
from app.gait.models.gaitssb import SelfSupervised, cosines, predictor, projector

BANDS = (8, 4, 2, 1)
"""Into how many bands the student's walks are cut; a batch is divided among these numbers."""
_MOMENTUM = 0.99


class FoundationBackbone(nn.Module):
    """The network that teacher and student have alike."""

    def __init__(
        self, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int], bins: Sequence[int]
    ) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.stem = ConvNorm(1, widths[0])
        self.stages = nn.ModuleList()
        for before, width, depth, stride in zip([widths[0], *widths[:-1]], widths, depths, strides, strict=True):
            kind = BasicBlockP3d if len(self.stages) else BasicBlock
            self.stages.append(residual_stage(kind, before, width, depth, stride))
        self.projector = projector(sum(bins), widths[-1])
        self.predictor = predictor(sum(bins), widths[-1])

    def maps_of(self, walks: Tensor) -> Tensor:
        """Return the feature maps: (n, t, h, w) -> (n, c, t, h', w')."""
        x: Tensor = self.stages[0](F.relu(self.stem(walks.flatten(0, 1)[:, None]), inplace=True))
        x = x.reshape(*walks.shape[:2], *x.shape[1:]).transpose(1, 2)
        for stage in self.stages[1:]:
            x = stage(x)
        return x

    def maps_of_bands(self, walks: Tensor, bands: int) -> Tensor:
        """Return the feature maps of walks that are cut into bands of rows, each of which is seen alone.

        The second half of the walks is cut half a band higher, with zeros above and below, so that the cuts are not
        always at the same rows.
        """
        if bands == 1:
            return self.maps_of(walks)
        rows, half = walks.shape[2] // bands, len(walks) // 2
        parts = [walks[:half], F.pad(walks[half:], (0, 0, rows // 2, rows // 2))][0 if half else 1 :]
        cut = [torch.stack(torch.split(part, rows, 2), 1).flatten(0, 1) for part in parts]
        both = torch.split(self.maps_of(torch.cat(cut)), list(map(len, cut)))  # together, for the sake of the norms
        joined = []
        for seen, part in zip(both, parts, strict=True):
            maps = seen.reshape(len(part), -1, *seen.shape[1:]).permute(0, 2, 3, 1, 4, 5).flatten(3, 4)
            edge = (maps.shape[3] - bands * seen.shape[3]) // 2
            joined.append(maps[:, :, :, edge : maps.shape[3] - edge])
        return torch.cat(joined)

    def projected(self, maps: Tensor) -> Tensor:
        """Return the projector's features of maps: (n, c, t, h, w) -> (n, c, P)."""
        features: Tensor = self.projector(pool_pyramid(maps.amax(2), self.bins))
        return features


class FoundationGait(SelfSupervised, TemporalNetwork):
    """FoundationGait; published with `depths` 1, 4, 8, 4 and 1, 4, 32, 16.

    Args:
        channels: numbers per part in the embedding of a network that was trained further with names. None: it was not,
            and embeds with its teacher's predictor.
        student: whether the student is there, which only the training without names needs.
        scores: how many classes a network tells apart that was trained further for scoliosis, depression or attributes.
            Its embedding, (n, scores, 1), does not tell who walks. None: it was trained for recognition.
    """

    family: ClassVar[str] = "foundationgait"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (1, 4, 8, 4),
        strides: Sequence[int] = (1, 2, 2, 1),
        bins: Sequence[int] = (16, 8, 4, 2, 1),
        channels: int | None = None,
        student: bool = False,
        scores: int | None = None,
        classes: int | None = None,
        input_size: tuple[int, int] = (64, 44),
    ) -> None:
        super().__init__(input_size)
        parts = sum(bins)
        self.teacher = FoundationBackbone(widths, depths, strides, bins)
        self.student = FoundationBackbone(widths, depths, strides, bins) if student else None
        self.teacher.requires_grad_(not student)
        self.linear = PartLinear(parts, widths[-1], channels) if channels is not None else None
        self.grader = PartClassifier(1, widths[-1] * parts, scores) if scores is not None else None
        if channels is not None and classes is not None:
            self.classifier = PartClassifier(parts, channels, classes)

    def embed_walks(self, walks: Tensor) -> Tensor:
        projected = self.teacher.projected(self.teacher.maps_of(walks))
        if self.linear is not None:
            embedding: Tensor = self.linear(F.normalize(projected, dim=1))
            return embedding
        if self.grader is not None:
            graded: Tensor = self.grader(F.normalize(projected, dim=1).flatten(1)[..., None])
            return graded
        return F.normalize(self.teacher.predictor(projected), dim=1)

    def likeness(self, first: Tensor, second: Tensor) -> list[Tensor]:
        assert self.student is not None, "only a network with a student learns without names"
        with torch.no_grad():
            z = self.teacher.projected(self.teacher.maps_of(first))
        maps = [
            self.student.maps_of_bands(walks, bands)
            for walks, bands in zip(second.tensor_split(len(BANDS)), BANDS, strict=True)
        ]
        p = self.student.predictor(self.student.projected(torch.cat(maps)))
        return [cosines(p, z)]

    def begin(self) -> None:
        """Let the teacher begin as the student does."""
        if self.student is not None:
            self.teacher.load_state_dict(self.student.state_dict())

    def after_step(self, progress: float) -> None:
        """Move the teacher's parameters towards the student's; statistics of norms stay the teacher's own."""
        assert self.student is not None
        momentum = 1 - (1 - _MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        with torch.no_grad():
            for teacher, student in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                teacher.lerp_(student, 1 - momentum)
