"""The best picture of each person in a video, and a sheet of them to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from app.pipeline.analyse import AnalysedVideo
from app.quality import occlusion
from app.types import Floats, Image, Track
from app.video.reader import VideoReader

_LOOKED_AT = 40
"""Frames of a track among which the best is searched."""
_MARGIN = 0.05
_HEIGHT = 256
"""Height of a portrait in px; smaller people stay as they are."""
_COLUMNS = 6
_CELL = (180, 300)
_GROUND, _INK = (24, 24, 27), (240, 240, 240)


def best_frame(track: Track, others: Sequence[Track], width: int, height: int) -> int:
    """Return the frame in which somebody is seen best: large, whole, and hidden by nobody.

    Args:
        track: the person.
        others: everybody else in the video.
        width: of the frames, px.
        height: of the frames, px.
    """
    best, most = int(track.frame_indices[0]), -1.0
    for place in np.linspace(0, len(track.frame_indices) - 1, _LOOKED_AT).round().astype(int).tolist():
        frame, box = int(track.frame_indices[place]), track.boxes[place]
        boxes = [box, *(other.boxes[at] for other in others if (at := _index(other, frame)) is not None)]
        hidden = float(occlusion(np.stack(boxes))[0])
        inside = box[0] > 1 and box[1] > 1 and box[2] < width - 1 and box[3] < height - 1
        value = float(box[3] - box[1]) * (1 - hidden) ** 2 * (1.0 if inside else 0.5) * float(track.scores[place])
        if value > most:
            best, most = frame, value
    return best


def portraits(analysed: AnalysedVideo, tracks: Sequence[Track]) -> dict[int, Image]:
    """Cut out the best picture of each of `tracks`: uint8 BGR, at most 256 px high, by track id. Decodes once more."""
    info, every = analysed.info, [walk.track for walk in analysed.walks]
    wanted: dict[int, list[Track]] = {}
    for track in tracks:
        others = [other for other in every if other.track_id != track.track_id]
        wanted.setdefault(best_frame(track, others, info.width, info.height), []).append(track)
    found: dict[int, Image] = {}
    last = max(wanted, default=-1)
    with VideoReader(info.path) as reader:
        for frame in reader:
            for track in wanted.get(frame.index, []):
                found[track.track_id] = _crop(frame.image, track.boxes[_index(track, frame.index)])
            if frame.index >= last:
                break
    return found


def jpeg(picture: Image) -> bytes:
    """Return a picture, uint8 BGR, as a JPEG."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def contact_sheet(pictures: Mapping[int, Image], captions: Mapping[int, Sequence[str]]) -> bytes:
    """Return a PNG of all `pictures` (uint8 BGR) by number, each with the lines of its caption below."""
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


def _index(track: Track, frame: int) -> int | None:
    at = int(np.searchsorted(track.frame_indices, frame))
    return at if at < len(track.frame_indices) and track.frame_indices[at] == frame else None


def _crop(image: Image, box: Floats) -> Image:
    x1, y1, x2, y2 = box.tolist()
    margin = _MARGIN * (y2 - y1)
    rows, columns = image.shape[:2]
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(columns, int(np.ceil(x2 + margin))), min(rows, int(np.ceil(y2 + margin)))
    crop = image[top:bottom, left:right]
    scale = min(1.0, _HEIGHT / crop.shape[0])
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
