"""ONNX networks as runs use them: on a device, in a precision, whichever is fastest.

A network can be run in several ways: in float32 on the CPU, in 8 bits there if its 8-bit version lies beside it, or by
another of ONNX Runtime's providers. Which of them is fastest depends on the processor and on ONNX Runtime, so it is
measured once for each network and remembered in the user's cache.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.errors import CheckpointError, OutputError, SettingsError
from app.files import write_text
from app.settings import Device, Precision, cores
from app.types import Floats
from app.weights import gathering
from app.weights.checkpoints import CheckpointFile
from app.weights.devices import CPU, Provider, providers_for
from app.weights.quantised import SOURCE, command, forget_unpacked, quantised_path
from app.weights.sessions import open_session, runtime_reason

logger = logging.getLogger(__name__)

_ROUNDS = 3
_GAIN = 0.9
"""A way must take less than this share of the reference's time, so that the choice is not left to chance."""
_ALIKE = 0.95
"""The least correlation of a way's answers with the reference's; processors may lose the highest bits."""
_FREE = {2: 384, 3: 640}
"""How long the axes of a picture are that a graph leaves open."""


@dataclass(frozen=True)
class Way:
    """How a network is run: from which file, by which provider, whether in half precision, and for which `output`.

    Without `output` it is run for all of them.
    """

    path: Path
    provider: Provider
    precision: Precision
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.provider.device} {self.precision}"

    def open(self, threads: int = 1) -> Any:
        """Open the network; see `open_session`."""
        half = self.precision == "float16"
        return open_session(self.path, threads, provider=self.provider, half=half, output=self.output)


class Network:
    """An ONNX network that is run in one way. If its device fails, it goes on on the CPU and a warning says so.

    It has the methods of ONNX Runtime's session that runs need. Several threads may run it at once.
    """

    def __init__(self, way: Way, reference: Way, threads: int = 1) -> None:
        self.way = way
        self._reference, self._threads = reference, threads
        self._lock = threading.Lock()
        self._seen = _watcher.get()
        try:
            self._session = way.open(threads)
        except RuntimeError as error:
            self._fall_back(error)
        self._gathering = self._gathered() if gathering.wanted.get() else None

    def _gathered(self) -> gathering.Gathering | None:
        """Return what gathers the pictures of several threads; None where batches gain nothing or are not possible."""
        inputs, outputs = self.get_inputs(), self.get_outputs()
        if self.batch == 1 or len(inputs) > 1 or any(isinstance(port.shape[0], int) for port in (*inputs, *outputs)):
            return None
        name = inputs[0].name
        return gathering.Gathering(lambda pictures: self._run(None, {name: pictures}), self.batch)

    @property
    def batch(self) -> int:
        """How many pictures it should get at once."""
        return self.way.provider.batch

    @property
    def runtime(self) -> str:
        """What runs it, for model cards: ``onnxruntime int8``, or ``onnxruntime cuda float32``."""
        device = self.way.provider.device
        return " ".join(["onnxruntime", *([device] if device != "cpu" else []), self.way.precision])

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """Return the network's outputs, all of them where `outputs` is None.

        Raises:
            CheckpointError: the network cannot be run with these inputs. A graph may fit together only at some sizes.
        """
        if self._seen is not None:
            self._seen(dict(inputs))
        if self._gathering is None or self.batch == 1:  # which it is once the device has failed
            return self._run(outputs, inputs)
        (pictures,) = inputs.values()
        found = dict(zip([port.name for port in self.get_outputs()], self._gathering.run(pictures), strict=True))
        return [found[name] for name in outputs or found]

    def _run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        session = self._session
        try:
            return list(session.run(outputs, inputs))
        except Exception as error:  # ONNX Runtime's own classes, of which only Exception is a documented base
            if self.way.provider == CPU:
                sizes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in inputs.items())
                raise CheckpointError(
                    f"{self.way.path} cannot be run with {sizes}: {runtime_reason(error, self.way.path)}. Export the "
                    "network again, or use another file."
                ) from error
            with self._lock:
                if session is self._session:
                    self._fall_back(error)
        return self._run(outputs, inputs)

    def get_inputs(self) -> list[Any]:
        return list(self._session.get_inputs())

    def get_outputs(self) -> list[Any]:
        return list(self._session.get_outputs())

    def get_modelmeta(self) -> Any:
        return self._session.get_modelmeta()

    def _fall_back(self, error: Exception) -> None:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        name, device = self._reference.path.name, self.way.provider.device
        logger.warning("%s cannot be run on the device '%s', so the CPU runs it: %s", name, device, reason)
        self.way = self._reference
        self._session = self.way.open(self._threads)


_watcher: ContextVar[Callable[[dict[str, Any]], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(seen: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Let `seen` have the inputs of every run of the networks that are opened in this context."""
    token = _watcher.set(seen)
    try:
        yield
    finally:
        _watcher.reset(token)


def open_network(
    checkpoint: CheckpointFile,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: int = 1,
    output: str | None = None,
) -> Network:
    """Open an ONNX network in the fastest of the ways that `device` and `precision` allow.

    Args:
        checkpoint: the ``.onnx`` file. Its 8-bit version, if there is one, lies beside it.
        device: where it runs. On ``auto``, every provider that is there may run it.
        precision: ``int8`` is the 8-bit version. ``float16`` and ``bfloat16`` need a provider that has them.
        threads: how many threads of the CPU work on one picture.
        output: the one output that is wanted; None for all of them.

    Raises:
        CheckpointError: the file is no ONNX network, or a damaged or harmful one.
        MissingExtraError: the wanted device needs another package.
        SettingsError: the network has no 8-bit version.
    """
    reference = Way(checkpoint.path, CPU, "float32", output)
    ways = [replace(way, output=output) for way in ways_of(checkpoint, device, precision)]
    network = Network(_fastest(checkpoint, ways, reference), reference, threads)
    forget_unpacked()
    return network


def ways_of(
    checkpoint: CheckpointFile, device: Device, precision: Precision, there: Sequence[str] | None = None
) -> list[Way]:
    """Return the ways in which a network may be run, the preferred one first. `there`: see `providers_for`."""
    path, small = checkpoint.path, quantised_path(checkpoint.path)
    is_small = _is_made_from(checkpoint, small, wanted=precision == "int8")
    if precision == "int8" and not is_small:
        raise SettingsError(
            f"{path.name} has no 8-bit version. Make one with: {command(path)}. Or give another precision."
        )
    ways = []
    for provider in providers_for(device, there):
        if precision in ("auto", "float16") and provider.half is not None:
            ways.append(Way(path, provider, "float16"))
        if is_small and precision in ("auto", "int8") and provider.device in ("cpu", "openvino"):
            ways.append(Way(small, provider, "int8"))
        if precision != "int8":
            ways.append(Way(path, provider, "float32"))
    if device != "auto" and ways[0].provider != CPU:
        ways = [way for way in ways if way.provider != CPU]  # what the user wants; `Network` falls back if it fails
    if precision in ("bfloat16", "float16") and all(way.precision == "float32" for way in ways):
        logger.warning("Nothing here runs %s with precision=%s, so it runs in float32.", path.name, precision)
    return ways


def _is_made_from(checkpoint: CheckpointFile, small: Path, *, wanted: bool) -> bool:
    """Whether `small` is an 8-bit version of the checkpoint as it is now."""
    if not small.is_file() or checkpoint.path == small:
        return False
    try:
        stated = open_session(small, optimise=False).get_modelmeta().custom_metadata_map.get(SOURCE)
        if stated == checkpoint.sha256():
            return True
        problem = f"it was made from another file than {checkpoint.path.name}. Make it anew with: {command(small)}"
    except CheckpointError as error:
        problem = str(error)
    if wanted:
        raise CheckpointError(f"{small} cannot be used: {problem}")
    logger.warning("Not used: %s, because %s", small, problem)
    return False


def _fastest(checkpoint: CheckpointFile, ways: Sequence[Way], reference: Way) -> Way:
    """Return the fastest way whose answers are like the reference's; measured once, then remembered."""
    if len(ways) == 1:
        return ways[0]
    told = [f"for {reference.output}"] if reference.output is not None else []
    key = " ".join([checkpoint.sha256()[:16], *map(str, ways), *told, "on", processor(), _runtime()])
    known = _remembered().get(key)
    for way in ways:
        if known == str(way):
            return way
    seconds = measured(list(dict.fromkeys([reference, *ways])))
    seconds = {way: taken for way, taken in seconds.items() if way in ways}
    best = min(seconds, key=lambda way: seconds[way], default=reference)
    if best != reference and reference in seconds and seconds[best] > _GAIN * seconds[reference]:
        best = reference
    # Where the cache cannot be written, the ways are measured again next time.
    with suppress(OSError, RuntimeError, OutputError):
        write_text(user_cache() / "networks.json", json.dumps({**_remembered(), key: str(best)}, indent=1))
    return best


def measured(ways: Sequence[Way]) -> dict[Way, float]:
    """Return the seconds that each way takes for a picture, in turns.

    The first way is the reference. A way whose answers are unlike the reference's, or that fails, is left out.
    """
    sessions, expected, reference = {}, None, ways[0]
    for way in ways:
        try:
            session = way.open()
            picture = _picture(session)
            answer = np.concatenate([np.ravel(output) for output in session.run(None, picture)]).astype(np.float32)
        except Exception as error:  # the providers' own classes; the reference has been opened before
            if way == reference:
                raise
            logger.warning("%s cannot be run as '%s': %s", reference.path.name, way, " ".join(str(error).split())[:300])
            continue
        if expected is None:
            expected = answer
        if _correlation(answer, expected) >= _ALIKE:
            sessions[way] = session
    seconds = dict.fromkeys(sessions, float("inf"))
    for _ in range(_ROUNDS):
        for way, session in sessions.items():
            # A network runs on one thread of the CPU and several at once, so there the time of its cores counts.
            on_cpu = way.provider.device in ("cpu", "openvino")
            clock, share = (time.process_time, cores()) if on_cpu else (time.perf_counter, 1)
            picture = _picture(session)
            start = clock()
            session.run(None, picture)
            seconds[way] = min(seconds[way], (clock() - start) / share)
    return seconds


def _picture(session: Any) -> dict[str, Any]:
    """Return an input for a network: light and dark patches, the same each time, as large as pictures often are."""
    (port,) = session.get_inputs()
    shape = [size if isinstance(size, int) and size > 0 else _FREE.get(axis, 1) for axis, size in enumerate(port.shape)]
    planes = np.random.default_rng(0).random((shape[0] * shape[1], 6, 10), np.float32)
    drawn: Floats = np.stack([cv2.resize(plane, (shape[3], shape[2])) for plane in planes])
    scale = 255 if not isinstance(port.shape[2], int) else 1  # detectors of free size take bytes
    return {port.name: (drawn * scale).reshape(shape).astype(np.float16 if "float16" in port.type else np.float32)}


def _correlation(answer: Floats, expected: Floats) -> float:
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        return 0.0
    one, other = answer - answer.mean(), expected - expected.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0 else float(np.allclose(answer, expected))


@cache
def processor() -> str:
    """Return the processor's name, and a few digits that stand for what it can do."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        stated = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
        abilities = stated.get("flags", stated.get("Features", ""))
        return f"{stated.get('model name', platform.machine())} ({sha256(abilities.encode()).hexdigest()[:6]})"
    return platform.processor() or platform.machine()


def _runtime() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def user_cache() -> Path:
    """Return the folder in which this program keeps what it has found out about the machine.

    The environment variable ``GAITPRINT_CACHE`` names another one.
    """
    if "GAITPRINT_CACHE" in os.environ:
        return Path(os.environ["GAITPRINT_CACHE"])
    place = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(place) if place else Path.home() / ".cache") / "gaitprint"


def _remembered() -> dict[str, Any]:
    with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        known = json.loads((user_cache() / "networks.json").read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}
