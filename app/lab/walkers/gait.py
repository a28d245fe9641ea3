"""What makes a person's walk their own: gait traits, how they vary between people and between sessions."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from app.body.skeleton import Side
from app.lab.walkers.choices import Burden, Hands
from app.lab.walkers.normative import WALK_RATIO
from app.lab.walkers.population import Manner, Population


@dataclass(frozen=True)
class Spread:
    """How a trait is distributed: normal with `mean` and `sd` between people, cut at 2.2 `sd`.

    `session` is the share of `sd` by which the same person differs from session to session; nobody is below `low` or
    above `high`.
    """

    mean: float
    sd: float
    session: float = 0.3
    low: float = -np.inf
    high: float = np.inf


def _trait(mean: float, sd: float, session: float = 0.3, low: float = -np.inf, high: float = np.inf) -> Any:
    return field(default=mean, metadata={"spread": Spread(mean, sd, session, low, high)})


@dataclass(frozen=True)
class GaitTraits:
    """One person's gait. The defaults are the average walker, left and right alike.

    Every trait is given with its mean and its standard deviation between people, and sometimes how much of that the
    same person changes from session to session (see `Spread`). Lengths m, angles degrees; `*_swing`, `*_stance`,
    `*_sway`, `*_rotation`, `*_obliquity` scale the normative curve's range. Asymmetries are 0 for the same on both
    sides.

    The figures of the first traits, up to `toe_out_r`, are approximate, from general knowledge of the works named, not
    checked against their tables. The others have no table behind them; they keep single joints within about two of the
    published standard deviations.
    """

    speed: float = _trait(1.33, 0.15, 0.35, low=0.75, high=1.75)
    """Comfortable speed, m/s: Bohannon 1997 (means 1.27 to 1.46 m/s over sex and decades, SD about 0.15 to 0.2)."""
    walk_ratio: float = _trait(WALK_RATIO, 0.0006, 0.25)
    """Step length over cadence, m/(steps/min), for a leg of 0.88 m: Sekiya & Nagasaki 1998; SD about a tenth."""
    step_width: float = _trait(0.095, 0.026, 0.25, low=0.02)
    """Between the ankles' lines, m: Winter 1991 and Perry, base of support 5 to 13 cm."""
    toe_out_l: float = _trait(6.5, 5.0, 0.25)
    """Foot progression angle: 5 to 7 degrees out, SD 5 to 6 (Perry; Murray 1964)."""
    toe_out_r: float = _trait(6.5, 5.0, 0.25)
    hip_offset: float = _trait(0.0, 0.012)
    """How far the feet land in front of the average place, m: more hip flexion against more extension."""
    knee_stance: float = _trait(1.0, 0.25, low=0.3)
    knee_swing: float = _trait(1.0, 0.075)
    knee_offset: float = _trait(1.0, 2.2, low=-1.5)
    """Knee flexion added throughout stance, degrees."""
    heel_strike: float = _trait(20.0, 4.0, 0.35)
    """Foot against floor at heel contact, toes up."""
    push_off: float = _trait(62.0, 5.0)
    """Foot against floor at toe-off, heel up."""
    ankle_swing: float = _trait(0.0, 2.5)
    """Dorsiflexion added in swing."""
    stance: float = _trait(0.0, 0.012)
    """Added to the phase of toe-off."""
    knee_turn: float = _trait(0.0, 4.0, 0.25)
    """Knees turned out (positive) or in."""
    arm_swing: float = _trait(1.0, 0.34, 0.35, low=0.2)
    arm_asymmetry: float = _trait(0.0, 0.20, 0.35, low=-0.6, high=0.6)
    """The left arm swings `1 + x` times, the right `1 - x` times."""
    arm_abduction: float = _trait(7.0, 3.5, low=2.0)
    arm_forward: float = _trait(0.0, 5.0)
    arm_turn: float = _trait(12.0, 10.0, 0.25)
    """Arms turned inwards, so that the hands swing in front of the thighs."""
    elbow_offset: float = _trait(0.0, 9.0)
    elbow_swing: float = _trait(1.0, 0.35, low=0.2)
    shoulder_lift: float = _trait(0.0, 2.5, 0.35)
    trunk_lean: float = _trait(2.5, 3.0, 0.35)
    trunk_sway: float = _trait(1.0, 0.45, low=0.0)
    trunk_rotation: float = _trait(1.0, 0.4, low=0.1)
    stoop: float = _trait(3.0, 4.5)
    """Forward bend of the upper spine."""
    pelvis_tilt: float = _trait(0.0, 3.5, 0.25)
    pelvis_obliquity: float = _trait(1.0, 0.3, low=0.2)
    pelvis_rotation: float = _trait(1.0, 0.4, low=0.0)
    lateral_sway: float = _trait(0.020, 0.005)
    """Amplitude of the pelvis' way from side to side, m (approximate, from general knowledge of Perry, ch. 7)."""
    head_pitch: float = _trait(2.0, 5.0, 0.5)
    head_forward: float = _trait(0.0, 5.0, 0.25)
    """Forward bend of the neck with the face kept level."""
    step_asymmetry: float = _trait(0.0, 0.010)
    """Left step longer than right by twice this share."""
    timing_asymmetry: float = _trait(0.0, 0.008)
    """Right heel contact later than half a cycle by this phase."""
    variability: float = _trait(1.0, 0.25, low=0.3)
    """Scale of the differences from stride to stride."""
    manner: Manner | None = None
    """How the joints move, learnt from recordings (motion 2); None: the curves of `normative` (motion 1)."""

    @classmethod
    def sample(cls, seed: int, age: float | None = None, female: bool | None = None) -> GaitTraits:
        """Return the gait of person number `seed`; the same number gives the same gait.

        From 60 years on people walk slower (about 0.1 m/s a decade, Bohannon 1997), with shorter, wider steps and
        more stoop; women take shorter steps at a higher cadence with a livelier pelvis (Smith et al. 2002). The
        sizes of these two shifts are approximate.
        """
        draw = _normals(seed, stream=0)
        drawn: dict[str, Any] = {
            name: spread.mean + spread.sd * z for (name, spread), z in zip(SPREADS.items(), draw, strict=True)
        }
        traits = cls(**drawn)
        years = max(0.0, (age or 0.0) - 60.0) / 10.0
        traits = replace(
            traits,
            speed=traits.speed - 0.1 * years,
            walk_ratio=traits.walk_ratio * (1 - 0.03 * years),
            step_width=traits.step_width + 0.006 * years,
            stoop=traits.stoop + 2.5 * years,
            toe_out_r=traits.toe_out_l + 0.5 * (traits.toe_out_r - traits.toe_out_l),
        )
        if female is not None:
            sign = 1.0 if female else -1.0
            traits = replace(
                traits,
                walk_ratio=traits.walk_ratio - sign * 0.0002,
                pelvis_obliquity=traits.pelvis_obliquity + sign * 0.15,
                step_width=traits.step_width - sign * 0.006,
            )
        return traits._bounded()

    def in_session(self, seed: int, amount: float = 1.0) -> GaitTraits:
        """Return this person's gait of another walk: every trait a little different (speed, mood, shoes).

        How far the joints' curves change was seen between walks of one day; what changes from day to day is not known.
        """
        draw = _normals(seed, stream=1)
        change = {
            name: getattr(self, name) + amount * spread.session * spread.sd * z
            for (name, spread), z in zip(SPREADS.items(), draw, strict=True)
        }
        if self.manner is None:
            return replace(self, **change)._bounded()
        of_walk = Population.load().draw("walk", np.random.default_rng([seed, 0x3A1C]))
        return replace(self, **{name: value for name, value in change.items() if name not in _DESCRIBED}).moved_as(
            self.manner.changed(amount * of_walk), self.manner
        )

    def recorded(self, seed: int, age: float, female: bool, stature: float) -> GaitTraits:
        """Return this gait with a manner that the recordings make likely, in place of the traits that it describes.

        The speed becomes usual for people of that `stature` m, sex and age (`Population.comfortable_speed`).
        """
        population, plain = Population.load(), GaitTraits()
        own = population.draw("person", np.random.default_rng([seed, 0x3A1B]))
        manner = Manner(tuple(own.tolist()), float(female), age)
        faster = _normals(seed, stream=0)[0] * population.speed_spread
        years = max(0.0, age - 60.0) / 10
        usual: dict[str, Any] = {name: getattr(plain, name) for name in _DESCRIBED}
        usual["speed"] = population.comfortable_speed(stature, float(female), age) + faster
        usual["knee_offset"] = 0.0
        usual["step_width"] += 0.006 * years + (-0.006 if female else 0.006)
        return replace(self, **usual).moved_as(manner, Manner((0.0,) * len(manner.vector)))

    def stooped(self, amount: float) -> GaitTraits:
        """Return the gait of somebody who walks bent, by `amount` from 0 to 1; sizes are approximate."""
        return replace(
            self,
            stoop=self.stoop + 22 * amount,
            trunk_lean=self.trunk_lean + 8 * amount,
            head_pitch=self.head_pitch + 8 * amount,
            speed=self.speed * (1 - 0.25 * amount),
            pelvis_tilt=self.pelvis_tilt - 4 * amount,
        )._bounded()

    def limping(self, side: Side, amount: float) -> GaitTraits:
        """Return the gait with a limp by `amount` from 0 to 1: after the leg on `side` the next step comes sooner.

        Sizes are approximate. In motion 1 both knees become stiffer, as its curves know no side.
        """
        sign = 1.0 if side == "r" else -1.0
        limp = replace(
            self,
            timing_asymmetry=self.timing_asymmetry + 0.045 * amount * sign,
            step_asymmetry=self.step_asymmetry + 0.04 * amount * sign,
            trunk_sway=self.trunk_sway + 1.2 * amount,
            lateral_sway=self.lateral_sway * (1 + 0.6 * amount),
            speed=self.speed * (1 - 0.25 * amount),
        )
        if self.manner is None:
            return replace(limp, knee_swing=self.knee_swing * (1 - 0.25 * amount))._bounded()
        return replace(limp, manner=self.manner.stiffer(side, amount))._bounded()

    def moved_as(self, manner: Manner, before: Manner) -> GaitTraits:
        """Return the gait with `manner`, whose measures replace those of the manner `before`."""
        change = {name: manner.measure(name) - before.measure(name) for name in _MEASURED}
        moved = replace(self, **{name: getattr(self, name) + by for name, by in change.items()}, manner=manner)
        return moved._bounded()

    def _bounded(self) -> GaitTraits:
        bounds = {name: (getattr(self, name), spread.low, spread.high) for name, spread in SPREADS.items()}
        return replace(self, **{name: min(max(value, low), high) for name, (value, low, high) in bounds.items()})


SPREADS: dict[str, Spread] = {
    trait.name: trait.metadata["spread"] for trait in fields(GaitTraits) if "spread" in trait.metadata
}
"""Every trait's distribution."""

_MEASURED = ("stance", "step_width", "toe_out_l", "toe_out_r", "lateral_sway")
"""Traits that are drawn together with the curves of a manner."""
_DESCRIBED = (
    *_MEASURED, "knee_stance", "knee_swing", "knee_offset", "heel_strike", "push_off", "ankle_swing", "arm_swing",
    "arm_asymmetry", "arm_forward", "elbow_offset", "elbow_swing", "trunk_sway", "trunk_rotation", "pelvis_obliquity",
    "pelvis_rotation", "walk_ratio",
)  # fmt: skip
"""Traits in whose place a manner says how somebody walks."""


@dataclass(frozen=True)
class ArmCarriage:
    """How an arm is held, in degrees: swing scale, what is added to shoulder flexion, abduction and elbow flexion."""

    swing: float = 1.0
    forward: float = 0.0
    abduction: float = 0.0
    elbow: float = 0.0


_HANDS: dict[Hands, ArmCarriage] = {
    "phone": ArmCarriage(swing=0.12, forward=24.0, abduction=-2.0, elbow=68.0),
    "calling": ArmCarriage(swing=0.08, forward=32.0, abduction=12.0, elbow=108.0),
    "pocket": ArmCarriage(swing=0.15, forward=-10.0, abduction=10.0, elbow=36.0),
    "pockets": ArmCarriage(swing=0.15, forward=-10.0, abduction=10.0, elbow=36.0),
}


@dataclass(frozen=True)
class Carrying:
    """What is carried and held: `burden` on which `side` (a backpack and carriers on both), what the `hands` do."""

    burden: Burden | None
    side: Side = "r"
    hands: Hands | None = None
    hands_side: Side = "r"

    def arm(self, side: Side) -> ArmCarriage:
        """Return how the arm on `side` is held. Approximate: no published angles."""
        if self.hands is not None and (self.hands == "pockets" or side == self.hands_side):
            return _HANDS[self.hands]
        if self.burden is None:
            return ArmCarriage()
        if self.burden == "backpack":
            return ArmCarriage(swing=0.75, forward=4.0, abduction=2.0, elbow=6.0)
        if self.burden == "carriers":
            return ArmCarriage(swing=0.2, abduction=7.0, elbow=-6.0)
        if side != self.side:
            return ArmCarriage(swing=0.9)
        if self.burden == "shoulder bag":
            return ArmCarriage(swing=0.7, abduction=7.0, elbow=4.0)
        if self.burden == "trolley":
            return ArmCarriage(swing=0.1, forward=-24.0, abduction=6.0, elbow=-14.0)
        return ArmCarriage(swing=0.2, abduction=6.0, elbow=-6.0)

    @property
    def trunk_lean(self) -> float:
        """Forward lean added, degrees (a backpack: Kinoshita 1985 reports about 3 to 11 with heavy loads)."""
        return {"backpack": 5.0, "trolley": 1.5, "carriers": 1.0}.get(self.burden or "", 0.0)

    @property
    def trunk_side_lean(self) -> float:
        """Lean to the left, degrees: away from a bag, approximate."""
        leans = {"handbag": 2.0, "trolley": -1.0, "briefcase": 2.0, "carrier": 2.5, "shoulder bag": 1.0}
        return leans.get(self.burden or "", 0.0) * (1.0 if self.side == "r" else -1.0)


def _normals(seed: int, stream: int) -> list[float]:
    rng = np.random.default_rng([seed, stream, 0x6A17])
    return [float(z) for z in np.clip(rng.standard_normal(len(SPREADS)), -2.2, 2.2)]
