"""Skeleton maps, bit for bit those of the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.gait.heatmaps import heatmaps


@pytest.mark.parametrize("name", ["clean", "missing"])
def test_golden_vectors(parity: Callable[[str], Path], name: str) -> None:
    with np.load(parity("heatmap.npz")) as golden:
        np.testing.assert_array_equal(heatmaps(golden[f"pose_{name}"]), golden[f"heat_{name}"])
