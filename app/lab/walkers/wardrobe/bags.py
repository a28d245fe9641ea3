"""Handbags, backpacks, trolleys, shopping bags; and the phone in the hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.body.skeleton import JOINT, SIDES, Side
from app.lab.walkers.choices import Burden
from app.lab.walkers.renderer import Material
from app.lab.walkers.wardrobe.fitting import HANGING, TROLLEY, Fitting, Piece, grip, only
from app.lab.walkers.wardrobe.mesh import Mesh, ellipsoid, strip
from app.lab.walkers.wardrobe.outfit import Outfit
from app.types import Floats

WHEEL = (0.09, 0.035)
"""A trolley's wheels: how far in front of its middle, and their radius, m."""
_DARK = Material((0.08, 0.08, 0.09))


@dataclass(frozen=True)
class _InHand:
    """A bag that hangs from a hand: `radii` m, how far its middle is below the hand, how wide the handle is, m."""

    radii: tuple[float, float, float]
    hang: float
    grip: float
    power: float


_IN_HAND: dict[Burden, _InHand] = {
    "handbag": _InHand((0.17, 0.055, 0.12), 0.27, 0.10, 5.0),
    "briefcase": _InHand((0.20, 0.045, 0.14), 0.20, 0.06, 8.0),
    "carrier": _InHand((0.15, 0.07, 0.19), 0.34, 0.08, 3.0),
}


def bag(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """What is carried, if anything."""
    if outfit.bag == "backpack":
        yield from _backpack(fit, outfit)
    elif outfit.bag == "trolley":
        yield from _trolley(fit, outfit)
    elif outfit.bag == "shoulder bag":
        yield from _shoulder_bag(fit, outfit)
    elif outfit.bag == "carriers":
        for side in SIDES:
            yield from _hand_bag(fit, outfit, side, _IN_HAND["carrier"])
    elif outfit.bag is not None:
        yield from _hand_bag(fit, outfit, outfit.bag_side, _IN_HAND[outfit.bag])
    if outfit.hands in ("phone", "calling"):
        hand = grip(fit.joints, outfit.hands_side)
        yield ellipsoid(hand, (0.035, 0.006, 0.075), only(JOINT[f"wrist_{outfit.hands_side}"]), 6.0), _DARK


def _backpack(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    size, only_chest = fit.size * outfit.bag_size, only(JOINT["chest"])
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


def _hand_bag(fit: Fitting, outfit: Outfit, side: Side, shape: _InHand) -> Iterator[Piece]:
    size, weights = fit.size * outfit.bag_size, only(HANGING[side])
    hand = grip(fit.joints, side)
    length, width, height = (size * value for value in shape.radii)
    body = hand - np.array([0, 0, shape.hang * size], np.float32)
    yield ellipsoid(body, (length, width, height), weights, shape.power), outfit.bag_material
    for handle in _handle(hand, body + np.array([0, 0, height - 0.01 * size], np.float32), shape.grip * size, weights):
        yield handle, outfit.bag_material


def _shoulder_bag(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """A bag at the hip, its strap over the other shoulder. It moves with the pelvis, the strap with the clothes."""
    size, sign = fit.size, 1.0 if outfit.bag_side == "l" else -1.0
    hip, neck = fit.joints[JOINT["hip_l"]], fit.joints[JOINT["neck"]]
    near_hip = np.abs(fit.tights.vertices[:, 2] - hip[2]) < 0.08
    beside = float(np.abs(fit.tights.below(fit.arm_share, 0.1).vertices[:, 1]).max(initial=0.1))
    trunk = fit.tights.vertices[near_hip & (fit.arm_share(fit.tights) < 0.1)]
    beside = float(np.abs(trunk[:, 1]).max()) if len(trunk) else beside
    ease = 0.02 + outfit.loose + (0.022 if outfit.coat is not None else 0.0)
    scale = size * outfit.bag_size
    middle = np.array([0.0, sign * (beside + ease + 0.05 * scale), hip[2] - 0.03], np.float32)
    yield ellipsoid(middle, (0.16 * scale, 0.05 * scale, 0.13 * scale), only(JOINT["pelvis"]), 4.0), outfit.bag_material
    top, bottom = np.array([-sign * 0.085 * size, neck[2]]), np.array([sign * beside, hip[2]])
    along = (bottom - top) / np.linalg.norm(bottom - top)

    def beside_strap(mesh: Mesh) -> Floats:
        return np.asarray(np.abs((mesh.vertices[:, 1] - top[0]) * along[1] - (mesh.vertices[:, 2] - top[1]) * along[0]))

    strap = fit.tights.below(fit.arm_share, 0.6).below(beside_strap, 0.02).above(fit.height, float(hip[2]))
    yield strap.smoothed(3).inflated(ease), _DARK


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
