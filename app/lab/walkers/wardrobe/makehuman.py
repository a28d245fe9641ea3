"""MakeHuman's clothes: a folder of ``.mhclo`` files, each with its ``.obj``, of the hm08 base mesh."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import GaitprintError, reason_of
from app.lab.walkers.body import VERTICES
from app.lab.walkers.wardrobe.mesh import Mesh, cloth_uv
from app.types import Floats, Ints

logger = logging.getLogger(__name__)

_SECTIONS = ("verts", "weights", "delete_verts")


@dataclass(frozen=True, eq=False)
class Garment:
    """A MakeHuman asset: each vertex hangs on three of hm08's (`base` (N, 3)) with `shares` and an `offset` (N, 3).

    `scales`: for x, y, z (MakeHuman's axes) two base vertices and the distance for which the offsets were made.
    `deleted` are the body's vertices that lie under the garment.
    """

    base: Ints
    shares: Floats
    offset: Floats
    scales: tuple[tuple[int, int, float], ...]
    faces: Ints
    deleted: Ints

    @classmethod
    def read(cls, path: Path) -> Garment:
        """Read ``path`` (.mhclo) and its .obj; `GaitprintError` where they are unreadable, or not made for hm08."""
        try:
            return cls._parse(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise GaitprintError(
                f"The clothes {path} cannot be read as a MakeHuman asset for hm08: {reason_of(error)}."
            ) from error

    @classmethod
    def _parse(cls, path: Path) -> Garment:
        header: dict[str, list[str]] = {}
        sections: dict[str, list[list[str]]] = defaultdict(list)
        section = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] in _SECTIONS:
                section = words[0]
            elif section and words[0].lstrip("-").replace(".", "", 1).isdigit():
                sections[section].append(words)
            else:
                header[words[0]] = words[1:]
        if header.get("basemesh", ["hm08"])[0] != "hm08":
            raise ValueError(f"it is made for {header['basemesh'][0]}")
        table = np.array([_vertex(words) for words in sections["verts"]])
        base = table[:, :3].astype(np.int64)
        triangles = _triangles(path.parent / Path(header.get("obj_file", [f"{path.stem}.obj"])[0]).name)
        if triangles.min() < 0 or triangles.max() >= len(table) or base.min() < 0 or base.max() >= VERTICES:
            raise ValueError("vertex numbers out of range")
        scales = [header.get(f"{axis}_scale", ["0", "0", "0"]) for axis in "xyz"]
        return cls(
            base,
            table[:, 3:6].astype(np.float32),
            table[:, 6:9].astype(np.float32),
            tuple((int(first), int(second), float(size)) for first, second, size, *_ in scales),
            triangles,
            np.array([number for words in sections["delete_verts"] for number in _numbers(words)], np.int64),
        )

    def fitted(self, points: Floats, weights: Floats) -> Mesh:
        """Return the garment on the body `points` (19158, 3), with the body's skin weights."""
        vertices = (points[self.base] * self.shares[..., None]).sum(axis=1)
        # MakeHuman's x, y, z are the person's left, up and forward.
        for makehuman, (axis, (first, second, size)) in enumerate(zip((1, 2, 0), self.scales, strict=True)):
            scale = abs(points[first, axis] - points[second, axis]) / size if size else 0.1
            vertices[:, axis] += self.offset[:, makehuman] * scale
        shares = np.maximum(self.shares, 0) / np.maximum(self.shares, 0).sum(axis=1, keepdims=True)
        mixed = (weights[self.base] * shares[..., None]).sum(axis=1)
        return Mesh(vertices, mixed.astype(np.float32), cloth_uv(vertices).astype(np.float32), self.faces)


def _vertex(words: Sequence[str]) -> list[float]:
    """Return three base vertices, three shares and an offset; a single number means that vertex itself."""
    numbers = [float(word) for word in words]
    if len(numbers) not in (1, 9):
        raise ValueError(f"a vertex has {len(numbers)} numbers")
    return numbers if len(numbers) == 9 else [numbers[0]] * 3 + [1, 0, 0, 0, 0, 0]


def _triangles(path: Path) -> Ints:
    """Read the faces of an .obj file, (F, 3)."""
    faces = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("f "):
            corners = [int(word.partition("/")[0]) - 1 for word in line.split()[1:]]
            faces += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
    return np.array(faces, np.int64)


def _numbers(words: Sequence[str]) -> list[int]:
    """Read ``["3", "7", "-", "9"]`` as ``[3, 7, 8, 9]``, without what is beyond the body."""
    numbers: list[int] = []
    for before, word in zip(["", *words], words, strict=False):
        if word != "-":
            numbers += range(numbers[-1] + 1 if before == "-" else int(word), int(word) + 1)
    return [number for number in numbers if number < VERTICES]


class Wardrobe:
    """A folder of MakeHuman assets (``.mhclo`` + ``.obj``), each read when it is first worn."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("**/*.mhclo"))}
        self._garments: dict[str, Garment] = {}
        if not self._files:
            logger.warning("%s holds no .mhclo file. The walkers wear clothes made from their bodies.", folder)

    @property
    def suits(self) -> tuple[str, ...]:
        """Names of the suits."""
        return tuple(name for name in self._files if "suit" in name)

    def garment(self, name: str) -> Garment:
        """Return the garment called `name`; `GaitprintError` where there is none."""
        if name not in self._files:
            raise GaitprintError(f"The wardrobe has no '{name}'. It has: {', '.join(self._files) or 'nothing'}.")
        if name not in self._garments:
            self._garments[name] = Garment.read(self._files[name])
        return self._garments[name]
