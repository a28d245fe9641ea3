"""Runs an ONNX network once on noise: ``python trial.py FILE``, which `app.weights.sessions` starts.

It ends with 0 if nothing is wrong or the runtime refuses the file, which the caller finds out by itself; with 3 if the
network gives numbers that are not finite; with 4 if it asks for more memory than it may have.
"""

from __future__ import annotations

import gzip
import sys
from contextlib import suppress

import numpy as np
import onnxruntime

_MEMORY = 4 << 30
_FREE = 64
"""How long an axis is that the graph leaves open, other than the first: a multiple of every detector's strides."""
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
}
_TOO_LARGE = ("allocat", "bad_alloc", "memory")


def main(path: str) -> int:
    """Run the network in the file `path` once, and return the code to end with."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    chance = np.random.default_rng(0)
    try:
        content: str | bytes = path
        if path.endswith(".gz"):
            with gzip.open(path) as packed:
                content = packed.read(_MEMORY // 4)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        pictures = {}
        for port in session.get_inputs():
            shape = [size if isinstance(size, int) else (_FREE if axis else 1) for axis, size in enumerate(port.shape)]
            pictures[port.name] = chance.random(shape, np.float32).astype(_TYPES.get(port.type, np.float32))
        answers = session.run(None, pictures)
    except MemoryError:
        return 4
    except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
        return 4 if any(word in str(error).lower() for word in _TOO_LARGE) else 0
    finite = all(
        np.isfinite(answer).all() for answer in answers if isinstance(answer, np.ndarray) and answer.dtype.kind == "f"
    )
    return 0 if finite else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
