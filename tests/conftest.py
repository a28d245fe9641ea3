"""Fixtures every test may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# The networks of the tests are tiny: a second thread costs more than it brings, and much more where others are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is measured here must not decide how the user's own runs compute, nor the other way round.
_cache = tempfile.TemporaryDirectory(prefix="gaitprint-tests")
os.environ["GAITPRINT_CACHE"] = _cache.name

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden vectors, real clips and teacher models beside the project; a fresh clone has none."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED.name}/ beside the project")
    return SHARED


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Path]:
    """Find a golden file by its name below `parity/`: the few in the clone, else those beside the project."""

    def find(name: str) -> Path:
        for folder in (Path(__file__).parent / "parity" / "golden", SHARED / "parity"):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"needs {SHARED.name}/parity/{name} beside the project")

    return find
