"""ONNX Runtime's sessions, set up in the same way for every network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.errors import CheckpointError
from app.types import ModelCard
from app.weights.checkpoints import CheckpointFile


def open_session(path: Path, threads: int = 1, *, optimise: bool = True) -> Any:
    """Open an ONNX file to run it on the CPU.

    Args:
        path: the ``.onnx`` file.
        threads: how many threads work on one picture.
        optimise: whether to optimise the graph, which is needless if it is only inspected.

    Raises:
        CheckpointError: the file is no ONNX network, or a damaged one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} cannot be read as an ONNX network; it is another kind of file, damaged or incomplete ({first}). "
            "If you downloaded it, download it again."
        ) from error


def graph_of(path: Path) -> Any | None:
    """Return a session for reading the graph of an ONNX file; None if `path` is any other file."""
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return None
    try:
        return open_session(path, optimise=False)
    except CheckpointError:
        return None


def onnx_card(stage: str, checkpoint: CheckpointFile, session: Any) -> ModelCard:
    """Return the card of a stage that runs an ONNX file; its metadata may state ``licence`` and ``note``."""
    import onnxruntime

    stated = session.get_modelmeta().custom_metadata_map
    return checkpoint.card(
        stage,
        checkpoint.path.stem,
        stated.get("licence", "that of the file"),
        f"onnxruntime {onnxruntime.__version__}",
        stated.get("note", ""),
    )
