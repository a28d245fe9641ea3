"""Motion capture in Acclaim's format: a skeleton (``.asf``) and its motions (``.amc``).

The format is described by Jeff Lander, "Working with motion capture file formats" (Game Developer, January 1998) and
on the page of the CMU Graphics Lab Motion Capture Database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from app.errors import GaitprintError
from app.types import Doubles

METRES = 0.0254
"""One unit of length after division by the skeleton's ``length`` is an inch."""
_TO_WALKERS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""From y up and z forward to x forward, y left, z up."""


class MotionFileError(GaitprintError):
    """A file of motion capture that cannot be read."""


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone: its `parent`, its way from there in the rest pose (3,) m, and about which axes it turns.

    `axis` are the rotations of its own frame; `freedoms` lists ``rx``, ``ry``, ``rz`` in the file's order.
    """

    name: str
    parent: str
    offset: Doubles
    axis: Rotation
    freedoms: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AcclaimSkeleton:
    """The bones, parents before children; `unit` m is the file's unit of length."""

    bones: tuple[Bone, ...]
    unit: float


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded motion of T frames in the walkers' axes: x forward at the rest pose, y left, z up.

    `ends` (T, 3) m are the ends of the bones by name, ``root`` among them; `turns` their rotations from the rest pose.
    """

    ends: dict[str, Doubles]
    turns: dict[str, Rotation]

    def __len__(self) -> int:
        return len(self.ends["root"])


def read_skeleton(path: Path) -> AcclaimSkeleton:
    """Read an ``.asf`` file; `MotionFileError` where the file is missing, or something is missing in it."""
    unit, kinds, parents = 0.0, dict[str, dict[str, list[str]]](), dict[str, str]()
    section, bone = "", dict[str, list[str]]()
    degrees = True
    for words in _lines(path):
        if words[0].startswith(":"):
            section = words[0]
        elif section == ":units" and words[0] == "length":
            unit = METRES / float(words[1])
        elif section == ":units" and words[0] == "angle":
            degrees = words[1].startswith("deg")
        elif section == ":bonedata":
            if words[0] == "begin":
                bone = {}
            elif words[0] == "end":
                kinds[bone["name"][0]] = bone
            else:
                bone[words[0]] = words[1:]
        elif section == ":hierarchy" and words[0] not in ("begin", "end"):
            parents.update(dict.fromkeys(words[1:], words[0]))
    if not unit or not parents or not degrees:
        raise MotionFileError(f"{path} is no skeleton: it needs :units with length and degrees, and a :hierarchy.")
    try:
        bones = tuple(_bone(name, parent, kinds[name], unit) for name, parent in parents.items())
    except (KeyError, ValueError, IndexError) as error:
        raise MotionFileError(f"{path}: a bone is not described completely ({error}).") from error
    return AcclaimSkeleton(bones, unit)


def _bone(name: str, parent: str, entries: dict[str, list[str]], unit: float) -> Bone:
    direction = np.array([float(word) for word in entries["direction"][:3]])
    axis = Rotation.from_euler("xyz", [float(word) for word in entries["axis"][:3]], degrees=True)
    return Bone(name, parent, direction * float(entries["length"][0]) * unit, axis, tuple(entries.get("dof", ())))


def read_motion(path: Path, skeleton: AcclaimSkeleton) -> Recording:
    """Read an ``.amc`` file of `skeleton`.

    Raises:
        MotionFileError: the file is missing, or its frames do not fit the skeleton.
    """
    values: dict[str, list[list[float]]] = {}
    frames = 0
    for words in _lines(path):
        if words[0].startswith(":"):
            continue
        if len(words) == 1:
            frames += 1
        else:
            values.setdefault(words[0], []).append([float(word) for word in words[1:]])
    wanted = {"root": 6} | {bone.name: len(bone.freedoms) for bone in skeleton.bones if bone.freedoms}
    for name, count in wanted.items():
        rows = values.get(name, [])
        if not frames or len(rows) != frames or any(len(row) != count for row in rows):
            raise MotionFileError(f"{path}: not every frame has {count} values of '{name}', as the skeleton asks.")
    root = np.array(values["root"])
    places, turns = {"root": root[:, :3] * skeleton.unit}, {"root": _euler("xyz", root[:, 3:])}
    for bone in skeleton.bones:
        turn = turns[bone.parent]
        if bone.freedoms:
            order = "".join(freedom[1] for freedom in bone.freedoms)
            turn = turn * bone.axis * _euler(order, np.array(values[bone.name])) * bone.axis.inv()
        turns[bone.name] = turn
        places[bone.name] = places[bone.parent] + turn.apply(bone.offset)
    change = Rotation.from_matrix(_TO_WALKERS)
    return Recording(
        {name: place @ _TO_WALKERS.T for name, place in places.items()},
        {name: change * turn * change.inv() for name, turn in turns.items()},
    )


def _euler(order: str, angles: Doubles) -> Rotation:
    return Rotation.from_euler(order, angles, degrees=True)


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of every line that says something."""
    try:
        with path.open(encoding="latin-1") as file:
            for line in file:
                words = line.partition("#")[0].replace("(", " ( ").split()
                if words:
                    yield words
    except OSError as error:
        raise MotionFileError(f"{path} cannot be read: {error.strerror}.") from error
