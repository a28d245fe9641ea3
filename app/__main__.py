"""``python -m app``, and the console script ``gaitprint`` of an installed package."""

import sys

from app.cli.main import main


def run() -> int:
    """Run the command line with the arguments of this process, and return its exit code."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
