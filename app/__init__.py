"""Gaitprint names people by the way they walk, in ordinary video.

    from app import open_gallery, analyse, identify

    gallery = open_gallery("people.db")
    gallery.enrol("Anna", "anna.mp4", consent="form 7")
    result = identify("street.mp4", gallery)
    result.paint("street_named.mp4")

Nothing heavy is imported until a function is first used.
"""

import sys


def _end_quietly() -> None:
    """Let Ctrl-C end the program without a traceback until the command line handles it, and after that."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_program() -> bool:
    """Whether ``python -m app`` or ``gaitprint`` begins, and neither a program that uses this library nor a worker."""
    name = "".join(sys.argv[:1])
    return (name == "-m" and "app" in sys.orig_argv) or (name.endswith("gaitprint") and name in sys.orig_argv)


if _is_program():  # before anything else is imported
    _end_quietly()

from typing import TYPE_CHECKING, Any  # noqa: E402

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
