"""``python -m app``, and the console script ``gaitprint`` of an installed package."""

import sys
from collections.abc import Sequence

from app import _end_quietly


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the arguments of this process, and return its exit code."""
    _end_quietly()
    from app.cli.main import main

    return main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(run())
