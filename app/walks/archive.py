"""What pass 1 found in a video, kept on disk: swapping the gait checkpoint needs no second tracking.

An archive is named by a digest of the video's bytes, the models and the settings that shaped it, so it can never be
stale; it is a zip of plain arrays, read without pickles. An interrupted run finds the videos it had finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import app
from app.files import written_whole
from app.settings import Settings
from app.types import GaitSequence, ModelCard, Track
from app.walks.sequences import Walk

_FORMAT = 2


@dataclass(frozen=True)
class Ending:
    """What is known only once the whole video was read."""

    frame_count: int
    warnings: tuple[str, ...]


def archive_path(
    folder: Path,
    video: Path,
    detector: ModelCard,
    segmenter: ModelCard,
    settings: Settings,
    pose: ModelCard | None = None,
) -> Path:
    """Return where the archive of `video` under these models and settings lies. Reads the whole video once."""
    digest = hashlib.sha256()
    with video.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    shaping = {
        "format": _FORMAT,
        "version": app.__version__,
        "detector": [detector.name, detector.sha256, detector.runtime, asdict(settings.detector)],
        "segmenter": [segmenter.name, segmenter.sha256, segmenter.runtime, asdict(settings.segmenter)],
        "pose": [pose.name, pose.sha256, pose.runtime] if pose is not None else None,
        "track": asdict(settings.track),
        "quality": asdict(settings.quality),
        "max_frames": settings.gait.max_frames,
    }
    for section in ("detector", "segmenter"):
        del shaping[section][3]["checkpoint"]  # type: ignore[index]  # the digest of the file counts, not its place
    digest.update(json.dumps(shaping, sort_keys=True, default=str).encode())
    return folder / f"{digest.hexdigest()[:32]}.zip"


class ArchiveWriter:
    """Adds walks to an archive as they end."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, walk: Walk) -> None:
        """Append a walk."""
        track, sequence = walk.track, walk.sequence
        arrays: dict[str, np.ndarray] = {"frames": track.frame_indices, "boxes": track.boxes, "scores": track.scores}
        if sequence is not None:
            arrays |= {"silhouette_frames": sequence.frame_indices, "silhouettes": sequence.silhouettes}
            if sequence.keypoints is not None:
                arrays["keypoints"] = sequence.keypoints
        for name, array in arrays.items():
            self._write(f"{track.track_id}/{name}.npy", _npy(array))
        about = {"reason": walk.reason, "fps": sequence.fps if sequence is not None else None}
        self._write(f"{track.track_id}/walk.json", json.dumps(about).encode())

    def end(self, ending: Ending) -> None:
        """Write what is known at the end; an archive without it does not count."""
        self._write("ending.json", json.dumps(asdict(ending)).encode())

    def _write(self, name: str, content: bytes) -> None:
        self._archive.writestr(name, content, zipfile.ZIP_DEFLATED, compresslevel=1)


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """Open an archive for writing; it appears under its name only when the block ends well."""
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        yield ArchiveWriter(archive)


def read_walks(path: Path) -> Iterator[Walk]:
    """Yield the walks of an archive in the order in which they were added."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        ids = [name.partition("/")[0] for name in archive.namelist() if name.endswith("/walk.json")]
        for track_id in ids:

            def array(name: str, track_id: str = track_id) -> np.ndarray:
                loaded: np.ndarray = np.load(io.BytesIO(archive.read(f"{track_id}/{name}.npy")), allow_pickle=False)
                return loaded

            about = json.loads(archive.read(f"{track_id}/walk.json"))
            track = Track(int(track_id), array("frames"), array("boxes"), array("scores"))
            sequence = None
            if f"{track_id}/silhouettes.npy" in names:
                keypoints = array("keypoints") if f"{track_id}/keypoints.npy" in names else None
                sequence = GaitSequence(array("silhouette_frames"), array("silhouettes"), about["fps"], keypoints)
            yield Walk(track, sequence, about["reason"])


def read_ending(path: Path) -> Ending | None:
    """Return what an archive knows of the whole video; None where there is no archive, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
            about = json.loads(archive.read("ending.json"))
            return Ending(int(about["frame_count"]), tuple(map(str, about["warnings"])))
    except Exception:  # a damaged archive fails in any way it likes
        return None


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
