"""What somebody wears and carries, and how it is drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from app.body.skeleton import Side
from app.lab.walkers.choices import Burden, Condition, Hands
from app.lab.walkers.renderer import CHECKS, COLUMNS, DENIM, PLAIN, ROWS, Material
from app.lab.walkers.wardrobe import palette
from app.lab.walkers.wardrobe.palette import Colour

Hair: TypeAlias = Literal["short", "cropped", "long", "bun", "bald"]
Hat: TypeAlias = Literal["beanie", "cap", "brimmed"]


@dataclass(frozen=True)
class Outfit:
    """What somebody wears and carries.

    Lengths of sleeves and legs are levels: 0 shoulder or hip, 1 elbow or knee, 2 wrist or ankle. Colours are BGR, 0 to
    1.
    """

    skin: Colour
    hair: Colour
    hair_style: Hair
    top: Material
    bottom: Material
    shoes: Material
    sleeve: float = 0.75
    leg: float = 1.95
    hem: float = 0.12
    loose: float = 0.010
    """How far the top stands off, m."""
    leg_loose: float = 0.014
    skirt: float | None = None
    """Length of a skirt in place of trousers."""
    coat: Material | None = None
    coat_length: float = 0.9
    hood: bool = False
    hat: Hat | None = None
    hat_colour: Colour = (0.2, 0.2, 0.25)
    bag: Burden | None = None
    bag_side: Side = "r"
    bag_material: Material = field(default_factory=lambda: Material((0.12, 0.14, 0.22)))
    bag_size: float = 1.0
    hands: Hands | None = None
    hands_side: Side = "r"
    coat_open: bool = False
    suit: str | None = None
    """Name of a suit in the wardrobe folder, in place of top and bottom."""

    @property
    def hooded(self) -> bool:
        """Whether a hood covers the head."""
        return self.hood and self.coat is not None

    @classmethod
    def sample(cls, rng: np.random.Generator, female: bool, age: float, suits: Sequence[str] = ()) -> Outfit:
        """Draw everyday clothes, without bag or coat."""
        bottom = _bottom_material(rng)
        short_legs = rng.random() < 0.12
        skirt = float(rng.uniform(0.75, 1.45)) if female and rng.random() < 0.22 else None
        styles: tuple[Hair, Hair] = (
            ("long", "bun") if rng.random() < (0.62 if female else 0.06) else ("short", "cropped")
        )
        bald = not female and rng.random() < 0.06 + 0.15 * (age > 50)
        tone = float(rng.random())
        hair = palette.hair_colour(rng, tone, age)
        fits = [name for name in suits if name.startswith("female" if female else "male")]
        return cls(
            skin=palette.skin_colour(tone),
            hair=hair,
            hair_style="bald" if bald else styles[0 if rng.random() < 0.7 else 1],
            top=_top_material(rng),
            bottom=bottom,
            shoes=Material(palette.SHOES[rng.integers(len(palette.SHOES))], gloss=0.15),
            sleeve=float(rng.choice([0.55, 0.7, 1.9, 1.95], p=[0.25, 0.25, 0.25, 0.25])),
            leg=float(rng.uniform(0.8, 1.05) if short_legs else rng.uniform(1.85, 1.98)),
            hem=float(rng.uniform(-0.02, 0.28)),
            loose=float(rng.uniform(0.006, 0.022)),
            leg_loose=float(rng.uniform(0.006, 0.028)),
            skirt=skirt,
            suit=str(rng.choice(fits)) if fits and rng.random() < 0.5 else None,
            hat=("beanie", "cap", "brimmed")[rng.integers(3)] if rng.random() < 0.07 else None,
            hat_colour=palette.TOPS[rng.integers(len(palette.TOPS))],
        )

    def in_condition(self, condition: Condition, rng: np.random.Generator) -> Outfit:
        """Return the same clothes with a bag (``bg``) or under a coat (``cl``); ``nm`` changes nothing."""
        if condition == "bg":
            bags: tuple[Burden, ...] = ("handbag", "backpack", "backpack", "trolley")
            bag = bags[rng.integers(len(bags))]
            material = Material(palette.BAGS[rng.integers(len(palette.BAGS))], fold=0.15, gloss=0.1)
            return replace(self, bag=bag, bag_side="r" if rng.random() < 0.7 else "l", bag_material=material)
        if condition == "cl":
            colour = palette.COATS[rng.integers(len(palette.COATS))]
            pattern = CHECKS if rng.random() < 0.15 else PLAIN
            coat = Material(colour, palette.lighter(colour, 1.35), pattern, 0.11, fold=0.5)
            length = float(rng.choice([0.32, 0.85, 1.15], p=[0.35, 0.4, 0.25]) + rng.uniform(-0.08, 0.08))
            return replace(self, coat=coat, coat_length=length, hood=bool(rng.random() < 0.3), suit=None)
        return self

    def in_life(self, rng: np.random.Generator) -> Outfit:
        """Return the same clothes as everyday life changes them: other bags, busy hands, wide trousers, open coats."""
        result = self
        if self.bag is not None or rng.random() < 0.35:
            bags: tuple[Burden, ...] = (
                "handbag", "backpack", "backpack", "trolley", "shoulder bag", "shoulder bag", "briefcase", "carrier",
                "carriers",
            )  # fmt: skip
            material = Material(palette.BAGS[rng.integers(len(palette.BAGS))], fold=0.15, gloss=0.1)
            result = replace(
                result, bag=bags[rng.integers(len(bags))], bag_side="r" if rng.random() < 0.6 else "l",
                bag_material=material, bag_size=float(rng.uniform(0.7, 1.25)),
            )  # fmt: skip
        if rng.random() < 0.3 and self.skirt is None:
            result = replace(result, leg_loose=float(rng.uniform(0.030, 0.055)), suit=None)
        if self.coat is not None and self.hat is None and rng.random() < 0.6:
            result = replace(result, coat_open=True, hood=False, coat_length=min(self.coat_length, 0.9))
        if rng.random() < 0.45 and result.bag != "carriers":
            hands: tuple[Hands, ...] = ("phone", "phone", "calling", "pocket", "pockets")
            held = hands[rng.integers(len(hands))]
            if held == "pockets" and result.bag in ("handbag", "briefcase", "carrier", "trolley"):
                held = "pocket"
            busy = result.bag in ("handbag", "briefcase", "carrier", "trolley")
            side: Side = "r" if rng.random() < 0.7 else "l"
            if busy:
                side = "l" if result.bag_side == "r" else "r"
            result = replace(result, hands=held, hands_side=side)
        return result


def _bottom_material(rng: np.random.Generator) -> Material:
    colour = palette.BOTTOMS[rng.integers(len(palette.BOTTOMS))]
    if rng.random() < 0.5:
        return Material(colour, palette.lighter(colour, 1.5), DENIM, fold=0.32)
    return Material(colour, fold=0.3)


def _top_material(rng: np.random.Generator) -> Material:
    colour, second = (palette.TOPS[index] for index in rng.choice(len(palette.TOPS), 2, replace=False))
    kind = rng.random()
    fold = float(rng.uniform(0.25, 0.5))
    if kind < 0.62:
        return Material(colour, fold=fold)
    pattern = ROWS if kind < 0.80 else CHECKS if kind < 0.93 else COLUMNS
    duty = float(rng.uniform(0.3, 0.5))
    return Material(colour, second, pattern, float(rng.uniform(0.05, 0.11)), duty, fold)
