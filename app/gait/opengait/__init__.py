"""OpenGait's checkpoints: the only package that knows their key names.

Each family has a file: how its checkpoints are recognised, its table of names, and how its widths follow from the
shapes of its weights.
To add a family, write a file in `app.gait.models` and one here, and add a row to `loading.FAMILIES`.
"""

from app.gait.opengait.keys import Architecture, Family, KeyTable, Shapes, Weights
from app.gait.opengait.loading import FAMILIES, architecture_of, load_network, recognise, to_theirs

__all__ = [
    "FAMILIES",
    "Architecture",
    "Family",
    "KeyTable",
    "Shapes",
    "Weights",
    "architecture_of",
    "load_network",
    "recognise",
    "to_theirs",
]
