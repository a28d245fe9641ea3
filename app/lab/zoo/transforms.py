"""What is done to a walk before it is learnt from, under OpenGait's names.

The changes of pictures are those of GaitBase (Fan et al., CVPR 2023, section 4: flip, rotation, perspective, affine)
and random erasing (Zhong et al., AAAI 2020, section 3); those of skeletons GaitGraph's (Teepe et al., ICIP 2021,
section 3.3; CVPRW 2022). All frames of a walk are changed alike, unless a setting says otherwise. Sizes that the papers
leave open are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError
from app.gait.models.gaitgraph import MIRRORED
from app.gait.models.smplgait import mirrored
from app.lab.zoo.sections import Section
from app.types import Floats

Walk = NDArray[Any]
"""Pictures uint8 (T, ..., h, w), keypoints float32 (T, 17, 3): x, y px and score, or `bodies` (T,) of a data set."""


@dataclass(frozen=True)
class Transform:
    """Changes a walk with probability `prob`."""

    pictures: ClassVar[bool] = True
    """Whether it is meant for pictures, or else for keypoints."""
    prob: float = 0.5

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Walk:
        """Return the walk, changed or not; the one given stays as it is."""
        if rng.random() >= self.prob:
            return walk
        if walk.dtype.names is None:
            return self.changed(walk, rng)
        bodies = walk.copy()
        bodies["silhouettes"], bodies["smpl"] = self.changed(walk["silhouettes"], rng), self.changed_smpl(walk["smpl"])
        return bodies

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        """Return the changed walk."""
        raise NotImplementedError

    def changed_smpl(self, smpl: Floats) -> Floats:
        """Return the SMPL parameters (T, 85) of the changed silhouettes: only a mirror changes much of them."""
        return smpl


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Left and right exchanged."""

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        return np.ascontiguousarray(walk[..., ::-1])

    def changed_smpl(self, smpl: Floats) -> Floats:
        return mirrored(smpl)


@dataclass(frozen=True)
class RandomRotate(Transform):
    """Turned by up to `degree` to either side, around the middle."""

    degree: float = 10.0

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        rows, columns = walk.shape[-2:]
        angle = float(rng.uniform(-self.degree, self.degree))
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
        return _each(walk, lambda frame: cv2.warpAffine(frame, matrix, (columns, rows)))


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Turned by up to `degree`, and three of its corners moved by up to `shift` px."""

    degree: float = 10.0
    shift: float = 4.0

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        rows, columns = walk.shape[-2:]
        corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1]], np.float32)
        angle = float(rng.uniform(-self.degree, self.degree))
        turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
        moved = cv2.transform(corners[None], turn)[0] + rng.uniform(-self.shift, self.shift, (3, 2))
        matrix = cv2.getAffineTransform(corners, moved.astype(np.float32))
        return _each(walk, lambda frame: cv2.warpAffine(frame, matrix, (columns, rows)))


@dataclass(frozen=True)
class RandomPerspective(Transform):
    """Seen from elsewhere: each corner moves inwards by up to `shift` px, and the picture between is spread out."""

    shift: float = 10.0

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        rows, columns = walk.shape[-2:]
        corners = np.array([[0, 0], [columns - 1, 0], [columns - 1, rows - 1], [0, rows - 1]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        places = corners + inwards * rng.uniform(0, self.shift, (4, 2)) * [columns / rows, 1.0]
        matrix = cv2.getPerspectiveTransform(places.astype(np.float32), corners)
        return _each(walk, lambda frame: cv2.warpPerspective(frame, matrix, (columns, rows)))


@dataclass(frozen=True)
class RandomErasing(Transform):
    """A rectangle is blackened: of `sl` to `sh` of the picture, its sides as `r1` to 1 / `r1`.

    `per_frame` draws one for each frame, else one for the walk.
    """

    sl: float = 0.05
    sh: float = 0.2
    r1: float = 0.3
    per_frame: bool = False

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        walk = walk.copy()
        for frames in walk[:, None] if self.per_frame else [walk]:
            self._erase(frames, rng)
        return walk

    def _erase(self, frames: Walk, rng: np.random.Generator) -> None:
        rows, columns = frames.shape[-2:]
        for _ in range(100):
            area = rng.uniform(self.sl, self.sh) * rows * columns
            ratio = rng.uniform(self.r1, 1 / self.r1)
            height, width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if height < rows and width < columns:
                top, left = int(rng.integers(0, rows - height)), int(rng.integers(0, columns - width))
                frames[..., top : top + height, left : left + width] = 0
                return


@dataclass(frozen=True)
class FlipSequence(Transform):
    """The walk backwards."""

    pictures: ClassVar[bool] = False

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        return walk[::-1].copy()


@dataclass(frozen=True)
class MirrorPoses(Transform):
    """Each pose mirrored about its middle; left joints stay called left."""

    pictures: ClassVar[bool] = False

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        walk = walk.copy()
        walk[..., 0] = 2 * walk[..., 0].mean(1, keepdims=True) - walk[..., 0]
        return walk


@dataclass(frozen=True)
class InversePosesPre(Transform):
    """Left and right joints exchanged."""

    pictures: ClassVar[bool] = False

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        return walk[:, list(MIRRORED)]


@dataclass(frozen=True)
class PointNoise(Transform):
    """Noise of `std` px on every joint of every frame."""

    pictures: ClassVar[bool] = False
    prob: float = 1.0
    std: float = 0.15

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        return _moved(walk, rng.normal(0, self.std, (len(walk), walk.shape[1], 2)))


@dataclass(frozen=True)
class JointNoise(Transform):
    """Noise of `std` px on every joint, the same in all frames."""

    pictures: ClassVar[bool] = False
    prob: float = 1.0
    std: float = 0.5

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        return _moved(walk, rng.normal(0, self.std, (1, walk.shape[1], 2)))


@dataclass(frozen=True)
class RandomMove(Transform):
    """The whole walk moved by up to `random_r` px, in x and in y."""

    pictures: ClassVar[bool] = False
    prob: float = 1.0
    random_r: tuple[float, float] = (4.0, 1.0)

    def changed(self, walk: Walk, rng: np.random.Generator) -> Walk:
        reach = np.array(self.random_r)
        return _moved(walk, rng.uniform(-reach, reach))


TRANSFORMS: Mapping[str, type[Transform]] = {
    kind.__name__: kind
    for kind in (
        RandomHorizontalFlip, RandomRotate, RandomAffine, RandomPerspective, RandomErasing,
        FlipSequence, MirrorPoses, InversePosesPre, PointNoise, JointNoise, RandomMove,
    )
}  # fmt: skip
"""What changes walks."""
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
"""What happens here anyway: silhouettes are cut to 44 columns and lie in 0..1, a network knows how it sees joints."""


_TYPES: Mapping[str, Any] = {"per_frame": bool, "random_r": tuple[float, float]}


def read_transforms(sampler_or_trainer: Section, pictures: bool) -> tuple[Transform, ...]:
    """Read the list ``transform``, which may hold further lists in ``Compose`` or ``TwoView``.

    Raises:
        SettingsError: unknown name or key, unusable value, or a change of keypoints for pictures (or the reverse).
    """
    return tuple(_read(sampler_or_trainer, "transform", pictures))


def two_views(transforms: object) -> bool:
    """Whether a ``transform`` shows every walk twice, changed in two ways (``TwoView``)."""
    return any(entry.get("type") == "TwoView" for entry in _entries(transforms))


def sequence_length(transforms: object) -> int | None:
    """How many frames ``RandomSelectSequence`` takes, where there is one."""
    lengths = [e.get("sequence_length") for e in _entries(transforms) if e.get("type") == "RandomSelectSequence"]
    return next((int(length) for length in lengths if length is not None), None)


def _entries(transforms: object) -> Iterator[Mapping[str, Any]]:
    for entry in transforms if isinstance(transforms, list) else [transforms]:
        if isinstance(entry, Mapping):
            yield entry
            yield from _entries(entry.get("trf_cfg", []))


def _read(parent: Section, key: str, pictures: bool) -> list[Transform]:
    found: list[Transform] = []
    for entry in parent.each(key, []):
        name = entry.one_of("type", (*TRANSFORMS, *PREPARATIONS, "Compose", "TwoView"))
        if name in ("Compose", "TwoView"):
            found.extend(_read(entry, "trf_cfg", pictures))
        elif name in PREPARATIONS:
            entry.implied(*PREPARATIONS[name])
            if name == "BaseSilCuttingTransform" and entry.take("cutting", int | None, None) not in (None, 10, 20):
                raise SettingsError(
                    f"{entry.where('cutting')}: silhouettes are read as 44 columns, 10 being cut off, or as 88 "
                    "columns, 20 being cut off."
                )
        else:
            found.append(_made(TRANSFORMS[name], entry, pictures))
    return found


def _made(kind: type[Transform], entry: Section, pictures: bool) -> Transform:
    if kind.pictures != pictures:
        seen = "pictures" if pictures else "keypoints"
        raise SettingsError(f"{entry.where('type')}: {kind.__name__} is not for networks that see {seen}.")
    options: dict[str, Any] = {}
    for field in fields(kind):
        name = "probability" if field.name == "prob" and "probability" in entry else field.name  # as skeletons' say it
        options[field.name] = entry.take(name, _TYPES.get(field.name, float), field.default)
    return kind(**options)


def _each(walk: Walk, change: Callable[[Walk], Walk]) -> Walk:
    """Change each picture of uint8 (T, ..., h, w)."""
    flat = walk.reshape(-1, *walk.shape[-2:])
    return np.stack([change(frame) for frame in flat]).reshape(walk.shape)


def _moved(walk: Walk, by: NDArray[np.float64]) -> Floats:
    walk = np.array(walk, np.float32)
    walk[..., :2] += by.astype(np.float32)
    return walk
