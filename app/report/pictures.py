"""The pictures of the page: of each track its best crop, a strip of silhouettes and the gait energy image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.pipeline.render import without_gaps
from app.pipeline.report import TrackReport, VideoReport
from app.pipeline.sequences import Walk
from app.types import Bytes, Floats, Frame, Image, Ints

_CROP = (128, 256)  # width and height in px: twice as fine as it is shown
_AROUND = 1.12  # of the box that the crop shows
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 82]
_NEARLY_BEST, _LOOKED_AT = 0.8, 12
_CUT_WEIGHT, _BORDER = 0.25, 2.0
_LEAD = 0.4  # s before and after a track in which its person is about
_STRIP, _STRIP_SECONDS = 8, 1.2  # silhouettes over one gait cycle (Winter 1991)
_BODY = slice(10, 54)  # the 44 columns the field keeps of 64
_GREYS = 17  # levels kept in silhouettes, which halves their size


@dataclass(frozen=True)
class TrackPictures:
    """Of one track, ready for the page: `crop` a JPEG; `strip` and `energy` PNGs, transparent where no body is."""

    crop: bytes | None = None
    strip: bytes | None = None
    energy: bytes | None = None


class BestCrops:
    """Keeps the best crop of each track while a video's frames pass by.

    The tracks' boxes say beforehand which frames show the person large, free of others and whole; of up to 12 such
    frames, spread over the walk, the sharpest wins. So a frame costs next to nothing, and one small picture a track is
    kept.
    """

    def __init__(self, video: VideoReport) -> None:
        self._wanted: dict[int, list[tuple[int, Floats]]] = defaultdict(list)
        self._best: dict[int, tuple[float, Image]] = {}
        worth = _worth(video)
        for track in video.tracks:
            scores = np.array([worth[track.track_id, index] for index in track.frames])
            good = np.flatnonzero(scores >= _NEARLY_BEST * scores.max())
            for row in good[np.linspace(0, len(good) - 1, min(_LOOKED_AT, len(good))).astype(int)].tolist():
                self._wanted[track.frames[row]].append((track.track_id, np.asarray(track.boxes[row], np.float32)))

    def look(self, frame: Frame) -> None:
        """Take what is wanted of `frame`."""
        for track_id, box in self._wanted.get(frame.index, ()):
            crop = _crop(frame.image, box)
            if crop is None:
                continue
            sharpness = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())
            if track_id not in self._best or sharpness > self._best[track_id][0]:
                self._best[track_id] = sharpness, crop

    def jpegs(self) -> dict[int, bytes]:
        """Return the best crop so far by track id."""
        return {track_id: _encoded(".jpg", crop, _JPEG) for track_id, (_, crop) in self._best.items()}


def pictures_of(video: VideoReport, walks: Iterable[Walk], crops: Mapping[int, bytes]) -> dict[int, TrackPictures]:
    """Return the pictures of each track, by its id.

    Args:
        video: the tracks; one that was cut from another has its part of the other's silhouettes.
        walks: those of the video, one at a time.
        crops: JPEGs by track id.
    """
    parts: dict[int, list[TrackReport]] = defaultdict(list)
    for track in video.tracks:
        parts[track.part_of or track.track_id].append(track)
    pictures = {track.track_id: TrackPictures(crops.get(track.track_id)) for track in video.tracks}
    for walk in walks:
        sequence = walk.sequence
        if sequence is None:
            continue
        for track in parts[walk.track.track_id]:
            own = (sequence.frame_indices >= track.frames[0]) & (sequence.frame_indices <= track.frames[-1])
            if own.any():
                silhouettes = sequence.silhouettes[own][:, :, _BODY]
                pictures[track.track_id] = TrackPictures(
                    crops.get(track.track_id),
                    _strip(sequence.frame_indices[own], silhouettes, sequence.fps),
                    _energy(silhouettes),
                )
    return pictures


def _worth(video: VideoReport) -> dict[tuple[int, int], float]:
    """How well each track shows in each of its frames: by height, less where others or the border are in the crop.

    Others count on whichever side they are, for behind somebody they still are in the picture, and also where their
    tracks have a gap, which most often is a box that holds both.
    """
    by_frame: dict[int, list[tuple[int, Floats]]] = defaultdict(list)
    for track in video.tracks:
        for index, box in without_gaps(track, round(_LEAD * video.fps)):
            by_frame[index].append((track.track_id, box))
    inside = np.array([_BORDER, _BORDER, video.width - _BORDER, video.height - _BORDER])
    worth: dict[tuple[int, int], float] = {}
    for index, near in by_frame.items():
        boxes = np.stack([box for _, box in near])
        windows = _windows(boxes)
        low = np.maximum(windows[:, None, :2], boxes[None, :, :2])
        high = np.minimum(windows[:, None, 2:], boxes[None, :, 2:])
        covered = np.maximum(0, high - low).prod(axis=2)
        np.fill_diagonal(covered, 0)
        shared = covered.sum(axis=1) / np.maximum(1e-6, (windows[:, 2:] - windows[:, :2]).prod(axis=1))
        whole = ((boxes[:, :2] >= inside[:2]) & (boxes[:, 2:] <= inside[2:])).all(axis=1)
        scores = (boxes[:, 3] - boxes[:, 1]) * np.maximum(0, 1 - shared) ** 2 * np.where(whole, 1, _CUT_WEIGHT)
        worth.update({(track_id, index): score for (track_id, _), score in zip(near, scores.tolist(), strict=True)})
    return worth


def _windows(boxes: Floats) -> Floats:
    """Return what crops of `boxes` (N, 4) show: the boxes with a margin, as wide and high as `_CROP` is."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    scale = (sizes / _CROP).max(axis=1, keepdims=True) * _AROUND
    centres, half = (boxes[:, 2:] + boxes[:, :2]) / 2, scale * _CROP / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def _crop(image: Image, box: Floats) -> Image | None:
    """Cut out the box's window in the size `_CROP`, the frame's edge repeated where it ends."""
    x1, y1, x2, y2 = np.round(_windows(box[None])[0]).astype(int).tolist()
    if x1 == x2 or y1 == y2:
        return None
    columns = np.arange(x1, x2).clip(0, image.shape[1] - 1)
    rows = np.arange(y1, y2).clip(0, image.shape[0] - 1)
    smooth = cv2.INTER_AREA if x2 - x1 > _CROP[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image[np.ix_(rows, columns)], _CROP, interpolation=smooth), np.uint8)


def _strip(frames: Ints, silhouettes: Bytes, fps: float) -> bytes:
    """Silhouettes side by side, evenly spread over a gait cycle in the middle of the walk."""
    cycle = np.flatnonzero(np.abs(frames - frames[len(frames) // 2]) <= fps * _STRIP_SECONDS / 2)
    rows = cycle[np.linspace(0, len(cycle) - 1, min(_STRIP, len(cycle))).round().astype(int)]
    return _ink(np.concatenate(list(silhouettes[rows]), axis=1))


def _energy(silhouettes: Bytes) -> bytes:
    """The gait energy image: the mean silhouette (Han and Bhanu 2006)."""
    return _ink(np.round(silhouettes.mean(axis=0)).astype(np.uint8))


def _ink(opacity: Bytes) -> bytes:
    """Return a PNG that is black, `opacity` 0..255 thick."""
    step = 255 / (_GREYS - 1)
    picture = np.zeros((*opacity.shape, 4), np.uint8)
    picture[..., 3] = np.round(np.round(opacity / step) * step)
    return _encoded(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _encoded(suffix: str, picture: npt.NDArray[np.uint8], options: list[int]) -> bytes:
    return bytes(cv2.imencode(suffix, picture, options)[1])
