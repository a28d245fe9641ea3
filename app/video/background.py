"""Background subtraction without weights, for a camera that stands still.

The background is learnt from pictures spread over the whole video and not only from the past. So somebody who stands
for a minute does not become part of it, and the first frames are as good as the last.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from threading import Lock

import cv2
import numpy as np

from app.types import Bytes, Floats, Frame, Image, ModelCard, VideoInfo
from app.video.reader import VideoReader

logger = logging.getLogger(__name__)

_LONGEST_SIDE = 768
"""Larger pictures, in px, are scaled down: a silhouette is 64 px high in the end, and memory must stay bounded."""
_SAMPLES = 40
_SAME_COLOUR = 14
"""Largest difference, in grey levels, between two pictures of one surface, from sensor noise and compression."""
_AGREE = 204
"""Share of a neighbourhood, out of 255, that must be alike."""
_WEAK = 32
"""Difference, out of 255, from which a place no longer counts as empty."""
_LEAST_CHANGE = 12.0
"""Smallest difference from the background, in grey levels, that counts as foreground; noisy places need more."""
_SHADOW = 0.25
"""A surface may lose this share of its light to a soft shadow if it keeps its hue."""
_DRIFT_SECONDS = 10.0
"""Seconds in which the background follows a slow change, where nobody is."""
_UPDATE_EVERY = 5
_SMALLEST_SUPPORT = 0.3
"""Share of the samples that show the background of a pixel, on average. If it is less, there is no background."""


@dataclass(frozen=True, slots=True, eq=False)
class _Background:
    """What the camera sees when nobody is there: Y, Cr and Cb, each float32 (h, w), and the scales from a difference to
    alpha.
    """

    planes: tuple[Floats, ...]
    luma_scale: Floats
    chroma_scale: Floats


class BackgroundModel:
    """The foreground of a video, shared by the detector and the segmenter, which may ask for it in different threads.

    It is computed once for each frame, in the order in which frames first come, and kept for as long as the frame is.
    """

    def __init__(self) -> None:
        self._video: VideoInfo | None = None
        self._background: _Background | None = None
        self._foreground: dict[int, Bytes] = {}
        self._updated = 0
        self._lock = Lock()

    def start(self, video: VideoInfo) -> None:
        """Forget earlier videos. The background is learnt when the first foreground is asked for."""
        self._video = video
        self._background = None
        self._foreground = {}
        self._updated = 0

    def foreground(self, frames: Sequence[Frame]) -> list[Bytes]:
        """Return for each frame how much each pixel differs from the background: uint8 (h, w), foreground from 128 on.

        The frames are in the order of the video. `h` and `w` are those of the frame, scaled down so that the longer one
        is at most 768 px.

        Raises:
            RuntimeError: `start` has not been called.
            VideoError: the video cannot be read.
        """
        if self._video is None:
            raise RuntimeError("BackgroundModel.start must be called before frames are given")
        with self._lock:
            if self._background is None:
                self._background = _learn(self._video)
            return [self._of(frame, self._background, self._video) for frame in frames]

    def _of(self, frame: Frame, background: _Background, video: VideoInfo) -> Bytes:
        key = id(frame.image)
        if key not in self._foreground:
            alpha = self._foreground[key] = _subtract(frame, background)
            weakref.finalize(frame.image, self._foreground.pop, key, None).atexit = False
            passed = frame.index - self._updated
            if passed >= _UPDATE_EVERY:
                self._updated = frame.index
                _follow(frame, background, alpha, passed / float(video.fps))
        return self._foreground[key]


class SubtractsBackground:
    """A weight-free stage that looks at the foreground of a video.

    Several stages of one run can share one `background`, so that each frame is subtracted only once.
    """

    of_video = ("background",)

    def __init__(self, stage: str) -> None:
        self.background = BackgroundModel()
        self.card = ModelCard(
            stage=stage,
            name="motion",
            origin="weight-free",
            licence="Apache-2.0 (own code)",
            note="background subtraction: only for a camera that stands still",
            needs_recording=True,
        )

    def start(self, video: VideoInfo) -> None:
        """Forget the background of an earlier video."""
        self.background.start(video)


def _subtract(frame: Frame, background: _Background) -> Bytes:
    """Return the foreground of `frame`."""
    luma, red, blue = (
        _without_drift(np.asarray(cv2.subtract(plane, empty, dtype=cv2.CV_32F), np.float32))
        for plane, empty in zip(_planes(frame, background), background.planes, strict=True)
    )
    # A shadow is darker and keeps the hue of the ground, so only what is darker than a shadow counts.
    darker = cv2.addWeighted(luma, -1, background.planes[0], -_SHADOW, 0)
    light = cv2.multiply(cv2.max(luma, darker), background.luma_scale)
    hue = cv2.multiply(np.abs(red) + np.abs(blue), background.chroma_scale)
    return np.asarray(cv2.medianBlur(cv2.convertScaleAbs(cv2.max(light, hue)), 5), np.uint8)


def _follow(frame: Frame, background: _Background, alpha: Bytes, seconds: float) -> None:
    """Let `background` follow slow changes, `seconds` after it did so before."""
    rate = min(1.0, seconds / _DRIFT_SECONDS)
    for plane, empty in zip(_planes(frame, background), background.planes, strict=True):
        cv2.accumulateWeighted(plane, empty, rate, _calm(alpha))


def _planes(frame: Frame, background: _Background) -> Sequence[Bytes]:
    """Return Y, Cr and Cb of a frame in the size of its background."""
    height, width = background.planes[0].shape
    planes = cv2.split(cv2.cvtColor(_shrunk(frame.image, width, height), cv2.COLOR_BGR2YCrCb))
    return [np.asarray(plane, np.uint8) for plane in planes]


def _without_drift(difference: Floats) -> Floats:
    """Subtract the change of the whole picture (clouds, automatic exposure); people cover less than half of it."""
    return difference - np.median(difference[::8, ::8])


def _calm(alpha: Bytes) -> Bytes:
    """Return 255 where nothing nearby differs from the background, else 0.

    "Nearby" reaches far, because clothes that resemble the background must not become part of it while somebody stands
    there.
    """
    height, width = alpha.shape
    coarse = cv2.resize(alpha, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    calm = cv2.threshold(coarse, _WEAK, 255, cv2.THRESH_BINARY_INV)[1]
    calm = cv2.erode(calm, np.ones((15, 15), np.uint8))
    return np.asarray(cv2.resize(calm, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _learn(video: VideoInfo) -> _Background:
    """Learn for each pixel the colour that returns again and again over the whole video."""
    scale = min(1.0, _LONGEST_SIDE / max(video.width, video.height))
    width, height = max(1, round(video.width * scale)), max(1, round(video.height * scale))
    samples = _samples(video, width, height)
    camera_moves = _camera_moves(samples)
    pictures = np.stack([np.asarray(cv2.cvtColor(sample, cv2.COLOR_BGR2YCrCb), np.uint8) for sample in samples])
    chosen = cv2.resize(_lasting(pictures), (width, height), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.indices((height, width), sparse=True)
    reference = pictures[chosen, rows, columns]
    weight = np.zeros((height, width, 1), np.float32)
    total, squares = np.zeros((2, height, width, 3), np.float32)
    for picture in pictures:
        difference = picture.astype(np.float32) - reference
        luma, red, blue = np.moveaxis(np.abs(difference) <= _SAME_COLOUR, 2, 0)
        same = (luma & red & blue).astype(np.float32)[..., None]
        weight += same
        total += same * difference
        squares += same * difference**2
    mean = total / weight
    deviation = np.sqrt(np.maximum(squares / weight - mean**2, 0))
    if camera_moves or float(weight.mean()) < _SMALLEST_SUPPORT * len(pictures):
        logger.warning(
            "%s: the camera moves or the scene changes, but background subtraction needs a camera that stands still. "
            "Detections and silhouettes will be poor; use a detector and a segmenter with weights.",
            video.path.name,
        )
    luma_noise, chroma_noise = 2 * deviation[:, :, 0], 2 * deviation[:, :, 1:].sum(axis=2)
    return _Background(
        planes=tuple(np.ascontiguousarray(plane) for plane in np.moveaxis(reference + mean, 2, 0)),
        luma_scale=np.asarray(128 / (_LEAST_CHANGE + luma_noise), np.float32),
        chroma_scale=np.asarray(128 / (_LEAST_CHANGE + chroma_noise), np.float32),
    )


def _lasting(pictures: Bytes) -> Bytes:
    """Return for each pixel the index of the picture (N, h, w, 3) that shows the background, at half the size.

    Pictures vote for each other where they agree, and the vote counts more the further apart they are in time: a person
    who stands still looks the same for a while, the background does so over the whole video. A whole neighbourhood must
    agree: two people in dark trousers are alike in patches, the background is alike in its texture.
    """
    half = (-(-pictures.shape[2] // 2), -(-pictures.shape[1] // 2))
    small = [cv2.resize(picture, half, interpolation=cv2.INTER_AREA).transpose(2, 0, 1).copy() for picture in pictures]
    votes = np.zeros((len(small), *small[0].shape[1:]), np.uint16)
    for first, second in combinations(range(len(small)), 2):
        difference = cv2.absdiff(small[first], small[second]).max(axis=0)
        alike = cv2.threshold(difference, _SAME_COLOUR, 255, cv2.THRESH_BINARY_INV)[1]
        agree = (cv2.blur(alike, (15, 15)) >= _AGREE) * np.uint16(second - first)
        votes[first] += agree
        votes[second] += agree
    return np.asarray(votes.argmax(axis=0), np.uint8)


def _samples(video: VideoInfo, width: int, height: int) -> list[Image]:
    """Return up to 40 BGR pictures (height, width, 3) spread evenly over the video, in order.

    Raises:
        VideoError: no picture at all can be decoded.
    """
    # Seeking to key pictures is cheap, and they are dense enough except in short videos.
    with VideoReader(video.path, video.reading) as reader:
        samples = [_shrunk(image, width, height) for image in reader.key_pictures(_SAMPLES)]
    return samples if len(samples) >= _SAMPLES // 2 else _every_nth_picture(video, width, height)


def _every_nth_picture(video: VideoInfo, width: int, height: int) -> list[Image]:
    """Decode the whole video and keep pictures spread over it; its length is not certain beforehand."""
    pictures: list[Image] = []
    step = 1
    with VideoReader(video.path, video.reading) as reader:
        for number, frame in enumerate(reader):
            if number % step == 0:
                pictures.append(_shrunk(frame.image, width, height))
                if len(pictures) == 2 * _SAMPLES:
                    del pictures[1::2]
                    step *= 2
    return pictures[:: -(-len(pictures) // _SAMPLES) or 1]


def _shrunk(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _camera_moves(samples: Sequence[Image]) -> bool:
    """Return whether the scenery moves from one sample to the next, in at least a quarter of the samples.

    Optical flow follows the points of an even grid to the next sample and back; points that do not return are left out,
    which are most of those on people. An even grid is used because otherwise a walker before a plain wall would have
    all the points. If the camera moves, hardly any point stays in place.
    """
    width = 320
    # A strip of a few columns would become larger than any picture.
    height = min(max(1, round(samples[0].shape[0] * width / samples[0].shape[1])), 4 * width)
    greys = [
        np.asarray(cv2.cvtColor(_shrunk(sample, width, height), cv2.COLOR_BGR2GRAY), np.uint8) for sample in samples
    ]
    grid = np.stack(np.meshgrid(np.arange(8, width, 16), np.arange(8, height, 16)), axis=-1)
    points = grid.reshape(-1, 1, 2).astype(np.float32)
    if not len(points):  # a strip of a few rows has no room for them
        return False
    moved = [_moved(before, after, points) for before, after in pairwise(greys)]
    known = [each for each in moved if each is not None]
    return len(known) > 0 and float(np.mean(known)) >= 0.25


def _moved(before: Bytes, after: Bytes, points: Floats) -> bool | None:
    """Return whether fewer than a fifth of the points (N, 1, 2) that can be followed stay where they are.

    None where hardly any can be followed. Where the camera stands still, a third of the points settles it.
    """
    tracked = still = 0
    for part in (points[first::3].copy() for first in range(3)):
        there, forward, _ = cv2.calcOpticalFlowPyrLK(before, after, part, np.empty_like(part))
        back, backward, _ = cv2.calcOpticalFlowPyrLK(after, before, there, np.empty_like(part))
        returned = (np.linalg.norm(back - part, axis=2) < 0.5) & (forward > 0) & (backward > 0)
        tracked += int(np.count_nonzero(returned))
        still += int(np.count_nonzero(returned & (np.linalg.norm(there - part, axis=2) < 0.5)))
        if still >= 0.2 * len(points):
            return False
    return still < 0.2 * tracked if tracked >= 0.1 * len(points) else None
