"""Decoding on a device (`video.device`): where it cannot, a line says so; frames are the same in number and order."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.types import Frame, Reading
from app.video import opening
from app.video.reader import VideoReader
from tests.clips import Walker, crossing, write_clip

OPEN = av.open


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    scene = crossing([Walker(1)], gap=0.1, width=96, height=64, fps=Fraction(25), seconds=0.8)
    write_clip(path, scene)
    return path


def read(clip: Path, device: str) -> tuple[list[Frame], list[str]]:
    with VideoReader(clip, Reading(device=device)) as reader:
        return list(reader), reader.warnings


def same(frames: list[Frame], others: list[Frame]) -> bool:
    return [(f.index, f.time) for f in frames] == [(f.index, f.time) for f in others] and all(
        np.array_equal(f.image, other.image) for f, other in zip(frames, others, strict=True)
    )


@pytest.mark.parametrize("device", ["vulkan", "vaapi", "d3d11va", "auto"])
def test_without_the_device_one_line_says_so(clip: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any, hwaccel: Any = None, **named: Any) -> Any:
        if hwaccel is not None:
            raise RuntimeError("no such device here")
        return OPEN(*arguments, **named)

    monkeypatch.setattr(opening.av, "open", missing)
    monkeypatch.setattr(opening, "hwdevices_available", lambda: ["cuda", "qsv"])
    frames, warnings = read(clip, device)
    tried = "cuda: no such device here; qsv" if device == "auto" else device
    assert warnings == [f"{clip} cannot be decoded on a device ({tried}: no such device here): the processor does it."]
    assert same(frames, read(clip, "cpu")[0])


def test_an_ffmpeg_without_devices(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "hwdevices_available", lambda: [])
    assert read(clip, "auto")[1] == [f"{clip} cannot be decoded on a device (there is none): the processor does it."]


def test_a_device_decodes_all_frames_in_order(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def device(*arguments: Any, hwaccel: Any = None, **named: Any) -> Any:
        asked.append(hwaccel)
        return OPEN(*arguments, **named)

    monkeypatch.setattr(opening.av, "open", device)
    frames, warnings = read(clip, "cuda")
    assert warnings == []
    assert isinstance(asked[-1], opening.HWAccel), "the video itself is decoded on the device"
    assert same(frames, read(clip, "cpu")[0])
    assert asked[-1] is None, "by default it is not"


def test_a_device_that_opens_but_cannot_decode(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def decode(self, **which: int) -> Any:
            raise av.error.InvalidDataError(22, "this profile is not supported")

    monkeypatch.setattr(
        opening.av, "open", lambda *a, hwaccel=None, **named: Broken() if hwaccel is not None else OPEN(*a, **named)
    )
    frames, warnings = read(clip, "cuda")
    assert warnings == [
        f"{clip} cannot be decoded on a device (cuda: this profile is not supported): the processor does it."
    ]
    assert len(frames) == 20
