"""What is checked before a pickle is opened: that opening it takes about as much memory as the pickle is long."""

from __future__ import annotations

import pickle
import pickletools

_SPARE = 1024
"""How far the number of a memo may be ahead of how many there are; programs number them one after the other."""


def need_modest(content: bytes) -> None:
    """Read the opcodes of a pickle without following them.

    Python's unpickler makes room for as many memos as one opcode numbers, and for as many bytes as another announces,
    so that nine bytes can take gigabytes.

    Raises:
        pickle.UnpicklingError: the pickle is cut off, or is no pickle, or a memo in it is out of turn.
    """
    memos = 0
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                if argument is None or argument > memos + _SPARE:
                    raise pickle.UnpicklingError(f"memo {argument} is out of turn")
                memos += 1
            elif opcode.name == "MEMOIZE":
                memos += 1
    except (ValueError, IndexError) as error:  # genops knows no error of its own
        raise pickle.UnpicklingError(f"it is cut off or no pickle ({error})") from error
