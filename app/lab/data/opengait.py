"""Gait data sets in OpenGait's layout: ``identity/condition/view/*.pkl`` (or ``.npz``), and its partition files."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import GaitprintError
from app.types import SMPL, Bytes, Floats

Modality: TypeAlias = Literal["silhouette", "pose", "heatmap", "smpl"]

# Parts of file names that tell what the file holds.
_MARKS: dict[Modality, tuple[str, ...]] = {
    "silhouette": ("sil",),
    "pose": ("pose", "skeleton", "keypoint"),
    "heatmap": ("heatmap",),
    "smpl": ("smpl",),
}

# Whatever a pickled array consists of, under the names of NumPy 1 and 2. Anything else could run code.
_ALLOWED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"), ("multiarray", "scalar"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

_COLUMNS = 44
"""The columns of a silhouette of 64 rows that are used. The outer ones are cut off, as is usual in the field."""

WALK_FILES = r"\d_[a-z]+\.\w+"
"""The name of any file in the folder of a walk, as a regular expression for `app.files.written_whole`."""


class DataSetError(GaitprintError):
    """A data set is missing, unsafe, or does not have the expected layout."""


@dataclass(frozen=True, slots=True)
class WalkFile:
    """The file of one walk from one view. The folders name the person, the condition and the view.

    `other` is a file of another modality of the same walk, where it is needed too.
    """

    identity: str
    condition: str
    view: str
    path: Path
    other: Path | None = None

    @property
    def name(self) -> str:
        """``identity/condition/view``."""
        return f"{self.identity}/{self.condition}/{self.view}"


def walk_files(
    folder: Path,
    identities: Sequence[str] | None = None,
    modality: Modality = "silhouette",
    *,
    partition: Path | None = None,
) -> list[WalkFile]:
    """List the walks of a data set, sorted.

    Args:
        folder: the folder of the identities, or a folder that has them in ``data``. Hidden files and folders are still
            being written and are left out.
        identities: the people whose walks are listed, as far as there are any. None: everybody.
        modality: which of several files of a view is taken, as their names say. Of several silhouettes (SUSTech1K,
            CCPG), those of the camera, at its full frame rate and aligned, are taken.
        partition: the file that lists `identities`, for messages.

    Raises:
        DataSetError: there are no walks, or none of `identities`, or the names of a view's files do not tell which one
            to read.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    wanted = None if identities is None else set(identities)
    walks = []
    people = _folders_in(root) if root.is_dir() else []
    if people and wanted is not None and not wanted & {person.name for person in people}:
        where = f" of {partition}" if partition is not None else ""
        raise DataSetError(
            f"None of the {len(wanted)} people{where} ({_some(sorted(wanted))}) is in {folder}, whose people are "
            f"called {_some([person.name for person in people])}. Give the partition of this data set."
        )
    for person in people:
        if wanted is None or person.name in wanted:
            for condition in _folders_in(person):
                for view in _folders_in(condition):
                    walks.append(WalkFile(person.name, condition.name, view.name, _file_in(view, modality)))
    if not walks:
        raise DataSetError(
            f"{folder} has no walks. Expected is OpenGait's layout: identity/condition/view/{modality}.pkl."
        )
    return walks


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _file_in(view: Path, modality: Modality) -> Path:
    files = sorted(path for path in view.iterdir() if path.suffix in (".pkl", ".npz") and path.name[0] != ".")
    marks = _MARKS[modality]
    if len(files) > 1:
        files = [path for path in files if any(mark in path.name.lower() for mark in marks)]
    for good, word in ((False, "lidar"), (False, "sync"), (True, "aligned")):
        files = [path for path in files if (word in path.name.lower()) == good] or files
    if len(files) != 1:
        raise DataSetError(
            f"{view} must hold one .pkl or .npz file of {modality}s. If it holds other files too, its name must have "
            f"'{marks[0]}' in it."
        )
    return files[0]


def read_partition(path: Path, part: Literal["train", "test"]) -> list[str]:
    """Return the identities of a part, from OpenGait's JSON with ``TRAIN_SET`` and ``TEST_SET``.

    Raises:
        DataSetError: the file cannot be read, or does not have this list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content[f"{part.upper()}_SET"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataSetError(f"{path} is not a partition with TRAIN_SET and TEST_SET: {error}") from error
    return [str(identity) for identity in found]


def read_silhouettes(path: Path, rows: int | None = 64) -> Bytes:
    """Read a walk's silhouettes: uint8 (T, 64, 44) or (T, 128, 88), 0 or grey up to 255.

    The outer columns of silhouettes with 44, 64, 88 or 128 columns are cut off.

    Args:
        path: the file.
        rows: 64 reduces silhouettes of 128 rows. 128 demands silhouettes of 128 rows. None leaves them as they are.

    Raises:
        DataSetError: the file is damaged, is a pickle that holds more than arrays (it is not run), or does not hold
            silhouettes of this size.
    """
    found = _array(path)
    if found.ndim != 3 or not len(found) or found.dtype not in (np.uint8, bool):
        raise DataSetError(f"{path} holds {_shape(found)}, not silhouettes: uint8 (T, 64, 64).")
    silhouettes = found.astype(np.uint8) * np.uint8(255) if found.max() <= 1 else found
    height = found.shape[1]
    columns = height * _COLUMNS // 64
    margin = (found.shape[2] - columns) // 2
    if height not in (64, 128) or margin < 0:
        raise DataSetError(f"{path} holds silhouettes of {height} x {found.shape[2]} px, not 64 x 64 or 64 x 44.")
    if height < (rows or height):
        raise DataSetError(
            f"{path} holds silhouettes of {height} rows, not {rows}. Make the data set with --size {rows}."
        )
    silhouettes = silhouettes[:, :, margin : margin + columns]
    if height > (rows or height):
        silhouettes = np.stack([cv2.resize(one, (_COLUMNS, 64), interpolation=cv2.INTER_AREA) for one in silhouettes])
    return np.ascontiguousarray(silhouettes)


def read_keypoints(path: Path, joints: int = 17) -> Floats:
    """Read a walk's keypoints: float32 (T, 17, 3) with x px, y px and score. A missing joint has score 0.

    Args:
        path: the file.
        joints: the number of joints of a pose: 18 for OpenPose's poses.

    Raises:
        DataSetError: the file is damaged, is a pickle that holds more than arrays (it is not run), or does not hold
            keypoints.
    """
    found = _array(path)
    hint = " These are OpenPose's 18 joints." if found.shape[1:] == (18, 3) else ""
    fits = found.shape[1:] == (joints, 3) and found.dtype.kind in "fiu"
    return _finite(found, path, fits, f"keypoints: (T, {joints}, 3).{hint}")


def read_heatmaps(path: Path) -> Bytes:
    """Read a walk's skeleton maps: uint8 (T, 2, 64, 64 or 44), limbs and joints.

    Raises:
        DataSetError: as for `read_keypoints`.
    """
    found = _array(path)
    if found.ndim != 4 or not len(found) or found.shape[1:3] != (2, 64) or found.dtype != np.uint8:
        raise DataSetError(f"{path} holds {_shape(found)}, not skeleton maps: uint8 (T, 2, 64, 64).")
    return np.asarray(found, np.uint8)


def read_smpl(path: Path) -> Floats:
    """Read a walk's SMPL parameters: float32 (T, 85), in the order of `app.types.SMPL`.

    Raises:
        DataSetError: as for `read_keypoints`.
    """
    found = _array(path)
    fits = found.shape[1:] == (SMPL,) and found.dtype.kind == "f"
    return _finite(found, path, fits, f"SMPL parameters: float (T, {SMPL}).")


def bodies(rows: int) -> np.dtype[np.void]:
    """Return the type of a frame of `read_bodies`: ``silhouettes`` uint8 (rows, columns), ``smpl`` float32 (85,)."""
    return np.dtype([("silhouettes", np.uint8, (rows, rows * _COLUMNS // 64)), ("smpl", np.float32, (SMPL,))])


def read_bodies(silhouettes: Path, smpl: Path, rows: int = 64) -> NDArray[np.void]:
    """Read a walk's silhouettes and SMPL parameters as one array (T,) of the type `bodies`.

    Raises:
        DataSetError: a file cannot be used (see `read_silhouettes`), or they have different lengths.
    """
    pictures, parameters = read_silhouettes(silhouettes, rows), read_smpl(smpl)
    if len(pictures) != len(parameters):
        raise DataSetError(
            f"{smpl} has {len(parameters)} bodies, and {silhouettes} has {len(pictures)} silhouettes. They must be of "
            "the same frames."
        )
    found = np.empty(len(pictures), bodies(rows))
    found["silhouettes"], found["smpl"] = pictures, parameters
    return found


def write_array(array: NDArray[Any], path: Path) -> None:
    """Write a walk as OpenGait reads it: a pickled array."""
    path.write_bytes(pickle.dumps(array, protocol=4))


def _array(path: Path) -> NDArray[Any]:
    try:
        content = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                found = file[file.files[0]]
        else:
            found = _ArraysOnly(io.BytesIO(content)).load()
    except DataSetError as error:
        raise DataSetError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataSetError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(found, np.ndarray):
        raise DataSetError(f"{path} holds {type(found).__name__}, not an array.")
    return found


def _finite(found: NDArray[Any], path: Path, fits: bool, expected: str) -> Floats:
    if not fits or not len(found):
        raise DataSetError(f"{path} holds {_shape(found)}, not {expected}")
    if not np.isfinite(found).all():
        raise DataSetError(f"{path} holds numbers that are not finite. Expected are {expected}")
    return np.asarray(found, np.float32)


def _shape(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataSetError(
                f"it asks for {module}.{name}, which is not part of an array and could run harmful code."
            )
        return super().find_class(module, name)
