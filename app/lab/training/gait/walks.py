"""The walks of a data set, packed into one file in the form that a network takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError
from app.files import as_text, written_whole
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.gait.heatmaps import heatmaps
from app.lab.data.opengait import (
    PARSED,
    DataSetError,
    Modality,
    WalkFile,
    bodies,
    read_bodies,
    read_heatmaps,
    read_keypoints,
    read_parsed,
    read_parsing,
    read_silhouettes,
    walk_files,
    warn_of,
)
from app.progress import Progress, Silent
from app.types import Floats, Ints

WalkArray: TypeAlias = NDArray[Any]
"""Pictures uint8 (T, ..., h, w), keypoints float32 (T, 17, 3) with x, y in px and a score, or records (T,):
`bodies` or `PARSED` of `app.lab.data.opengait`."""
Form: TypeAlias = Literal[
    "silhouettes",
    "silhouettes of 128 rows",
    "silhouettes with smpl",
    "silhouettes with smpl of 128 rows",
    "heatmaps",
    "heatmaps with silhouettes",
    "keypoints",
    "parsing",
    "parsing with silhouettes",
    "silhouettes with parsing",
]
"""The form in which a network takes a walk."""
SHAPES: dict[Form, tuple[tuple[int, ...], Any]] = {
    "silhouettes": ((64, 44), np.uint8),
    "silhouettes of 128 rows": ((128, 88), np.uint8),
    "silhouettes with smpl": ((), bodies(64)),
    "silhouettes with smpl of 128 rows": ((), bodies(128)),
    "heatmaps": ((2, 64, 44), np.uint8),
    "heatmaps with silhouettes": ((3, 64, 44), np.uint8),
    "keypoints": ((17, 3), np.float32),
    "parsing": ((64, 44), np.uint8),
    "parsing with silhouettes": ((), PARSED),
    "silhouettes with parsing": ((2, 64, 44), np.uint8),
}
"""Shape and number type of one frame in each form."""
Estimate: TypeAlias = Callable[[str, Floats], Floats]
"""Gives exact keypoints (T, 17, 3) the errors of a pose estimator, from the walk's name and the keypoints."""


class Walks(Protocol):
    """Walks by their index, in a list or in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> WalkArray: ...


def form_for(network: type[EmbeddingNetwork]) -> Form:
    """Return the form that a network takes, its pictures being 64 rows high.

    Raises:
        SettingsError: data sets cannot be read in this form.
    """
    if issubclass(network, JointNetwork):
        return "keypoints"
    wanted = " with ".join(network.inputs)
    for form in SHAPES:
        if form == wanted:
            return form
    raise SettingsError(f"A {network.family} network takes {wanted}, and data sets cannot be read as that.")


class PackedWalks:
    """Walks in one file, whose memory several processes share: ``walks[i]`` is an array of (T, *frame).

    `folder` is as `pack` has written it. Heatmaps can be taken out of heatmaps with silhouettes by `form`; None takes
    the form as it was packed.

    Raises:
        SettingsError: `folder` holds another form.
    """

    def __init__(self, folder: Path, form: Form | None = None) -> None:
        self._folder = folder
        try:
            index = json.loads((folder / "walks.json").read_text(encoding="utf-8"))
            packed: Form = index["form"]
            self.form: Form = form or packed
            self.files = [WalkFile(who, how, whence, folder) for who, how, whence in index["names"]]
            """Identity, condition and view of each walk."""
            self.left_out: dict[str, str] = index.get("left_out", {})
            """The walks that could not be read when the others were packed, with the reasons."""
            self._starts: list[int] = index["starts"]
            shape, kind = SHAPES[packed]
            frames: NDArray[Any] = np.memmap(folder / "frames.bin", kind, "r")
            self._frames = frames.reshape(self._starts[-1], *shape)
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise SettingsError(f"{folder} is damaged. Remove it, and the walks are packed again.") from error
        if (self.form, packed) == ("heatmaps", "heatmaps with silhouettes"):
            self._frames = self._frames[:, :2]
        elif self.form != packed:
            raise SettingsError(f"{folder} holds {packed}, and {self.form} are needed. Give another folder as out.")

    def __reduce__(self) -> tuple[type[PackedWalks], tuple[Path, Form]]:
        return PackedWalks, (self._folder, self.form)  # pickling a memory map would copy all of its content

    def __len__(self) -> int:
        return len(self.files)

    @property
    def frame_bytes(self) -> int:
        """How much memory one frame of a walk takes, in bytes."""
        return int(self._frames.dtype.itemsize * math.prod(self._frames.shape[1:]))

    def __getitem__(self, index: int) -> WalkArray:
        return self._frames[self._starts[index] : self._starts[index + 1]]

    @property
    def people(self) -> list[str]:
        """The identities, sorted."""
        return sorted({file.identity for file in self.files})

    def of(self, people: Sequence[str]) -> list[Ints]:
        """Return the indices of the walks of each of `people`."""
        owners = np.array([file.identity for file in self.files])
        return [np.flatnonzero(owners == person) for person in people]

    @classmethod
    def pack(
        cls,
        data: Path | Mapping[Modality, Path],
        people: Sequence[str] | None,
        form: Form,
        folder: Path,
        progress: Progress | None = None,
        estimate: Estimate | None = None,
    ) -> PackedWalks:
        """Copy the walks of a data set into `folder`, unless this has been done before.

        A training that continues therefore sees the walks that it saw before. A walk that cannot be read is left out
        and named, each time. Heatmaps are drawn from keypoints if the
        data set has none.

        Args:
            data: the data set, or one data set for each modality of the same walks.
            progress: where it is shown how many of the walks are packed.
            estimate: adds the errors of a pose estimator to the keypoints. None leaves them exact.

        Raises:
            DataSetError: there are no walks, or none can be read.
            SettingsError: `folder` holds other walks, or another form of them.
            OutputError: `folder` cannot be written.
        """
        folders = data if isinstance(data, Mapping) else dict.fromkeys(get_args(Modality), data)
        sources = _sources(folders, people, form)
        if not folder.is_dir():
            with written_whole(folder) as temporary:
                temporary.mkdir()
                _pack(sources, form, temporary, progress, estimate)
        walks = cls(folder, form)
        where = ", ".join(sorted({str(path) for path in folders.values()}))
        if [file.name for file in walks.files] != [name for name in sources if name not in walks.left_out]:
            raise SettingsError(
                f"{folder.parent} holds a training on other walks than those of {where}. Give another folder as out, "
                f"or remove {folder} to continue with the new walks."
            )
        warn_of(walks.left_out, Path(where))
        return walks


def _sources(data: Mapping[Modality, Path], people: Sequence[str] | None, form: Form) -> dict[str, list[WalkFile]]:
    """Return the files of each walk that has every modality that the form needs, by the walk's name."""
    listed = [walk_files(data[modality], people, modality) for modality in _modalities(data, people, form)]
    by_name = [{file.name: file for file in files} for files in listed]
    names = [name for name in by_name[0] if all(name in files for files in by_name)]
    if not names:
        folders = ", ".join(sorted({str(path) for path in data.values()}))
        raise DataSetError(f"{folders}: no walk has everything that {form} are made from.")
    return {name: [files[name] for files in by_name] for name in names}


def _pack(
    sources: Mapping[str, Sequence[WalkFile]],
    form: Form,
    folder: Path,
    progress: Progress | None,
    estimate: Estimate | None,
) -> None:
    starts = [0]
    names: list[tuple[str, str, str]] = []
    left_out: dict[str, str] = {}
    stage = (progress or Silent()).stage("Reading walks", len(sources))
    with stage as advance, (folder / "frames.bin").open("wb") as pack:
        for name, files in sources.items():
            try:
                walk = _read(files, form, estimate)
                if walk.shape[1:] != SHAPES[form][0]:
                    raise DataSetError(f"{files[0].path} holds {form} of the shape {walk.shape[1:]}.")
            except (DataSetError, ValueError) as error:
                left_out[name] = as_text(error)
            else:
                pack.write(walk.tobytes())
                starts.append(starts[-1] + len(walk))
                names.append((files[0].identity, files[0].condition, files[0].view))
            advance(1)
    if not names:
        raise DataSetError(f"No walk can be read: {next(iter(left_out.values()))}")
    index = {"form": form, "names": names, "starts": starts, "left_out": left_out}
    (folder / "walks.json").write_text(json.dumps(index), encoding="utf-8")


def _modalities(data: Mapping[Modality, Path], people: Sequence[str] | None, form: Form) -> tuple[Modality, ...]:
    """Return what is read for a form. Heatmaps come from keypoints, unless the names of the files say heatmap."""
    if "parsing" in form:
        return ("parsing",) if form == "parsing" else ("parsing", "silhouette")
    if form.startswith("silhouettes"):
        return ("silhouette", "smpl") if "smpl" in form else ("silhouette",)
    if form == "keypoints":
        return ("pose",)
    maps: Modality = "heatmap" if _has_heatmaps(data, people) else "pose"
    return (maps,) if form == "heatmaps" else (maps, "silhouette")


def _has_heatmaps(data: Mapping[Modality, Path], people: Sequence[str] | None) -> bool:
    try:
        return "heatmap" in data and _holds_heatmaps(walk_files(data["heatmap"], people, "heatmap")[0])
    except DataSetError:
        return False


def _holds_heatmaps(file: WalkFile) -> bool:
    return "heatmap" in file.path.name.lower()


def _read(files: Sequence[WalkFile], form: Form, estimate: Estimate | None) -> WalkArray:
    rows = 128 if form.endswith("128 rows") else 64
    if form == "parsing":
        return read_parsing(files[0].path)
    if "parsing" in form:
        parsed = read_parsed(files[0].path, files[1].path)
        stacked = form == "silhouettes with parsing"
        return np.stack([parsed["silhouettes"], parsed["parsing"]], 1) if stacked else parsed
    if form.startswith("silhouettes with smpl"):
        return read_bodies(files[0].path, files[1].path, rows)
    if form.startswith("silhouettes"):
        return read_silhouettes(files[0].path, rows)
    if form == "keypoints":
        return _keypoints(files[0], estimate)
    maps = read_heatmaps(files[0].path) if _holds_heatmaps(files[0]) else heatmaps(_keypoints(files[0], estimate))
    margin = (maps.shape[-1] - 44) // 2
    maps = np.ascontiguousarray(maps[..., margin : margin + 44])
    if form == "heatmaps":
        return maps
    silhouettes = read_silhouettes(files[1].path)
    frames = min(len(maps), len(silhouettes))
    return np.concatenate([maps[:frames], silhouettes[:frames, None]], 1)


def _keypoints(file: WalkFile, estimate: Estimate | None) -> Floats:
    keypoints = read_keypoints(file.path)
    return keypoints if estimate is None else estimate(file.name, keypoints)
