"""The best picture of each person in a video, a sheet of such pictures to choose from, and a picture of the video."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from app.results.render import without_gaps
from app.results.report import VideoReport, video_report
from app.settings import QualitySettings
from app.track.bytetrack import shared_areas
from app.types import Floats, Frame, Image, Track
from app.video.reader import VideoReader
from app.walks.analysed import AnalysedVideo
from app.walks.quality import frame_reason, occlusion

CROP = (128, 256)
"""Width and height in px of a picture of a person."""
AROUND = 1.12
"""By this factor it is larger than the person's box."""
_POSTER = 640  # px of the longer side of a video's picture
_EXACT = 1e-6  # s
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 82]
_NEARLY_BEST = 0.8  # frames are looked at if their score is at least this share of the best one
_MOST_FRAMES = 12  # are looked at for each track
_LEAD = 0.4  # in s; the person is near for so long before and after the track
# It is stricter than for silhouettes, because a picture should show somebody from head to feet and boxes are often a
# little too small.
_WHOLE = QualitySettings(max_occlusion=0.05)
_BORDER = 0.02  # of the frame's height
_COLUMNS = 6
_CELL = (180, 300)
_GROUND, _INK = (24, 24, 27), (240, 240, 240)


class BestCrops:
    """Keeps the best crop of each track while the frames of a video pass by.

    The boxes of the tracks say beforehand which frames show the person large, from head to feet, and without others.
    Up to 12 such frames, spread over the walk, are looked at, and the sharpest crop is kept. So a frame costs little
    time, and there is one small picture for each track. Frames in which the person is hidden or cut by the border are
    used only where there are no others.
    """

    def __init__(self, video: VideoReport) -> None:
        self._wanted: dict[int, list[tuple[int, Floats]]] = defaultdict(list)
        self._best: dict[int, tuple[float, Image]] = {}
        worth = _worth(video)
        for track in video.tracks:
            scores, whole = np.array([worth[track.track_id, index] for index in track.frames]).T
            if whole.any():
                scores = scores * whole
            good = np.flatnonzero(scores >= _NEARLY_BEST * scores.max())
            for row in good[np.linspace(0, len(good) - 1, min(_MOST_FRAMES, len(good))).astype(int)].tolist():
                self._wanted[track.frames[row]].append((track.track_id, np.asarray(track.boxes[row], np.float32)))

    @property
    def last(self) -> int:
        """The index of the last frame that is looked at; -1 where there is none."""
        return max(self._wanted, default=-1)

    def look(self, frame: Frame) -> None:
        """Cut the crops that are wanted out of a frame."""
        for track_id, box in self._wanted.get(frame.index, ()):
            crop = crop_of(frame.image, box)
            if crop is None:
                continue
            sharpness = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())
            if track_id not in self._best or sharpness > self._best[track_id][0]:
                self._best[track_id] = sharpness, crop

    def pictures(self) -> dict[int, Image]:
        """Return the best crop so far by track id: uint8 BGR, 128 px wide and 256 px high."""
        return {track_id: crop for track_id, (_, crop) in self._best.items()}

    def jpegs(self) -> dict[int, bytes]:
        """Return `pictures` as JPEGs."""
        return {track_id: jpeg(picture) for track_id, picture in self.pictures().items()}


class Poster:
    """Keeps the painted picture that stands for a video: a moment at which most people are in view."""

    def __init__(self, video: VideoReport) -> None:
        in_view = Counter(chain.from_iterable(track.frames for track in video.tracks if track.status != "unusable"))
        most = max(in_view.values(), default=0)
        moments = sorted(index for index, count in in_view.items() if count == most)
        self._time = (moments[len(moments) // 2] if moments else video.frame_count // 3) / video.fps
        self._shown = -1.0
        self._picture: Image | None = None

    def look(self, image: Image, time: float) -> None:
        """Take the painted frame `image`, uint8 (H, W, 3) BGR, which is shown from `time` s on."""
        if self._shown >= self._time - _EXACT:
            return
        self._shown = time
        if time >= self._time - _EXACT or self._picture is None:  # the first one counts where the video ends early
            scale = min(1.0, _POSTER / max(image.shape[:2]))
            size = (max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0])))
            self._picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def jpeg(self) -> bytes | None:
        """Return the picture as a JPEG, at most 640 px wide and high; None where no frame has come."""
        return jpeg(self._picture) if self._picture is not None else None


def portraits(analysed: AnalysedVideo, tracks: Sequence[Track]) -> dict[int, Image]:
    """Return the best picture of each of `tracks` by track id (`BestCrops.pictures`). Decodes the video once more."""
    numbers = {track.track_id for track in tracks}
    best = BestCrops(video_report(analysed, {}))
    with VideoReader(analysed.info.path, analysed.info.reading) as reader:
        for frame in reader:
            best.look(frame)
            if frame.index >= best.last:
                break
    return {track_id: picture for track_id, picture in best.pictures().items() if track_id in numbers}


def jpeg(picture: Image) -> bytes:
    """Return a picture, uint8 BGR, as a JPEG."""
    return cv2.imencode(".jpg", picture, _JPEG)[1].tobytes()


def contact_sheet(pictures: Mapping[int, Image], captions: Mapping[int, Sequence[str]]) -> bytes:
    """Return a PNG of all `pictures` (uint8 BGR), which come by number, each with the lines of its caption below."""
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = _CELL
    letters = ImageFont.load_default(15)
    sheet = Pictures.new("RGB", (columns * width, rows * height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (number, picture) in enumerate(sorted(pictures.items())):
        left, top = place % columns * width, place // columns * height
        lines = captions[number]
        room = height - 16 - 20 * len(lines)
        scale = min(room / picture.shape[0], (width - 16) / picture.shape[1])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        small = Pictures.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).resize(size, Pictures.Resampling.LANCZOS)
        sheet.paste(small, (left + (width - size[0]) // 2, top + 8))
        for line, text in enumerate(lines):
            place_of = (left + (width - letters.getlength(text)) / 2, top + 12 + room + 20 * line)
            draw.text(place_of, text, fill=_INK, font=letters)
    return cv2.imencode(".png", cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR))[1].tobytes()


def _worth(video: VideoReport) -> dict[tuple[int, int], tuple[float, bool]]:
    """Return how well each frame shows the person of each track, and whether the person is whole.

    The score is the height of the box, reduced where others are in the crop. Others count whether they are in front of
    the person or behind, and also in the gaps of their tracks, because there one box often holds both people.
    """
    of_frame: dict[int, list[int]] = defaultdict(list)
    people: list[tuple[int, int, Floats]] = []
    for track in video.tracks:
        for index, box in without_gaps(track, round(_LEAD * video.fps)):
            of_frame[index].append(len(people))
            people.append((track.track_id, index, box))
    if not people:
        return {}
    boxes = np.stack([box for _, _, box in people])
    windows = _windows(boxes)
    shared, hidden = np.zeros(len(people)), np.zeros(len(people), np.float32)
    for rows in of_frame.values():
        if len(rows) > 1:
            shared[rows], hidden[rows] = _shared(windows[rows], boxes[rows]), occlusion(boxes[rows])
    scores = (boxes[:, 3] - boxes[:, 1]) * np.maximum(0, 1 - shared) ** 2
    limits = replace(_WHOLE, border_margin=_BORDER * video.height)
    return {
        (track_id, index): (score, frame_reason(box, covered, video.width, video.height, limits) is None)
        for (track_id, index, box), score, covered in zip(people, scores.tolist(), hidden.tolist(), strict=True)
    }


def _shared(windows: Floats, boxes: Floats) -> Floats:
    """Return how much of each of N `windows` (N, 4) of a frame is taken by the `boxes` (N, 4) of the others."""
    covered = shared_areas(windows, boxes)
    np.fill_diagonal(covered, 0)
    return np.asarray(covered.sum(axis=1) / np.maximum(1e-6, (windows[:, 2:] - windows[:, :2]).prod(axis=1)))


def _windows(boxes: Floats) -> Floats:
    """Return what crops of `boxes` (N, 4) show: the boxes with a margin, as wide and high as `CROP` is."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    scale = (sizes / CROP).max(axis=1, keepdims=True) * AROUND
    centres, half = (boxes[:, 2:] + boxes[:, :2]) / 2, scale * CROP / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def crop_of(image: Image, box: Floats) -> Image | None:
    """Cut a person out of a picture, uint8 (H, W, 3) BGR, by a box (4,) px: BGR, 128 px wide and 256 px high.

    Beyond the frame, its edge is repeated. None is returned for a box without area.
    """
    x1, y1, x2, y2 = np.round(_windows(box[None])[0]).astype(int).tolist()
    if x1 == x2 or y1 == y2:
        return None
    height, width = image.shape[:2]
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        part = image[y1:y2, x1:x2]
    else:
        part = image.take(np.arange(y1, y2).clip(0, height - 1), 0).take(np.arange(x1, x2).clip(0, width - 1), 1)
    smooth = cv2.INTER_AREA if x2 - x1 > CROP[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, CROP, interpolation=smooth), np.uint8)
