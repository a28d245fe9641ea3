"""Of the implementations of all stages, exactly one accepts each checkpoint, and none accepts other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import GaitprintError
from app.hub.inventory import registries
from app.weights.registry import Entry
from tests.contract.samples import CHECKPOINTS

pytestmark = pytest.mark.usefixtures("tried")


def _accepts(entry: Entry[Any, Any], path: Path) -> bool:
    try:
        return entry.accepts is not None and entry.accepts(path)
    except GaitprintError:
        return False


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_exactly_one_reader_accepts_a_file(name: str, tmp_path: Path) -> None:
    path = CHECKPOINTS[name](tmp_path)
    readers = [entry.name for registry in registries() for entry in registry.entries() if _accepts(entry, path)]
    if name in ("lift", "fit"):  # both begin with the same network, and the settings choose
        assert readers == ["fit", "lift"]
    else:
        assert readers == [name]
