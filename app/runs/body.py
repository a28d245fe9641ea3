"""The bodies of the people in a video: films, views, curves and figures of their walks."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from app.body.kinematics import at_frames
from app.body.measures import Gait, measures_of
from app.body.render import Body
from app.errors import SettingsError
from app.files import written_whole
from app.results.bodies import views_of
from app.results.curves import gait_curves
from app.results.gait_table import write_gait_table
from app.runs.videos import reasons_against
from app.stages import Run
from app.types import BodyMotion, Image
from app.video.colours import colour_of
from app.video.reader import VideoReader
from app.video.summary import write_pictures
from app.video.writer import VideoWriter
from app.walks.analyse import analyse
from app.walks.analysed import AnalysedVideo
from app.workspace import in_use

logger = logging.getLogger(__name__)

FILES = r"(gait\.csv|overlay\.mp4|\d{3}(/(turntable\.(mp4|gif)|views\.png|curves\.png|body\.npz))?)"
"""What a folder of bodies holds."""
SIZE = 480
"""Side in px of the turntable's pictures."""
_TURN = 4.0
"""Seconds of a turn of the turntable."""
_RATE = 25


@dataclass(frozen=True, eq=False)
class WalkBody:
    """The body of the walk of one track, and how it walks."""

    track_id: int
    motion: BodyMotion
    gait: Gait


def bodies_of(video: AnalysedVideo, run: Run, only: int | None = None) -> list[WalkBody]:
    """Fit a body to every usable walk of a video, or to that of track `only`, with the body estimator of the run.

    Raises:
        SettingsError: there is no such track, or no walk can be used.
    """
    known = [walk.track.track_id for walk in video.walks]
    if only is not None and only not in known:
        raise SettingsError(f"{video.info.path} has no track {only}. It has: {', '.join(map(str, known))}.")
    wanted = [
        (walk.track.track_id, sequence)
        for walk, sequence in video.sequences()
        if sequence is not None and (walk.reason is None if only is None else walk.track.track_id == only)
    ]
    if not wanted:
        raise SettingsError(f"No walk in {video.info.path} can be used: {reasons_against(video)}.")
    assert run.stages.body is not None
    found = []
    with run.progress.stage("fit bodies", sum(len(sequence) for _, sequence in wanted)) as advance:
        for track_id, sequence in wanted:
            (motion,) = run.stages.body.fit([sequence])
            found.append(WalkBody(track_id, motion, Gait.of(motion)))
            advance(len(sequence))
    return found


def write_bodies(video: Path, run: Run, out: Path, *, only: int | None = None, fresh: bool = False) -> list[WalkBody]:
    """Find the people of a video, fit their bodies, and write everything about them into the folder `out`.

    The run has a body estimator (`body.show`).

    The folder holds ``overlay.mp4``, ``gait.csv``, and for each track ``turntable.mp4``, ``turntable.gif``,
    ``views.png``, ``curves.png`` and ``body.npz``, the arrays of `app.types.BodyMotion`.

    Raises:
        GaitprintError: the video cannot be used, or the folder cannot be written.
    """
    with written_whole(out, FILES) as temporary:
        temporary.mkdir(parents=True)  # before the long work
        with in_use(run.settings.output.folder):
            analysed = analyse(video, video.name, run, fresh=fresh)
            bodies = bodies_of(analysed, run, only)
        _write_overlay(analysed, bodies, temporary / "overlay.mp4", run)
        with run.progress.stage("turntables and curves", len(bodies)) as advance:
            for place, body in enumerate(bodies):
                folder = temporary / f"{body.track_id:03d}"
                folder.mkdir()
                _write_walk(body, folder, colour_of(place))
                advance(1)
        write_gait_table({body.track_id: measures_of(body.motion) for body in bodies}, temporary / "gait.csv")
    return bodies


def _write_overlay(video: AnalysedVideo, bodies: Sequence[WalkBody], out: Path, run: Run) -> None:
    """Write the video with everybody's body over it, each in their colour; the nearer ones over the others."""
    drawn: dict[int, list[tuple[float, int, Body, int]]] = defaultdict(list)
    for place, body in enumerate(bodies):
        own = body.motion.frame_indices
        whole = at_frames(body.motion, np.arange(own[0], own[-1] + 1))
        shown = Body(whole)
        for index, frame in enumerate(whole.frame_indices.tolist()):
            drawn[frame].append((float(whole.camera[index, 0]), place, shown, index))
    info = video.info
    with (
        VideoReader(info.path, info.reading) as reader,
        VideoWriter(out, info.width, info.height, info.fps, run.settings.output) as writer,
        run.progress.stage("overlay", video.frame_count) as advance,
    ):
        for frame in reader:
            picture = frame.image
            for _, place, shown, index in sorted(drawn.get(frame.index, ()), key=lambda one: one[0]):
                picture = shown.paint(picture, index, colour_of(place))
            writer.write(picture, frame.time)
            advance(1)


def _write_walk(body: WalkBody, folder: Path, colour: Sequence[int]) -> None:
    motion = body.motion
    table = _turntable(motion, colour)
    with VideoWriter(folder / "turntable.mp4", SIZE, SIZE, Fraction(_RATE)) as writer:
        for index, picture in enumerate(table):
            writer.write(picture, index / _RATE)
    small = [cv2.resize(picture, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA) for picture in table[::3]]
    write_pictures([np.asarray(picture[..., ::-1], np.uint8) for picture in small], folder / "turntable.gif", _RATE / 3)
    cv2.imwrite(str(folder / "views.png"), views_of(motion, colour))
    cv2.imwrite(str(folder / "curves.png"), gait_curves(body.gait.cycles()))
    with (folder / "body.npz").open("wb") as file:
        np.savez_compressed(file, **{name: getattr(motion, name) for name in BodyMotion.__dataclass_fields__})


def _turntable(motion: BodyMotion, colour: Sequence[int]) -> list[Image]:
    """Return pictures of a walk on the spot, seen from a camera that goes round once."""
    count = round(_TURN * _RATE)
    first, last = motion.frame_indices[[0, -1]].tolist()
    span = max(1, last - first)
    # The walk is played forward again and again.
    frames = first + np.round(np.arange(count) * motion.fps / _RATE).astype(np.int64) % span
    order, back = np.unique(frames, return_inverse=True)
    shown = Body(at_frames(motion, order))
    angles = 2 * np.pi * np.arange(count) / count
    return [
        shown.seen(int(place), float(angle), np.radians(12), SIZE, colour)
        for place, angle in zip(back, angles, strict=True)
    ]
