"""Crops of single people with matte, keypoints and body parts, for training segmenter, pose network and parser.

A crop is either cut from a real picture, or a walker or real person is pasted onto another picture. In both cases,
other people may stand in front and behind, objects may hide a part, the box is as inaccurate as a detector's, and the
picture is as bad as a surveillance camera's. The crop is cut as at inference (`app.crops.windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from app.crops.windows import CropShape, crop_windows
from app.lab.synthesis.cutouts import Cutouts
from app.lab.synthesis.photos import HeldOut, Photo, read_backgrounds, read_image, read_photos, read_textures
from app.lab.synthesis.pictures import degrade, overlaid
from app.lab.training.person import HEIGHT, WIDTH
from app.types import BODY_PARTS, MIRRORED_KEYPOINTS, MIRRORED_PARTS, Bytes, Floats, Image

SHAPE = CropShape(HEIGHT, WIDTH)
PASTED = 0.2
"""Share of the real people who are pasted into another picture. All others are in their own."""
OVERLAID = 0.2
"""Share of crops, at full hardness, that have boxes and words drawn into the picture."""
GENTLE = 0.6
"""Usual hardness of the crops at the end of a training, where they are closer to those of real videos."""
UNKNOWN = 255
"""The label of a px whose body part is not known."""
_OTHER_SIDE = np.arange(256, dtype=np.uint8)
_OTHER_SIDE[: len(MIRRORED_PARTS)] = MIRRORED_PARTS
_SMALLEST = 32
"""Real people of less height in px are left out, because their labels are too coarse."""


@dataclass(frozen=True, eq=False)
class Crop:
    """One training sample.

    `image` is uint8 BGR (192, 96, 3). `matte` uint8 (192, 96) shows the visible part of the person, and is None if it
    is not labelled. `keypoints` float32 (17, 3) are x, y in 0..1 of the crop and 2 visible, 1 hidden, 0 not labelled,
    -1 outside the crop. `parts` uint8 (192, 96) are labels of `app.types.BODY_PARTS`, 0 for what is no body, and
    `UNKNOWN` where the label is not known.
    """

    image: Image
    matte: Bytes | None
    keypoints: Floats
    parts: Bytes


@dataclass(frozen=True, eq=False)
class _Body:
    """A person to paste: `pixels` uint8 (h, w, 4) BGRA with colours multiplied by alpha, and `keypoints` (17, 3).

    `parts` uint8 (h, w) are the labels of body parts; None where nobody has drawn them.
    """

    pixels: Bytes
    keypoints: Floats
    parts: Bytes | None = None


@dataclass(frozen=True, eq=False)
class _Scene:
    """A picture at full, half, quarter ... size, so that every crop can be sampled without aliasing."""

    levels: tuple[Image, ...]

    @classmethod
    def of(cls, image: Image) -> _Scene:
        levels = [image]
        while min(levels[-1].shape[:2]) > 128:
            levels.append(
                np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
            )
        return cls(tuple(levels))

    def sample(self, view: Floats) -> Image:
        """Return the picture transformed by `view`, float (2, 3), from px of the picture to px of the crop."""
        scale = float(np.sqrt(abs(np.linalg.det(view[:, :2]))))
        level = int(np.clip(np.round(-np.log2(scale)), 0, len(self.levels) - 1))
        finer = view.copy()
        finer[:, :2] *= 2**level
        return _warp(self.levels[level], finer, cv2.BORDER_REFLECT_101)


class _Walkers(Sequence[_Body]):
    """Rendered walkers. Every twentieth person is for validation only."""

    def __init__(self, cutouts: Cutouts, held_out: bool) -> None:
        self._cutouts = cutouts
        self._chosen = [i for i in range(len(cutouts)) if (cutouts[i].identity % 20 == 0) is held_out]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        chosen = self._cutouts[self._chosen[index]]
        return _Body(_premultiply(chosen.pixels), chosen.keypoints, chosen.parts)


class CropBatches:
    """Batches of crops: ``batches[step]`` depends on nothing but the seed and the step.

    A batch has ``image`` uint8 (N, 3, 192, 96) RGB, ``matte`` uint8 (N, 1, 192, 96), ``known`` float32 (N,), which is
    1 where the matte is labelled, ``keypoints`` float32 (N, 17, 3) and ``parts`` uint8 (N, 192, 96), both as in `Crop`.
    """

    def __init__(
        self,
        photos: Path,
        cutouts: Path | None,
        batch: int,
        seed: int,
        *,
        walkers: float = 0.25,
        held_out: HeldOut | None = None,
        gentle_from: int | None = None,
        gentle: float = GENTLE,
    ) -> None:
        """Read all pictures into memory. The processes that prepare batches share it.

        Args:
            photos: folder of labelled pictures and backgrounds, see `app.lab.synthesis.photos`.
            cutouts: folder of rendered walkers. None: real people only.
            batch: crops in a batch.
            seed: of the random draws.
            walkers: share of the crops that show walkers; all others show real people.
            held_out: take this set of pictures for validation, and the walkers that are for validation.
            gentle_from: the step from which the hardness is `gentle`, and not 1.

        Raises:
            SettingsError: a folder does not hold what it should.
        """
        self._batch, self._seed, self._share = batch, seed, walkers
        self._gentle_from, self._gentle = gentle_from, gentle
        self._walkers = None if cutouts is None else _Walkers(Cutouts(cutouts), held_out is not None)
        self._photos = read_photos(photos, held_out)
        self._scenes = [_Scene.of(photo.read()) for photo in self._photos]
        self._targets = [
            (number, index)
            for number, photo in enumerate(self._photos)
            for index, person in enumerate(photo.people)
            if not person.crowd
            and person.box[3] - person.box[1] >= _SMALLEST
            and (person.polygons or _has_keypoints(person.keypoints))
        ]
        heights = [self._photos[number].people[index].box[[1, 3]] for number, index in self._targets]
        weights = np.clip(
            np.diff(heights)[:, 0] / 96, 0.3, 1
        )  # small people, whose labels are inaccurate, are drawn less often
        self._weights = np.cumsum(weights / weights.sum())
        self._people: Sequence[_Body] = [
            body
            for photo, scene in zip(self._photos, self._scenes, strict=True)
            for body in _bodies(photo, scene.levels[0])
        ]
        self._backgrounds = [_Scene.of(read_image(path)) for path in read_backgrounds(photos)]
        self._things = self._backgrounds + [_Scene.of(read_image(path)) for path in read_textures(photos)]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, step])
        is_gentle = self._gentle_from is not None and step >= self._gentle_from
        crops = [self.crop(rng, self._gentle if is_gentle else 1.0) for _ in range(self._batch)]
        nothing = np.zeros((HEIGHT, WIDTH), np.uint8)
        mattes = np.stack([nothing if crop.matte is None else crop.matte for crop in crops])
        return {
            "image": torch.from_numpy(np.stack([crop.image[..., ::-1].transpose(2, 0, 1) for crop in crops])),
            "matte": torch.from_numpy(mattes[:, None]),
            "known": torch.tensor([float(crop.matte is not None) for crop in crops]),
            "keypoints": torch.from_numpy(np.stack([crop.keypoints for crop in crops])),
            "parts": torch.from_numpy(np.stack([crop.parts for crop in crops])),
        }

    def crop(self, rng: np.random.Generator, hardness: float = 1.0) -> Crop:
        """Draw one sample. `hardness` scales how often there are other people, hiding objects and bad pictures."""
        if self._walkers is not None and rng.random() < self._share:
            return self.walker(rng, hardness)
        if rng.random() < PASTED:
            return self._paste_person(rng, self._people, hardness)
        return self._in_place(rng, hardness)

    def walker(self, rng: np.random.Generator, hardness: float = 1.0) -> Crop:
        """Draw a sample whose person is a walker, of which there must be some. `hardness` is as in `crop`."""
        assert self._walkers is not None
        return self._paste_person(rng, self._walkers, hardness)

    def _in_place(self, rng: np.random.Generator, hardness: float) -> Crop:
        number, index = self._targets[int(np.searchsorted(self._weights, rng.random() * self._weights[-1]))]
        photo, scene = self._photos[number], self._scenes[number]
        person = photo.people[index]
        view = _view(person.box, np.array([0, 0, photo.width, photo.height], np.float32), rng)
        matte = None
        if person.polygons:
            matte = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
            outlines = [_transform_points(polygon, view) * 16 for polygon in person.polygons]  # in 1/16 px
            cv2.fillPoly(matte, [np.round(2 * outline).astype(np.int32) for outline in outlines], 255, shift=4)
            matte = np.asarray(cv2.resize(matte, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
        keypoints = np.zeros((17, 3), np.float32) if person.keypoints is None else person.keypoints.copy()
        keypoints[:, :2] = _transform_points(keypoints[:, :2], view)
        crop = Crop(scene.sample(view), matte, keypoints, guessed_parts(matte, keypoints))
        return self._finish(crop, person.box, view, 0.3, hardness, rng)

    def _paste_person(self, rng: np.random.Generator, source: Sequence[_Body], hardness: float) -> Crop:
        body = source[int(rng.integers(len(source)))]
        height, width = body.pixels.shape[:2]
        box = np.array([0, 0, width, height], np.float32)
        far = 10 * height
        view = _view(box, np.array([-far, -far, far, far], np.float32), rng)
        image = self._ground(view, height, rng)
        others = self._others(height, width, hardness, rng)
        for other, place, nearer in others:
            if not nearer:
                image, _ = _paste(image, other.pixels, view @ place)
        if rng.random() < 0.3:
            image = _cast_shadow(image, body.pixels, view, rng)
        image, matte = _paste(image, _relight(body.pixels, rng), view)
        keypoints = body.keypoints.copy()
        keypoints[:, :2] = _transform_points(keypoints[:, :2], view)
        if body.parts is None:
            parts = guessed_parts(matte, keypoints)
        else:
            parts = _warp(body.parts, view, how=cv2.INTER_NEAREST)
        crop = Crop(image, matte, keypoints, parts)
        for other, place, nearer in others:
            if nearer:
                crop = _hide(crop, other.pixels, view @ place)
        return self._finish(crop, box, view, 0.0, hardness, rng)

    def _anybody(self, rng: np.random.Generator) -> _Body:
        source = self._people if self._walkers is None or rng.random() < 0.35 else self._walkers
        return source[int(rng.integers(len(source)))]

    def _ground(self, view: Floats, height: float, rng: np.random.Generator) -> Image:
        """Return a part of some picture, mostly one without people."""
        scenes = self._backgrounds if rng.random() < 0.65 else self._scenes
        scene = scenes[rng.integers(len(scenes))]
        rows, columns = scene.levels[0].shape[:2]
        size = rows * float(np.exp(rng.uniform(np.log(0.15), np.log(0.9))))
        scale = size / height
        x = rng.uniform(0, columns) - scale * height * 0.2
        y = rng.uniform(0, max(1.0, rows - size))
        return scene.sample(_combine(view, _invert(np.array([[scale, 0, x], [0, scale, y]], np.float32))))

    def _others(
        self, height: float, width: float, hardness: float, rng: np.random.Generator
    ) -> list[tuple[_Body, Floats, bool]]:
        """Draw other people: who, a matrix (3, 3) from their px to the target's, and whether they are in front."""
        others = []
        count = int(rng.choice(4, p=(0.35, 0.35, 0.2, 0.1))) if rng.random() < hardness else 0
        for _ in range(count):
            body = self._anybody(rng)
            nearness = float(rng.normal())
            scale = height / body.pixels.shape[0] * float(np.exp(0.12 * nearness + rng.normal(0, 0.05)))
            middle = width / 2 + float(rng.uniform(-0.6, 0.6)) * height
            bottom = height * (1 + 0.08 * nearness)
            x, y = middle - scale * body.pixels.shape[1] / 2, bottom - scale * body.pixels.shape[0]
            others.append((body, np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]], np.float32), nearness > 0))
        return sorted(others, key=lambda other: float(other[1][1, 2] + other[1][0, 0] * other[0].pixels.shape[0]))

    def _finish(
        self, crop: Crop, box: Floats, view: Floats, crowd: float, hardness: float, rng: np.random.Generator
    ) -> Crop:
        """Hide a part of some crops, degrade the picture, mirror every other, and mark keypoints that are outside.

        The keypoints of `crop` are in px of it, and those of the answer in 0..1.
        """
        if rng.random() < crowd:
            for other, place, _ in self._others(float(box[3] - box[1]), float(box[2] - box[0]), hardness, rng)[:1]:
                place[:2, 2] += box[:2]
                crop = _hide(crop, other.pixels, view @ place)
        if rng.random() < 0.15 * hardness:
            crop = self._occlude(crop, rng)
        image, matte, keypoints, parts = crop.image, crop.matte, crop.keypoints.copy(), crop.parts
        if rng.random() < OVERLAID * hardness:
            image = overlaid(image, _transform_points(box.reshape(2, 2), view).ravel(), rng)
        image = _degrade(image, rng, 0.6 * hardness)
        x, y, known = keypoints.T
        outside = (np.minimum(x, y) < 0) | (x >= WIDTH) | (y >= HEIGHT)
        keypoints[:, 2] = np.where((known > 0) & outside, -1, known)
        keypoints[:, :2] /= WIDTH, HEIGHT
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            matte = None if matte is None else np.ascontiguousarray(matte[:, ::-1])
            keypoints = keypoints[list(MIRRORED_KEYPOINTS)]
            keypoints[:, 0] = 1 - keypoints[:, 0]
            parts = _OTHER_SIDE[parts[:, ::-1]]
        return Crop(image, matte, keypoints, parts)

    def _occlude(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Hide a part of the person behind an object: a patch of another picture."""
        scene = self._things[rng.integers(len(self._things))].levels[0]
        rows, columns = int(rng.integers(12, HEIGHT // 2)), int(rng.integers(6, WIDTH))
        top, left = int(rng.integers(0, scene.shape[0] - rows)), int(rng.integers(0, scene.shape[1] - columns))
        patch = np.dstack([scene[top : top + rows, left : left + columns], np.full((rows, columns), 255, np.uint8)])
        x, y = rng.uniform(-columns / 2, WIDTH - columns / 2), rng.uniform(0, HEIGHT - rows / 2)
        turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), float(rng.normal(0, 8)), 1.0)
        turn[:, 2] += np.array((x, y))
        return _hide(crop, patch, turn.astype(np.float32))


_LIMBS: tuple[tuple[str, tuple[int, ...], float], ...] = (
    ("left arm", (5, 7, 9), 0.045), ("right arm", (6, 8, 10), 0.045),
    ("left leg", (11, 13, 15), 0.06), ("right leg", (12, 14, 16), 0.06),
)  # fmt: skip
"""Limbs: their joints by COCO's numbers, and half their width, of the person's height."""
_ENDS = {"left arm": ("left hand", 0.35), "right arm": ("right hand", 0.35), "left leg": ("left foot", 0.25),
         "right leg": ("right foot", 0.25)}  # fmt: skip
"""What follows the last joint of a limb, and how far it reaches, of the length between the last two joints."""
_CLEARLY = 1.5
"""A px belongs to a part if every other part is so many times as far away, in widths of the parts."""
_FAR = 2.0
"""A px farther than so many half widths from every part is of an unknown one: a skirt, say."""


def guessed_parts(matte: Bytes | None, keypoints: Floats) -> Bytes:
    """Return the body parts as far as the outline and the joints tell them.

    Nobody has labelled the parts of the people in photographs. A px next to the line between two joints of a limb is
    of that limb, and one between shoulders and hips of the torso. Where two parts are almost equally near, or a joint
    that is needed is not labelled, the px is `UNKNOWN`.

    Args:
        matte: (192, 96); None where it is not labelled, and then nothing is known.
        keypoints: (17, 3), x, y px and above 0 where labelled.

    Returns:
        uint8 (192, 96), as `Crop.parts`.
    """
    unknown = np.full((HEIGHT, WIDTH), UNKNOWN, np.uint8)
    known = keypoints[:, 2] > 0
    if matte is None or not known[[5, 6, 11, 12]].all():
        return unknown
    labels = np.where(matte > 127, np.uint8(UNKNOWN), np.uint8(0))
    rows, columns = np.nonzero(matte > 127)
    if not len(rows):
        return labels
    points = np.stack([columns, rows], 1).astype(np.float32) + np.float32(0.5)
    place = keypoints[:, :2]
    tall = float(np.ptp(rows)) + 1
    neck = place[[5, 6]].mean(axis=0)
    distances: dict[str, np.ndarray] = {}
    trunk = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners = np.round(np.stack([place[5], place[6], place[12], place[11]])).astype(np.int32)
    cv2.fillConvexPoly(trunk, cv2.convexHull(corners), 1)
    away = cv2.distanceTransform(1 - trunk, cv2.DIST_L2, 3)
    distances["torso"] = np.asarray(away[rows, columns], np.float32) / np.float32(0.05 * tall)
    face = place[:5][known[:5]]
    if len(face):
        middle = face.mean(axis=0)
        above = _to_line(points, neck + 0.45 * (middle - neck), middle + 0.25 * (middle - neck))
        distances["head"] = above / np.float32(0.06 * tall)
    for limb, joints, half in _LIMBS:
        if not known[list(joints)].all():
            return labels
        first, second, last = (place[joint] for joint in joints)
        lines = np.minimum(_to_line(points, first, second), _to_line(points, second, last))
        distances[limb] = lines / np.float32(half * tall)
        end, reach = _ENDS[limb]
        tip = last + reach * (last - second)
        beyond = _to_line(points, last + 0.3 * (tip - last), tip) / np.float32(0.8 * half * tall)
        # A foot points anywhere, so whatever is of the limb and beyond the ankle is foot.
        further = ((points - last) @ (last - second)) > 0
        distances[end] = np.where(further, np.minimum(beyond, distances[limb]), np.float32(np.inf)).astype(np.float32)
        distances[limb] = np.where(further, np.float32(np.inf), distances[limb]).astype(np.float32)
    names = list(distances)
    every = np.stack([distances[name] for name in names])
    hanging = np.minimum(distances["left arm"], distances["right arm"])
    torso = names.index("torso")
    # An arm before the torso is an arm; right beside it nobody knows.
    every[torso] = np.where(hanging < 0.7, np.float32(np.inf), np.maximum(every[torso], 0.3))
    order = np.sort(every, axis=0)
    clear = (order[1] > _CLEARLY * order[0]) & (order[0] < _FAR)
    numbers = np.array([BODY_PARTS.index(name) + 1 for name in names], np.uint8)
    labels[rows, columns] = np.where(clear, numbers[every.argmin(axis=0)], np.uint8(UNKNOWN))
    return labels


def _to_line(points: Floats, first: Floats, second: Floats) -> Floats:
    """Return the distance of points (N, 2) from the line between two others."""
    along = second - first
    share = np.clip((points - first) @ along / max(float(along @ along), 1e-6), 0, 1)
    return np.asarray(np.linalg.norm(points - (first + share[:, None] * along), axis=1), np.float32)


def _has_keypoints(keypoints: Floats | None) -> bool:
    return keypoints is not None and bool((keypoints[:, 2] > 0).any())


def _bodies(photo: Photo, image: Image) -> list[_Body]:
    """Return the people of a picture who can be pasted because their outline is labelled."""
    bodies = []
    for person in photo.people:
        mask = None if person.crowd else person.mask(photo.height, photo.width)
        if mask is None or not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if rows[-1] - rows[0] < 2 * _SMALLEST:
            continue
        alpha = cv2.GaussianBlur(mask[inner].astype(np.uint8) * 255, (0, 0), 0.8)
        keypoints = np.zeros((17, 3), np.float32) if person.keypoints is None else person.keypoints.copy()
        keypoints[:, :2] -= columns[0], rows[0]
        bodies.append(_Body(_premultiply(np.dstack([image[inner], alpha])), keypoints))
    return bodies


def _view(box: Floats, frame: Floats, rng: np.random.Generator) -> Floats:
    """Return how a crop is cut at inference, with a box as inaccurate as a detector's.

    Args:
        box: (4,) of the person, px of the source.
        frame: (4,) borders of the picture, px of the source.
        rng: for all random draws.

    Returns:
        float32 (2, 3), from px of the source to px of the crop.
    """
    x1, y1, x2, y2 = frame.tolist()
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    if rng.random() < 0.15:  # the border of the picture cuts the person
        side, share = int(rng.choice(4, p=(0.2, 0.15, 0.2, 0.45))), float(rng.uniform(0.0, 0.45))
        ends = (box[0] + share * width, box[1] + share * height, box[2] - share * width, box[3] - share * height)
        frame = frame.copy()
        frame[side] = max(frame[side], ends[side]) if side < 2 else min(frame[side], ends[side])
        x1, y1, x2, y2 = np.round(frame).tolist()
    loose = (
        np.clip(rng.normal(0.01, 0.05, 4), -0.12, 0.15)
        * (-1, -1, 1, 1)
        * np.tile((max(width, 0.4 * height), height), 2)
    )
    if rng.random() < 0.08:  # the box contains the upper part only
        loose[3] -= float(rng.uniform(0.0, 0.4)) * height
    visible = np.clip(box + loose, (x1, y1, x1, y1), (x2, y2, x2, y2)) - (x1, y1, x1, y1)
    columns, rows = max(2, round(x2 - x1)), max(2, round(y2 - y1))
    left, top, right, bottom = crop_windows(visible.astype(np.float32)[None], columns, rows, SHAPE)[0].tolist()
    stretch = WIDTH / (right - left), HEIGHT / (bottom - top)
    view = np.array([[stretch[0], 0, -stretch[0] * (left + x1)], [0, stretch[1], -stretch[1] * (top + y1)]])
    if rng.random() < 0.5:
        turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), float(np.clip(rng.normal(0, 6), -15, 15)), 1.0)
        view = turn @ np.vstack([view, (0, 0, 1)])
    return view.astype(np.float32)


def _transform_points(points: Floats, view: Floats) -> Floats:
    return np.asarray(points @ view[:, :2].T + view[:, 2], np.float32)


def _warp(image: Bytes, view: Floats, border: int = cv2.BORDER_CONSTANT, how: int = cv2.INTER_LINEAR) -> Bytes:
    """Transform `image` by `view`, in whose coordinates corners of px, not their centres, are at whole numbers."""
    centred = view.astype(np.float64)
    centred[:, 2] += centred[:, :2].sum(axis=1) / 2 - 0.5
    return np.asarray(cv2.warpAffine(image, centred, (WIDTH, HEIGHT), flags=how, borderMode=border), np.uint8)


def _premultiply(pixels: Bytes) -> Bytes:
    """Multiply the colours of BGRA by alpha, so that blending leaves no dark seam at the edges."""
    alpha = cv2.cvtColor(pixels[..., 3], cv2.COLOR_GRAY2BGR)
    return np.dstack([cv2.multiply(np.ascontiguousarray(pixels[..., :3]), alpha, scale=1 / 255), pixels[..., 3]])


def _paste(image: Image, pixels: Bytes, view: Floats) -> tuple[Image, Bytes]:
    """Return `image` with `pixels` pasted in front, and their alpha."""
    drawn = _warp(pixels, view)
    alpha = np.ascontiguousarray(drawn[..., 3])
    behind = cv2.multiply(image, cv2.cvtColor(255 - alpha, cv2.COLOR_GRAY2BGR), scale=1 / 255)
    return np.asarray(cv2.add(behind, np.ascontiguousarray(drawn[..., :3])), np.uint8), alpha


def _hide(crop: Crop, pixels: Bytes, view: Floats) -> Crop:
    """Paste something in front of the person, unless too little of the person would remain visible.

    The keypoints of `crop` are in px of it.
    """
    pasted, alpha = _paste(crop.image, pixels, view)
    left = None
    if crop.matte is None:
        if float(alpha.mean()) > 255 * 0.3:
            return crop
    else:
        left = np.asarray(cv2.multiply(crop.matte, 255 - alpha, scale=1 / 255), np.uint8)
        if float(left.sum()) < 0.4 * float(crop.matte.sum()):
            return crop
    x = np.clip(crop.keypoints[:, 0].astype(int), 0, WIDTH - 1)
    y = np.clip(crop.keypoints[:, 1].astype(int), 0, HEIGHT - 1)
    covered = crop.keypoints.copy()
    covered[(alpha[y, x] > 127) & (covered[:, 2] == 2), 2] = 1
    return Crop(pasted, left, covered, np.where(alpha > 127, np.uint8(0), crop.parts))


def _relight(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Change the light on a person, so that it differs from that on the background."""
    gains = float(np.exp(rng.normal(0, 0.2))) * np.exp(rng.normal(0, 0.05, 3))
    table = np.clip(np.arange(256)[:, None] * np.append(gains, 1), 0, 255).astype(np.uint8)
    return np.asarray(np.minimum(cv2.LUT(pixels, table[None]), pixels[..., 3:]), np.uint8)


def _cast_shadow(image: Image, pixels: Bytes, view: Floats, rng: np.random.Generator) -> Image:
    """Draw the shadow that a body casts onto the ground."""
    height = pixels.shape[0]
    flat, lean = float(rng.uniform(-0.35, 0.35)), float(rng.normal(0, 0.6))
    # The feet stay in place. Everything above them falls to the side, and towards or away from the camera.
    cast = np.array([[1, -lean, lean * height], [0, flat, height * (0.98 - flat)], [0, 0, 1]], np.float32)
    shadow = _warp(np.ascontiguousarray(pixels[..., 3]), view @ cast)
    shadow = np.asarray(cv2.GaussianBlur(shadow, (0, 0), float(rng.uniform(0.6, 3))), np.uint8)
    dark = cv2.convertScaleAbs(shadow, alpha=-float(rng.uniform(0.2, 0.7)), beta=0)
    return np.asarray(cv2.multiply(image, cv2.cvtColor(255 - dark, cv2.COLOR_GRAY2BGR), scale=1 / 255), np.uint8)


def _degrade(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Degrade the crop as a camera would. It often has fewer px, and is then enlarged as at inference."""
    if rng.random() > 0.7 * strength:
        return degrade(image, rng, strength)
    rows = float(np.exp(rng.uniform(np.log(40), np.log(HEIGHT))))
    columns = max(12, round(rows * WIDTH / HEIGHT * rng.uniform(0.8, 1.25)))
    small = degrade(
        np.asarray(cv2.resize(image, (columns, round(rows)), interpolation=cv2.INTER_AREA), np.uint8), rng, strength
    )
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def _combine(view: Floats, place: Floats) -> Floats:
    return np.asarray(view @ np.vstack([place, (0, 0, 1)]), np.float32)


def _invert(view: Floats) -> Floats:
    return np.asarray(cv2.invertAffineTransform(view), np.float32)
