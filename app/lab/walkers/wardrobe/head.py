"""Hair, hats, eyes and brows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.body.skeleton import JOINT
from app.lab.walkers.renderer import STRANDS, Material
from app.lab.walkers.wardrobe.fitting import Fitting, Piece, only
from app.lab.walkers.wardrobe.mesh import Mesh, ellipsoid, strip
from app.lab.walkers.wardrobe.outfit import Hat, Outfit
from app.lab.walkers.wardrobe.palette import lighter
from app.types import Floats

_THICKNESS = {"cropped": 0.006, "short": 0.016, "long": 0.018, "bun": 0.012}
"""How far hair stands off, m."""


def hair_and_hat(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """Hair lies flat under a hat or a hood, and a hood hides the rest."""
    style, covered = outfit.hair_style, outfit.hooded or outfit.hat is not None
    head = fit.surface("body").above(fit.head_share, 0.6)
    material = Material(outfit.hair, lighter(outfit.hair, 1.5), STRANDS, gloss=0.18)
    if style != "bald":
        cap = head.above(fit.scalp, -0.006)
        taper = np.clip((fit.scalp(cap) + 0.006) / 0.05, 0.12, 1.0)
        thick = 0.006 if covered else _THICKNESS[style]
        yield cap.smoothed(6).inflated((thick * taper + 0.002).astype(np.float32)), material
    if style == "long" and not outfit.hooded:
        back = fit.surface("helper-hair").above(fit.height, float(fit.joints[JOINT["neck"], 2] - 0.09))
        yield back.below(fit.ahead, float(fit.ear[0]) + 0.015).smoothed(2).inflated(0.004), material
    if style == "bun" and not covered:
        middle = fit.ear + np.array([-0.115, 0, 0.045], np.float32)
        yield ellipsoid(middle, (0.04, 0.045, 0.04), only(JOINT["head"])), material
    if outfit.hat is not None and not outfit.hooded:
        yield from _hat(fit, head, outfit.hat, Material(outfit.hat_colour, fold=0.25))


def _hat(fit: Fitting, head: Mesh, kind: Hat, material: Material) -> Iterator[Piece]:
    def tilted(mesh: Mesh) -> Floats:
        """Height above a plane through the ears that rises to the front."""
        return np.asarray(0.96 * (mesh.vertices[:, 2] - fit.ear[2]) - 0.25 * (mesh.vertices[:, 0] - fit.ear[0]))

    crown = head.above(tilted, 0.03 if kind == "beanie" else 0.038).smoothed(12)
    yield crown.inflated(0.024 if kind == "beanie" else 0.02), material
    if kind == "beanie":
        return
    rim = crown.vertices[np.argsort(tilted(crown))[: max(8, len(crown.vertices) // 8)]]
    middle = rim.mean(axis=0)
    radius = float(np.linalg.norm(rim[:, :2] - middle[:2], axis=1).max()) + 0.014
    if kind == "brimmed":
        angles = np.linspace(-np.pi, np.pi, 33)
        reach = np.full_like(angles, radius + 0.042)
    else:  # the peak of a cap
        angles = np.linspace(-1.05, 1.05, 17)
        reach = radius + 0.06 * np.cos(angles / 1.05 * np.pi / 2) ** 0.5
    lines = []
    for distance, drop in ((np.full_like(angles, radius), 0.0), (reach, -0.012)):
        x, y = np.cos(angles) * distance, np.sin(angles) * distance
        lines.append(np.stack([x, y, drop + 0.26 * x + 0.004], 1) + middle)
    yield strip(lines[0], lines[1], only(JOINT["head"])), material


def eyes(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """Eyes and brows: small, but a face without them looks dead even from afar."""
    weights = only(JOINT["head"])
    for eye in fit.face[1:3]:
        ball = eye + np.array([0.014, 0, 0], np.float32)
        yield ellipsoid(ball, (0.006, 0.008, 0.006), weights), Material((0.08, 0.09, 0.11))
        brow = eye + np.array([0.018, 0.0, 0.021], np.float32)
        yield ellipsoid(brow, (0.007, 0.019, 0.0032), weights), Material(lighter(outfit.hair, 0.8))
