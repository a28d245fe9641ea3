"""The types refuse values that would cause errors later."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.types import (
    Candidate,
    Detections,
    Embedding,
    Frame,
    GaitSequence,
    Match,
    Matte,
    ModelCard,
    Track,
    TrackedBoxes,
    VideoInfo,
)


def floats(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def whole(*values: int) -> Any:
    return np.array(values, np.int64)


def silhouettes(count: int, size: int = 64) -> Any:
    return np.zeros((count, size, size), np.uint8)


NAN = np.full((2, 3), np.nan, np.float32)
PATH = Path("a.mp4")
near, far = Candidate("a", 1.0), Candidate("b", 2.0)

BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no picture": (lambda: VideoInfo(PATH, 0, 10, Fraction(25)), "0x10 px has no picture"),
    "no rate": (lambda: VideoInfo(PATH, 10, 10, Fraction(0)), "frame rate of 0"),
    "grey frame": (lambda: Frame(0, 0.0, np.zeros((4, 4), np.uint8)), r"Frame\.image must be uint8"),
    "float frame": (lambda: Frame(0, 0.0, floats(4, 4, 3)), "not float32"),
    "list of boxes": (lambda: Detections([[0, 0, 1, 1]], floats(1)), "not list"),  # type: ignore[arg-type]
    "double boxes": (lambda: Detections(np.zeros((1, 4)), floats(1)), "float64"),  # type: ignore[arg-type]
    "five numbers": (lambda: Detections(floats(1, 5), floats(1)), r"\(1, 5\)"),
    "scores missing": (lambda: Detections(floats(2, 4), floats(1)), r"Detections\.scores"),
    "one id twice": (lambda: TrackedBoxes(whole(1, 1), floats(2, 4), floats(2)), "twice in one frame"),
    "id zero": (lambda: Track(0, whole(1), floats(1, 4), floats(1)), "at least 1"),
    "empty track": (lambda: Track(1, whole(), floats(0, 4), floats(0)), "at least one frame"),
    "frames fall": (lambda: Track(1, whole(2, 1), floats(2, 4), floats(2)), "must rise"),
    "frame twice": (lambda: Track(1, whole(2, 2), floats(2, 4), floats(2)), "must rise"),
    "matte of floats": (lambda: Matte(0, 0, floats(2, 2)), r"Matte\.alpha"),
    "silhouettes of 32": (lambda: GaitSequence(whole(0), silhouettes(1, 32), 25.0), "64, 64"),
    "too few silhouettes": (lambda: GaitSequence(whole(0, 1), silhouettes(1), 25.0), r"\(1, 64, 64\)"),
    "walk without rate": (lambda: GaitSequence(whole(0), silhouettes(1), 0.0), "frame rate"),
    "keypoints": (lambda: GaitSequence(whole(0), silhouettes(1), 25.0, floats(1, 18, 3)), "keypoints"),
    "nan": (lambda: Embedding(NAN, "m", 1), "finite"),
    "no frames": (lambda: Embedding(floats(2, 3), "m", 0), "at least one frame"),
    "pieces of another shape": (lambda: Embedding(floats(2, 3), "m", 1, floats(4, 3, 2)), r"Embedding\.pieces"),
    "no pieces": (lambda: Embedding(floats(2, 3), "m", 1, floats(0, 2, 3)), "at least one piece"),
    "nan in a piece": (lambda: Embedding(floats(2, 3), "m", 1, NAN[None]), "pieces of an embedding must be finite"),
    "unsorted": (lambda: Match((far, near), "a", 1.0, 3.0, None), "sorted"),
    "neither": (lambda: Match((near,), None, None, 3.0, None), "an identity or a reason"),
    "both": (lambda: Match((near,), "a", 1.0, 3.0, "far"), "an identity or a reason"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_refused(case: str) -> None:
    build, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        build()


def test_right_values_are_accepted() -> None:
    assert Detections.none().boxes.shape == (0, 4)
    assert len(GaitSequence(whole(3, 9), silhouettes(2), 29.97, floats(2, 17, 3))) == 2
    TrackedBoxes(whole(), floats(0, 4), floats(0))
    Track(7, whole(0, 5), floats(2, 4), floats(2))
    assert Embedding(floats(2, 3), "m", 9).of_pieces() == []
    assert [one.frames for one in Embedding(floats(2, 3), "m", 9, floats(4, 2, 3)).of_pieces()] == [9] * 4
    Match((near, far), None, None, 0.5, "too far")
    Match((), None, None, 0.5, "the gallery is empty")


def test_a_models_id_holds_its_weights() -> None:
    card = ModelCard("gait", "gei", "weight-free", "Apache-2.0")
    assert card.model_id == "gei"
    assert ModelCard("gait", "x", "given", "MIT", Path("x"), "0123456789abcdef").model_id == "x@01234567"


def test_types_do_not_change() -> None:
    with pytest.raises(AttributeError):
        VideoInfo(PATH, 1, 1, Fraction(1)).width = 5  # type: ignore[misc]
