"""Gait data sets in OpenGait's layout: ``identity/condition/view/*.pkl`` (or ``.npz``), and its partition files."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from app.errors import GaitprintError
from app.types import Bytes

# What a pickled array consists of, under the names of NumPy 1 and 2. Anything else could run code.
_ALLOWED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"), ("multiarray", "scalar"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

_COLUMNS = 44
"""Columns of a silhouette of 64 rows that hold the walker; the outer ones are cut off, as everywhere in the field."""


class DataSetError(GaitprintError):
    """A data set is missing, unsafe, or not of the layout it should have."""


@dataclass(frozen=True, slots=True)
class WalkFile:
    """One walk seen from one view: who, how and where, as the folders say, and its file."""

    identity: str
    condition: str
    view: str
    path: Path


def walk_files(folder: Path, identities: Sequence[str] | None = None) -> list[WalkFile]:
    """List the walks of a data set, sorted.

    Args:
        folder: of the identities, or with a folder ``data`` of them. Hidden folders are still being written and left
            out.
        identities: only of these people; those that are missing are left out.

    Raises:
        DataSetError: there are no walks, or a view holds several files and none or several have ``sil`` in their name.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    wanted = None if identities is None else set(identities)
    walks = []
    for person in sorted(root.iterdir()) if root.is_dir() else []:
        if not person.is_dir() or person.name.startswith(".") or (wanted is not None and person.name not in wanted):
            continue
        for condition in sorted(path for path in person.iterdir() if path.is_dir()):
            for view in sorted(path for path in condition.iterdir() if path.is_dir()):
                walks.append(WalkFile(person.name, condition.name, view.name, _silhouettes_in(view)))
    if not walks:
        raise DataSetError(f"{folder} holds no walks. Expected: identity/condition/view/silhouettes.pkl, as OpenGait.")
    return walks


def _silhouettes_in(view: Path) -> Path:
    files = sorted(path for path in view.iterdir() if path.suffix in (".pkl", ".npz"))
    if len(files) > 1:
        files = [path for path in files if "sil" in path.name.lower()]
    if len(files) != 1:
        raise DataSetError(f"{view} must hold one .pkl or .npz of silhouettes; 'sil' in the name tells it from others.")
    return files[0]


def read_partition(path: Path, part: Literal["train", "test"]) -> list[str]:
    """Return the identities of a part, from OpenGait's JSON with ``TRAIN_SET`` and ``TEST_SET``.

    Raises:
        DataSetError: unreadable, or without that list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content[f"{part.upper()}_SET"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataSetError(f"{path} is not a partition with TRAIN_SET and TEST_SET: {error}") from error
    return [str(identity) for identity in found]


def read_silhouettes(path: Path) -> Bytes:
    """Read a walk: uint8 (T, 64, 44), 0 or grey up to 255.

    Silhouettes of other sizes (64 or 128 rows, 44, 64, 88 or 128 columns) lose their outer columns and are reduced.

    Raises:
        DataSetError: damaged, a pickle that holds more than arrays (it is not run), or no silhouettes.
    """
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
    if not isinstance(found, np.ndarray) or found.ndim != 3 or not len(found) or found.dtype not in (np.uint8, bool):
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise DataSetError(f"{path} holds {what}, not silhouettes: uint8 (T, 64, 64).")
    silhouettes = found.astype(np.uint8) * np.uint8(255) if found.max() <= 1 else found
    rows = found.shape[1]
    columns = rows * _COLUMNS // 64
    margin = (found.shape[2] - columns) // 2
    if rows not in (64, 128) or margin < 0:
        raise DataSetError(f"{path} holds silhouettes of {rows} x {found.shape[2]} px, not 64 x 64 or 64 x 44.")
    silhouettes = silhouettes[:, :, margin : margin + columns]
    if rows == 128:
        silhouettes = np.stack([cv2.resize(one, (_COLUMNS, 64), interpolation=cv2.INTER_AREA) for one in silhouettes])
    return np.ascontiguousarray(silhouettes)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataSetError(f"it asks for {module}.{name}, which is not needed to hold silhouettes.")
        return super().find_class(module, name)
