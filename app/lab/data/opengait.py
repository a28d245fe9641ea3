"""Gait data sets in OpenGait's layout: ``identity/condition/view/*.pkl`` (or ``.npz``), and its partition files."""

from __future__ import annotations

import io
import json
import logging
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import GaitprintError, reason_of
from app.files import need_file
from app.types import BODY_PARTS, SMPL, Bytes, Floats
from app.weights.pickles import need_modest

logger = logging.getLogger(__name__)

T = TypeVar("T")
Modality: TypeAlias = Literal["silhouette", "pose", "heatmap", "smpl", "parsing"]

# Parts of file names that tell what the file holds.
_MARKS: dict[Modality, tuple[str, ...]] = {
    "silhouette": ("sil",),
    "pose": ("pose", "skeleton", "keypoint"),
    "heatmap": ("heatmap",),
    "smpl": ("smpl",),
    "parsing": ("parsing", "pars"),
}

_SUFFIXES = (".pkl", ".npz")
_FOREIGN = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
"""Folders that systems put into any folder. Those whose names begin with a dot are foreign too."""
_LARGEST = 1 << 28
"""The most bytes of a file, and of the array in it. The longest walks that are published have a tenth of this."""
_HASHING = {"DICT", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"}
"""Opcodes that no array needs. A nested key can take for ever to hash."""

_COLUMNS = 44
"""The columns of a silhouette of 64 rows that are used. The outer ones are cut off, as is usual in the field."""

PARSED = np.dtype([("parsing", np.uint8, (64, _COLUMNS)), ("silhouettes", np.uint8, (64, _COLUMNS))])
"""The type of a frame of `read_parsed`."""

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
    left_out: dict[str, str] | None = None,
) -> list[WalkFile]:
    """List the walks of a data set, sorted.

    What is no walk is passed over: empty folders and files, folders whose files do not tell which one to read, folders
    of operating systems.

    Args:
        folder: the folder of the identities, or one that has it in ``data`` or as its only data set, at most two
            folders deeper. Hidden files and folders are still being written and are left out.
        identities: the people whose walks are listed, as far as there are any. None: everybody.
        modality: which of several files of a view is taken, as their names say. Of several silhouettes (SUSTech1K,
            CCPG), those of the camera, at its full frame rate and aligned, are taken.
        partition: the file that lists `identities`, for messages.
        left_out: receives what was passed over, and people of `identities` who are absent, each with the reason. None:
            it is said in a warning.

    Raises:
        DataSetError: there are no walks, or none of `identities`, or there are several data sets.
    """
    root = _root(folder, modality)
    wanted = None if identities is None else set(identities)
    people = [person for person in _folders_in(root) if wanted is None or person.name in wanted]
    where = f" of {partition}" if partition is not None else ""
    if wanted is not None and not wanted:
        raise DataSetError(f"{partition or 'The list of people'} names nobody, so nobody of {folder} can be taken.")
    if wanted and not people:
        raise DataSetError(
            f"None of the {len(wanted)} people{where} ({_some(sorted(wanted))}) is in {folder}, whose people are "
            f"called {_some([person.name for person in _folders_in(root)])}. Give the partition of this data set."
        )
    walks: list[WalkFile] = []
    passed: dict[str, str] = {}
    for person in people:
        before = len(walks) + len(passed)
        for view in _views(person):
            file = _file_in(view, modality)
            if isinstance(file, Path):
                walks.append(WalkFile(person.name, view.parent.name, view.name, file))
            else:
                passed[view.relative_to(root).as_posix()] = file
        if len(walks) + len(passed) == before:
            passed[person.name] = "has no folders condition/view"
    if not walks:
        name, reason = next(iter(passed.items()), ("", "has no walks"))
        raise DataSetError(f"{root / name} {reason}.")
    absent = sorted((wanted or set()) - {person.name for person in people})
    passed |= {
        f"person {name}": f"is in {partition or 'the list of people'}, but not in the data set" for name in absent
    }
    if left_out is None:
        warn_of(passed, folder)
    else:
        left_out |= passed
    return walks


def readable(files: Iterable[WalkFile], read: Callable[[Path], T], folder: Path) -> Iterator[tuple[WalkFile, T]]:
    """Yield each walk that can be read, with what `read` makes of its file. Say at the end what was left out.

    Raises:
        DataSetError: none can be read.
    """
    left_out: dict[str, str] = {}
    count = 0
    for file in files:
        try:
            content = read(file.path)
        except DataSetError as error:
            left_out[file.name] = str(error)
            continue
        count += 1
        yield file, content
    if left_out and not count:
        raise DataSetError(f"No walk can be read: {next(iter(left_out.values()))}")
    warn_of(left_out, folder)


def warn_of(left_out: Mapping[str, str], folder: Path) -> None:
    """Say in a warning how much of a data set was left out, and list the first with the reasons."""
    if left_out:
        listed = "; ".join(f"{name} {reason.rstrip('.')}" for name, reason in list(left_out.items())[:8])
        more = "; ..." if len(left_out) > 8 else ""
        logger.warning("%s: %d left out: %s%s.", folder, len(left_out), listed, more)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_own(path))


def is_own(path: Path) -> bool:
    """Whether a file or folder is the user's own, and not one that a system hides in any folder."""
    return path.name[0] != "." and path.name not in _FOREIGN


def _views(person: Path) -> Iterator[Path]:
    for condition in _folders_in(person):
        yield from _folders_in(condition)


def _files_in(view: Path) -> list[Path]:
    return sorted(path for path in view.iterdir() if path.suffix in _SUFFIXES and is_own(path) and path.is_file())


def _root(folder: Path, modality: Modality) -> Path:
    """Return the folder of the identities, at or below `folder`."""
    if not folder.exists():
        raise DataSetError(f"There is no folder {folder}, where a data set should be.")
    roots = _roots(folder, deeper=2) if folder.is_dir() else []
    if len(roots) > 1:
        raise DataSetError(f"{folder} has several data sets: {_some([str(root) for root in roots])}. Give one of them.")
    if roots:
        return roots[0]
    found = [path for depth in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(depth)) if path.suffix in _SUFFIXES]
    raise DataSetError(
        f"{folder} has no walks. Expected is OpenGait's layout: identity/condition/view/{modality}.pkl."
        + (f" There is {found[0]}, which is not as deep." if found else "")
        + (" It has pictures: python -m app prepare silhouettes makes walks of them." if _has_pictures(folder) else "")
    )


def _has_pictures(folder: Path) -> bool:
    depths = ("*/*/*", "*/*/*/*", "*/*/*/*/*")  # OU-MVLP's, most data sets', SUSTech1K's
    return any(path.suffix.lower() in (".png", ".jpg") for depth in depths for path in folder.glob(depth))


def _roots(folder: Path, deeper: int) -> list[Path]:
    inner = folder / "data" if (folder / "data").is_dir() else folder
    if any(_files_in(view) for person in _folders_in(inner) for view in _views(person)):
        return [inner]
    return [root for child in _folders_in(inner) for root in _roots(child, deeper - 1)] if deeper else []


def _file_in(view: Path, modality: Modality) -> Path | str:
    """Return the file of a view, or the reason why none of its files is read."""
    files = _files_in(view)
    if not files:
        return "has no .pkl or .npz file"
    marks = _MARKS[modality]
    if len(files) > 1:
        files = [path for path in files if any(mark in path.name.lower() for mark in marks)]
    for good, word in ((False, "lidar"), (False, "sync"), (True, "aligned")):
        files = [path for path in files if (word in path.name.lower()) == good] or files
    if len(files) != 1:
        return (
            f"must hold one .pkl or .npz file of {modality}s. If it holds other files too, its name must have "
            f"'{marks[0]}' in it"
        )
    return files[0] if files[0].stat().st_size else f"has an empty file, {files[0].name}"


def read_partition(path: Path, part: Literal["train", "test"]) -> list[str]:
    """Return the identities of a part, from OpenGait's JSON with ``TRAIN_SET`` and ``TEST_SET``.

    Raises:
        DataSetError: the file cannot be read, or does not have this list.
    """
    return read_list(path, f"{part.upper()}_SET")


def read_list(path: Path, key: str) -> list[str]:
    """Return one of the lists of names or numbers in a partition.

    Raises:
        DataSetError: the file cannot be read, or does not have this list.
    """
    if not path.exists():
        raise DataSetError(f"There is no partition {path}.")
    need_file(path, DataSetError)
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        found = json.loads(path.read_text(encoding="utf-8-sig"))[key]
        if not isinstance(found, list) or not all(isinstance(name, str | int) for name in found):
            raise ValueError(f"{key} is no list of names")
        return [str(name) for name in found]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataSetError(f"{path} is not a partition: it has no list {key} of names ({reason_of(error)}).") from error


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
    if found.ndim != 3 or not found.size or found.dtype not in (np.uint8, bool):
        raise DataSetError(f"{path} holds {_shape(found)}, not silhouettes: uint8 (T, 64, 64).")
    silhouettes = found.astype(np.uint8) * np.uint8(255) if found.max() <= 1 else found
    _need_usual_size(found, path, "silhouettes")
    height = found.shape[1]
    columns = height * _COLUMNS // 64
    margin = (found.shape[2] - columns) // 2
    if height < (rows or height):
        raise DataSetError(
            f"{path} holds silhouettes of {height} rows, not {rows}. Make the data set with --size {rows}."
        )
    silhouettes = silhouettes[:, :, margin : margin + columns]
    if height > (rows or height):
        silhouettes = np.stack([cv2.resize(one, (_COLUMNS, 64), interpolation=cv2.INTER_AREA) for one in silhouettes])
    return np.ascontiguousarray(silhouettes)


def _need_usual_size(pictures: NDArray[Any], path: Path, what: str) -> None:
    """Make sure that pictures (..., rows, columns) have 64 or 128 rows, and from 44/64 as many columns to as many.

    Of wider ones, the middle would be taken, which shows something else than what was meant.
    """
    rows, columns = pictures.shape[-2:]
    if rows not in (64, 128) or not rows * _COLUMNS // 64 <= columns <= rows:
        raise DataSetError(f"{path} holds {what} of {rows} x {columns} px, not 64 x 64 or 64 x 44.")


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
    if found.ndim != 4 or not found.size or found.shape[1:3] != (2, 64) or found.dtype != np.uint8:
        raise DataSetError(f"{path} holds {_shape(found)}, not skeleton maps: uint8 (T, 2, 64, 64).")
    _need_usual_size(found, path, "skeleton maps")
    return np.asarray(found, np.uint8)


def read_parsing(path: Path) -> Bytes:
    """Read a walk's maps of body parts: uint8 (T, 64, 44), the labels of `app.types.BODY_PARTS` or 0.

    Maps of 128 rows are reduced: every other row and column is taken, because labels cannot be mixed.

    Raises:
        DataSetError: as for `read_keypoints`.
    """
    found = _array(path)
    wanted = "uint8 (T, 64, 64), labels of body parts from 0 (none) to 11"
    if found.ndim != 3 or not found.size or found.dtype != np.uint8 or found.shape[1] not in (64, 128):
        raise DataSetError(f"{path} holds {_shape(found)}, not maps of body parts: {wanted}.")
    _need_usual_size(found, path, "maps of body parts")
    if found.max() > len(BODY_PARTS):
        raise DataSetError(f"{path} holds numbers up to {found.max()}, not maps of body parts: {wanted}.")
    step = found.shape[1] // 64
    labels = found[:, ::step, ::step]
    margin = (labels.shape[2] - _COLUMNS) // 2
    return np.ascontiguousarray(labels[:, :, margin : margin + _COLUMNS])


def read_smpl(path: Path) -> Floats:
    """Read a walk's SMPL parameters: float32 (T, 85), in the order of `app.types.SMPL`.

    Raises:
        DataSetError: as for `read_keypoints`.
    """
    found = _array(path)
    fits = found.shape[1:] == (SMPL,) and found.dtype.kind == "f"
    return _finite(found, path, fits, f"SMPL parameters: float (T, {SMPL}).")


def read_parsed(parsing: Path, silhouettes: Path) -> NDArray[np.void]:
    """Read a walk's maps of body parts and its silhouettes as one array (T,) of the type `PARSED`.

    Raises:
        DataSetError: a file cannot be used, or they have different lengths.
    """
    labels, pictures = read_parsing(parsing), read_silhouettes(silhouettes)
    if len(labels) != len(pictures):
        raise DataSetError(
            f"{parsing} has {len(labels)} maps of body parts, and {silhouettes} has {len(pictures)} silhouettes. They "
            "must be of the same frames."
        )
    found = np.empty(len(labels), PARSED)
    found["parsing"], found["silhouettes"] = labels, pictures
    return found


def bodies(rows: int) -> np.dtype[np.void]:
    """Return the type of a frame of `read_bodies`: ``silhouettes`` uint8 (rows, columns), ``smpl`` float32 (85,)."""
    return np.dtype([("silhouettes", np.uint8, (rows, rows * _COLUMNS // 64)), ("smpl", np.float32, (SMPL,))])


def read_bodies(silhouettes: Path, smpl: Path, rows: int = 64, parsing: bool = False) -> NDArray[np.void]:
    """Read a walk's silhouettes and SMPL parameters as one array (T,) of the type `bodies`.

    With `parsing`, the pictures are maps of body parts instead of silhouettes.

    Raises:
        DataSetError: a file cannot be used (see `read_silhouettes`), or they have different lengths.
    """
    pictures = read_parsing(silhouettes) if parsing else read_silhouettes(silhouettes, rows)
    parameters = read_smpl(smpl)
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


def read_file(path: Path) -> bytes:
    """Return the bytes of a walk's file.

    Raises:
        DataSetError: it cannot be read, or is larger than any walk; then it is not read.
    """
    try:
        need_file(path, DataSetError)
        if path.stat().st_size > _LARGEST:
            raise DataSetError(f"{path} is larger than {_LARGEST >> 20} MB, as no walk is, so it is not read.")
        return path.read_bytes()
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error.strerror}.") from error


def _array(path: Path) -> NDArray[Any]:
    content = read_file(path)
    try:
        found = _from_npz(content) if path.suffix == ".npz" else _from_pickle(content)
    except DataSetError as error:
        raise DataSetError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataSetError(f"{path} cannot be read: {type(error).__name__}: {reason_of(error)}.") from error
    if not isinstance(found, np.ndarray):
        raise DataSetError(f"{path} holds {type(found).__name__}, not an array.")
    return found


def _from_npz(content: bytes) -> NDArray[Any]:
    """Return the first array of an archive; what its header claims is checked before anything is unpacked."""
    form = np.lib.format
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(archive.namelist()[0]) as file:
        version = form.read_magic(file)
        read_header = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or size > _LARGEST:
            raise DataSetError(f"it claims an array {dtype} {shape}, as no walk has.")
        return _made(file.read(size), shape, dtype, "F" if is_fortran else "C")


def _from_pickle(content: bytes) -> Any:
    need_modest(content)
    if any(opcode.name in _HASHING for opcode, _, _ in pickletools.genops(content)):
        raise DataSetError("it holds more than an array.")
    found = _ArraysOnly(io.BytesIO(content)).load()
    return found.array if isinstance(found, _Pickled) else found


def _made(content: bytes, shape: Sequence[int], dtype: np.dtype[Any], order: Literal["C", "F"]) -> NDArray[Any]:
    """Make an array of its bytes; `ValueError` where they are not as many as the array has."""
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes are no array {dtype} {shape}")
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order=order)


def _finite(found: NDArray[Any], path: Path, fits: bool, expected: str) -> Floats:
    if not fits or not found.size:
        raise DataSetError(f"{path} holds {_shape(found)}, not {expected}")
    if not np.isfinite(found).all():
        raise DataSetError(f"{path} holds numbers that are not finite. Expected are {expected}")
    return np.asarray(found, np.float32)


def _shape(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


class _Pickled:
    """What a pickled array becomes. NumPy would believe whatever the pickle says of sizes and strides."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, content = state
        self.array = _made(content, shape, kind.dtype, "F" if is_fortran else "C")


class _Kind:
    """What the pickled type of an array becomes: a type of plain numbers."""

    def __init__(self, name: str, *_: object) -> None:
        if not re.fullmatch("b1|[iu][1248]|f[248]", name):
            raise DataSetError(f"it holds numbers of the kind {name}, as no walk has.")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _reconstruct(*_: object) -> _Pickled:
    return _Pickled()


def _frombuffer(content: bytes, kind: _Kind, shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[Any]:
    return _made(content, shape, kind.dtype, order)


def _encode(text: str = "", _encoding: str = "") -> bytes:
    """Return the bytes that old protocols write as text; without text the bytes of an empty array."""
    return text.encode("latin-1")


# Whatever a pickled array consists of, under the names of NumPy 1 and 2. Anything else could run code.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Pickled,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataSetError(
                f"it asks for {module}.{name}, which is not part of an array and could run harmful code."
            )
        return _ALLOWED[module, name]
