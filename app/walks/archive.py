"""Archives on disk of what pass 1 found in a video, so that another gait network needs no second tracking.

The name of an archive is a digest of everything that determines its content, so it can never be stale (`archive_path`).
An archive is a zip file of plain arrays and is read without pickles. A run that was interrupted finds the archives of
the videos that it had finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from app.files import READING_ARRAYS, written_whole
from app.settings import Settings
from app.types import GaitSequence, ModelCard, Track
from app.video.paths import camera_of, files_of, frames_of
from app.walks.sequences import Walk

_NO_EFFECT = {"name", "checkpoint", "threads", "batch"}
"""Settings that do not change the result, only how it is computed. Models count by the digests of their files."""
_CODE = (
    *("types.py", "stages.py", "weights", "crops", "detect", "track", "segment", "pose", "parse", "walks"),
    *(f"video/{name}.py" for name in ("opening", "paths", "upright", "reader", "looks", "background")),
)
"""The files and folders of `app` that make up pass 1."""
_READERS = ("body", "gait")
"""Stages that work on what pass 1 has found."""
_LARGEST = 1 << 30
"""Bytes of the largest array in an archive: the silhouettes of a walk of more than two hours."""
_LIBRARIES = ("av", "numpy", "onnxruntime", "opencv-python", "paddlepaddle", "scipy", "torch", "ultralytics")


@dataclass(frozen=True)
class Ending:
    """What is known only after the whole video was read."""

    frame_count: int
    warnings: tuple[str, ...]


def archive_path(folder: Path, video: Path, cards: Mapping[str, ModelCard], settings: Settings) -> Path:
    """Return where the archive of `video` lies in `folder`. Reads the whole video once.

    The name is a digest of everything that determines what pass 1 finds: the bytes of the video, which camera of it is
    read, the models, the settings that shape the result, the source code of pass 1 and the versions of the libraries
    that it calls. Settings that only change the speed, such as the number of threads, are left out.

    Args:
        video: the file, or what else a video may be (`app.video.paths`).
        cards: the cards of the models, by stage. Those that only read archives do not count (`_READERS`).
    """
    digest = hashlib.sha256()
    for file in files_of(video):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    frames = frames_of(video)
    shaping = {
        "part": [camera_of(video)[1], str(frames.rate if frames is not None else None)],
        "models": {
            stage: [card.name, card.sha256, card.runtime] for stage, card in cards.items() if stage not in _READERS
        },
        "settings": {
            section: {key: value for key, value in asdict(getattr(settings, section)).items() if key not in _NO_EFFECT}
            for section in ("video", "detector", "track", "segmenter", "quality")
        },
        "max_frames": settings.gait.max_frames,
        "pictures": any(card.pictures for card in cards.values()),
        "code": code_digest(_CODE),
        "libraries": library_versions(),
    }
    digest.update(json.dumps(shaping, sort_keys=True, default=str).encode())
    return folder / f"{digest.hexdigest()[:32]}.zip"


@cache
def code_digest(names: tuple[str, ...]) -> str:
    """Return a digest of the source code in files and folders of `app`, whose results are kept."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(_source_digest(files("app").joinpath(name)))
    return digest.hexdigest()


def _source_digest(source: Traversable) -> bytes:
    digest = hashlib.sha256(source.name.encode())
    if source.is_dir():
        for inner in sorted(source.iterdir(), key=lambda inner: inner.name):
            if inner.name.endswith(".py") or (inner.is_dir() and inner.name != "__pycache__"):
                digest.update(_source_digest(inner))
    else:
        digest.update(source.read_bytes().replace(b"\r\n", b"\n"))
    return digest.digest()


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    versions = {}
    for library in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions


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
            if sequence.parts is not None:
                arrays["parts"] = sequence.parts
            if sequence.pictures is not None and sequence.ratios is not None:
                arrays |= {"pictures": sequence.pictures, "ratios": sequence.ratios}
        for name, array in arrays.items():
            with self._archive.open(f"{track.track_id}/{name}.npy", "w") as stream:
                np.save(stream, array, allow_pickle=False)
        about = {"reason": walk.reason, "fps": sequence.fps if sequence is not None else None}
        self._archive.writestr(f"{track.track_id}/walk.json", json.dumps(about))

    def end(self, ending: Ending) -> None:
        """Write what is known at the end. An archive without it is not used."""
        self._archive.writestr("ending.json", json.dumps(asdict(ending)))


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """Open an archive for writing. It appears under its name only when the block ends without an error."""
    with (
        written_whole(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        yield ArchiveWriter(archive)


def read_walks(path: Path) -> Iterator[Walk]:
    """Yield the walks of an archive in the order in which they were added."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            track_id, _, file = name.partition("/")
            if file == "walk.json":
                yield _read_walk(archive, int(track_id))


def read_walk(path: Path, track_id: int) -> Walk:
    """Return one walk of an archive; `KeyError` where the archive has no such track."""
    with zipfile.ZipFile(path) as archive:
        return _read_walk(archive, track_id)


def _read_walk(archive: zipfile.ZipFile, track_id: int) -> Walk:
    names = set(archive.namelist())

    def array(name: str) -> np.ndarray:
        content = io.BytesIO(archive.read(f"{track_id}/{name}.npy"))
        with READING_ARRAYS:
            loaded: np.ndarray = np.load(content, allow_pickle=False)
        return loaded

    def kept(name: str) -> np.ndarray | None:
        return array(name) if f"{track_id}/{name}.npy" in names else None

    about = json.loads(archive.read(f"{track_id}/walk.json"))
    sequence = None
    if f"{track_id}/silhouettes.npy" in names:
        keypoints, parts, pictures, ratios = map(kept, ("keypoints", "parts", "pictures", "ratios"))
        sequence = GaitSequence(
            array("silhouette_frames"), array("silhouettes"), about["fps"], keypoints, parts, pictures, ratios
        )
    track = Track(track_id, array("frames"), array("boxes"), array("scores"))
    return Walk(track, sequence, about["reason"])


def read_ending(path: Path) -> Ending | None:
    """Return what an archive says about the whole video; None if it is missing, or anything in it is damaged.

    Every walk is read, because a checksum may be right and the content wrong all the same.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.file_size > _LARGEST for member in archive.infolist()):
                return None
            about = json.loads(archive.read("ending.json"))
        ending = Ending(int(about["frame_count"]), tuple(map(str, about["warnings"])))
        return ending if all(map(_sound, read_walks(path))) else None
    except Exception:  # a damaged archive can fail in many ways
        return None


def _sound(walk: Walk) -> bool:
    """Whether the numbers of a walk can be those of a video; its arrays have the right shapes."""
    track, sequence = walk.track, walk.sequence
    numbers = [track.boxes, track.scores]
    starts = [track.frame_indices[0]]
    if sequence is not None:
        starts.extend(sequence.frame_indices[:1])
        numbers += [] if sequence.keypoints is None else [sequence.keypoints]
    return (
        min(starts) >= 0
        and all(bool(np.isfinite(some).all()) for some in numbers)
        and (walk.reason is None or isinstance(walk.reason, str))
    )
