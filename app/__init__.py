"""Gaitprint names people by the way they walk, in ordinary video.

    from app import open_gallery, analyse, identify

    gallery = open_gallery("people.db")
    gallery.enrol("Anna", "anna.mp4", consent="form 7")
    result = identify("street.mp4", gallery)
    result.paint("street_named.mp4")

Nothing heavy is imported until a function is first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["Gallery", "Result", "analyse", "identify", "load_network", "open_gallery"]

if TYPE_CHECKING:
    from app.gait import load_network
    from app.results.result import Result
    from app.runs.interface import Gallery, analyse, identify, open_gallery

_HOMES = {"Result": "app.results.result", "load_network": "app.gait"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'app' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "app.runs.interface")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
