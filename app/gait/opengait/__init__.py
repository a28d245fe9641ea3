"""OpenGait's checkpoints: the only package that knows their key names.

The folder is the catalogue: a file per family with how it is recognised, its table of names, and how its widths are
read off the shapes. Adding one is a file in `app.gait.models`, a file here and a row in `loading.FAMILIES`.
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
