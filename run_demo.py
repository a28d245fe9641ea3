#!/usr/bin/env python3
"""``python run_demo.py ARGS`` is ``python -m app demo ARGS``."""

import sys

from app.__main__ import run

if __name__ == "__main__":
    sys.exit(run(["demo", *sys.argv[1:]]))
