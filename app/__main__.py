"""``python -m app``, and the console script ``gaitprint`` of an installed package."""

import signal
import sys
from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the arguments of this process, and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the command line handles it, and after that, Ctrl-C ends the program without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from app.cli.main import main

    return main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(run())
