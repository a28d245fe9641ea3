"""Handbags, backpacks and trolleys."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.lab.walkers.renderer import Material
from app.lab.walkers.skeleton import JOINT
from app.lab.walkers.wardrobe.fitting import HANGING, TROLLEY, Fitting, Piece, grip, only
from app.lab.walkers.wardrobe.mesh import Mesh, ellipsoid, strip
from app.lab.walkers.wardrobe.outfit import Outfit
from app.types import Floats

WHEEL = (0.09, 0.035)
"""A trolley's wheels: how far in front of its middle, and their radius, m."""
_DARK = Material((0.08, 0.08, 0.09))


def bag(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """What is carried, if anything."""
    if outfit.bag == "backpack":
        yield from _backpack(fit, outfit)
    elif outfit.bag == "handbag":
        yield from _handbag(fit, outfit)
    elif outfit.bag == "trolley":
        yield from _trolley(fit, outfit)


def _backpack(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    size, only_chest = fit.size, only(JOINT["chest"])
    back = float(fit.tights.below(fit.arm_share, 0.1).vertices[:, 0].min())
    chest, neck = fit.joints[JOINT["chest"], 2], fit.joints[JOINT["neck"], 2]
    middle = np.array([back - 0.07, 0, 0.55 * neck + 0.45 * chest - 0.03], np.float32)
    yield ellipsoid(middle, (0.10 * size, 0.155 * size, 0.22 * size), only_chest, 3.2), outfit.bag_material
    pocket = middle + np.array([-0.085 * size, 0, -0.08], np.float32)
    yield ellipsoid(pocket, (0.05 * size, 0.12 * size, 0.10 * size), only_chest, 3.5), outfit.bag_material
    for sign in (-1.0, 1.0):

        def beside_strap(mesh: Mesh, sign: float = sign) -> Floats:
            return np.asarray(np.abs(sign * mesh.vertices[:, 1] - 0.09 * size))

        # A strap over the shoulder is a cut of the top, pushed out.
        strap = fit.tights.below(fit.arm_share, 0.6).below(beside_strap, 0.022).above(fit.height, float(neck) - 0.33)
        ease = 0.018 + outfit.loose + (0.022 if outfit.coat is not None else 0.0)
        yield strap.smoothed(3).inflated(ease), _DARK


def _handbag(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    size, weights = fit.size, only(HANGING[outfit.bag_side])
    hand = grip(fit.joints, outfit.bag_side)
    body = hand - np.array([0, 0, 0.27 * size], np.float32)
    yield ellipsoid(body, (0.17 * size, 0.055 * size, 0.12 * size), weights, 5.0), outfit.bag_material
    for handle in _handle(hand, body + np.array([0, 0, 0.11 * size], np.float32), 0.10 * size, weights):
        yield handle, outfit.bag_material


def _handle(top: NDArray[np.floating], bottom: NDArray[np.floating], spread: float, weights: Floats) -> Iterator[Mesh]:
    """A thin band from one side of `bottom` over `top` to the other."""
    angles = np.linspace(0, np.pi, 17)
    line = np.stack([np.cos(angles) * spread, np.zeros_like(angles), np.sin(angles) * (top[2] - bottom[2])], 1) + bottom
    for across in 0.008 * np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]):
        yield strip(line - across, line + across, weights)


def _trolley(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """In the rest pose it stands upright under the hand; `app.lab.walkers.person.bone_transforms` tilts it."""
    weights, hand = only(TROLLEY), grip(fit.joints, outfit.bag_side)
    length = float(hand[2])
    foot = hand - np.array([0, 0, length], np.float32)
    yield ellipsoid(foot + np.array([0, 0, 0.31], np.float32), (0.12, 0.19, 0.26), weights, 6.0), outfit.bag_material
    for shift in (-0.10, 0.10):
        pole = foot + np.array([0.0, shift, (0.55 + length) / 2], np.float32)
        yield ellipsoid(pole, (0.008, 0.008, (length - 0.55) / 2), weights, 8.0), _DARK
        wheel = foot + np.array([WHEEL[0], shift * 1.5, WHEEL[1]], np.float32)
        yield ellipsoid(wheel, (WHEEL[1], 0.018, WHEEL[1]), weights), _DARK
    yield ellipsoid(hand, (0.012, 0.11, 0.012), weights, 8.0), _DARK
