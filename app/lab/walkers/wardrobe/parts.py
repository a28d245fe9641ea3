"""Which part of the body each face of a surface shows: labels of `app.types.BODY_PARTS`, and 0 for what is no body.

A face belongs to the part whose bones move it most, as far as its garment has that part. So the border between torso
and legs is where a top ends and trousers begin, which is what pictures show, and what people who label them draw.
"""

from __future__ import annotations

import numpy as np

from app.body.skeleton import JOINT
from app.lab.walkers.wardrobe.fitting import BONES, Fitting
from app.lab.walkers.wardrobe.mesh import Mesh
from app.types import BODY_PARTS, Bytes

_LABEL = {name: number for number, name in enumerate(BODY_PARTS, 1)}
_LEFT, _RIGHT = ("left", "l"), ("right", "r")
_TAILS = 0.1
"""Level (`Fitting.level`) below which a long coat is a dress."""
_CHEST, _THIGH, _KNEE = -0.6, 0.25, 0.6
"""Levels that tell what a shell of a suit is: a top begins above the first, and trousers or a skirt go below the
second. Below the third, each leg of trousers stays on its own side."""


def _of_each_bone() -> Bytes:
    table = np.zeros(BONES, np.uint8)  # bags hang from the bones that stay 0
    for joint in ("pelvis", "spine", "chest", "clavicle_l", "clavicle_r"):
        table[JOINT[joint]] = _LABEL["torso"]
    for joint in ("neck", "head"):
        table[JOINT[joint]] = _LABEL["head"]
    for name, side in (_LEFT, _RIGHT):
        for part, joints in (("arm", "shoulder elbow"), ("hand", "wrist"), ("leg", "hip knee"), ("foot", "ankle toe")):
            for joint in joints.split():
                table[JOINT[f"{joint}_{side}"]] = _LABEL[f"{name} {part}"]
    return table


_PART_OF_BONE = _of_each_bone()


def of_bones(mesh: Mesh) -> Bytes:
    """Return the part whose bones move each face most, uint8 (F,)."""
    bones_of = np.eye(len(BODY_PARTS) + 1, dtype=np.float32)[_PART_OF_BONE]
    shares = mesh.weights @ bones_of
    return np.asarray(shares[mesh.faces].sum(axis=1).argmax(axis=1), np.uint8)


def of_trousers(mesh: Mesh) -> Bytes:
    """Return the parts of trousers: the left or the right leg."""
    parts = _instead(of_bones(mesh), {"foot": "leg"})
    middle = mesh.vertices[:, 1][mesh.faces].mean(axis=1)
    nearer = np.where(middle > 0, np.uint8(_LABEL["left leg"]), np.uint8(_LABEL["right leg"]))
    return np.where(parts == _LABEL["torso"], nearer, parts)


def of_top(mesh: Mesh) -> Bytes:
    """Return the parts of a top or jacket: torso and arms, and a collar is torso."""
    parts = _instead(of_bones(mesh), {"hand": "arm"})
    other = [_LABEL[name] for name in ("head", "left leg", "right leg", "left foot", "right foot")]
    parts[np.isin(parts, other)] = _LABEL["torso"]
    return parts


def of_shoe(mesh: Mesh) -> Bytes:
    """Return the parts of shoes: whatever moves them, they are feet."""
    return _instead(of_bones(mesh), {"leg": "foot"})


def of_coat(mesh: Mesh, fit: Fitting) -> Bytes:
    """Return the parts of one piece of a long coat, whose tails are a dress."""
    parts = of_top(mesh)
    parts[(fit.level(mesh) > _TAILS)[mesh.faces].mean(axis=1) > 0.5] = _LABEL["dress"]
    return parts


def of_suit(mesh: Mesh, fit: Fitting) -> Bytes:
    """Return the parts of one shell of a suit: a top, trousers, a skirt, or all in one."""
    level = fit.level(mesh)
    ends = mesh.vertices[:, 1][mesh.faces]
    joined = bool(((ends.min(axis=1) <= 0) & (ends.max(axis=1) >= 0) & (level[mesh.faces].min(axis=1) > _KNEE)).any())
    if level.min() < _CHEST and level.max() > _KNEE:
        return of_coat(mesh, fit) if joined else _without_ends(of_bones(mesh))
    if level.min() < _CHEST or level.max() < _THIGH:
        return of_top(mesh)
    return dress(mesh) if joined else of_trousers(mesh)


def dress(mesh: Mesh) -> Bytes:
    """Return "dress" for every face."""
    return np.full(len(mesh.faces), _LABEL["dress"], np.uint8)


def head(mesh: Mesh) -> Bytes:
    """Return "head" for every face."""
    return np.full(len(mesh.faces), _LABEL["head"], np.uint8)


def nothing(mesh: Mesh) -> Bytes:
    """Return 0 for every face: it is no part of the body."""
    return np.zeros(len(mesh.faces), np.uint8)


def _without_ends(parts: Bytes) -> Bytes:
    """Return the parts of clothes that cover the whole body, but neither head nor hands nor feet."""
    parts = _instead(parts, {"foot": "leg", "hand": "arm"})
    parts[parts == _LABEL["head"]] = _LABEL["torso"]
    return parts


def _instead(parts: Bytes, others: dict[str, str]) -> Bytes:
    for part, other in others.items():
        for side in ("left", "right"):
            parts[parts == _LABEL[f"{side} {part}"]] = _LABEL[f"{side} {other}"]
    return parts
