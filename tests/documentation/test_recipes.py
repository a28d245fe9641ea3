"""The recipes for contributors, followed by the letter in a copy of the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.documentation.pages import ROOT, Workspace, blocks_of

RECIPES = [
    pytest.param("detector", marks=pytest.mark.slow),
    pytest.param("gait-network", marks=pytest.mark.slow),
    "protocol",
]


def yard(folder: Path) -> None:
    """A data set in OpenGait's layout: two people, four walks, two views, silhouettes that differ."""
    import pickle

    random = np.random.default_rng(0)
    for person in (1, 2):
        for walk in ("nm-01", "nm-02", "nm-03", "bg-01"):
            for view in ("000", "090"):
                silhouettes = np.zeros((20, 64, 64), np.uint8)
                silhouettes[:, 4:60, 22 - 4 * person : 42 + 4 * person] = 255
                silhouettes[:, 4:60] *= random.random((20, 56, 64)) > 0.1
                path = folder / f"{person:05}" / walk / view / "0_silhouette.pkl"
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps(silhouettes))
    (folder / "partition.json").write_text(json.dumps({"TRAIN_SET": [], "TEST_SET": ["00001", "00002"]}))


@pytest.mark.timeout(900)  # on a busy machine
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_can_be_followed(recipe: str, workspace: Callable[..., Workspace]) -> None:
    clone = workspace(own_code=True)
    yard(clone.folder / "data" / "yard")
    for block in blocks_of(ROOT / "docs" / "contributing" / f"{recipe}.md"):
        if not block.not_run:
            clone.run(block)
