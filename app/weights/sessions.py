"""ONNX Runtime's sessions, set up in the same way for every network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.errors import CheckpointError
from app.types import ModelCard
from app.weights.checkpoints import HOME, QUANTISED, CheckpointFile
from app.weights.devices import CPU, Provider
from app.weights.outputs import with_output
from app.weights.quantised import unpacked

_SECONDS = 60
_HARM = {
    3: "gives numbers that are not finite (NaN or infinite): its training has failed, or the file is damaged",
    4: "needs more than 4 GB of memory for one small picture",
}


@lru_cache(maxsize=256)
def _harm_of(path: Path, changed: int) -> str | None:
    """Run a network of the user's once in a process of its own, with limits on time and memory (`app.weights.trial`).

    A graph is a program: it may loop without end, ask for any amount of memory, or crash the runtime.

    Args:
        path: the ``.onnx`` file.
        changed: when the file was last written, in ns, so that each file is tried once.

    Returns:
        What is wrong with it, as a clause; None if nothing is.
    """
    trial = [sys.executable, str(Path(__file__).with_name("trial.py")), str(path)]
    try:
        code = subprocess.run(trial, timeout=_SECONDS, stdin=subprocess.DEVNULL, capture_output=True).returncode
    except subprocess.TimeoutExpired:
        return f"has not finished after {_SECONDS} s with one picture"
    return _HARM.get(code, f"crashes ONNX Runtime (code {code}), so it may be damaged") if code else None


def _need_harmless(path: Path) -> None:
    """Raise CheckpointError if a network of the user's does harm; the program's own are not tried."""
    if (HOME / "embedded") not in path.resolve().parents and path.is_file():
        harm = _harm_of(path, path.stat().st_mtime_ns)
        if harm is not None:
            raise CheckpointError(f"{path} cannot be used: it {harm}.")


def open_session(
    path: Path,
    threads: int = 1,
    *,
    optimise: bool = True,
    provider: Provider = CPU,
    half: bool = False,
    output: str | None = None,
) -> Any:
    """Open an ONNX file to run it.

    Args:
        path: the ``.onnx`` file, or its 8-bit version (`app.weights.quantised`).
        threads: how many threads of the CPU work on one picture.
        optimise: whether to optimise the graph, which is needless if it is only inspected.
        provider: what runs it.
        half: whether the provider computes in half precision, which only some can.
        output: the one output that is wanted; None for all of them.

    Raises:
        CheckpointError: the file is no ONNX network, or a damaged or harmful one.
        RuntimeError: the provider cannot be used on this machine.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    _need_harmless(path)
    content: str | bytes = unpacked(path) if path.name.endswith(QUANTISED) else str(path)
    if output is not None:
        content = with_output(path.read_bytes() if isinstance(content, str) else content, output)
    if provider != CPU:
        return _on_device(content, options, provider, half)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[CPU.name])
        for port in (*session.get_inputs(), *session.get_outputs()):
            str(port)  # in a damaged file, names need not be text
        dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
        reason = runtime_reason(error, path)
        if _TOO_NEW.search(reason):
            raise CheckpointError(
                f"{path} is newer than the installed onnxruntime {onnxruntime.__version__} can read: {reason}. Update "
                "that (pip install -U onnxruntime), or export the network again with an older opset and IR version."
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as an ONNX network; it is another kind of file, damaged or incomplete ({reason}). "
            "If you downloaded it, download it again."
        ) from error
    return session


def _on_device(content: str | bytes, options: Any, provider: Provider, half: bool) -> Any:
    """Open a network that the CPU has opened before, so that whatever goes wrong is the provider's fault."""
    import onnxruntime

    told = {**provider.options, **(provider.half or {} if half else {})}
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=[(provider.name, told)], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
        raise RuntimeError(runtime_reason(error, Path(str(content)[:200]))) from error
    if session.get_providers()[0] != provider.name:  # ONNX Runtime has taken the CPU, and said so in its own log
        raise RuntimeError(f"ONNX Runtime could not start {provider.name}")
    session.disable_fallback()
    return session


_TOO_NEW = re.compile(r"IR version|[Oo]pset \d+ is under development|ONNX Runtime only \*guarantees\* support")


def runtime_reason(error: Exception, path: Path) -> str:
    """Return ONNX Runtime's reason in one line, without its places in C++. `path` is the network's file."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text).replace(f"Load model from {path} failed:", "")
    text = text.rpartition("Status Message:")[2].strip()
    text = re.sub(r"^\S*/onnxruntime\S*:\d+ .*?\) (?=\w)", "", text)
    return text[:300].rstrip(". ")


def graph_of(path: Path) -> Any | None:
    """Return a session for reading the graph of an ONNX file; None if `path` is any other file.

    Raises:
        CheckpointError: the network does harm; see `open_session`.
    """
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return None
    _need_harmless(path)
    try:
        return open_session(path, optimise=False)
    except CheckpointError:
        return None  # `open_session` says why


def onnx_card(stage: str, checkpoint: CheckpointFile, session: Any, runtime: str) -> ModelCard:
    """Return the card of a stage that runs an ONNX file; its metadata may state ``licence`` and ``note``."""
    stated = session.get_modelmeta().custom_metadata_map
    return checkpoint.card(
        stage,
        checkpoint.path.stem,
        stated.get("licence", "that of the file"),
        runtime,
        stated.get("note", ""),
    )


def number_of(properties: Mapping[str, str], name: str, default: float) -> float:
    """Return a metadata property of an ONNX file as a number; NaN if it is none."""
    try:
        return float(properties.get(name, default))
    except ValueError:
        return float("nan")
