"""Pictures of several threads as one batch: everybody gets what they would get alone, whoever else comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.weights.checkpoints import HOME
from app.weights.devices import CPU
from app.weights.gathering import Gathering, gathered
from app.weights.networks import Network, Way

DEVICE = replace(CPU, device="cuda", batch=4)
"""A device that gains by batches; in truth it is the processor."""


class Device:
    """Answers twice the pictures, and their mean. It is busy with its first batch until `free` is set."""

    def __init__(self) -> None:
        self.free, self.began = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def run(self, pictures: Any) -> list[Any]:
        self.batches.append(len(pictures))
        self.began.set()
        assert self.free.wait(30)
        if (pictures < 0).any():
            raise ValueError("a picture is below 0")
        return [2 * pictures, pictures.reshape(len(pictures), -1).mean(axis=1)]


def gather(inputs: Sequence[Any], most: int = 4) -> tuple[list[int], list[Future[Any]]]:
    """Let the first input keep a device busy until all others wait; return its batches and everybody's future."""
    device = Device()
    gathering = Gathering(device.run, most)
    with ThreadPoolExecutor(len(inputs)) as pool:
        futures = [pool.submit(gathering.run, inputs[0])]
        assert device.began.wait(30)
        futures += [pool.submit(gathering.run, one) for one in inputs[1:]]
        end = time.monotonic() + 30
        while len(gathering._waiting) < len(inputs) - 1 and time.monotonic() < end:
            time.sleep(0.001)
        device.free.set()
    return device.batches, futures


def pictures(number: int, count: int = 1, size: int = 3) -> Any:
    return np.random.default_rng(number).random((count, size, size), np.float32)


def test_those_who_come_while_it_is_busy_make_the_next_batch() -> None:
    inputs = [pictures(number) for number in range(4)]
    batches, futures = gather(inputs)
    assert batches == [1, 3]
    for given, future in zip(inputs, futures, strict=True):
        double, mean = future.result()
        np.testing.assert_array_equal(double, 2 * given)
        np.testing.assert_allclose(mean, [given.mean()], rtol=1e-6)


def test_a_batch_has_one_size_and_no_more_pictures_than_the_device_likes() -> None:
    inputs = [pictures(0), pictures(1, 2), pictures(2, 1, size=5), pictures(3, 2), pictures(4, 1), pictures(5, 7)]
    batches, futures = gather(inputs)
    assert batches[0] == 1
    assert sorted(batches[1:]) in ([1, 1, 4, 7], [1, 2, 3, 7]), "which depends on who comes first"
    for given, future in zip(inputs, futures, strict=True):
        np.testing.assert_array_equal(future.result()[0], 2 * given)


def test_an_error_reaches_the_thread_alone_whose_pictures_cause_it() -> None:
    inputs = [pictures(0), pictures(1), -pictures(2), pictures(3)]
    batches, futures = gather(inputs)
    assert batches[:2] == [1, 3]
    for given, future in zip(inputs, futures, strict=True):
        if (given < 0).any():
            with pytest.raises(ValueError, match="below 0"):
                future.result()
        else:
            np.testing.assert_array_equal(future.result()[0], 2 * given)


@pytest.mark.parametrize("stage", ["detector", "segmenter", "pose"])
def test_networks_answer_many_threads_as_they_answer_one(stage: str) -> None:
    way = Way(HOME / "embedded" / stage / f"gaitprint-{stage}.onnx", DEVICE, "float32")
    alone = Network(way, way)
    with gathered():
        shared = Network(way, way)
        assert Network(replace(way, provider=CPU), way)._gathering is None, "the processor gains nothing by batches"
    assert alone._gathering is None
    assert shared._gathering is not None
    (port,) = alone.get_inputs()
    shape = [value if isinstance(value, int) else side for value, side in zip(port.shape, (1, 3, 64, 96), strict=True)]
    inputs = [np.random.default_rng(number).random(shape, np.float32) for number in range(8)]
    wanted = [port.name for port in alone.get_outputs()]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: shared.run(wanted, {port.name: one}), inputs))
    for given, outputs in zip(inputs, found, strict=True):
        for one, other in zip(outputs, alone.run(wanted, {port.name: given}), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_device_that_fails_leaves_the_work_to_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    way = Way(HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx", DEVICE, "float32")
    reference = replace(way, provider=CPU)
    with gathered():
        network = Network(way, reference)

    class Broken:
        def __init__(self, session: Any) -> None:
            self._session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def run(self, outputs: Any, inputs: Any) -> Any:
            raise RuntimeError("the device is gone")

    network._session = Broken(network._session)
    (port,) = network.get_inputs()
    given = np.random.default_rng(0).random((1, *port.shape[1:]), np.float32)
    (found,) = network.run(None, {port.name: given})
    (expected,) = Network(reference, reference).run(None, {port.name: given})
    np.testing.assert_array_equal(found, expected)
    assert "so the CPU runs it" in caplog.text
    assert network.run(None, {port.name: given})[0].shape == expected.shape
