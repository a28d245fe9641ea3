"""The walks of a data set in one file, in what a network sees of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import SettingsError
from app.files import written_whole
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.gait.heatmaps import heatmaps
from app.lab.data.opengait import (
    DataSetError,
    Modality,
    WalkFile,
    bodies,
    read_bodies,
    read_heatmaps,
    read_keypoints,
    read_silhouettes,
    walk_files,
)
from app.types import Bytes, Floats, Ints

Sight: TypeAlias = Literal[
    "silhouettes",
    "silhouettes of 128 rows",
    "silhouettes with smpl",
    "silhouettes with smpl of 128 rows",
    "heatmaps",
    "heatmaps with silhouettes",
    "keypoints",
]
"""What is seen of a walk."""
SHAPES: dict[Sight, tuple[tuple[int, ...], Any]] = {
    "silhouettes": ((64, 44), np.uint8),
    "silhouettes of 128 rows": ((128, 88), np.uint8),
    "silhouettes with smpl": ((), bodies(64)),
    "silhouettes with smpl of 128 rows": ((), bodies(128)),
    "heatmaps": ((2, 64, 44), np.uint8),
    "heatmaps with silhouettes": ((3, 64, 44), np.uint8),
    "keypoints": ((17, 3), np.float32),
}
"""Of one frame, and the type of its numbers."""
Estimate: TypeAlias = Callable[[str, Floats], Floats]
"""What an estimator makes of a walk's keypoints (T, 17, 3): from its name and the true ones."""


def sight_of(network: type[EmbeddingNetwork]) -> Sight:
    """What a network sees; pictures being 64 rows high.

    Raises:
        SettingsError: something that data sets are not read for.
    """
    if issubclass(network, JointNetwork):
        return "keypoints"
    wanted = " with ".join(network.inputs)
    for sight in SHAPES:
        if sight == wanted:
            return sight
    raise SettingsError(f"A {network.family} network sees {wanted}, which data sets are not read for.")


class SeenWalks:
    """Walks in one file, from which processes share the memory: ``walks[i]`` is an array of (T, *frame).

    Args:
        folder: what `packed` has written.
        sight: what is seen of it; of heatmaps with silhouettes it can be the heatmaps. None: everything.

    Raises:
        SettingsError: `folder` holds something else.
    """

    def __init__(self, folder: Path, sight: Sight | None = None) -> None:
        self._folder = folder
        index = json.loads((folder / "walks.json").read_text(encoding="utf-8"))
        packed: Sight = index["sight"]
        self.sight: Sight = sight or packed
        self.files = [WalkFile(who, how, whence, folder) for who, how, whence in index["names"]]
        """Who, how and whence."""
        self._starts: list[int] = index["starts"]
        shape, kind = SHAPES[packed]
        self._frames: NDArray[Any] = np.memmap(folder / "frames.bin", kind, "r").reshape(-1, *shape)
        if (self.sight, packed) == ("heatmaps", "heatmaps with silhouettes"):
            self._frames = self._frames[:, :2]
        elif self.sight != packed:
            raise SettingsError(f"{folder} holds {packed}, and {self.sight} are needed. Give another out.")

    def __reduce__(self) -> tuple[type[SeenWalks], tuple[Path, Sight]]:
        return SeenWalks, (self._folder, self.sight)  # a memory map would be sent to another process whole

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self._frames[self._starts[index] : self._starts[index + 1]]

    def by_person(self) -> list[Ints]:
        """The numbers of the walks of each person, in the order of the names."""
        owners = np.array([file.identity for file in self.files])
        return [np.flatnonzero(owners == person) for person in np.unique(owners)]

    @classmethod
    def packed(
        cls,
        data: Path | Mapping[Modality, Path],
        people: Sequence[str] | None,
        sight: Sight,
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
        estimate: Estimate | None = None,
    ) -> SeenWalks:
        """Copy the walks of a data set into `folder`, unless that was done before.

        A run that goes on so sees what it has seen. Skeleton maps are drawn from keypoints where the data set has none.

        Args:
            data: the data set, or one for each modality of the same walks.
            people: only these.
            sight: what is copied.
            folder: of the copy.
            progress: gets the walks done and all of them.
            estimate: gives keypoints an estimator's errors; None leaves them as they are.

        Raises:
            DataSetError: no walks, or a file that cannot be read.
            SettingsError: `folder` holds what another network sees.
            OutputError: `folder` cannot be written.
        """
        if not folder.is_dir():
            with written_whole(folder) as temporary:
                temporary.mkdir()
                folders = data if isinstance(data, Mapping) else dict.fromkeys(get_args(Modality), data)
                _pack(folders, people, sight, temporary, progress, estimate)
        return cls(folder, sight)


def _pack(
    data: Mapping[Modality, Path],
    people: Sequence[str] | None,
    sight: Sight,
    folder: Path,
    progress: Callable[[int, int], None] | None,
    estimate: Estimate | None,
) -> None:
    found = [walk_files(data[modality], people, modality) for modality in _modalities(data, people, sight)]
    sources = [{file.name: file for file in files} for files in found]
    names = [name for name in sources[0] if all(name in source for source in sources)]
    if not names:
        folders = ", ".join(sorted({str(path) for path in data.values()}))
        raise DataSetError(f"{folders}: no walk has all of what is needed for {sight}.")
    starts = [0]
    with (folder / "frames.bin").open("wb") as pack:
        for done, name in enumerate(names, 1):
            seen = _seen([source[name] for source in sources], sight, estimate)
            pack.write(seen.tobytes())
            starts.append(starts[-1] + len(seen))
            if progress is not None:
                progress(done, len(names))
    files = [sources[0][name] for name in names]
    index = {
        "sight": sight,
        "names": [(file.identity, file.condition, file.view) for file in files],
        "starts": starts,
    }
    (folder / "walks.json").write_text(json.dumps(index), encoding="utf-8")


def _modalities(data: Mapping[Modality, Path], people: Sequence[str] | None, sight: Sight) -> tuple[Modality, ...]:
    """Which files are read; skeleton maps come from keypoints unless their files say that they are such."""
    if sight.startswith("silhouettes"):
        return ("silhouette", "smpl") if "smpl" in sight else ("silhouette",)
    if sight == "keypoints":
        return ("pose",)
    maps: Modality = "heatmap" if _has_maps(data, people) else "pose"
    return (maps,) if sight == "heatmaps" else (maps, "silhouette")


def _has_maps(data: Mapping[Modality, Path], people: Sequence[str] | None) -> bool:
    try:
        return "heatmap" in data and _of_maps(walk_files(data["heatmap"], people, "heatmap")[0])
    except DataSetError:
        return False


def _of_maps(file: WalkFile) -> bool:
    return "heatmap" in file.path.name.lower()


def _seen(files: Sequence[WalkFile], sight: Sight, estimate: Estimate | None) -> NDArray[Any]:
    if sight.startswith("silhouettes"):
        rows = 128 if sight.endswith("128 rows") else 64
        if "smpl" in sight:
            return read_bodies(files[0].path, files[1].path, rows)
        return read_silhouettes(files[0].path, rows)
    if sight == "keypoints":
        return _keypoints(files[0], estimate)
    maps = _cut(read_heatmaps(files[0].path) if _of_maps(files[0]) else heatmaps(_keypoints(files[0], estimate)))
    if sight == "heatmaps":
        return maps
    silhouettes = read_silhouettes(files[1].path)
    frames = min(len(maps), len(silhouettes))
    return np.concatenate([maps[:frames], silhouettes[:frames, None]], 1)


def _keypoints(file: WalkFile, estimate: Estimate | None) -> Floats:
    keypoints = read_keypoints(file.path)
    return keypoints if estimate is None else estimate(file.name, keypoints)


def _cut(maps: Bytes) -> Bytes:
    """Leave 44 columns of (T, 2, 64, 64 or 44)."""
    margin = (maps.shape[-1] - 44) // 2
    return np.ascontiguousarray(maps[..., margin : margin + 44])
