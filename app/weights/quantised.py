"""The 8-bit version of an ONNX network, which lies beside it as ``NAME.int8.onnx.gz``; `app.hub.quantise` makes it.

It is compressed, because weights of 7 bits, each in a byte, take a quarter more room than they need.
"""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from pathlib import Path

from app.errors import CheckpointError, reason_of
from app.weights.checkpoints import QUANTISED

SOURCE = "quantised from"
"""The metadata property with the SHA-256 of the float file."""
_LARGEST = 1 << 30


def quantised_path(path: Path) -> Path:
    """Return where the 8-bit version of the network `path` lies, if there is one."""
    return path.with_name(path.name.removesuffix(".onnx") + QUANTISED)


def unpacked(path: Path) -> bytes:
    """Return the ONNX file in a compressed one.

    Raises:
        CheckpointError: it cannot be read, is damaged, or holds more than 1 GB.
    """
    try:
        stat = path.stat()
        content = _content(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, EOFError, zlib.error) as error:
        raise CheckpointError(
            f"{path} cannot be unpacked: {reason_of(error)}. Make it anew: {command(path)}."
        ) from error
    if len(content) > _LARGEST:
        raise CheckpointError(f"{path} holds more than 1 GB, which no 8-bit network here does.")
    return content


@lru_cache(maxsize=1)
def _content(path: Path, changed: int, size: int) -> bytes:
    """Return what is in a file that was `changed` at a time in ns and has a `size` in bytes.

    It is kept, because it is needed when a network is chosen and again when it is opened; see `forget_unpacked`.
    """
    with gzip.open(path) as stream:
        return stream.read(_LARGEST + 1)


def forget_unpacked() -> None:
    """Keep no unpacked file in memory any longer."""
    _content.cache_clear()


def command(path: Path) -> str:
    """Return the command that makes the 8-bit version of the network `path`, or the one that makes it anew."""
    return f"python -m app models quantise {path.name.removesuffix(QUANTISED).removesuffix('.onnx')}.onnx --data FOLDER"
