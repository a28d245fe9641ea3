"""What users of the virtual walkers choose from. Imports nothing heavy, so that the command line starts quickly."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Condition: TypeAlias = Literal["nm", "bg", "cl"]
"""The conditions of CASIA-B: plain clothes, with a bag, in a coat."""
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

Burden: TypeAlias = Literal["handbag", "backpack", "trolley", "shoulder bag", "briefcase", "carrier", "carriers"]
"""What somebody carries; a carrier is a shopping bag, carriers are one in each hand."""

Hands: TypeAlias = Literal["phone", "calling", "pocket", "pockets"]
"""What hands do that do not swing: one holds a phone to read or to call, one or both are in the pockets."""

MotionVersion: TypeAlias = Literal[1, 2]
"""How people walk: 1 as a textbook says, each with traits of their own; 2 as recorded people do."""
MOTION: MotionVersion = 2
"""The motion that is used where none is asked for."""

View: TypeAlias = Literal["front", "raised", "back", "side", "oblique", "surveillance", "handheld"]
"""The cameras of a scene."""
VIEWS: tuple[View, ...] = get_args(View)

Place: TypeAlias = Literal["street", "park", "square", "hall", "corridor"]
PLACES: tuple[Place, ...] = get_args(Place)

Modality: TypeAlias = Literal["silhouette", "pose", "body", "heatmap", "smpl", "calibrated", "parsing"]
"""What a data set may hold of every walk."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)

CASIA_VIEWS = tuple(range(0, 181, 18))
"""The eleven views of CASIA-B in degrees: 0 sees the walker from the front, 90 from the side, 180 from behind."""
