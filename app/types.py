"""What the stages hand to each other: frozen dataclasses, which check their contents when they are built.

Boxes are float32 ``x1, y1, x2, y2`` in pixels of the upright frame; ``x2`` and ``y2`` are exclusive.
Images are uint8 BGR, ``(H, W, 3)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bytes: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]

Origin: TypeAlias = Literal["given", "found", "embedded", "weight-free"]
Status: TypeAlias = Literal["identified", "unknown", "unusable"]

BODY_PARTS = (
    "head", "torso", "left arm", "right arm", "left hand", "right hand", "left leg", "right leg", "left foot",
    "right foot", "dress",
)  # fmt: skip
"""The parts in maps of body parts, as Gait3D-Parsing names them. Their labels begin with 1; 0 is the background."""
MIRRORED_PARTS = (0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 11)
"""The label of the same part on the other side of the body, by the label."""

MIRRORED_KEYPOINTS = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Where each of COCO's 17 keypoints is found in a mirror image."""

PICTURE = (256, 128)
"""Rows and columns of a person's picture in colour."""

SMPL = 85
"""How many numbers describe a body: 3 for the camera, 72 for the pose, 10 for the shape, in Gait3D's order."""

_CLEAR, _FAIR = 0.7, 0.55
"""Confidence from which a decision is called clear or fair: the distance is at most 0.65 or 0.9 of the threshold."""


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _need_array(value: Any, dtype: Any, shape: tuple[int | None, ...], name: str) -> None:
    fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape)
    if fits and all(wanted in (None, size) for size, wanted in zip(value.shape, shape, strict=True)):
        return  # before there is any text: this is asked for each frame and box
    given = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
    raise ValueError(f"{name} must be {np.dtype(dtype)} of shape {shape}, not {given}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Where a stage's model comes from and what may be done with it.

    `model_id` is ``name@sha256[:8]``, or ``name`` alone for a model without weights. `note` is what a user should know.
    `reason` says why a run uses this model, as a clause after "because".
    `sure` is the score from which nearly all of a detector's boxes are people, where its file says so.
    `keypoints` says that a gait model needs the keypoints of its walks, `parts` that it needs maps of body parts, and
    `body` that it needs bodies that are fitted to the keypoints, and `pictures` that it needs people in colour.
    `needs_recording` says that a stage reads the
    whole video before its first frame, so that it cannot be used on a camera or a stream.
    """

    stage: str
    name: str
    origin: Origin
    licence: str
    file: Path | None = None
    sha256: str | None = None
    runtime: str = "numpy"
    note: str = ""
    reason: str = ""
    keypoints: bool = False
    parts: bool = False
    body: bool = False
    pictures: bool = False
    needs_recording: bool = False
    sure: float | None = None

    @property
    def model_id(self) -> str:
        return f"{self.name}@{self.sha256[:8]}" if self.sha256 else self.name


@dataclass(frozen=True)
class Reading:
    """Which part of a video is read, from `start` to `end` in s, and its frame rate in 1/s if the file is wrong.

    `device` decodes it: ``cpu``, another that FFmpeg knows, or ``auto`` for the first that can.
    """

    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video's header: `width` and `height` in px after rotation. `frame_count` is a hint and may be wrong.

    `reading` says which part of the file it is about.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    frame_count: int | None = None
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        _need(self.width > 0 and self.height > 0, f"a video of {self.width}x{self.height} px has no picture")
        _need(self.fps > 0, f"a frame rate of {self.fps} is not positive")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture: `index`, presentation `time` in s from the first frame, BGR `image`.

    The index counts time in frames of the video's rate, from 0. It rises, by more than one where pictures are missing.
    """

    index: int
    time: float
    image: Image

    def __post_init__(self) -> None:
        _need_array(self.image, np.uint8, (None, None, 3), "Frame.image")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """People in one frame: `boxes` float32 (N, 4) px, `scores` float32 (N,) in 0..1."""

    boxes: Floats
    scores: Floats

    def __post_init__(self) -> None:
        _need_array(self.boxes, np.float32, (None, 4), "Detections.boxes")
        _need_array(self.scores, np.float32, (len(self.boxes),), "Detections.scores")

    @classmethod
    def none(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedBoxes:
    """The confirmed tracks that one frame shows: `track_ids` int64 (N,) >= 1, `boxes` (N, 4), `scores` (N,)."""

    track_ids: Ints
    boxes: Floats
    scores: Floats

    def __post_init__(self) -> None:
        _need_array(self.track_ids, np.int64, (None,), "TrackedBoxes.track_ids")
        _need_array(self.boxes, np.float32, (len(self.track_ids), 4), "TrackedBoxes.boxes")
        _need_array(self.scores, np.float32, (len(self.track_ids),), "TrackedBoxes.scores")
        _need(len(np.unique(self.track_ids)) == len(self.track_ids), "a track appears twice in one frame")


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person followed through a video: `frame_indices` (T,), rising from 0, `boxes` (T, 4) and `scores` (T,)."""

    track_id: int
    frame_indices: Ints
    boxes: Floats
    scores: Floats

    def __post_init__(self) -> None:
        _need(self.track_id >= 1, f"track_id {self.track_id} must be at least 1")
        _need_array(self.frame_indices, np.int64, (None,), "Track.frame_indices")
        _need(len(self.frame_indices) > 0, "a track needs at least one frame")
        _need(bool(np.all(np.diff(self.frame_indices) > 0)), "Track.frame_indices must rise")
        _need_array(self.boxes, np.float32, (len(self.frame_indices), 4), "Track.boxes")
        _need_array(self.scores, np.float32, (len(self.frame_indices),), "Track.scores")


@dataclass(frozen=True, slots=True, eq=False)
class Matte:
    """How much each pixel of a crop belongs to a person.

    `alpha` is uint8 (h, w), 0 to 255 for a probability of 0 to 1. Its top-left pixel lies at `left`, `top` of the
    frame, and all of it lies inside of the frame.
    """

    left: int
    top: int
    alpha: Bytes

    def __post_init__(self) -> None:
        _need_array(self.alpha, np.uint8, (None, None), "Matte.alpha")


@dataclass(frozen=True, slots=True, eq=False)
class PartMap:
    """Which part of the body each px of a crop shows.

    `labels` is uint8 (h, w), those of `BODY_PARTS` and 0 for the background. Its top-left pixel lies at `left`, `top`
    of the frame, and all of it lies inside of the frame.
    """

    left: int
    top: int
    labels: Bytes

    def __post_init__(self) -> None:
        _need_array(self.labels, np.uint8, (None, None), "PartMap.labels")


@dataclass(frozen=True, slots=True, eq=False)
class GaitSequence:
    """One walk, from a video or from a data set alike.

    `frame_indices` is int64 (T,), rising. `silhouettes` is uint8 (T, 64, 64), from 0 outside of the body to 255, and
    the body is 64 rows high. `fps` is in 1/s. `keypoints` is float32 (T, 17, 3), x and y in px and a score, or None.
    `parts` is uint8 (T, 64, 64), the labels of `BODY_PARTS` where the silhouettes are and 0 elsewhere, or None.
    `pictures` is uint8 (T, 256, 128, 4), the person in colour, and `ratios` float32 (T,), the shape of the box: see
    `app.walks.pictures`. Both are None where no network needs them.
    """

    frame_indices: Ints
    silhouettes: Bytes
    fps: float
    keypoints: Floats | None = None
    parts: Bytes | None = None
    pictures: Bytes | None = None
    ratios: Floats | None = None

    def __post_init__(self) -> None:
        _need_array(self.frame_indices, np.int64, (None,), "GaitSequence.frame_indices")
        _need_array(self.silhouettes, np.uint8, (len(self.frame_indices), 64, 64), "GaitSequence.silhouettes")
        _need(bool(np.all(np.diff(self.frame_indices) > 0)), "GaitSequence.frame_indices must rise")
        _need(0 < self.fps < math.inf, f"a frame rate of {self.fps} is not positive")
        if self.keypoints is not None:
            _need_array(self.keypoints, np.float32, (len(self.frame_indices), 17, 3), "GaitSequence.keypoints")
        if self.parts is not None:
            _need_array(self.parts, np.uint8, (len(self.frame_indices), 64, 64), "GaitSequence.parts")
        _need((self.pictures is None) == (self.ratios is None), "pictures and ratios belong together")
        if self.pictures is not None and self.ratios is not None:
            _need_array(self.pictures, np.uint8, (len(self.frame_indices), *PICTURE, 4), "GaitSequence.pictures")
            _need_array(self.ratios, np.float32, (len(self.frame_indices),), "GaitSequence.ratios")
            _need(bool(np.all((self.ratios > 0) & (self.ratios <= 0.5))), "ratios must be above 0 and at most a half")

    def __len__(self) -> int:
        return len(self.frame_indices)

    def part(self, which: slice | Bools) -> GaitSequence:
        """Return the walk with only some of its frames, at least one, in their order."""

        def chosen(array: NDArray[Any] | None) -> Any:
            return None if array is None else array[which]

        return GaitSequence(
            self.frame_indices[which], self.silhouettes[which], self.fps, chosen(self.keypoints), chosen(self.parts),
            chosen(self.pictures), chosen(self.ratios),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class BodyMotion:
    """The body of one walk in space, T frames, in metres of a person of 1.70 m.

    The walking frame has x in the direction of walking, y to the left and z up; the floor is at z = 0. Where somebody
    turns, it turns with them, so that the path is straight.

    - `frame_indices` int64 (T,), rising, and `fps` in 1/s, as in `GaitSequence`.
    - `shape` float32 (10,): see `app.body.mannequin`.
    - `rotations` float32 (T, 21, 3): of each joint of `app.body.skeleton` against its parent, as axis times angle in
      radians; the first one is that of the pelvis in the walking frame.
    - `root` float32 (T, 3): the pelvis in the walking frame. It starts at x = 0.
    - `joints` float32 (T, 17, 3): COCO's keypoints in the walking frame.
    - `view` float32 (T, 3, 3): from the walking frame to the camera's axes: right, down, away.
    - `camera` float32 (T, 3): px a metre, and x, y px of the pelvis in the frame. So a point p lies at
      ``camera[1:] + camera[0] * (view @ (p - root))[:2]`` px.
    - `confidence` float32 (T,), 0 to 1.
    """

    frame_indices: Ints
    fps: float
    shape: Floats
    rotations: Floats
    root: Floats
    joints: Floats
    view: Floats
    camera: Floats
    confidence: Floats

    def __post_init__(self) -> None:
        _need_array(self.frame_indices, np.int64, (None,), "BodyMotion.frame_indices")
        frames = len(self.frame_indices)
        _need(frames > 0, "a body's motion needs at least one frame")
        _need(0 < self.fps < math.inf, f"a frame rate of {self.fps} is not positive")
        shapes = {
            "shape": (10,), "rotations": (frames, 21, 3), "root": (frames, 3), "joints": (frames, 17, 3),
            "view": (frames, 3, 3), "camera": (frames, 3), "confidence": (frames,),
        }  # fmt: skip
        for name, wanted in shapes.items():
            _need_array(getattr(self, name), np.float32, wanted, f"BodyMotion.{name}")
            _need(bool(np.all(np.isfinite(getattr(self, name)))), f"BodyMotion.{name} must be finite")

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a walk: `value` in `unit`, over `count` steps, gait cycles or frames.

    `uncertainty` is the standard error, None where it is not known. `left` and `right` are those of the two sides, None
    where sides make no sense.
    """

    name: str
    unit: str
    value: float
    uncertainty: float | None
    count: int
    left: float | None = None
    right: float | None = None

    def __post_init__(self) -> None:
        for text in (self.name, self.unit):
            _need(isinstance(text, str) and len(text) <= 40, "a measure has a short name and a short unit")
        _need(isinstance(self.count, int) and self.count >= 0, f"a measure over {self.count} of something")
        for number in (self.value, self.uncertainty, self.left, self.right):
            _need(number is None or math.isfinite(number), f"{self.name} must be finite")
        _need(self.value is not None, f"{self.name} needs a value")


LARGEST = 1e15
"""Distances between walks with larger numbers leave what float32 holds."""
MOST_VIEWS = 4
"""So many views of a walk are compared and stored. More were no better on real people who turn."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A walk as the gait network sees it: `parts` float32 (P, C), from `frames` silhouettes, by `model_id`.

    Some networks see a long walk in K short pieces. `pieces` then holds the embedding of each piece, float32 (K, P, C),
    in the order of the walk; it is None for a network that sees the whole walk at once.
    """

    parts: Floats
    model_id: str
    frames: int
    pieces: Floats | None = None

    def __post_init__(self) -> None:
        _need_array(self.parts, np.float32, (None, None), "Embedding.parts")
        _need(bool(np.all(np.abs(self.parts) < LARGEST)), "the numbers of an embedding must be finite, and below 1e15")
        _need(self.frames >= 1, "an embedding needs at least one frame")
        if self.pieces is not None:
            _need_array(self.pieces, np.float32, (None, *self.parts.shape), "Embedding.pieces")
            _need(len(self.pieces) >= 1, "an embedding in pieces needs at least one piece")
            _need(bool(np.all(np.abs(self.pieces) < LARGEST)), "the pieces of an embedding must be finite")

    @property
    def views(self) -> Floats:
        """The walk at up to `MOST_VIEWS` times, float32 (V, P, C), because somebody who turns shows several sides.

        These are its pieces, or the means of neighbouring ones where there are more, each part as long as the pieces'
        are on average. A walk that was seen as a whole has one view.
        """
        if self.pieces is None:
            return self.parts[None]
        if len(self.pieces) <= MOST_VIEWS:
            return self.pieces
        groups = np.array_split(self.pieces, MOST_VIEWS)
        means = np.stack([group.mean(axis=0) for group in groups])
        sizes = np.stack([np.linalg.norm(group, axis=-1).mean(axis=0) for group in groups])
        scaled: Floats = means * (sizes / np.maximum(np.linalg.norm(means, axis=-1), 1e-12))[..., None]
        return scaled.astype(np.float32, copy=False)

    def of_pieces(self) -> list[Embedding]:
        """Return each piece as an embedding of its own; an empty list if the network saw the walk at once."""
        if self.pieces is None:
            return []
        return [Embedding(piece, self.model_id, self.frames) for piece in self.pieces]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A gallery identity and its distance to a probe walk."""

    identity: str
    distance: float


@dataclass(frozen=True, slots=True)
class Match:
    """Who a probe walk is: `candidates` by rising distance, and the `identity`, or None with the `reason`.

    `threshold` is the largest distance that counts as the same person, None in a closed set. `unproven` says that a
    better way to give out the names of the video may exist, because too many people are in view together to be sure.
    """

    candidates: tuple[Candidate, ...]
    identity: str | None
    distance: float | None
    threshold: float | None
    reason: str | None
    unproven: str | None = None

    def __post_init__(self) -> None:
        distances = [candidate.distance for candidate in self.candidates]
        _need(distances == sorted(distances), "candidates must be sorted by distance")
        _need((self.identity is None) == (self.reason is not None), "a match has an identity or a reason")


class Sureness(NamedTuple):
    """How sure a name is, in the words used everywhere: a `text`, and whether the name is `doubtful` and gets a "?"."""

    text: str
    doubtful: bool

    @classmethod
    def of(cls, probability: float | None, confidence: float | None) -> Sureness:
        """Give the probability if it is known ("69 %"), else a word for how clear the decision is ("fair").

        A confidence is never shown as a number, because people would read it as a probability.
        """
        if probability is not None:
            percent = 100 * probability
            text = "over 99 %" if percent > 99 else "under 1 %" if percent < 1 else f"{percent:.0f} %"
            return cls(text, probability < 0.5)
        if confidence is None:
            return cls("", False)
        doubtful = confidence < _FAIR
        return cls("doubtful" if doubtful else "fair" if confidence < _CLEAR else "clear", doubtful)
