"""OpenGait's checkpoints: the only package that knows their key names.

For each family, one of the files here says how its checkpoints are recognised, which names its weights have, and how
its widths follow from their shapes. To add a family, write its network in `app.gait.models`, describe it here, and add
a row to `loading.FAMILIES`.
"""

from app.gait.opengait.keys import Architecture, KeyTable
from app.gait.opengait.loading import (
    FAMILIES,
    load_network,
    need_recognition,
    outline_of,
    read_network,
    recognise,
    to_theirs,
)

__all__ = [
    "FAMILIES",
    "Architecture",
    "KeyTable",
    "load_network",
    "need_recognition",
    "outline_of",
    "read_network",
    "recognise",
    "to_theirs",
]
