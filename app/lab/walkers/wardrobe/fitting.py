"""A body as a tailor sees it: where its levels are, and the surfaces from which clothes are cut."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from app.body.skeleton import JOINT, JOINTS, Side
from app.lab.walkers.body import BodyModel, Shape
from app.lab.walkers.renderer import Material
from app.lab.walkers.wardrobe.mesh import Mesh, cloth_uv
from app.types import Floats

HANGING: dict[Side, int] = {"l": len(JOINTS), "r": len(JOINTS) + 1}
"""Extra bones: a bag that hangs from the left or right hand and stays upright."""
TROLLEY = len(JOINTS) + 2
"""Extra bone: a trolley pulled by the right or left hand, its wheels on the floor."""
BONES = len(JOINTS) + 3

SOLE = 0.018
"""Thickness of a shoe's sole, m."""

Piece: TypeAlias = tuple[Mesh, Material]
"""A surface and how it looks."""

_ARM = [JOINT[f"{part}_{side}"] for part in ("shoulder", "elbow", "wrist") for side in "lr"]


def only(bone: int) -> Floats:
    """Return the weights (BONES,) of what moves with one bone alone."""
    weights = np.zeros(BONES, np.float32)
    weights[bone] = 1.0
    return weights


def grip(joints: Floats, side: Side) -> Floats:
    """Return the middle of the fist in the rest pose, (3,) m, from the joints (21, 3)."""
    wrist, elbow = joints[JOINT[f"wrist_{side}"]], joints[JOINT[f"elbow_{side}"]]
    return np.asarray(wrist + 0.085 * (wrist - elbow) / np.linalg.norm(wrist - elbow), np.float32)


class Fitting:
    """A body that stands on soles.

    `points` (19158, 3), `joints` (21, 3) and `face` (5, 3) m; `weights` (19158, BONES); `size`, the stature over
    1.70 m; `tights`, the surface from which most clothes are cut. Its methods that take a mesh are the fields along
    which meshes are cut.
    """

    def __init__(self, model: BodyModel, shape: Shape) -> None:
        self._model = model
        lift = np.array([0.0, 0.0, SOLE], np.float32)
        self.points, self.joints, self.face = shape.vertices + lift, shape.joints + lift, shape.face_points + lift
        self.weights = np.pad(model.weights, ((0, 0), (0, BONES - len(JOINTS))))
        self.size = shape.traits.stature / 1.7
        self.ear: Floats = self.face[3:].mean(axis=0)
        self.tights = self.surface("helper-tights")

    def whole(self) -> Mesh:
        """Return the bare body, with all vertices of the model."""
        return Mesh(self.points, self.weights, self.points[:, 1:], self._model.faces["body"])

    def surface(self, group: str) -> Mesh:
        """Return one of the model's surfaces; cloth runs round trunk and legs, and along the arms."""
        mesh = Mesh(self.points, self.weights, cloth_uv(self.points), self._model.faces[group])
        along = self.arm(mesh)
        length = float(np.linalg.norm(self.joints[JOINT["shoulder_l"]] - self.joints[JOINT["elbow_l"]]))
        mesh.uv[:, 1] = np.where(along > -1, -along * length, mesh.uv[:, 1])
        return mesh.keep(np.ones(len(mesh.faces), bool))

    @staticmethod
    def ahead(mesh: Mesh) -> Floats:
        """How far in front, m."""
        return mesh.vertices[:, 0]

    @staticmethod
    def height(mesh: Mesh) -> Floats:
        """Height above the floor, m."""
        return mesh.vertices[:, 2]

    @staticmethod
    def arm_share(mesh: Mesh) -> Floats:
        """How much an arm moves the vertex, 0 to 1."""
        return np.asarray(mesh.weights[:, _ARM].sum(axis=1))

    @staticmethod
    def head_share(mesh: Mesh) -> Floats:
        """How much head and neck move the vertex, 0 to 1."""
        return np.asarray(mesh.weights[:, JOINT["head"]] + mesh.weights[:, JOINT["neck"]])

    def level(self, mesh: Mesh) -> Floats:
        """0 at the hips, 1 at the knees, 2 at the ankles; negative above; -1 in the arms."""
        z = mesh.vertices[:, 2]
        ankle, knee, hip = (self.joints[JOINT[f"{part}_l"], 2] for part in ("ankle", "knee", "hip"))
        value = np.where(z > knee, (hip - z) / (hip - knee), 1 + (knee - z) / (knee - ankle))
        return np.where(self.arm_share(mesh) > 0.5, -1.0, value).astype(np.float32)

    def arm(self, mesh: Mesh) -> Floats:
        """0 at the shoulder, 1 at the elbow, 2 at the wrist; -1 outside the arms."""
        value = np.full(len(mesh.vertices), -1.0)
        for side in "lr":
            joints = [JOINT[f"{part}_{side}"] for part in ("shoulder", "elbow", "wrist")]
            shoulder, elbow, wrist = self.joints[joints]
            share = [mesh.weights[:, joint] for joint in joints]
            upper = (mesh.vertices - shoulder) @ (elbow - shoulder) / np.sum((elbow - shoulder) ** 2)
            lower = 1 + (mesh.vertices - elbow) @ (wrist - elbow) / np.sum((wrist - elbow) ** 2)
            value = np.where(share[0] + share[1] + share[2] > 0.5, np.minimum(upper, np.maximum(lower, 1.0)), value)
            fore = share[1] + share[2] > 0.5
            value = np.where(fore, np.maximum(lower, np.minimum(upper, 1.0)), value)
        return value.astype(np.float32)

    def neckline(self, mesh: Mesh) -> Floats:
        """Height above a plane that lies around the neck, lower in front, m; -1 in the arms."""
        neck = self.joints[JOINT["neck"]]
        value = mesh.vertices[:, 2] - neck[2] + 0.55 * (mesh.vertices[:, 0] - neck[0])
        return np.where(self.arm_share(mesh) > 0.5, -1.0, value).astype(np.float32)

    def scalp(self, mesh: Mesh) -> Floats:
        """Height above the plane from the hairline over the ears to the nape, m."""
        x, _, z = (mesh.vertices - self.ear).T
        return np.asarray((-0.70 * x + 0.72 * z) / self.size)
