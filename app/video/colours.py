"""The colours of people in pictures and on pages, which colour-blind people can tell apart."""

from __future__ import annotations

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

# RGB: seven colours of Okabe and Ito (2008), without their black, which cannot be seen in a dark scene, and a deep
# violet.
_BASIC: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (85, 17, 187),
)
UNKNOWN: Colour = (220, 220, 220)
UNUSABLE: Colour = (80, 80, 80)


def colour_of(place: int) -> Colour:
    """Return the RGB colour of the gallery's identity number `place`, counted from 0.

    There are eight colours, then the same ones lighter, then darker. After 24 they repeat, because nobody can tell more
    colours apart; the name in the label counts.
    """
    target, share = ((0, 0.0), (255, 0.5), (0, 0.45))[place // len(_BASIC) % 3]
    red, green, blue = (round(value + share * (target - value)) for value in _BASIC[place % len(_BASIC)])
    return red, green, blue


def css_colour(place: int) -> str:
    """Return `colour_of` as a web page writes it, #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(place))
