"""Calibrated silhouettes: those of a body that was fitted to a walk, all seen from the same side.

They have no clothes, no bags and none of a segmenter's errors, and show nothing of the camera's place; but only what
the fit has found of the body and its motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.body.mannequin import Mannequin
from app.body.render import Body, filled
from app.stages import BodyEstimator, GaitModel
from app.types import BodyMotion, Bytes, Embedding, Floats, GaitSequence
from app.walks.silhouette import normalise

SIDE = 90.0
"""The view in degrees from which bodies are drawn: 0 is the front, 90 the left side."""


def calibrated_silhouettes(motion: BodyMotion, view: float = SIDE) -> Bytes:
    """Return the silhouettes (T, 64, 64) of a body, in OpenGait's pre-treatment, from `view` degrees."""
    return silhouettes_of(Body(motion).vertices, Mannequin.load().faces, view)


def silhouettes_of(vertices: Floats, faces: NDArray[np.intp], view: float = SIDE) -> Bytes:
    """Return the silhouettes (T, 64, 64) of vertices (T, V, 3) m from the pelvis in the walking frame."""
    found = [normalise(filled(of_frame, faces, float(np.radians(view)))) for of_frame in vertices]
    return np.stack([np.zeros((64, 64), np.uint8) if silhouette is None else silhouette for silhouette in found])


class CalibratedGait(GaitModel):
    """A gait model that sees calibrated silhouettes in place of those of the video."""

    def __init__(self, gait: GaitModel, body: BodyEstimator) -> None:
        self._gait, self._body = gait, body
        # Another name, because its embeddings must not be compared with those of other silhouettes.
        self.card = replace(gait.card, name=f"{gait.card.name}-calibrated", keypoints=True)

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        motions = self._body.fit(walks)
        seen = [
            GaitSequence(walk.frame_indices, calibrated_silhouettes(motion), walk.fps, walk.keypoints)
            for walk, motion in zip(walks, motions, strict=True)
        ]
        return [replace(embedding, model_id=self.card.model_id) for embedding in self._gait.embed(seen)]
