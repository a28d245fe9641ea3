"""Somebody walks along a path: the entry to everything in this folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.body.skeleton import Poses, Skeleton
from app.lab.walkers.gait import Carrying, GaitTraits
from app.lab.walkers.motion.footfalls import Footfalls
from app.lab.walkers.motion.leg import Leg
from app.lab.walkers.motion.posing import Posing
from app.lab.walkers.motion.stance import Stance
from app.lab.walkers.motion.swing import Swing, event_phases
from app.lab.walkers.path import Path
from app.types import Bools, Doubles


@dataclass(frozen=True, eq=False)
class WalkingMotion:
    """A motion of T frames and what is known about it.

    `phase` (T,) of the left foot's cycle, rising, whole numbers at left heel contacts; `contacts` (T, 2, 3): which of
    left and right heel, ball and tip stand still on the floor; `arc` (T,) m walked along the path; `heading` (T,)
    radians.
    """

    poses: Poses
    phase: Doubles
    contacts: Bools
    arc: Doubles
    heading: Doubles

    def __len__(self) -> int:
        return len(self.poses)


def walk(
    skeleton: Skeleton,
    traits: GaitTraits,
    path: Path,
    speed: Doubles | float | None = None,
    *,
    fps: float = 25.0,
    seconds: float | None = None,
    carrying: Carrying | None = None,
    phase: float = 0.0,
    seed: int | None = None,
) -> WalkingMotion:
    """Walk along `path`, from its beginning.

    Args:
        speed: m/s of every frame, or one value, or None for the person's own, both with `seconds`.
        seconds: the duration, where `speed` is one value.
        carrying: what is carried.
        phase: gait phase of the first frame, unless it shows somebody standing.
        seed: draws the small differences from stride to stride; None: every stride is the same.

    Raises:
        ValueError: no frames, or a speed outside 0 to 2 m/s.
    """
    if speed is None or isinstance(speed, (int, float)):
        if seconds is None:
            raise ValueError("give seconds, or the speed of every frame")
        speed = np.full(round(seconds * fps), float(traits.speed if speed is None else speed))
    if len(speed) == 0 or not np.all((speed >= 0) & (speed <= 2.0)):
        raise ValueError("a walk needs at least one frame and speeds between 0 and 2 m/s")
    frames = len(speed)
    footfalls = Footfalls(skeleton, traits, path, np.asarray(speed, np.float64), fps, phase, seed)
    legs = [Leg(skeleton, side) for side in (0, 1)]
    # Swing needs hip and foot at the events that bound it: they are evaluated together with the frames.
    events = footfalls.time_of(event_phases(footfalls)).ravel()
    stance = Stance(footfalls, legs, np.concatenate([np.arange(frames) / fps, events]))
    motions = [Swing(footfalls, leg, stance, side, frames).motion() for side, leg in enumerate(legs)]
    poses = Posing(footfalls, stance, carrying, frames).poses(legs, motions)
    contacts = np.stack([motion.contacts() for motion in motions], 1)
    return WalkingMotion(poses, stance.phase[:frames], contacts, stance.arc[:frames], stance.heading[:frames])
