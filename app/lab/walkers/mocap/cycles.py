"""Gait cycles cut out of a recorded walk, and the curves of the joints in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.signal import butter, find_peaks, sosfiltfilt

from app.lab.walkers.mocap.acclaim import Recording
from app.types import Doubles, Ints

POINTS = 101
"""Points of a curve: from one heel contact to the next of the same foot."""

_SMOOTH = 8.0
"""Hz above which the motion of markers is noise."""
_STRAIGHT = 1.0
"""Hz below which the root's velocity is the way that is walked."""
_TURN = 15.0
"""Degrees by which the way may turn within a cycle."""
_SLOWEST = 0.5
"""m/s below which nobody walks."""
_FLAT = 0.25
"""Phase at which the sole is flat on the floor."""
_CYCLE = (0.7, 2.2)
"""Seconds that a cycle may last."""
LATE = 0.03
"""Seconds by which the foot lands after its ankle was foremost, and leaves the floor after the ankle was hindmost.

Seen in the recordings: only then does the ankle move slower than half the walking speed, or the tip of the toes faster.
"""
_BONES = (
    {"hip": "lhipjoint", "knee": "lfemur", "ankle": "ltibia", "toe": "lfoot", "shoulder": "lclavicle",
     "elbow": "lhumerus", "wrist": "lradius"},
    {"hip": "rhipjoint", "knee": "rfemur", "ankle": "rtibia", "toe": "rfoot", "shoulder": "rclavicle",
     "elbow": "rhumerus", "wrist": "rradius"},
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cycle:
    """One gait cycle of one foot.

    `side` is 0 left, 1 right; `start` and `end` the frames of its heel contacts; `curves` degrees at `POINTS` even
    phases by angle: those of the own side and those of the trunk, whose sign is that of the room. Thigh and foot are
    against the room, the upper arm against the thorax. `speed` m/s, `cadence` steps/min, `stance` the phase of toe-off,
    `step_width` m between the ankles' lines, `leg` m from hip to ankle along the bones, `toe_out` degrees, `sway` m
    (half of the pelvis' way from side to side).
    """

    side: int
    start: int
    end: int
    curves: dict[str, Doubles]
    speed: float
    cadence: float
    stance: float
    step_width: float
    leg: float
    toe_out: float
    sway: float


def cycles(recording: Recording, rate: float, late: float = LATE) -> Iterator[Cycle]:
    """Yield the cycles of a recording with `rate` frames a second that are walked straight on.

    A cycle begins where the ankle is foremost before the pelvis, and stance ends where it is hindmost (Zeni et al.
    2008). Cycles in which the way turns by more than 15 degrees, or slower than 0.5 m/s, are left out.
    """
    if len(recording) < 1.5 * rate:
        return
    places = {name: _low(place, _SMOOTH, rate) for name, place in recording.ends.items()}
    velocity = _low(np.gradient(places["root"][:, :2], axis=0) * rate, _STRAIGHT, rate)
    heading = np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0]))
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    aside = np.stack([-np.sin(heading), np.cos(heading)], -1)
    trunk = _trunk_angles(recording, heading, rate)
    reaches = [np.sum((places[bones["ankle"]] - places["root"])[:, :2] * ahead, 1) for bones in _BONES]
    delay, last = round(late * rate), len(heading) - 1
    contacts, lifts = ([_peaks(sign * reach, rate) + delay for reach in reaches] for sign in (1, -1))
    for side, bones in enumerate(_BONES):
        angles = {**_side_angles(places, recording, bones, ahead, rate), **trunk}
        toes = places[bones["toe"]] - places[bones["ankle"]]
        for start, end in pairwise(contacts[side][contacts[side] <= last]):
            off = _within(lifts[side], start, end)
            other = _within(contacts[1 - side], start, end)
            frames = end - start
            speed = float(np.linalg.norm(places["root"][end, :2] - places["root"][start, :2])) * rate / frames
            straight = abs(np.degrees(heading[end] - heading[start])) <= _TURN and speed >= _SLOWEST
            flat = start + _FLAT * frames
            if not (len(off) == len(other) == 1 and _CYCLE[0] < frames / rate < _CYCLE[1] and straight):
                continue
            share = np.linspace(start, end, POINTS)
            middle = (start + end) // 2

            def leftward(place: Doubles, at: float, middle: int = middle) -> float:
                return float(place[min(round(at), last), :2] @ aside[middle])

            ankles = [places[each["ankle"]] for each in (bones, _BONES[1 - side])]
            line = (places["root"][start : end + 1, :2] - places["root"][start, :2]) @ aside[middle]
            away = np.arctan2(leftward(toes, flat), toes[min(round(flat), last), :2] @ ahead[middle])
            yield Cycle(
                side=side,
                start=int(start),
                end=int(end),
                curves={name: np.interp(share, np.arange(last + 1), angle) for name, angle in angles.items()},
                speed=speed,
                cadence=120 * rate / frames,
                stance=float((off[0] - start) / frames),
                step_width=abs(leftward(ankles[0], flat) - leftward(ankles[1], other[0] + _FLAT * frames)),
                leg=_length(places, bones),
                toe_out=float(np.degrees(away)) * (1 if side == 0 else -1),
                sway=float(np.ptp(line - np.linspace(line[0], line[-1], len(line)))) / 2,
            )


def _peaks(values: Doubles, rate: float) -> Ints:
    return np.asarray(find_peaks(values, distance=round(0.5 * rate), prominence=0.15)[0], np.int64)


def _within(events: Ints, start: int, end: int) -> Ints:
    return events[(events > start) & (events < end)]


def _low(values: Doubles, hertz: float, rate: float) -> Doubles:
    """Low-pass `values` (T, ...) without delay: Butterworth of fourth order, forwards and backwards."""
    sos = butter(2, hertz, fs=rate, output="sos")
    return np.asarray(sosfiltfilt(sos, values, axis=0, padlen=min(len(values) - 1, round(rate))))


def _length(places: dict[str, Doubles], bones: dict[str, str]) -> float:
    hip, knee, ankle = (places[bones[joint]] for joint in ("hip", "knee", "ankle"))
    return float(np.mean(np.linalg.norm(hip - knee, axis=1) + np.linalg.norm(knee - ankle, axis=1)))


def _side_angles(
    places: dict[str, Doubles], recording: Recording, bones: dict[str, str], ahead: Doubles, rate: float
) -> dict[str, Doubles]:
    """Return the angles of one leg and arm, (T,) degrees each; flexion is positive, the foot's heel up."""

    def bone(start: str, end: str) -> Doubles:
        return np.asarray(places[bones[end]] - places[bones[start]])

    def tilt(vector: Doubles) -> Doubles:
        return np.asarray(np.degrees(np.arctan2(np.sum(vector[:, :2] * ahead, 1), -vector[:, 2])))

    thigh, shank, foot = tilt(bone("hip", "knee")), tilt(bone("knee", "ankle")), bone("ankle", "toe")
    upper, fore = bone("shoulder", "elbow"), bone("elbow", "wrist")
    hanging = recording.turns["thorax"].inv().apply(upper)
    across = np.linalg.norm(np.cross(upper, fore), axis=1)
    return {
        "thigh": thigh,
        "knee": thigh - shank,
        "foot": np.degrees(np.arctan2(-foot[:, 2], np.sum(foot[:, :2] * ahead, 1))),
        "shoulder": _low(np.degrees(np.arctan2(hanging[:, 0], -hanging[:, 2])), _SMOOTH, rate),
        "elbow": np.degrees(np.arctan2(across, np.sum(upper * fore, 1))),
    }


def _trunk_angles(recording: Recording, heading: Doubles, rate: float) -> dict[str, Doubles]:
    """Return the angles of pelvis and thorax in the room, (T,) degrees, as `app.body.rotation.oriented` does."""
    result = {}
    for part, bone, names in (
        ("pelvis", "root", ("rotation", "obliquity", "tilt")),
        ("chest", "thorax", ("rotation", "sway", "lean")),
    ):
        yaw, roll, bend = np.unwrap(recording.turns[bone].as_euler("ZXY"), axis=0).T
        away = (yaw - heading + np.pi) % (2 * np.pi) - np.pi
        for name, angle in zip(names, (away, roll, bend), strict=True):
            result[f"{part}_{name}"] = _low(np.degrees(angle), _SMOOTH, rate)
    return result
