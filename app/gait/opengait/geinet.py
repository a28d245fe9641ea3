"""GEINet's checkpoints. OpenGait publishes none: they come from our own training, and the names are ours."""

from __future__ import annotations

from typing import Any

from app.gait.models.geinet import GEINet
from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, classes


def read(shapes: Shapes) -> dict[str, Any]:
    """Return the constructor's arguments from the shapes; the size of the silhouettes cannot be seen."""
    return {
        "widths": [shapes[f"conv{stage}.weight"][0] for stage in (1, 2)],
        "channels": shapes["linear.weight"][0],
        "classes": classes(shapes),
    }


GEINET = Family("GEINet", ("conv1.", "conv2.", "linear."), Architecture(GEINet, KeyTable(), read))
