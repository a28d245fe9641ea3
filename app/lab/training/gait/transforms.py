"""Augmentations of walks, under OpenGait's names where OpenGait has them.

The transforms of pictures are those of GaitBase (Fan et al., CVPR 2023, section 4: flip, rotation, perspective, affine)
and random erasing (Zhong et al., AAAI 2020, section 3). The transforms of skeletons are those of GaitGraph (Teepe et
al., ICIP 2021, section 3.3; CVPRW 2022). `Deform` and `PoorSegmentation` are ours. All frames of a walk are changed
alike, unless the class says otherwise. Where the papers do not give a magnitude, it is our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, get_type_hints

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.errors import SettingsError
from app.gait.models.smplgait import mirrored
from app.gait.opengait.loading import each_transform
from app.lab.training.gait.rules import Rule, one_of, read, sections, take
from app.lab.training.gait.walks import Form, WalkArray
from app.lab.training.settings import Count
from app.lab.training.silhouettes import worsened
from app.settings import Amount, Share
from app.types import MIRRORED_KEYPOINTS, MIRRORED_PARTS, Bytes, Floats
from app.yaml_files import validated

_OTHER_SIDE = np.array(MIRRORED_PARTS, np.uint8)
"""The label of the same part on the other side of the body, by the label: see `app.types.BODY_PARTS`."""


@dataclass(frozen=True)
class Transform:
    """Changes a walk with probability `prob`."""

    spoils: ClassVar[bool] = False
    """Whether it imitates a poor segmenter, which walks that a segmenter has cut out do not need."""
    prob: Share = 0.5
    labels: bool = field(default=False, kw_only=True)
    """Whether pictures are labels of body parts, which cannot be mixed. The form of the walks says so."""

    @classmethod
    def fits(cls, form: Form) -> bool:
        """Whether it can change walks of this form."""
        return form != "keypoints"

    @property
    def mixing(self) -> int:
        """How OpenCV finds what lies between pixels."""
        return cv2.INTER_NEAREST if self.labels else cv2.INTER_LINEAR

    def at(self, progress: float) -> Transform:
        """Return the transform as it is after this share of the training, 0..1."""
        return self

    def __call__(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        """Return the walk, changed or not. The array that is given is never written to."""
        if rng.random() >= self.prob:
            return walk
        if walk.dtype.names is None:
            return self.change(walk, rng)
        bodies = walk.copy()
        if "parsing" in walk.dtype.names:  # both are changed alike
            again = deepcopy(rng)
            bodies["parsing"] = self.change(walk["parsing"], rng)
            bodies["silhouettes"] = replace(self, labels=False).change(walk["silhouettes"], again)
            return bodies
        bodies["silhouettes"], bodies["smpl"] = self.change(walk["silhouettes"], rng), self.change_smpl(walk["smpl"])
        return bodies

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        """Return the changed walk."""
        raise NotImplementedError

    def change_smpl(self, smpl: Floats) -> Floats:
        """Return the SMPL parameters (T, 85) of the changed silhouettes. Only a flip changes them much."""
        return smpl


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Exchanges left and right."""

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        walk = np.ascontiguousarray(walk[..., ::-1])
        if self.labels:
            labels = walk if walk.ndim == 3 else walk[:, -1]
            labels[:] = _OTHER_SIDE[labels]
        return walk

    def change_smpl(self, smpl: Floats) -> Floats:
        return mirrored(smpl)


@dataclass(frozen=True)
class RandomRotate(Transform):
    """Rotates by up to `degree` to either side, around the centre."""

    degree: Amount = 10.0

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        rows, columns = walk.shape[-2:]
        angle = float(rng.uniform(-self.degree, self.degree))
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
        return _each(walk, lambda frame: cv2.warpAffine(frame, matrix, (columns, rows), flags=self.mixing))


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Rotates by up to `degree`, and moves three of the corners by up to `shift` px."""

    degree: Amount = 10.0
    shift: Amount = 4.0

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        rows, columns = walk.shape[-2:]
        corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1]], np.float32)
        angle = float(rng.uniform(-self.degree, self.degree))
        turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
        places = cv2.transform(corners[None], turn)[0] + rng.uniform(-self.shift, self.shift, (3, 2))
        matrix = cv2.getAffineTransform(corners, places.astype(np.float32))
        return _each(walk, lambda frame: cv2.warpAffine(frame, matrix, (columns, rows), flags=self.mixing))


@dataclass(frozen=True)
class RandomPerspective(Transform):
    """Changes the perspective: corners up to `shift` px further inside are moved to the corners of the picture."""

    shift: Amount = 10.0

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        rows, columns = walk.shape[-2:]
        corners = np.array([[0, 0], [columns - 1, 0], [columns - 1, rows - 1], [0, rows - 1]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        places = corners + inwards * rng.uniform(0, self.shift, (4, 2)) * [columns / rows, 1.0]
        matrix = cv2.getPerspectiveTransform(places.astype(np.float32), corners)
        return _each(walk, lambda frame: cv2.warpPerspective(frame, matrix, (columns, rows), flags=self.mixing))


@dataclass(frozen=True)
class RandomErasing(Transform):
    """Blackens a rectangle that takes `sl` to `sh` of the picture; its sides are as `r1` to 1 / `r1`.

    With `per_frame` a rectangle is drawn for each frame, otherwise one for the whole walk.
    """

    sl: Share = 0.05
    sh: Share = 0.2
    r1: Annotated[float, Field(gt=0, le=1)] = 0.3
    per_frame: bool = False

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        walk = walk.copy()
        for frames in walk[:, None] if self.per_frame else [walk]:
            self._erase(frames, rng)
        return walk

    def _erase(self, frames: WalkArray, rng: np.random.Generator) -> None:
        rows, columns = frames.shape[-2:]
        for _ in range(100):
            area = rng.uniform(min(self.sl, self.sh), max(self.sl, self.sh)) * rows * columns
            ratio = rng.uniform(self.r1, 1 / self.r1)
            height, width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if height < rows and width < columns:
                top, left = int(rng.integers(0, rows - height)), int(rng.integers(0, columns - width))
                frames[..., top : top + height, left : left + width] = 0
                return


@dataclass(frozen=True)
class SilhouetteTransform(Transform):
    """A transform of pictures that show silhouettes and nothing else."""

    @classmethod
    def fits(cls, form: Form) -> bool:
        return form in ("silhouettes", "silhouettes of 128 rows")


@dataclass(frozen=True)
class _BandTransform(SilhouetteTransform):
    """Changes a band of rows of the silhouettes, the same in all frames: up to `most` of them, by up to `by` px."""

    prob: Share = 0.2
    most: Share = 0.5
    by: Count = 2

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        walk, rows = walk.copy(), walk.shape[-2]
        height = int(rng.integers(1, max(2, round(self.most * rows)) + 1))
        top = int(rng.integers(0, rows - height + 1))
        size = 2 * int(rng.integers(1, self.by + 1)) + 1
        for frame in walk[:, top : top + height]:
            frame[:] = self.change_band(frame, size)
        return walk

    def change_band(self, band: Bytes, size: int) -> Bytes:
        """Return a band of rows of one frame changed with a kernel of `size` px."""
        raise NotImplementedError


@dataclass(frozen=True)
class RandomPartDilate(_BandTransform):
    """Thickens a band of rows of the silhouettes."""

    def change_band(self, band: Bytes, size: int) -> Bytes:
        return np.asarray(cv2.dilate(band, np.ones((size, size), np.uint8)), np.uint8)


@dataclass(frozen=True)
class RandomPartBlur(_BandTransform):
    """Blurs a band of rows of the silhouettes and makes it black and white again, which rounds its outline."""

    by: Count = 3

    def change_band(self, band: Bytes, size: int) -> Bytes:
        return np.where(cv2.GaussianBlur(band, (size, size), 0) > 127, np.uint8(255), np.uint8(0))


@dataclass(frozen=True)
class Deform(SilhouetteTransform):
    """Rotates, shears and stretches a walk a little, and mirrors every other walk."""

    prob: Share = 1.0

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        rows, columns = walk.shape[-2:]
        angle, shear = np.radians(rng.normal(0, 2.0)), rng.normal(0, 0.02)
        stretch = np.exp(rng.normal(0, 0.04)) * (1 if rng.random() < 0.5 else -1)
        turn = np.array([[stretch, shear - np.sin(angle)], [np.sin(angle), 1.0]])
        centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
        matrix = np.concatenate([turn, (centre - turn @ centre)[:, None]], axis=1)
        return _each(walk, lambda frame: cv2.warpAffine(frame, matrix, (columns, rows), flags=self.mixing))


@dataclass(frozen=True)
class PoorSegmentation(Transform):
    """Spoils silhouettes as a poor segmenter would, frame by frame: see `app.lab.training.silhouettes.worsened`.

    `strength` is 0..1. It is reached after the share `ramp` of the training, and grows linearly until then.
    """

    spoils: ClassVar[bool] = True
    prob: Share = 0.6
    strength: Amount = 0.5
    ramp: Share = 0.0

    @classmethod
    def fits(cls, form: Form) -> bool:
        return form == "silhouettes"

    def at(self, progress: float) -> Transform:
        return replace(self, strength=self.strength * min(1.0, progress / self.ramp)) if self.ramp else self

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        return worsened(walk, self.strength, rng)


@dataclass(frozen=True)
class PoseTransform(Transform):
    """Changes keypoints."""

    @classmethod
    def fits(cls, form: Form) -> bool:
        return form == "keypoints"


@dataclass(frozen=True)
class FlipSequence(PoseTransform):
    """Reverses the walk in time."""

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        return walk[::-1].copy()


@dataclass(frozen=True)
class MirrorPoses(PoseTransform):
    """Mirrors each pose about its middle. Joints keep their names, so a left joint stays a left one."""

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        walk = walk.copy()
        walk[..., 0] = 2 * walk[..., 0].mean(1, keepdims=True) - walk[..., 0]
        return walk


@dataclass(frozen=True)
class InversePosesPre(PoseTransform):
    """Exchanges left and right joints."""

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        return walk[:, list(MIRRORED_KEYPOINTS)]


@dataclass(frozen=True)
class PointNoise(PoseTransform):
    """Adds noise of `std` px to every joint of every frame."""

    prob: Share = 1.0
    std: Amount = 0.15

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        return _shifted(walk, rng.normal(0, self.std, (len(walk), walk.shape[1], 2)))


@dataclass(frozen=True)
class JointNoise(PoseTransform):
    """Adds noise of `std` px to every joint, the same in all frames."""

    prob: Share = 1.0
    std: Amount = 0.5

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        return _shifted(walk, rng.normal(0, self.std, (1, walk.shape[1], 2)))


@dataclass(frozen=True)
class RandomMove(PoseTransform):
    """Moves the whole walk by up to `random_r` px, in x and in y."""

    prob: Share = 1.0
    random_r: tuple[Amount, Amount] = (4.0, 1.0)

    def change(self, walk: WalkArray, rng: np.random.Generator) -> WalkArray:
        reach = np.array(self.random_r)
        return _shifted(walk, rng.uniform(-reach, reach))


TRANSFORMS: Mapping[str, type[Transform]] = {
    kind.__name__: kind
    for kind in (
        RandomHorizontalFlip, RandomRotate, RandomAffine, RandomPerspective, RandomErasing, RandomPartDilate,
        RandomPartBlur, Deform, PoorSegmentation,
        FlipSequence, MirrorPoses, InversePosesPre, PointNoise, JointNoise, RandomMove,
    )
}  # fmt: skip
"""The transforms that a configuration can name."""
PREPARATIONS = {
    "BaseSilTransform": ("divsor", "img_shape"),
    "BaseSilCuttingTransform": ("divsor", "img_w"),
    "NoOperation": (),
    "NormalizeEmpty": (),
    "SkeletonInput": (),
    "GaitGraph1Input": ("joint_format",),
    "GaitGraph2Input": ("joint_format",),
    "GaitGraphMultiInput": ("joint_format",),
    "GaitTRMultiInput": ("joint_format",),
    "SelectSequenceCenter": ("sequence_length",),
    "RandomSelectSequence": ("sequence_length",),  # see `sequence_length`
}
"""Transforms of OpenGait that happen here in any case, and their keys: silhouettes are cut to 44 columns and scaled to
0..1, and a network computes itself what it needs from the joints. For ``NormalizeEmpty`` see `centres_missing`."""


def read_transforms(entries: Any, place: str, form: Form) -> tuple[Transform, ...]:
    """Read the list ``transform``, which may hold further lists in ``Compose`` or ``TwoView``, for walks of a form.

    `place` is the file and the name of the list, for messages.

    Raises:
        SettingsError: a name or key is unknown, a value is unusable, or a transform cannot change walks of this form.
    """
    transforms: list[Transform] = []
    for entry, inside in sections(entries, place):
        name = one_of(take(entry, "type", inside), (*TRANSFORMS, *PREPARATIONS, "Compose", "TwoView"), f"{inside}.type")
        if name in ("Compose", "TwoView"):
            transforms.extend(read_transforms(entry.pop("trf_cfg", []), f"{inside}.trf_cfg", form))
            read(entry, inside, {}, {})
        elif name in PREPARATIONS:
            read(entry, inside, {**dict.fromkeys(PREPARATIONS[name]), "cutting": _cutting}, {})
        else:
            kind = TRANSFORMS[name]
            if not kind.fits(form):
                raise SettingsError(f"{inside}.type: {name} is not for networks that take {form}.")
            rules: dict[str, Rule] = {each.name: each.name for each in fields(kind) if each.name != "labels"}
            values = read(entry, inside, {**rules, "probability": "prob"}, get_type_hints(kind, include_extras=True))
            transforms.append(kind(**values, labels="parsing" in form))
    return tuple(transforms)


def _cutting(columns: Any) -> Mapping[str, Any]:
    if columns not in (10, 20):
        raise ValueError(
            "silhouettes are read with 44 columns (10 are cut off at each side), or with 88 columns (20 are cut off)"
        )
    return {}


def two_views(transforms: object) -> bool:
    """Whether a ``transform`` list shows every walk twice, changed in two ways (``TwoView``)."""
    return any(entry.get("type") == "TwoView" for entry in each_transform(transforms))


def centres_missing(transforms: object) -> bool:
    """Whether a ``transform`` list puts missing joints into the middle of the pose (``NormalizeEmpty``)."""
    return any(entry.get("type") == "NormalizeEmpty" for entry in each_transform(transforms))


def sequence_length(transforms: object) -> int | None:
    """Return how many frames ``RandomSelectSequence`` takes, if the list has it."""
    every = each_transform(transforms)
    lengths = [one.get("sequence_length") for one in every if one.get("type") == "RandomSelectSequence"]
    where = "RandomSelectSequence.sequence_length"
    return next((validated(Count, length, where, SettingsError) for length in lengths if length is not None), None)


def _each(walk: WalkArray, change: Callable[[WalkArray], WalkArray]) -> WalkArray:
    """Change each picture of uint8 (T, ..., h, w) by itself."""
    flat = walk.reshape(-1, *walk.shape[-2:])
    return np.stack([change(frame) for frame in flat]).reshape(walk.shape)


def _shifted(walk: WalkArray, by: NDArray[np.float64]) -> Floats:
    walk = np.array(walk, np.float32)
    walk[..., :2] += by.astype(np.float32)
    return walk
