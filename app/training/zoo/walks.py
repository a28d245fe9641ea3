"""The walks of a data set in one file, in what a network sees of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.data.heatmaps import heatmaps
from app.data.opengait import (
    DataSetError,
    Modality,
    WalkFile,
    read_heatmaps,
    read_keypoints,
    read_silhouettes,
    walk_files,
)
from app.errors import SettingsError
from app.files import written_whole
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.types import Bytes, Ints

Sight: TypeAlias = Literal["silhouettes", "heatmaps", "heatmaps with silhouettes", "keypoints"]
"""What is seen of a walk."""
SHAPES: dict[Sight, tuple[tuple[int, ...], Any]] = {
    "silhouettes": ((64, 44), np.uint8),
    "heatmaps": ((2, 64, 44), np.uint8),
    "heatmaps with silhouettes": ((3, 64, 44), np.uint8),
    "keypoints": ((17, 3), np.float32),
}
"""Of one frame, and the type of its numbers."""


def sight_of(network: type[EmbeddingNetwork]) -> Sight:
    """What a network sees.

    Raises:
        SettingsError: something that data sets are not read for.
    """
    if issubclass(network, JointNetwork):
        return "keypoints"
    for sight in SHAPES:
        if network.inputs == (sight,):
            return sight
    raise SettingsError(
        f"A {network.family} network sees {' and '.join(network.inputs)}, which data sets are not read for."
    )


class SeenWalks:
    """Walks in one file, from which processes share the memory: ``walks[i]`` is an array of (T, *frame).

    Args:
        folder: what `packed` has written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        index = json.loads((folder / "walks.json").read_text(encoding="utf-8"))
        self.sight: Sight = index["sight"]
        self.files = [WalkFile(who, how, whence, folder) for who, how, whence in index["names"]]
        """Who, how and whence."""
        self._starts: list[int] = index["starts"]
        shape, kind = SHAPES[self.sight]
        self._frames: NDArray[Any] = np.memmap(folder / "frames.bin", kind, "r").reshape(-1, *shape)

    def __reduce__(self) -> tuple[type[SeenWalks], tuple[Path]]:
        return SeenWalks, (self._folder,)  # a memory map would be sent to another process whole

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
        data: Path,
        people: Sequence[str] | None,
        sight: Sight,
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> SeenWalks:
        """Copy the walks of a data set into `folder`, unless that was done before.

        A run that goes on so sees what it has seen. Skeleton maps are drawn from keypoints where the data set has none.

        Raises:
            DataSetError: no walks, or a file that cannot be read.
            SettingsError: `folder` holds what another network sees.
            OutputError: `folder` cannot be written.
        """
        if not folder.is_dir():
            with written_whole(folder) as temporary:
                temporary.mkdir()
                _pack(data, people, sight, temporary, progress)
        walks = cls(folder)
        if walks.sight != sight:
            raise SettingsError(f"{folder} holds {walks.sight}, and {sight} are needed. Give another out.")
        return walks


def _pack(
    data: Path,
    people: Sequence[str] | None,
    sight: Sight,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    found = (walk_files(data, people, modality) for modality in _modalities(data, people, sight))
    sources = [{file.name: file for file in files} for files in found]
    names = [name for name in sources[0] if all(name in source for source in sources)]
    if not names:
        raise DataSetError(f"{data}: no walk has all of what is needed for {sight}.")
    starts = [0]
    with (folder / "frames.bin").open("wb") as pack:
        for done, name in enumerate(names, 1):
            seen = _seen([source[name].path for source in sources], sight)
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


def _modalities(data: Path, people: Sequence[str] | None, sight: Sight) -> tuple[Modality, ...]:
    """Which files are read; skeleton maps come from keypoints unless their files say that they are such."""
    if sight == "silhouettes":
        return ("silhouette",)
    if sight == "keypoints":
        return ("pose",)
    try:
        maps: Modality = "heatmap" if "heatmap" in walk_files(data, people, "heatmap")[0].path.name.lower() else "pose"
    except DataSetError:
        maps = "pose"
    return (maps,) if sight == "heatmaps" else (maps, "silhouette")


def _seen(paths: Sequence[Path], sight: Sight) -> NDArray[Any]:
    if sight == "silhouettes":
        return read_silhouettes(paths[0])
    if sight == "keypoints":
        return read_keypoints(paths[0])
    maps = read_heatmaps(paths[0]) if "heatmap" in paths[0].name.lower() else heatmaps(read_keypoints(paths[0]))
    maps = _cut(maps)
    if sight == "heatmaps":
        return maps
    silhouettes = read_silhouettes(paths[1])
    frames = min(len(maps), len(silhouettes))
    return np.concatenate([maps[:frames], silhouettes[:frames, None]], 1)


def _cut(maps: Bytes) -> Bytes:
    """Leave 44 columns of (T, 2, 64, 64 or 44)."""
    margin = (maps.shape[-1] - 44) // 2
    return np.ascontiguousarray(maps[..., margin : margin + 44])
