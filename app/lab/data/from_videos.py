"""A folder of videos becomes a gait data set in OpenGait's layout, the way Gait3D was built: people are followed, a
person looks at the tracks and says in a CSV file who is who.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import NobodyFoundError, SettingsError, VideoError, nearest
from app.files import written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data.conversion import Outcome, Report, claim, report_of, write_json
from app.lab.data.opengait import DataSetError, write_array
from app.progress import Progress
from app.runs.build import build
from app.settings import Settings
from app.stages import Run, Stages
from app.types import Image, Track
from app.video.reader import VideoReader
from app.video.sources import VIDEO_SUFFIXES
from app.walks.analyse import AnalysedVideo, analyse
from app.walks.archive import read_walks
from app.walks.quality import Reason
from app.walks.sequences import Walk
from app.weights.checkpoints import checkpoint_roots
from app.weights.registry import pose_models

logger = logging.getLogger(__name__)

TEMPLATE = "labels.csv"
_COLUMNS = ("video", "track", "identity", "condition", "view", "from_s", "to_s", "silhouettes", "note", "picture")

# Walks of more than twice as many silhouettes are thinned: the field hands networks 720 at most.
_LONGEST = 720

_CROPS, _CROP_HEIGHT, _CROP_WIDTH = 6, 192, 112


@dataclass(frozen=True)
class Label:
    """A line of the CSV file: who a track is. `seen` is when the track was seen as the template had it, s."""

    video: str
    track: int
    identity: str
    condition: str
    view: str
    seen: tuple[float, float] | None

    @property
    def walk(self) -> str:
        """``identity/condition/view``; all tracks of a video with one are joined."""
        return f"{self.identity}/{self.condition}/{self.view}"


def write_template(folder: Path, out: Path, settings: Settings, progress: Progress) -> Path:
    """Follow everybody in every video; write ``labels.csv`` to be filled in, and pictures of each track.

    Args:
        folder: of videos, with sub-folders.
        out: folder of the data set to be; also keeps what was found in the videos, so that a stopped run goes on.
        settings: of the pipeline; no gait model is used.
        progress: where the frames done are shown.

    Returns:
        The CSV file. One that is there, filled in perhaps, is not replaced.

    Raises:
        SettingsError: it is there already.
        VideoError: there is no video, or none shows anybody.
        OutputError: `out` belongs to another data set or cannot be written.
    """
    path = out / TEMPLATE
    if path.exists():
        raise SettingsError(f"{path} is there already. Fill it in and give it with --labels, or move it away.")
    videos = _videos(folder)
    claim(out, _about(folder))
    run = Run(_stages(settings, out), progress)
    rows: list[dict[str, Any]] = []
    for name, video in _followed(videos, run, {}):
        walks = [walk for walk in read_walks(video.archive) if walk.sequence is not None]
        walks.sort(key=lambda walk: walk.track.track_id)
        pictures = out / "tracks" / name
        _write_pictures(video, [walk.track for walk in walks], pictures, progress)
        for walk in walks:
            start, end = _seen(walk.track, video)
            rows.append({
                "video": name, "track": walk.track.track_id, "from_s": f"{start:.2f}", "to_s": f"{end:.2f}",
                "silhouettes": len(walk.sequence or ()), "note": walk.reason or "",
                "picture": (pictures / _picture_name(walk.track)).relative_to(out).as_posix(),
            })  # fmt: skip
    if not rows:
        raise VideoError(f"Nobody could be followed in the {len(videos)} videos of {folder}.")
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def prepare_videos(folder: Path, labels: Path, out: Path, settings: Settings, progress: Progress) -> Report:
    """Write the labelled walks: silhouettes, with a pose network keypoints and skeleton maps too.

    In each folder ``out/data/identity/condition/view`` lie ``0_silhouette.pkl`` uint8 (T, 64, 64), ``1_pose.pkl``
    float32 (T, 17, 3) in px of the frame, ``2_heatmap.pkl`` uint8 (T, 2, 64, 64). Tracks of a video with the same
    identity, condition and view are joined in the order of time. Tracks that the quality gate refuses are dropped,
    but pieces that are too short count together. ``report.json`` says what was dropped and which tracks, of which
    video with how many frames per second, each walk is from.

    Args:
        folder: of videos, with sub-folders.
        labels: CSV with the columns video, track, identity and, if wanted, condition (else the video's name) and
            view (else ``seq0``). Lines without identity are left out.
        out: its ``data`` is replaced when all is done.
        settings: of the pipeline; the same as when the labels were made, or tracks have other numbers.
        progress: where the frames done are shown.

    Raises:
        DataSetError: the labels cannot be used, or nothing is left.
        VideoError: there is no video.
        OutputError: `out` belongs to another data set or cannot be written.
    """
    videos = _videos(folder)
    wanted = read_labels(labels, list(videos))
    claim(out, _about(folder))
    run = Run(_stages(settings, out), progress)
    left_out = dict.fromkeys((name for name in videos if name not in wanted), "not labelled")
    outcomes: list[Outcome] = []
    sources: dict[str, Any] = {}
    with written_whole(out / "data") as temporary:
        for name, video in _followed({name: videos[name] for name in wanted}, run, left_out):
            for walk, tracks in _labelled(video, wanted[name], labels, left_out).items():
                outcome = _write_walk(walk, tracks, settings, temporary)
                outcomes.append(outcome)
                sources[walk] = {
                    "video": name, "tracks": [piece.track.track_id for piece in tracks],
                    "fps": round(float(video.info.fps), 3), "frames": outcome.frames,
                }  # fmt: skip
        report = report_of(outcomes, left_out)
    models = {stage: card.model_id for stage, card in run.stages.cards().items() if stage != "gait"}
    write_json({**asdict(report), "models": models, "sources": sources}, out / "report.json")
    return report


def read_labels(path: Path, videos: Sequence[str]) -> dict[str, list[Label]]:
    """Read who is who, by video.

    Raises:
        DataSetError: unreadable, a column is missing, or a line cannot be right; it is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"The labels {path} cannot be read: {error}. Save them as CSV in UTF-8.") from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    missing = [column for column in _COLUMNS[:3] if column not in (reader.fieldnames or ())]
    if missing:
        raise DataSetError(f"The labels {path} lack the column {missing[0]}. Needed: video, track, identity.")
    labels: dict[tuple[str, int], Label] = {}
    homes: dict[str, str] = {}
    for line in reader:
        where = f"{path}, line {reader.line_num}"
        label = _label({key: (value or "").strip() for key, value in line.items() if isinstance(key, str)}, where)
        if label is None:
            continue
        if label.video not in videos:
            raise DataSetError(f"{where}: there is no video '{label.video}'.{nearest(label.video, videos)}")
        if (label.video, label.track) in labels:
            raise DataSetError(f"{where}: track {label.track} of {label.video} is labelled twice.")
        if homes.setdefault(label.walk, label.video) != label.video:
            raise DataSetError(
                f"{where}: {label.walk} is in {homes[label.walk]} too. Give another condition or view: tracks are "
                "joined within a video."
            )
        labels[label.video, label.track] = label
    if not labels:
        raise DataSetError(f"In {path} no line has an identity. Fill in who the tracks are.")
    by_video: dict[str, list[Label]] = defaultdict(list)
    for label in labels.values():
        by_video[label.video].append(label)
    return dict(by_video)


def _label(line: dict[str, str], where: str) -> Label | None:
    if not line["identity"]:
        return None
    try:
        track = int(line["track"])
        seen = (float(line["from_s"]), float(line["to_s"])) if line.get("from_s") and line.get("to_s") else None
    except ValueError as error:
        raise DataSetError(f"{where}: track must be a whole number, from_s and to_s seconds ({error}).") from error
    video = line["video"]
    condition = line.get("condition") or Path(video).with_suffix("").as_posix().replace("/", "_")
    label = Label(video, track, line["identity"], condition, line.get("view") or "seq0", seen)
    for name in (label.identity, label.condition, label.view):
        if name.startswith(".") or name.endswith(".") or any(sign in '/\\:*?"<>|' or sign < " " for sign in name):
            raise DataSetError(f"{where}: '{name}' cannot name a folder. Use letters, digits, '-' and '_'.")
    return label


def _videos(folder: Path) -> dict[str, Path]:
    """Every video below `folder`, by its path from there."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and path.name[0] != "."
    }
    if not found:
        raise VideoError(f"There is no video in {folder}. Known: {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return found


def _about(folder: Path) -> dict[str, str]:
    return {"videos": str(folder.resolve())}


def _stages(settings: Settings, out: Path) -> Stages:
    """Load what finds and cuts out people; the embedding is the cheapest there is, as nothing needs it."""
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
    return build(
        replace(
            settings,
            pose=replace(settings.pose, when=when, paint=False),
            gait=gait,
            output=replace(settings.output, folder=out),
        )
    )


def _followed(videos: dict[str, Path], run: Run, left_out: dict[str, str]) -> Iterator[tuple[str, AnalysedVideo]]:
    """Run pass 1 on each video; those that cannot be used are warned of and left out."""
    for name, path in videos.items():
        try:
            yield name, analyse(path, name, run)
        except (VideoError, NobodyFoundError) as error:
            logger.warning("%s It is left out.", error)
            left_out[name] = str(error)


def _seen(track: Track, video: AnalysedVideo) -> tuple[float, float]:
    """When the person is first and last seen, s."""
    first, last = (float(index / video.info.fps) for index in track.frame_indices[[0, -1]].tolist())
    return first, last


def _labelled(
    video: AnalysedVideo, labels: Sequence[Label], path: Path, left_out: dict[str, str]
) -> dict[str, list[Walk]]:
    """Gather the tracks of each labelled walk, in the order of time.

    Raises:
        DataSetError: a label names a track that is not there or is another one now, or somebody is at two places.
    """
    name = labels[0].video
    found = {walk.track.track_id: walk for walk in read_walks(video.archive)}
    walks: dict[str, list[Walk]] = defaultdict(list)
    people: dict[str, list[Walk]] = defaultdict(list)
    for label in labels:
        piece = found.get(label.track)
        if piece is None:
            known = ", ".join(map(str, sorted(found)))
            raise DataSetError(f"{path}: {name} has no track {label.track}. It has: {known}.")
        if label.seen is not None and np.abs(np.subtract(label.seen, _seen(piece.track, video))).max() > 0.1:
            raise DataSetError(
                f"{path}: track {label.track} of {name} was seen from {label.seen[0]:g} to {label.seen[1]:g} s when "
                "the labels were made, and is another one now. Use the same models and settings, or label anew."
            )
        for other in people[label.identity]:
            shared = np.intersect1d(other.track.frame_indices, piece.track.frame_indices)
            if len(shared):
                raise DataSetError(
                    f"{path}: tracks {other.track.track_id} and {label.track} of {name} are both {label.identity}, "
                    f"and both are seen at {float(shared[0] / video.info.fps):.2f} s. Nobody is at two places: "
                    "clear the identity of one."
                )
        people[label.identity].append(piece)
        short = piece.reason is not None and piece.reason.startswith(Reason.TOO_SHORT.value)
        if piece.sequence is None or not (piece.reason is None or short):
            left_out[f"{name}, track {label.track}"] = piece.reason or Reason.NO_SILHOUETTE.value
        else:  # a piece that is too short may be enough with the others
            walks[label.walk].append(piece)
    for pieces in walks.values():
        pieces.sort(key=lambda piece: int(piece.track.frame_indices[0]))
    return dict(walks)


def _write_walk(name: str, pieces: Sequence[Walk], settings: Settings, folder: Path) -> Outcome:
    sequences = [piece.sequence for piece in pieces if piece.sequence is not None]
    frames = sum(map(len, sequences))
    seconds = sum(np.ptp(piece.track.frame_indices) + 1 for piece in pieces) / sequences[0].fps
    quality = settings.quality
    if seconds < quality.min_seconds - 1e-6 or frames < quality.min_frames:
        needed = f"{quality.min_seconds:.1f} s and {quality.min_frames} silhouettes needed"
        return Outcome(name, 0, reason=f"{Reason.TOO_SHORT.value}: {seconds:.1f} s, {frames} silhouettes; {needed}")
    place = folder / name
    place.mkdir(parents=True)
    write_array(np.concatenate([walk.silhouettes for walk in sequences]), place / "0_silhouette.pkl")
    keypoints = [walk.keypoints for walk in sequences if walk.keypoints is not None]
    if keypoints:
        poses = np.concatenate(keypoints)
        write_array(poses, place / "1_pose.pkl")
        write_array(heatmaps(poses), place / "2_heatmap.pkl")
    return Outcome(name, frames)


def _write_pictures(video: AnalysedVideo, tracks: Sequence[Track], folder: Path, progress: Progress) -> None:
    """Write a strip of crops of each track, so that somebody can say who it is; done once."""
    if folder.is_dir():
        return
    wanted: dict[int, list[tuple[Track, int]]] = defaultdict(list)
    strips: dict[int, list[Image]] = defaultdict(list)
    for track in tracks:
        for place in np.unique(np.linspace(0, len(track.frame_indices) - 1, _CROPS + 2).astype(int)[1:-1]):
            wanted[int(track.frame_indices[place])].append((track, int(place)))
    with (
        VideoReader(video.info.path) as reader,
        progress.stage(f"{video.info.path.name}: pictures of the tracks", video.frame_count) as advance,
    ):
        for frame in reader:
            for track, place in wanted.pop(frame.index, ()):
                strips[track.track_id].append(_crop(frame.image, track.boxes[place]))
            advance(1)
            if not wanted:
                break
    with written_whole(folder) as temporary:
        temporary.mkdir()
        for track in tracks:
            strip = np.concatenate(strips[track.track_id], axis=1)
            (temporary / _picture_name(track)).write_bytes(cv2.imencode(".jpg", strip)[1].tobytes())


def _picture_name(track: Track) -> str:
    return f"{track.track_id:03d}.jpg"


def _crop(image: Image, box: np.ndarray) -> Image:
    """The box, scaled into a cell of one size, black around it."""
    rows, columns = image.shape[:2]
    left, top = int(np.clip(box[0], 0, columns - 1)), int(np.clip(box[1], 0, rows - 1))
    right, bottom = int(np.clip(np.ceil(box[2]), left + 1, columns)), int(np.clip(np.ceil(box[3]), top + 1, rows))
    scale = min(_CROP_HEIGHT / (bottom - top), _CROP_WIDTH / (right - left))
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    cell = np.zeros((_CROP_HEIGHT, _CROP_WIDTH, 3), np.uint8)
    x, y = (_CROP_WIDTH - width) // 2, (_CROP_HEIGHT - height) // 2
    cell[y : y + height, x : x + width] = cv2.resize(image[top:bottom, left:right], (width, height))
    return cell
