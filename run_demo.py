#!/usr/bin/env python3
"""``python run_demo.py ARGS`` is ``python -m app demo ARGS``."""

import sys

from app.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
