from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from app.types import Floats, Image
from app.video.colours import colour_of
from app.video.paint import Label, Painter

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
UNKNOWN, UNUSABLE = (220, 220, 220), (80, 80, 80)
NAMES = [f"gallery-{place:03d}" for place in range(1, 6)]


def lab(colour: tuple[int, int, int], vision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* (D65) of an sRGB colour as it looks with this colour vision."""
    c = np.asarray(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    seen = np.clip(vision @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def box(*corners: float) -> Floats:
    return np.array(corners, np.float32)


def grey(width: int, height: int, level: int = 128) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def has(image: Image, rgb: tuple[int, int, int]) -> int:
    return int(np.count_nonzero(np.all(image == rgb[::-1], axis=2)))


@pytest.mark.parametrize("vision", VISIONS)
def test_the_first_eight_colours_and_the_greys_stay_apart_for_every_eye(vision: str) -> None:
    colours = [lab(c, VISIONS[vision]) for c in [*(colour_of(place) for place in range(8)), UNKNOWN, UNUSABLE]]
    distances = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(colours, 2)]
    assert min(distances) > 15  # CIE 1976; about 2.3 is just noticeable


def test_colours_are_fixed_by_the_place_and_all_different_up_to_24() -> None:
    assert len({colour_of(place) for place in range(24)}) == 24
    assert colour_of(24) == colour_of(0)


def test_an_identity_has_its_colour_whoever_else_is_in_the_picture() -> None:
    for labels in ([NAMES[2]], [NAMES[0], NAMES[2]], [NAMES[2], NAMES[4]]):
        image = Painter(NAMES, 640, 360).paint(
            grey(640, 360),
            [Label(box(200 + 120 * i, 150, 260 + 120 * i, 330), name) for i, name in enumerate(labels)],
        )
        for place, name in enumerate(NAMES):
            outline = has(image[200:320], colour_of(place))
            assert (outline > 0) == (name in labels)


def test_unknown_is_grey_and_unusable_is_dashed() -> None:
    painter = Painter(NAMES, 640, 360)
    unknown = painter.paint(grey(640, 360), [Label(box(300, 150, 360, 330), None)])
    unusable = painter.paint(grey(640, 360), [Label(box(300, 150, 360, 330), None, note="too short", usable=False)])
    solid, dashed = has(unknown[190:300], UNKNOWN), has(unusable[190:300], UNUSABLE)
    assert solid > 300
    assert 0.3 * solid < dashed < 0.8 * solid


def test_paints_in_place_and_leaves_the_rest_alone() -> None:
    image = grey(640, 360)
    painted = Painter(NAMES, 640, 360).paint(image, [Label(box(300, 150, 360, 330), NAMES[0], "90 %")])
    assert painted is image
    changed = np.any(image != 128, axis=2)
    assert not changed[:, 480:].any()
    assert not changed[345:].any()
    assert not changed[200:300, 310:350].any()  # inside the box


@pytest.mark.parametrize(("width", "height"), [(426, 240), (480, 854), (1920, 1080), (64, 48)])
@pytest.mark.parametrize(
    "corners", [(-20, -20, 30, 60), (0, 0, 10, 10), (1e4, 1e4, 2e4, 2e4), (20, -50, 60, 5000), (5, 5, 5, 5)]
)
def test_boxes_at_and_beyond_the_edge(width: int, height: int, corners: tuple[float, ...]) -> None:
    image = Painter(NAMES, width, height).paint(
        grey(width, height),
        [Label(box(*corners), NAMES[1], "50 %", "a note"), Label(box(*corners), None, usable=False)],
    )
    assert image.shape == (height, width, 3)


def test_plates_stay_inside_and_off_one_another() -> None:
    painter = Painter([], 854, 480)
    taken = [painter._legend_area]
    for corners in (
        (400, 100, 460, 300),
        (405, 100, 465, 300),
        (410, 102, 470, 300),
        (0, 0, 50, 200),
        (800, 2, 854, 480),
    ):
        x, y = painter._place(140, 22, corners, taken)
        here = (x, y, x + 140, y + 22)
        assert 0 <= x <= 854 - 140
        assert 0 <= y <= 480 - 22
        for other in taken:
            assert min(here[2], other[2]) <= max(here[0], other[0]) or min(here[3], other[3]) <= max(here[1], other[1])
        taken.append(here)


def test_text_can_be_read_on_every_colour() -> None:
    from app.video.paint import _contrast

    def luminance(colour: tuple[int, int, int]) -> float:
        c = np.asarray(colour) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for colour in [*(colour_of(place) for place in range(24)), UNKNOWN, UNUSABLE]:
        dark, light = sorted((luminance(colour), luminance(_contrast(colour))))
        assert (light + 0.05) / (dark + 0.05) > 3.9, colour


def test_the_legend_is_capped() -> None:
    few, many = Painter(NAMES, 854, 480), Painter([f"name {i}" for i in range(300)], 854, 480)
    assert few._legend[0].shape[0] < many._legend[0].shape[0] <= 0.5 * 480
    assert many._legend[0].shape[1] < 854 / 3


def test_a_tiny_picture_has_no_legend() -> None:
    image = Painter(NAMES, 120, 68).paint(grey(120, 68), [])
    assert (image == 128).all()
    assert not (Painter(NAMES, 320, 240).paint(grey(320, 240), []) == 128).all()


def test_letters_grow_with_the_picture() -> None:
    heights = [Painter(NAMES, width, height)._letters for width, height in ((426, 240), (854, 480), (3840, 2160))]
    assert heights == [11, 16, 72]


@pytest.mark.parametrize("name", ["Zoë Müller", "Zoe\u0308", "a\nb\x00c", "", "x" * 500, "gallery.v2-001 (copy)", "😀"])
def test_any_name_can_be_painted(name: str) -> None:
    image = Painter([name], 426, 240).paint(grey(426, 240), [Label(box(200, 80, 240, 200), name, "over 99 %")])
    assert has(image, colour_of(0)) > 100


def test_warns_of_names_that_no_font_can_write(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Painter(["plain-001", "Zoë"], 426, 240)
        assert not caplog.records
        Painter(["\U0001f9ff\U0010fffe"], 426, 240)
    assert "No font" in caplog.text


def test_the_text_of_a_label() -> None:
    somewhere = box(0, 0, 1, 1)
    assert Label(somewhere, "a-001", "93 %").text == "a-001  93 %"
    assert Label(somewhere, "a-001", "17 %", doubtful=True).text == "a-001?  17 %"
    assert Label(somewhere, "a-001").text == "a-001"
    assert Label(somewhere, None).text == "unknown"
    assert Label(somewhere, None, note="too short", usable=False).text == "too short"
    assert Label(somewhere, None, usable=False).text == "unusable"


def test_refuses_a_picture_of_another_size() -> None:
    with pytest.raises(ValueError, match="shape"):
        Painter(NAMES, 64, 48).paint(grey(48, 64), [])
