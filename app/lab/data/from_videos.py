"""Make a gait data set in OpenGait's layout from a folder of videos, as Gait3D was made.

The program tracks people, a person looks at the tracks and says in a CSV file (`app.lab.data.labels`) who is who, and
the program writes the labelled walks.
"""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps

from app.errors import NobodyFoundError, SettingsError, VideoError
from app.files import as_text, written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data.conversion import Outcome, Report, claim_data_set, report_of, write_json
from app.lab.data.labels import COLUMNS, Label, read_labels
from app.lab.data.opengait import WALK_FILES, DataSetError, write_array
from app.progress import Progress
from app.runs.build import build
from app.settings import QualitySettings, Settings
from app.spreadsheets import cell
from app.stages import Run, Stages
from app.types import Floats, GaitSequence, Image, Track
from app.video.formats import VIDEO_SUFFIXES
from app.video.reader import VideoReader
from app.video.sources import videos_below
from app.walks.analyse import analyse
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.quality import Reason
from app.weights.checkpoints import checkpoint_roots
from app.weights.registry import pose_models
from app.workspace import in_use

logger = logging.getLogger(__name__)

TEMPLATE, NAMELESS = "labels.csv", "nameless.csv"

# Walks of more than twice as many silhouettes are thinned: in the field, networks are given 720 at most.
_LONGEST = 720

_CROPS, _CROP_SIZE = 6, (112, 192)  # number, width and height in px


class Piece(NamedTuple):
    """A track and its silhouettes. All pieces of a walk are joined."""

    walk: AnalysedWalk
    sequence: GaitSequence

    @property
    def track(self) -> Track:
        """The track."""
        return self.walk.track


def write_template(folder: Path, out: Path, settings: Settings, progress: Progress, *, nameless: bool = False) -> Path:
    """Track everybody in every video; write ``labels.csv`` to be filled in, and pictures of each track; return the
    file.

    With `nameless` the file is ``nameless.csv``, and filled in: each track that passes the quality gate is a person of
    its own, called by a number. No gait model is used.

    Args:
        folder: the videos, also in sub-folders.
        out: the folder of the new data set. What was found in the videos is kept there, so that a run that was stopped
            continues.

    Raises:
        SettingsError: ``labels.csv`` exists already. Somebody may have filled it in.
        VideoError: there is no video, or none shows anybody.
        OutputError: `out` belongs to another data set or cannot be written.
    """
    path = out / (NAMELESS if nameless else TEMPLATE)
    if path.exists() and not nameless:
        raise SettingsError(f"{path} exists already. Fill it in and give it with --labels, or move it away.")
    videos = _videos(folder, {})
    claim_data_set(out, _about(folder))
    rows: list[dict[str, Any]] = []
    for name, video in _analysed(videos, Run(_stages(settings, out), progress), {}):
        found = [Piece(walk, sequence) for walk, sequence in video.sequences() if sequence is not None]
        pictures = out / "tracks" / name
        _write_pictures(video, [piece.track for piece in found], pictures, progress)
        for piece in sorted(found, key=lambda piece: piece.track.track_id):
            start, end = _span(piece.track, video)
            rows.append({
                "video": name, "track": piece.track.track_id, "from_s": f"{start:.2f}", "to_s": f"{end:.2f}",
                "identity": f"{len(rows) + 1:06d}" if nameless and piece.walk.reason is None else "",
                "silhouettes": len(piece.sequence), "note": piece.walk.reason or "",
                "picture": (pictures / _picture_name(piece.track)).relative_to(out).as_posix(),
            })  # fmt: skip
    if not rows:
        raise VideoError(f"Nobody could be tracked in the {len(videos)} videos of {folder}.")
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({column: cell(value) for column, value in row.items()} for row in rows)
    return path


def prepare_videos(folder: Path, labels: Path, out: Path, settings: Settings, progress: Progress) -> Report:
    """Write the labelled walks: silhouettes and, if there is a pose network, keypoints and skeleton maps.

    Each folder ``out/data/identity/condition/view`` has ``0_silhouette.pkl`` uint8 (T, 64, 64), ``1_pose.pkl`` float32
    (T, 17, 3) in px of the frame, and ``2_heatmap.pkl`` uint8 (T, 2, 64, 64); with `parser.when` "always" also
    ``3_parsing.pkl`` uint8 (T, 64, 64). Tracks of a video with the same identity,
    condition and view are joined in the order of time. Tracks that fail the quality gate are dropped, except that
    tracks which are too short by themselves count together. ``report.json`` says what was dropped, and from which
    tracks, of which video at which frame rate, each walk was made.

    Args:
        folder: the videos, also in sub-folders.
        labels: CSV with the columns video, track, identity and, if wanted, condition (else the video's name) and view
            (else ``seq0``).
        out: the folder of the new data set. Its ``data`` is replaced when everything is done.
        settings: as in `write_template`. They must be the same, because tracks have other numbers otherwise.

    Raises:
        DataSetError: the labels cannot be used, or every walk is dropped.
        VideoError: there is no video.
        OutputError: `out` belongs to another data set or cannot be written.
    """
    left_out: dict[str, str] = {}
    videos = _videos(folder, left_out)
    wanted = read_labels(labels, list(videos))
    claim_data_set(out, _about(folder))
    run = Run(_stages(settings, out), progress)
    left_out |= dict.fromkeys((name for name in videos if name not in wanted), "not labelled")
    outcomes: list[Outcome] = []
    sources: dict[str, Any] = {}
    with written_whole(out / "data", rf"[^/]+(/[^/]+(/[^/]+(/{WALK_FILES})?)?)?") as temporary:
        for name, video in _analysed({name: videos[name] for name in wanted}, run, left_out):
            for walk, pieces in _labelled(video, wanted[name], labels, left_out).items():
                outcome = _write_walk(walk, pieces, settings.quality, temporary)
                outcomes.append(outcome)
                sources[walk] = {
                    "video": name, "tracks": [piece.track.track_id for piece in pieces],
                    "fps": round(float(video.info.fps), 3), "frames": outcome.frames,
                }  # fmt: skip
        report = report_of(outcomes, left_out)
    models = {stage: card.model_id for stage, card in run.stages.cards().items() if stage != "gait"}
    write_json(out / "report.json", {**asdict(report), "models": models, "sources": sources})
    return report


def _videos(folder: Path, left_out: dict[str, str]) -> dict[str, Path]:
    """Return every video below `folder`, by its path from there. What is passed over is named."""
    videos, others = videos_below(folder)
    for other in others:
        logger.warning("%s is passed over: its name is not that of a video.", other)
        left_out[_name(other, folder)] = "its name is not that of a video"
    if not videos:
        raise VideoError(f"There is no video in {folder}. Known formats: {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return {_name(video, folder): video for video in videos}


def _name(path: Path, folder: Path) -> str:
    return as_text(path.relative_to(folder).as_posix())


def _about(folder: Path) -> dict[str, str]:
    return {"videos": str(folder.resolve())}


def _stages(settings: Settings, out: Path) -> Stages:
    """Load what finds and cuts out people, and the cheapest gait model, as no embedding is needed."""
    when = settings.pose.when
    if when == "auto":
        try:
            pose_models.choose(settings.pose.name, settings.pose.checkpoint, checkpoint_roots(settings.checkpoints))
            when = "always"
        except SettingsError as error:
            if settings.pose.name != "auto":
                raise
            logger.warning("There will be no keypoints and no skeleton maps: %s", error)
            when = "never"
    gait = replace(settings.gait, name="gei", checkpoint=None, max_frames=max(settings.gait.max_frames, _LONGEST))
    pose = replace(settings.pose, when=when, paint=False)
    return build(replace(settings, pose=pose, gait=gait, output=replace(settings.output, folder=out)))


def _analysed(videos: dict[str, Path], run: Run, left_out: dict[str, str]) -> Iterator[tuple[str, AnalysedVideo]]:
    """Run pass 1 on each video; leave out those that cannot be used, with a warning."""
    with in_use(run.settings.output.folder):
        for name, path in videos.items():
            try:
                yield name, analyse(path, name, run)
            except (VideoError, NobodyFoundError) as error:
                logger.warning("%s It is left out.", error)
                left_out[name] = str(error)


def _span(track: Track, video: AnalysedVideo) -> tuple[float, float]:
    """Return when the person is first and last visible, in s."""
    first, last = (float(index / video.info.fps) for index in track.frame_indices[[0, -1]].tolist())
    return first, last


def _labelled(
    video: AnalysedVideo, labels: Sequence[Label], path: Path, left_out: dict[str, str]
) -> dict[str, list[Piece]]:
    """Gather the pieces of each labelled walk, in the order of time.

    Raises:
        DataSetError: a label names a track that does not exist or has changed, or somebody would be at two places.
    """
    name = labels[0].video
    found = {walk.track.track_id: (walk, sequence) for walk, sequence in video.sequences()}
    walks: dict[str, list[Piece]] = defaultdict(list)
    people: dict[str, list[Track]] = defaultdict(list)
    for label in labels:
        if label.track not in found:
            known = ", ".join(map(str, sorted(found)))
            raise DataSetError(f"{path}: {name} has no track {label.track}. It has: {known}.")
        walk, sequence = found[label.track]
        if label.span is not None and np.abs(np.subtract(label.span, _span(walk.track, video))).max() > 0.1:
            raise DataSetError(
                f"{path}: track {label.track} of {name} was visible from {label.span[0]:g} to {label.span[1]:g} s when "
                "the labels were made, and is another one now. Use the same models and settings, or make new labels."
            )
        for other in people[label.identity]:
            shared = np.intersect1d(other.frame_indices, walk.track.frame_indices)
            if len(shared):
                raise DataSetError(
                    f"{path}: tracks {other.track_id} and {label.track} of {name} are both labelled {label.identity}, "
                    f"but both are visible at {float(shared[0] / video.info.fps):.2f} s. Nobody can be at two places: "
                    "clear the identity of one of them."
                )
        people[label.identity].append(walk.track)
        too_short = walk.reason is not None and walk.reason.startswith(Reason.TOO_SHORT.value)
        if sequence is None or not (walk.reason is None or too_short):
            left_out[f"{name}, track {label.track}"] = walk.reason or Reason.NO_SILHOUETTE.value
        else:  # a piece that is too short may be enough together with the others
            walks[label.walk].append(Piece(walk, sequence))
    for pieces in walks.values():
        pieces.sort(key=lambda piece: int(piece.track.frame_indices[0]))
    return dict(walks)


def _write_walk(name: str, pieces: Sequence[Piece], quality: QualitySettings, folder: Path) -> Outcome:
    sequences = [piece.sequence for piece in pieces]
    frames = sum(map(len, sequences))
    seconds = sum(np.ptp(piece.track.frame_indices) + 1 for piece in pieces) / sequences[0].fps
    if seconds < quality.min_seconds - 1e-6 or frames < quality.min_frames:
        needed = f"{quality.min_seconds:.1f} s and {quality.min_frames} silhouettes needed"
        return Outcome(name, 0, reason=f"{Reason.TOO_SHORT.value}: {seconds:.1f} s, {frames} silhouettes; {needed}")
    place = folder / name
    place.mkdir(parents=True)
    write_array(np.concatenate([sequence.silhouettes for sequence in sequences]), place / "0_silhouette.pkl")
    keypoints = [sequence.keypoints for sequence in sequences if sequence.keypoints is not None]
    if keypoints:
        poses = np.concatenate(keypoints)
        write_array(poses, place / "1_pose.pkl")
        write_array(heatmaps(poses), place / "2_heatmap.pkl")
    parts = [sequence.parts for sequence in sequences if sequence.parts is not None]
    if parts:
        write_array(np.concatenate(parts), place / "3_parsing.pkl")
    return Outcome(name, frames)


def _write_pictures(video: AnalysedVideo, tracks: Sequence[Track], folder: Path, progress: Progress) -> None:
    """Write a strip of crops of each track, so that somebody can say who it is. Earlier ones are replaced."""
    wanted: dict[int, list[tuple[Track, int]]] = defaultdict(list)
    strips: dict[int, list[Image]] = defaultdict(list)
    for track in tracks:
        for place in np.unique(np.linspace(0, len(track.frame_indices) - 1, _CROPS + 2).astype(int)[1:-1]):
            wanted[int(track.frame_indices[place])].append((track, int(place)))
    with (
        VideoReader(video.info.path, video.info.reading) as reader,
        progress.stage(f"{video.info.path.name}: pictures of the tracks", video.frame_count) as advance,
    ):
        for frame in reader:
            for track, place in wanted.pop(frame.index, ()):
                strips[track.track_id].append(_crop(frame.image, track.boxes[place]))
            advance(1)
            if not wanted:
                break
    with written_whole(folder, r"\d+\.jpg") as temporary:
        temporary.mkdir()
        for track in tracks:
            strip = np.concatenate(strips[track.track_id], axis=1)
            (temporary / _picture_name(track)).write_bytes(cv2.imencode(".jpg", strip)[1].tobytes())


def _picture_name(track: Track) -> str:
    return f"{track.track_id:03d}.jpg"


def _crop(image: Image, box: Floats) -> Image:
    """Return what is in the box, scaled into a cell that is black around it."""
    rows, columns = image.shape[:2]
    left, top, right, bottom = np.clip(box, 0, (columns, rows, columns, rows)).round().astype(int).tolist()
    inside = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return np.asarray(ImageOps.pad(Pictures.fromarray(inside), _CROP_SIZE))
