"""Silhouette pre-treatment, bit for bit that of OpenGait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.walks.silhouette import normalise


@pytest.mark.parametrize("size", [64, 128])
def test_golden_vectors(parity: Callable[[str], Path], size: int) -> None:
    golden = np.load(parity("pretreatment.npz"))
    names = [key.removeprefix(f"out{size}_") for key in golden if key.startswith(f"out{size}_")]
    assert len(names) == 10
    for name in names:
        result = normalise(golden[f"in_{name}"], size)
        expected = golden[f"out{size}_{name}"]
        if len(expected) == 0:
            assert result is None, name
        else:
            np.testing.assert_array_equal(result, expected[0], err_msg=name)
