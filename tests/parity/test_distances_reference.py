"""Distances against those of the reference implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.gallery.distances import Metric, part_distances


@pytest.mark.parametrize(("metric", "key"), [("euclidean", "dist_euc"), ("cosine", "dist_cos")])
def test_part_distances_are_the_reference_ones(shared: Path, metric: Metric, key: str) -> None:
    golden = np.load(shared / "parity" / "evaluation.npz")
    found = part_distances(golden["dist_x"].swapaxes(1, 2), golden["dist_y"].swapaxes(1, 2), metric)
    np.testing.assert_allclose(found, golden[key], rtol=1e-6, atol=1e-6)
