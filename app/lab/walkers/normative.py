"""How people walk: joint angles over the gait cycle as Fourier series, and stride parameters, by speed.

Where the numbers come from, plainly: no citable table was at hand when this was written, and none is reproduced.
The *key values* (the peaks and their phases), rounded to a degree, were written from general knowledge of Perry &
Burnfield, Gait Analysis, 2nd ed. 2010, ch. 3-8 (thigh, knee, ankle, toes, pelvis, trunk, arm) and Winter,
Biomechanics and Motor Control of Human Gait, 2nd ed. 1991, ch. 2-3 (temporal parameters, foot angles), without the
books open: check them before citing them. Knee and ankle in swing were then moved by some degrees until the toes
clear the floor, with a look at one normal cycle of undocumented origin (``normal.gcd`` of gaitutils). Between the
key values the curves are approximate: a periodic cubic through them, cut to a Fourier series. The bands
(`Curve.sd`) are rounded too and of the size both books print (knee and hip 5 to 8, ankle 4 to 6 degrees). How they
change with speed is approximate as well, in the direction and about the size which Fukuchi et al. 2019 (systematic
review, Systematic Reviews 8:153) summarise: more knee flexion in stance, larger hip range, longer swing.

Phases are shares of a gait cycle from heel contact to the next of the same foot; angles are degrees, flexion and
dorsiflexion positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from app.types import Doubles

REFERENCE_SPEED = 1.3
"""m/s for which the curves are given: about comfortable (approximate, after Bohannon 1997 from general knowledge)."""
TOE_OFF = 0.62
"""Phase of toe-off at the reference speed (approximate, from general knowledge of Perry: stance 62 %)."""
SPEEDS = (0.7, 1.8)
"""Speeds in m/s between which the curves may be used; outside they stay as at the nearer end."""


@dataclass(frozen=True)
class Curve:
    """An angle over the gait cycle.

    `keys` are (phase in %, degrees) of the reference speed; `per_speed` (phase in %, degrees per m/s) how they
    change; `sd` the half width of an approximate band in degrees; `harmonics` how many Fourier terms are kept.
    """

    keys: tuple[tuple[float, float], ...]
    sd: float
    per_speed: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    harmonics: int = 8

    @cached_property
    def _series(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        return _fourier(self.keys, self.harmonics), _fourier(self.per_speed, self.harmonics)

    def __call__(self, phase: Doubles, speed: Doubles | float = REFERENCE_SPEED) -> Doubles:
        """Return the angle in degrees at `phase` (any real number, 1 is a cycle) and `speed` in m/s."""
        faster = np.clip(speed, *SPEEDS) - REFERENCE_SPEED
        turn = np.exp(2j * np.pi * np.asarray(phase, np.float64))
        fixed, slope = self._series
        return np.asarray((polyval(turn, fixed) + faster * polyval(turn, slope)).real)


def _fourier(keys: tuple[tuple[float, float], ...], harmonics: int) -> NDArray[np.complex128]:
    """Fourier coefficients of the periodic monotone cubic through `keys` (Fritsch & Carlson 1980: no overshoot)."""
    phase, value = np.array(sorted(keys), np.float64).T
    samples = 256
    if len(phase) == 1:
        return np.array([value[0]], np.complex128)
    around = np.concatenate([phase[-2:] - 100, phase, phase[:2] + 100])
    cubic = PchipInterpolator(around, np.concatenate([value[-2:], value, value[:2]]))
    coefficients = np.fft.rfft(cubic(np.arange(samples) * (100 / samples)))[: harmonics + 1] / samples
    coefficients[1:] *= 2
    return np.asarray(coefficients)


# Approximate, from general knowledge of Perry & Burnfield, ch. 5: 5 at contact, 18 to 20 in loading response,
# 5 at 40 %, 40 at toe-off, 60 in swing.
KNEE = Curve(
    keys=(
        (0, 5), (6, 12), (14, 18), (22, 14), (31, 7.5), (40, 5), (46, 8), (50, 12.5), (56, 25), (62, 41),
        (67, 55), (72, 62), (77, 60.5), (84, 48), (90, 28), (95, 11), (98, 5),
    ),
    per_speed=((0, 1), (14, 11), (28, 6), (40, 1), (50, 2), (62, 5), (72, 8), (84, 6), (97, 0)),
    sd=6.5,
    harmonics=10,
)  # fmt: skip

# Ch. 6 (hip): the thigh against the vertical, 20 to 25 forward at contact, 20 behind in terminal stance.
THIGH = Curve(
    keys=(
        (0, 24), (5, 23), (14, 17), (22, 9), (30, 1), (40, -9), (50, -17.5), (55, -19.5), (60, -16), (65, -9),
        (70, 0.5), (76, 12), (82, 20), (88, 24.5), (95, 24.5),
    ),
    per_speed=((0, 11), (30, 0), (54, -10), (70, 4), (88, 12)),
    sd=6.0,
)  # fmt: skip

# Ch. 4 (ankle): 0 at contact, 5 plantar when loading, 10 dorsal at 45 %, 15 to 20 plantar at toe-off, 0 in swing.
ANKLE = Curve(
    keys=(
        (0, 0), (3, -3), (7, -5), (14, -1), (25, 4.5), (36, 8), (45, 10), (50, 8), (56, -4), (62, -15),
        (64.5, -17), (70, -7), (76, 1), (83, 4.5), (90, 4), (96, 1.5),
    ),
    per_speed=((0, 0), (45, -4), (63, -6), (80, 0)),
    sd=5.0,
    harmonics=10,
)  # fmt: skip

# Ch. 4: the toes extend by 30 in terminal and up to 60 in pre-swing; a shoe allows less (approximate).
TOE_EXTENSION_LIMIT = 38.0

# Ch. 7 (pelvis): rotation 5 forward at contact; the swing side drops by 4 in loading response; tilt within 4 degrees.
PELVIS_ROTATION = Curve(keys=((0, 4.5), (25, 0.5), (50, -4.5), (75, -0.5)), per_speed=((0, 3), (50, -3)), sd=3.0)
PELVIS_OBLIQUITY = Curve(
    keys=((0, 0), (12, 4), (25, 2), (40, 0.5), (50, 0), (62, -4), (75, -2), (90, -0.5)),
    per_speed=((0, 0), (12, 2.5), (50, 0), (62, -2.5)),
    sd=2.0,
)
PELVIS_TILT = Curve(
    keys=((0, 0.6), (12, -0.4), (27, -0.9), (38, 0.9), (50, 0.6), (62, -0.4), (77, -0.9), (88, 0.9)), sd=2.0
)

# Ch. 8 and Crosbie et al. 1997 (in words): the thorax turns against the pelvis, a few degrees; approximate.
CHEST_ROTATION = Curve(keys=((0, -3.5), (25, 0), (50, 3.5), (75, 0)), per_speed=((0, -2), (50, 2)), sd=3.0)
CHEST_SWAY = Curve(keys=((0, 0), (15, -1.6), (35, -0.9), (50, 0), (65, 1.6), (85, 0.9)), sd=2.0)
CHEST_LEAN = Curve(keys=((5, 0.9), (30, -0.9), (55, 0.9), (80, -0.9)), per_speed=((0, 0.6),), sd=1.5)

# Ch. 8 (arm): back at the own foot's contact, forward at the other's; an arc of about 32 (24 back, 8 forward).
SHOULDER = Curve(
    keys=((0, -21), (8, -22), (25, -10), (45, 7), (52, 8), (70, -3), (88, -16)),
    per_speed=((2, -8), (50, 11)),
    sd=9.0,
    harmonics=4,
)
ELBOW = Curve(
    keys=((0, 15), (10, 14), (30, 24), (50, 34), (60, 33), (80, 22)),
    per_speed=((0, 3), (50, 18)),
    sd=9.0,
    harmonics=4,
)


def toe_off(speed: Doubles) -> Doubles:
    """Return the phase of toe-off: stance shortens with speed (approximate: about 0.65 slow, 0.60 fast)."""
    return np.asarray(TOE_OFF - 0.055 * (np.clip(speed, *SPEEDS) - REFERENCE_SPEED))


WALK_RATIO = 0.0064
"""Step length over cadence, m/(steps/min), of an adult with a leg of 0.88 m.

About constant at comfortable and fast speeds (Sekiya & Nagasaki 1998); it rises below 62 m/min (Murakami & Otaka
2017), which is followed here by letting the cadence fall a little faster (approximate).
"""
REFERENCE_LEG = 0.88
LONGEST_STEP = 0.92
"""Step over leg length at which a further rise of speed is cadence alone (approximate)."""
REFERENCE_STEP = 0.80
"""Step over leg length at the reference speed."""


def cadence(speed: Doubles, leg_length: float, walk_ratio: float = WALK_RATIO) -> Doubles:
    """Return steps a minute at `speed` in m/s.

    The walk ratio scales with the leg to the power 1.5 (Froude similarity).
    """
    ratio = walk_ratio * (leg_length / REFERENCE_LEG) ** 1.5
    speed = np.maximum(speed, 0.0)
    slower = np.clip(62 / 60 - speed, 0.0, 0.6)
    constant_ratio = np.sqrt(60 * speed / (ratio * (1 + 0.25 * slower)))
    return np.asarray(np.maximum(constant_ratio, 60 * speed / (LONGEST_STEP * leg_length)))
