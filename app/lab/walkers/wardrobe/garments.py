"""Trousers, skirts, tops, coats, suits and shoes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from app.body.skeleton import JOINT
from app.lab.walkers.renderer import Material
from app.lab.walkers.wardrobe.fitting import SOLE, Fitting, Piece
from app.lab.walkers.wardrobe.makehuman import Garment
from app.lab.walkers.wardrobe.mesh import Mesh
from app.lab.walkers.wardrobe.outfit import Outfit
from app.types import Floats

JACKET = 0.55
"""Level (`Fitting.level`) at which a longer jacket is a coat."""


def everyday(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """Trousers or a skirt, and a top; a coat hides the top, so that there is none under it."""
    waist = -0.30
    covered = outfit.coat is not None and not outfit.coat_open
    if covered:
        waist = min(outfit.coat_length, 0.3) - 0.12
    elif outfit.skirt is None:
        waist = outfit.hem - 0.12
    if outfit.skirt is None:
        yield _trousers(fit, outfit, waist), outfit.bottom
    else:
        yield _skirt(fit, waist, outfit.skirt, 0.008), outfit.bottom
    if not covered:
        hem = outfit.hem if outfit.skirt is None else -0.2
        # Under an open coat the top lies close, and its sleeves would show through those of the coat.
        under = outfit.coat is not None
        sleeve, loose = (-0.5, min(outfit.loose, 0.008)) if under else (outfit.sleeve, outfit.loose)
        yield _upper(fit, outfit, hem, sleeve, loose, 0.008, 6), outfit.top


def _trousers(fit: Fitting, outfit: Outfit, waist: float) -> Mesh:
    # What lies under the top is left out: two layers skinned alike would show through each other.
    cloth = fit.tights.below(fit.arm_share, 0.45).above(fit.level, waist).below(fit.level, outfit.leg)
    level = fit.level(cloth)
    ease = np.interp(level, [-0.3, 0.0, 0.5, 1.0, 2.0], [0.004, 0.008, 1.0, 1.0, 1.25])
    ease = np.where(level < 0.25, 0.008, np.maximum(0.008, ease * outfit.leg_loose))
    ease = np.where(level < 0.5, 0.008 + (np.maximum(level, 0) / 0.5) * (ease - 0.008), ease)
    ease = ease - 0.022 * np.clip(1 - (level - waist) / 0.10, 0, 1)  # the edge hides under the top
    return cloth.smoothed(4).inflated(ease.astype(np.float32))


def _skirt(fit: Fitting, start: float, end: float, ease: float) -> Mesh:
    """The skirt helper between two levels. It swings with the thighs, each side with its own."""
    skirt = fit.surface("helper-skirt").above(fit.level, start).below(fit.level, end)
    level, y = fit.level(skirt), skirt.vertices[:, 1]
    left = np.clip(0.5 + y / 0.11, 0, 1)
    left = left * left * (3 - 2 * left)
    hang = np.clip((level + 0.05) / 0.4, 0, 1)
    knee = hang * np.clip(0.45 * (level - 0.9), 0, 0.3)
    weights = np.zeros_like(skirt.weights)
    weights[:, JOINT["pelvis"]] = 1 - hang
    for side, share in (("l", left), ("r", 1 - left)):
        weights[:, JOINT[f"hip_{side}"]] = share * (hang - knee)
        weights[:, JOINT[f"knee_{side}"]] = share * knee
    amount = ease + np.interp(level, [0.0, 0.5], [0.0, 0.018])
    return replace(skirt.inflated(amount.astype(np.float32)), weights=weights)


def _upper(fit: Fitting, outfit: Outfit, hem: float, sleeve: float, ease: float, neck: float, rounds: int) -> Mesh:
    """A top down to the level `hem`, with sleeves up to the level `sleeve`, smoothed `rounds` times."""
    cloth = fit.tights.below(fit.level, hem).below(fit.arm, sleeve).below(fit.neckline, neck)
    level, arm = fit.level(cloth), fit.arm(cloth)
    # Tight at the shoulders, off the body at the waist and the hem, wider at the cuffs.
    arms = ease * (0.75 + 0.2 * np.clip(arm, 0, 1))
    trunk = ease * np.interp(level, [-1, -0.3], [0.8, 1.3])
    # Over the trousers, which widen from the hips on.
    trunk += np.interp(level, [-0.2, 0.0, 0.5], [0.0, 0.005, 0.005 + outfit.leg_loose])
    amount = np.where(arm > 0, arms, trunk)
    return cloth.smoothed(rounds).inflated((0.006 + amount).astype(np.float32))


def coat(fit: Fitting, outfit: Outfit, material: Material) -> Iterator[Piece]:
    """A jacket, or a coat with a skirt of its own, with or without a hood."""
    jacket = outfit.coat_length < JACKET
    ease = 0.030 if outfit.coat_open else 0.022
    pieces = [_upper(fit, outfit, outfit.coat_length if jacket else -0.2, 1.98, ease, 0.045, 10)]
    if not jacket:
        pieces.append(_skirt(fit, -0.42, outfit.coat_length, 0.034))
    for piece in pieces:
        yield (piece.above(_beside_the_front, 0.0) if outfit.coat_open else piece), material
    if outfit.hood:
        face = float(fit.ear[0]) + 0.035
        hood = fit.surface("body").above(fit.head_share, 0.5).below(fit.ahead, face)
        yield hood.smoothed(8).inflated(0.03), material


def _beside_the_front(mesh: Mesh) -> Floats:
    """Distance from the gap of an open coat, m: it is wider at the hem than at the collar."""
    x, y, z = mesh.vertices.T
    gap = np.interp(z, [z.min(), z.max()], [0.13, 0.05])
    return np.asarray(np.where(x > 0.0, np.abs(y) - gap, 1.0), np.float32)


def shoes(fit: Fitting, outfit: Outfit) -> Iterator[Piece]:
    """Shoes with soles of another colour, flat on the floor."""
    feet = fit.tights.above(fit.level, 1.86).below(fit.arm_share, 0.45).smoothed(2).inflated(0.009)
    feet.vertices[:, 2] = np.where(feet.vertices[:, 2] < SOLE + 0.012, 0.0, feet.vertices[:, 2])
    pale = sum(outfit.shoes.colour) < 0.8
    yield feet.above(fit.height, 0.022), outfit.shoes
    yield feet.below(fit.height, 0.022), Material((0.75, 0.76, 0.76) if pale else (0.5, 0.5, 0.5))


def suit(fit: Fitting, outfit: Outfit, garment: Garment) -> Iterator[Piece]:
    """A MakeHuman suit: it is several shells, and each is top, bottom or shoe by where its middle is."""
    for shell in garment.fitted(fit.points, fit.weights).shells():
        level = fit.level(shell)
        if np.median(level) > 1.75:
            material = outfit.shoes
        elif np.median(level) > 0.2 and level.max() > 0.6:
            material = outfit.bottom
        else:
            material = outfit.top
        yield shell.inflated(0.004), material
