"""Where somebody walks: a smooth line on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d

from app.types import Doubles


@dataclass(frozen=True, eq=False)
class Path:
    """A line on the ground; beyond its ends it goes straight on.

    `points` float64 (N, 2), m, evenly spaced (see `through`).

    Raises:
        ValueError: fewer than two points, or two that coincide.
    """

    points: Doubles

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2 or len(self.points) < 2:
            raise ValueError(f"a path needs at least two points (N, 2), not {self.points.shape}")
        if np.any(np.linalg.norm(np.diff(self.points, axis=0), axis=1) < 1e-9):
            raise ValueError("two neighbouring points of a path coincide")

    @classmethod
    def line(cls, start: tuple[float, float], heading: float, length: float = 10.0) -> Path:
        """A straight path from `start` m in direction `heading` (radians, 0 is +x, anticlockwise)."""
        end = np.array(start) + length * np.array([np.cos(heading), np.sin(heading)])
        return cls(np.array([start, end], np.float64))

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]], radius: float = 0.6, spacing: float = 0.02) -> Path:
        """A path along straight lines between `points` m, the corners rounded to about `radius` m."""
        corners = np.asarray(points, np.float64)
        fine = _resample(corners, spacing)
        sigma = 1.2 * radius / spacing
        beyond = np.arange(1, int(3 * sigma) + 2)[:, None]
        before = fine[0] - beyond[::-1] * (fine[1] - fine[0])
        after = fine[-1] + beyond * (fine[-1] - fine[-2])
        smooth = gaussian_filter1d(np.concatenate([before, fine, after]), sigma, axis=0, truncate=3)
        return cls(_resample(smooth[len(beyond) : -len(beyond)], spacing))

    @property
    def length(self) -> float:
        """Length in m."""
        return float(self._arc[-1])

    @cached_property
    def _arc(self) -> Doubles:
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @cached_property
    def _headings(self) -> Doubles:
        """Direction at every point, radians, unwrapped: the mean of the neighbouring pieces'."""
        dx, dy = np.diff(self.points, axis=0).T
        pieces = np.unwrap(np.arctan2(dy, dx))
        return np.concatenate([pieces[:1], (pieces[1:] + pieces[:-1]) / 2, pieces[-1:]])

    def at(self, arc: Doubles) -> tuple[Doubles, Doubles]:
        """Return position (..., 2) m and heading (...) radians at the arc lengths `arc` m."""
        heading = np.interp(arc, self._arc, self._headings)
        position = np.stack([np.interp(arc, self._arc, self.points[:, axis]) for axis in (0, 1)], -1)
        beyond = np.where(arc < 0, arc, np.maximum(arc - self._arc[-1], 0.0))
        return position + beyond[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1), heading


def _resample(points: Doubles, spacing: float) -> Doubles:
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, arc[-1], max(2, round(arc[-1] / spacing) + 1))
    return np.stack([np.interp(at, arc, points[:, axis]) for axis in (0, 1)], 1)
