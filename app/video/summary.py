"""`summary.gif`: the gallery and a probe side by side, for chats and READMEs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures

from app.files import written_whole
from app.types import Image
from app.video.paint import colour_of
from app.video.reader import VideoReader

_RATE = 10  # frames/s: GIF counts in hundredths of a second, and this is enough to see legs swing
_AREA = 200_000  # px of the two pictures together
_COLOURS = 128
_STILL = 12  # grey levels; smaller changes are noise, which would need more bytes than the people


def write_summary(
    gallery: Path,
    probe: Path,
    out: Path,
    seconds: float = 4,
    height: int = 320,
    *,
    gallery_start: float = 0,
    probe_start: float = 0,
) -> None:
    """Write `seconds` s of two painted videos side by side as an endless GIF, with MoviePy.

    Args:
        gallery: the painted gallery, left.
        probe: the painted probe, right.
        out: the GIF; it appears when it is complete.
        seconds: the longest duration; both videos are cut to the shorter one.
        height: the height of the GIF in px; it is lowered if two wide videos would make it too large for a chat.
        gallery_start: the time in s at which to start; earlier if the video would end before `seconds` are over.
        probe_start: the same for the probe.

    Raises:
        VideoError: one of the videos is missing or cannot be read.
        OutputError: no permission, no space.
    """
    from moviepy import ImageSequenceClip, VideoFileClip, clips_array

    sizes = []
    for video in (gallery, probe):
        with VideoReader(video) as reader:
            sizes.append((reader.info.width, reader.info.height))
    height = min(height, math.isqrt(int(_AREA / sum(wide / tall for wide, tall in sizes)))) // 2 * 2
    with written_whole(out) as temporary, ExitStack() as opened:
        clips: list[Any] = []
        for video, (wide, tall) in zip((gallery, probe), sizes, strict=True):
            size = (max(2, round(height * wide / tall)), height)
            clips.append(VideoFileClip(str(video.absolute()), audio=False, target_resolution=size))
            opened.callback(clips[-1].close)  # each holds an ffmpeg process
        length = min(seconds, *(clip.duration for clip in clips))
        parts = []
        for clip, start in zip(clips, (gallery_start, probe_start), strict=True):
            begin = max(0.0, min(start, clip.duration - length))
            parts.append(clip.subclipped(begin, begin + length))
        both = clips_array([parts])
        # A video of a single picture is shorter than a step of the GIF.
        pictures = list(both.iter_frames(fps=_RATE, dtype="uint8")) or [np.asarray(both.get_frame(0), np.uint8)]
        summary = ImageSequenceClip(list(_in_few_colours(pictures)), fps=_RATE)
        summary.write_gif(str(temporary), fps=_RATE, logger=None)


def _in_few_colours(pictures: Sequence[Image]) -> Iterator[Image]:
    """Reduce the pictures to one palette and keep pixels that hardly change: a fifth of the time, half of the bytes.

    MoviePy's writer would give each picture a palette of its own, so that even a still wall would change all the time.
    """
    sample = np.concatenate([picture[::2, ::2] for picture in pictures[:: max(1, len(pictures) // 6)]])
    # Boxes are small, but their colours show who is who. Enough of each is added to get it into the palette.
    marks = np.array([colour_of(place) for place in range(8)], np.uint8).repeat(sample.shape[1] * 4, axis=0)
    sample = np.concatenate([sample, marks.reshape(-1, sample.shape[1], 3)])
    palette = Pictures.fromarray(sample).quantize(_COLOURS, method=Pictures.Quantize.MEDIANCUT)
    table = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    current = pictures[0]
    for picture in pictures:
        still = np.abs(picture.astype(np.int16) - current).max(axis=2, keepdims=True) < _STILL
        current = np.where(still, current, picture)
        places = Pictures.fromarray(current).quantize(palette=palette, dither=Pictures.Dither.NONE)
        yield table[np.asarray(places)]
