"""The lifted body, made to agree better with the keypoints, with feet that do not slip.

A gradient descent over all frames of a walk at once (Adam, Kingma & Ba 2015), in the manner of SMPLify (Bogo et al.,
ECCV 2016): bones are constant because the body is one shape that turns its joints; the terms are named in `_WEIGHTS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.body.kinematics import finished, motion_of, poses_of, soles_of
from app.body.lift import Lifted, LiftingNetwork
from app.body.mannequin import COCO, STATURE, Mannequin
from app.body.observed import view_of
from app.body.skeleton import JOINT, JOINTS, PARENTS, Poses
from app.types import MIRRORED_KEYPOINTS, BodyMotion, GaitSequence

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = {"keypoints": 1.0, "lift": 0.3, "shape": 0.002, "jerk": 0.02, "slip": 0.3, "floor": 0.5, "limits": 0.5}
"""How much each term counts: how far keypoints are from where the camera sees the joints, in 3 % of the height and
without heed of those much farther away; how far the points are from the lifted ones, in 8 cm; the shape's numbers; how
jerkily joints and root move; how fast standing feet slip; feet above or below the floor; knees and elbows that are
bent the wrong way."""
_RATE = 0.02
_CHAIN = [(joint, PARENTS[joint]) for joint in range(1, len(JOINTS))]


def fitted(network: LiftingNetwork, walk: GaitSequence, mannequin: Mannequin, steps: int) -> BodyMotion:
    """Return the body of a walk after so many steps of the optimisation."""
    lifted = network.lift(walk)
    assert walk.keypoints is not None
    view = view_of(lifted.azimuth, lifted.elevation)
    start = motion_of(lifted.points, view, walk.keypoints, walk.frame_indices, walk.fps, mannequin)
    if len(walk) < 3:  # too short to tell how it moves
        return start
    shape, poses, azimuth, elevation = _Descent(walk, lifted, start, mannequin).run(steps)
    return finished(shape, poses, view_of(azimuth, elevation), walk.keypoints, walk.frame_indices, walk.fps, mannequin)


class _Descent:
    """The optimisation of one walk."""

    def __init__(self, walk: GaitSequence, lifted: Lifted, start: BodyMotion, mannequin: Mannequin) -> None:
        import torch

        tensor = torch.from_numpy
        assert walk.keypoints is not None
        self._seen, self._score = tensor(walk.keypoints[..., :2]), tensor(walk.keypoints[..., 2].clip(0.02, 1) ** 2)
        self._lifted = tensor(lifted.points)
        self._pace = tensor(np.diff(walk.frame_indices / walk.fps).astype(np.float32))
        count = len(mannequin.bones)
        self._mean, self._modes = tensor(mannequin.mean[count:]), tensor(mannequin.modes[:, count:])
        poses = poses_of(start)
        self._start = tensor(poses.rotations.astype(np.float32))
        self._stands = tensor(_standing(mannequin, start, poses, np.diff(walk.frame_indices / walk.fps)))
        self.turns = torch.zeros_like(self._start[..., 0]).requires_grad_()
        self.root = tensor(start.root).clone().requires_grad_()
        self.shape = tensor(start.shape).clone().requires_grad_()
        self.azimuth = tensor(np.unwrap(lifted.azimuth).astype(np.float32)).clone().requires_grad_()
        self.elevation = tensor(lifted.elevation).clone().requires_grad_()
        self.size = tensor(np.log(start.camera[:, 0])).clone().requires_grad_()

    def run(self, steps: int) -> tuple[np.ndarray, Poses, np.ndarray, np.ndarray]:
        """Return shape, poses, azimuth and elevation after so many steps."""
        import torch

        variables = [self.turns, self.root, self.shape, self.azimuth, self.elevation, self.size]
        optimiser = torch.optim.Adam(variables, lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 0.1 * _RATE)
        for _ in range(steps):
            optimiser.zero_grad()
            terms = self._terms()
            sum(_WEIGHTS[name] * term for name, term in terms.items()).backward()  # type: ignore[union-attr]
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            rotations = self._rotations().numpy()
            poses = Poses(self.root.numpy().copy(), rotations)
            return self.shape.clamp(-3, 3).numpy(), poses, self.azimuth.numpy(), self.elevation.numpy()

    def _rotations(self) -> Tensor:
        return self._start @ _turned(self.turns)

    def _unlike(self, seen: Tensor, size: Tensor) -> Tensor:
        """Return how far joints (T, 17, 2) px are from the keypoints. A limb may have been taken for the other one."""
        import torch

        scale = (0.03 * STATURE * size).square()
        square = (seen - self._seen).square().sum(-1) / scale
        other = (seen[:, MIRRORED_KEYPOINTS] - self._seen).square().sum(-1) / scale + _TAKEN
        square = torch.where(
            torch.tensor([joint in _LIMBS for joint in range(17)]), torch.minimum(square, other), square
        )
        return (self._score * square / (square + 1)).sum() / self._score.sum()

    def _terms(self) -> dict[str, Tensor]:
        import torch

        rest = self._mean + torch.tensordot(self.shape, self._modes, 1)
        joints, rotations = _moved(rest[: len(JOINTS)], self._rotations())
        head = JOINT["head"]
        face = (rest[len(JOINTS) : -6] - rest[head]) @ rotations[head].mT + joints[:, head, None]
        points = torch.cat([joints, face], 1)
        soles = _soles(rest, joints, rotations) + self.root[:, None]
        size = self.size.exp()[:, None]
        flat = size[..., None] * (points[:, COCO] @ _view(self.azimuth, self.elevation).mT)[..., :2]
        weight = self._score[..., None]
        middle = (weight * (self._seen - flat)).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        placed = torch.cat([points, soles], 1)
        placed = torch.cat([placed[:, :-6] + self.root[:, None], placed[:, -6:]], 1)
        speed = placed.diff(dim=0) / self._pace[:, None, None]
        views = torch.stack([self.azimuth, self.elevation, self.size], 1)
        view_speed = views.diff(dim=0) / self._pace[:, None]
        step = 0.5 * (self._pace[1:] + self._pace[:-1])[:, None]
        standing = self._stands
        return {
            "keypoints": self._unlike(flat + middle, size),
            "lift": (points - self._lifted).square().sum(-1).mean() / 0.08**2,
            "shape": self.shape.square().mean(),
            "jerk": (speed.diff(dim=0) / step[..., None]).square().sum(-1).mean() / 25
            + ((view_speed.diff(dim=0) / step).square() * torch.tensor([1.0, 4.0, 4.0])).sum(-1).mean()
            + 4 * (self.root.diff(dim=0) / self._pace[:, None]).diff(dim=0).square().sum(-1).mean(),
            "slip": (standing * speed[:, -6:].square().sum(-1)).sum() / standing.sum().clamp(min=1) / 0.1,
            "floor": soles[..., 2].clamp(max=0).square().mean() / 0.02**2
            + (standing * (0.5 * (soles[1:, :, 2] + soles[:-1, :, 2])).square()).sum()
            / standing.sum().clamp(min=1)
            / 0.02**2,
            "limits": _wrongly_bent(rest, joints, rotations),
        }


_LIMBS = (9, 10, 13, 14, 15, 16)
_TAKEN = 0.5
"""What it costs to take wrist, knee or ankle for that of the other side: from the side, pose networks often do."""


def _standing(mannequin: Mannequin, start: BodyMotion, poses: Poses, pace: np.ndarray) -> np.ndarray:
    """Return how surely each of the six points of the soles stands still between two frames, float32 (T - 1, 6)."""
    soles = soles_of(mannequin.rest(start.shape), poses)
    low = np.maximum(soles[1:, :, 2], soles[:-1, :, 2])
    speed = np.linalg.norm(np.diff(soles, axis=0), axis=-1) / pace[:, None]
    return np.asarray(np.exp(-np.square(low / 0.04) - np.square(speed / 0.6)), np.float32)


def _turned(vectors: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) about vectors (..., 3) by their lengths in radians (Rodrigues)."""
    import torch

    angle = (vectors.square().sum(-1, keepdim=True) + 1e-12).sqrt()[..., None]
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return torch.eye(3) + angle.sin() / angle * cross + (1 - angle.cos()) / angle**2 * (cross @ cross)


def _moved(rest: Tensor, rotations: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return joints (T, 21, 3) from the pelvis and their rotations in the walking frame, 21 times (T, 3, 3)."""
    import torch

    places, turns = [torch.zeros_like(rotations[:, 0, :, 0])], [rotations[:, 0]]
    for joint, parent in _CHAIN:
        places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
        turns.append(turns[parent] @ rotations[:, joint])
    return torch.stack(places, 1), turns


def _soles(rest: Tensor, joints: Tensor, rotations: list[Tensor]) -> Tensor:
    """Return heel, ball and tip of both soles from the pelvis, (T, 6, 3)."""
    import torch

    feet = []
    for side, name in enumerate("lr"):
        for point in range(3):
            joint = JOINT[f"{'toe' if point == 2 else 'ankle'}_{name}"]
            feet.append(joints[:, joint] + rotations[joint] @ (rest[3 * side + point - 6] - rest[joint]))
    return torch.stack(feet, 1)


def _view(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """`app.body.observed.view_of` with gradients."""
    import torch

    ca, sa, ce, se = azimuth.cos(), azimuth.sin(), elevation.cos(), elevation.sin()
    rows = [-sa, ca, torch.zeros_like(ca), se * ca, se * sa, -ce, -ce * ca, -ce * sa, -se]
    return torch.stack(rows, -1).reshape(*ca.shape, 3, 3)


def _wrongly_bent(rest: Tensor, joints: Tensor, rotations: list[Tensor]) -> Tensor:
    """Return how far shanks go forward of thighs and forearms backward of upper arms, in 0.1 of their length."""
    total = joints.new_zeros(())
    for upper, lower, end, forward in (("hip", "knee", "ankle", 1.0), ("shoulder", "elbow", "wrist", -1.0)):
        for side in "lr":
            a, b, c = (JOINT[f"{name}_{side}"] for name in (upper, lower, end))
            bone, still = joints[:, c] - joints[:, b], rest[c] - rest[b]
            along = (rotations[a].mT @ bone[..., None])[:, 0, 0] / still.norm()
            # A straight limb has its lower half in the line of its upper one.
            straight = (rest[b] - rest[a])[0] / (rest[b] - rest[a]).norm()
            total = total + (forward * (along - straight)).clamp(min=0).square().mean() / 0.1**2
    return total
