"""``python -m app``, and the console script ``gaitprint`` of an installed package."""

import gc
import sys
from collections.abc import Sequence

from app import _end_quietly


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the arguments of this process, and return its exit code."""
    _end_quietly()
    # Imports make thousands of objects that stay. Looking for garbage among them at Python's own pace would take a
    # twentieth of the start.
    gc.set_threshold(10_000)
    from app.cli.main import main

    return main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(run())
