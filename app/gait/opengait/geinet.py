"""GEINet's checkpoints, of our own training: OpenGait publishes none, so the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.geinet import GEINet
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes


def read(shapes: Shapes) -> dict[str, Any]:
    """The constructor's arguments from the shapes; the size of the silhouettes cannot be seen."""
    return {
        "widths": [shapes[f"conv{stage}.weight"][0] for stage in (1, 2)],
        "channels": shapes["linear.weight"][0],
        "classes": shapes["classifier.weight"][0] if "classifier.weight" in shapes else None,
    }


GEINET = Family("GEINet", ("conv1.", "conv2.", "linear."), Architecture(GEINet, KeyTable(), read))
