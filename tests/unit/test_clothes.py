"""The colours of clothes, guessed from portraits."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Picture

from app.results.clothes import clothes_of, name_of
from tests.studio import portrait_of

COLOURS = {
    "dark blue": (20, 28, 90), "red": (190, 30, 36), "white": (242, 242, 240), "black": (16, 16, 18),
    "green": (40, 130, 60), "grey": (128, 128, 128), "yellow": (236, 204, 40), "brown": (112, 72, 36),
}  # fmt: skip


@pytest.mark.parametrize(("upper", "lower"), zip(COLOURS, [*list(COLOURS)[3:], *list(COLOURS)[:3]], strict=True))
def test_upper_and_lower_body_have_the_colours_that_were_painted(upper: str, lower: str) -> None:
    found = clothes_of(portrait_of(COLOURS[upper], COLOURS[lower]))
    assert found is not None
    assert [colour.name for colour in found] == [upper, lower]
    for colour, painted in zip(found, (COLOURS[upper], COLOURS[lower]), strict=True):
        told = np.array([int(colour.css[place : place + 2], 16) for place in (1, 3, 5)])
        assert np.abs(told - painted).max() < 16, colour


def test_a_dark_picture_is_brightened() -> None:
    picture = Picture.open(BytesIO(portrait_of((236, 204, 40), (40, 130, 60)))).point(lambda value: int(value * 0.62))
    out = BytesIO()
    picture.save(out, "JPEG")
    found = clothes_of(out.getvalue())
    assert found is not None
    assert [colour.name for colour in found] == ["yellow", "green"]


def test_nothing_is_guessed_from_other_pictures() -> None:
    def jpeg(picture: Picture.Image) -> bytes:
        out = BytesIO()
        picture.save(out, "JPEG")
        return out.getvalue()

    portrait = Picture.open(BytesIO(portrait_of((190, 30, 36), (20, 28, 90))))
    assert clothes_of(jpeg(portrait)) is not None
    assert clothes_of(jpeg(portrait.convert("L"))) is None, "infrared shows no colours"
    assert clothes_of(jpeg(portrait.resize((132, 64)))) is None, "three silhouettes side by side are no portrait"
    assert clothes_of(jpeg(portrait)[:200]) is None
    assert clothes_of(b"\xff\xd8 picture") is None


@pytest.mark.parametrize(
    ("lab", "name"),
    [
        ((10, 0, 0), "black"), ((30, 2, -3), "dark grey"), ((75, 0, 2), "light grey"), ((95, 0, 1), "white"),
        ((75, 28, 2), "light pink"), ((60, 60, 62), "orange"), ((75, 3, 18), "beige"), ((40, 12, 22), "brown"),
        ((50, 50, -45), "purple"), ((60, -30, -8), "turquoise"), ((15, 10, -28), "dark blue"), ((45, 60, -4), "red"),
    ],
)  # fmt: skip
def test_colours_have_plain_names(lab: tuple[float, float, float], name: str) -> None:
    assert name_of(*lab) == name
