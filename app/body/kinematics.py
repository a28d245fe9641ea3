"""From points in space to the rotations of joints, to a root that walks, and to a camera that sees them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from app.body.mannequin import COCO, Mannequin, Rest, bone_lengths, posed
from app.body.rotation import shortest
from app.body.skeleton import JOINT, JOINTS, PARENTS, Poses, forward_kinematics
from app.types import BodyMotion, Floats, Ints

_ALIGNED = {
    "pelvis": ("hip_l", "hip_r", "spine", "chest"),
    "chest": ("neck", "shoulder_l", "shoulder_r", "clavicle_l", "clavicle_r"),
}
"""Joints that turn with several others: which ones."""
_BETWEEN = {"spine": ("pelvis", "chest"), "neck": ("chest", "head")}
"""Joints that turn half as far as one of their neighbours against the other."""
_CHILD = {
    f"{joint}_{side}": f"{child}_{side}"
    for side in "lr"
    for joint, child in (("hip", "knee"), ("knee", "ankle"), ("ankle", "toe"), ("clavicle", "shoulder"),
                         ("shoulder", "elbow"), ("elbow", "wrist"))
}  # fmt: skip
_ORDER = ("pelvis", "chest", "head", "spine", "neck", *(name for name in JOINTS if name in _CHILD))


def motion_of(
    points: Floats, view: Floats, keypoints: Floats, frame_indices: Ints, fps: float, mannequin: Mannequin
) -> BodyMotion:
    """Return the motion of a body with constant bones that agrees with `points`, without changing how it is seen.

    Args:
        points: (T, 26, 3) m from the pelvis in the walking frame; see `app.body.mannequin`.
        view: (T, 3, 3) from the walking frame to the camera's axes.
        keypoints: (T, 17, 3) px and score.
    """
    shape = mannequin.shape_of(np.median(bone_lengths(points[:, : len(JOINTS)]), axis=0))
    rest = mannequin.rest(shape)
    rotations = rotations_of(points, rest)
    poses = Poses(np.zeros((len(points), 3), np.float32), rotations)
    root = walked(rest, poses, frame_indices / fps)
    return finished(shape, Poses(root, rotations), view, keypoints, frame_indices, fps, mannequin)


def finished(
    shape: Floats, poses: Poses, view: Floats, keypoints: Floats, frame_indices: Ints, fps: float, mannequin: Mannequin
) -> BodyMotion:
    """Return the motion of a body with the camera that sees it best, and how far it agrees with the keypoints."""
    joints = posed(mannequin.rest(shape), poses)[:, COCO]
    flat = ((joints - poses.root[:, None]) @ view.transpose(0, 2, 1))[..., :2].astype(np.float32)
    camera = camera_of(flat, keypoints)
    error = np.linalg.norm(camera[:, None, 1:] + camera[:, :1, None] * flat - keypoints[..., :2], axis=-1)
    # 5 % of the body's height is a wrong place for a keypoint.
    agrees = np.exp(-np.square(error / (0.05 * 1.7 * camera[:, :1])))
    confidence = (keypoints[..., 2] * agrees).mean(axis=1)
    rotations = Rotation.from_matrix(poses.rotations.reshape(-1, 3, 3)).as_rotvec().reshape(len(poses), -1, 3)
    return BodyMotion(
        frame_indices, fps, shape, rotations.astype(np.float32), poses.root, joints, view.astype(np.float32), camera,
        np.clip(confidence, 0, 1).astype(np.float32),
    )  # fmt: skip


def poses_of(motion: BodyMotion) -> Poses:
    """Return the poses of a motion."""
    rotations = Rotation.from_rotvec(motion.rotations.reshape(-1, 3)).as_matrix().reshape(-1, len(JOINTS), 3, 3)
    return Poses(motion.root, rotations.astype(np.float32))


def at_frames(motion: BodyMotion, frame_indices: Ints) -> BodyMotion:
    """Return a motion in other frames (T,) between its first and last one, interpolated between its own."""

    def between(values: Floats) -> Floats:
        flat = values.reshape(len(motion), -1)
        columns = [np.interp(frame_indices, motion.frame_indices, column) for column in flat.T]
        return np.stack(columns, 1).reshape(-1, *values.shape[1:]).astype(np.float32)

    return BodyMotion(
        frame_indices, motion.fps, motion.shape, between(motion.rotations), between(motion.root),
        between(motion.joints), _nearest_rotation(between(motion.view)).astype(np.float32), between(motion.camera),
        between(motion.confidence),
    )  # fmt: skip


def rotations_of(points: Floats, rest: Rest) -> Floats:
    """Return the rotations (T, 21, 3, 3) against the parents with which a body comes nearest to points (T, 26, 3).

    A bone turns the shortest way; pelvis, chest and head, which several points describe, turn with all of them.
    """
    still = np.concatenate([rest.skeleton.rest, rest.face]).astype(np.float64)
    world: dict[int, np.ndarray] = {}
    for name in _ORDER:
        joint = JOINT[name]
        if name == "head":
            own = slice(len(JOINTS), None)
            world[joint] = _aligned(still[own] - still[joint], points[:, own] - points[:, joint, None])
        elif name in _ALIGNED:
            others = [JOINT[other] for other in _ALIGNED[name]]
            world[joint] = _aligned(still[others] - still[joint], points[:, others] - points[:, joint, None])
        elif name in _BETWEEN:
            one, other = (world[JOINT[neighbour]] for neighbour in _BETWEEN[name])
            world[joint] = _nearest_rotation(one + other)
        else:
            child, parent = JOINT[_CHILD[name]], world[PARENTS[joint]]
            bone = parent @ (still[child] - still[joint])
            world[joint] = shortest(bone, points[:, child] - points[:, joint]).as_matrix() @ parent
    for joint, parent_of in enumerate(PARENTS):
        world.setdefault(joint, world[parent_of] if parent_of >= 0 else np.eye(3))
    turned = np.stack([world[joint] for joint in range(len(JOINTS))], 1)
    local = turned.copy()
    local[:, 1:] = turned[:, list(PARENTS[1:])].transpose(0, 1, 3, 2) @ turned[:, 1:]
    return local.astype(np.float32)


def soles_of(rest: Rest, poses: Poses) -> Floats:
    """Return heel, ball and tip of both soles, (T, 6, 3) m."""
    joints, rotations = forward_kinematics(rest.skeleton, poses)
    feet = []
    for side, name in enumerate("lr"):
        for point in range(3):
            joint = JOINT[f"{'toe' if point == 2 else 'ankle'}_{name}"]
            offset = rest.skeleton.sole[side, point] - rest.skeleton.rest[joint]
            feet.append(joints[:, joint] + rotations[:, joint] @ offset)
    return np.stack(feet, 1).astype(np.float32)


def walked(rest: Rest, poses: Poses, times: np.ndarray) -> Floats:
    """Return the pelvis (T, 3) m of somebody whose lower foot stands on the floor; `times` (T,) in s.

    The pelvis goes forward as fast as the standing foot goes backward under it.
    """
    soles = soles_of(rest, Poses(np.zeros_like(poses.root), poses.rotations))
    root = np.zeros((len(poses), 3), np.float32)
    root[:, 2] = -soles[..., 2].min(axis=1)
    if len(poses) > 1:
        height = soles[..., 2] + root[:, 2, None]
        pace = np.diff(times)
        backward = -np.diff(soles[..., 0], axis=0) / pace[:, None]
        # A foot that swings is low as well, but goes forward.
        stands = np.exp(-(height[1:] + height[:-1]) / 0.05 + np.clip(backward, -3, 3) / 0.5)
        speed = (stands * backward).sum(axis=1) / stands.sum(axis=1)
        speed = gaussian_filter1d(speed, 0.2 / float(np.median(pace)), mode="nearest")
        root[1:, 0] = np.cumsum(speed * pace)
    return root


def camera_of(flat: Floats, keypoints: Floats) -> Floats:
    """Return px a metre and x, y px of the pelvis (T, 3) that bring flat joints (T, 17, 2) m nearest to keypoints.

    The size changes slowly from frame to frame.
    """
    weight = np.clip(keypoints[..., 2:], 0.02, 1)
    total = weight.sum(axis=1)
    middle, seen = (weight * flat).sum(axis=1) / total, (weight * keypoints[..., :2]).sum(axis=1) / total
    across, seen_across = flat - middle[:, None], keypoints[..., :2] - seen[:, None]
    scale = np.sqrt((weight * seen_across**2).sum((1, 2)) / np.maximum((weight * across**2).sum((1, 2)), 1e-9))
    scale = np.exp(gaussian_filter1d(np.log(np.maximum(scale, 1e-3)), 3.0, mode="nearest"))
    return np.concatenate([scale[:, None], seen - scale[:, None] * middle], 1).astype(np.float32)


def _aligned(still: np.ndarray, seen: Floats) -> np.ndarray:
    """Return the rotations (T, 3, 3) that bring vectors (K, 3) nearest to `seen` (T, K, 3) (Kabsch 1976)."""
    return _nearest_rotation(np.einsum("tki,kj->tij", seen.astype(np.float64), still))


def _nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(matrices)
    sign = np.ones(matrices.shape[:-1])
    sign[..., 2] = np.linalg.det(left @ right)
    return np.asarray((left * sign[..., None, :]) @ right)
