"""Curves as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from app.files import written_whole

_WIDTH, _HEIGHT = 900, 560
_LEFT, _TOP, _RIGHT, _BOTTOM = 90, 60, 170, 80
_FINE = 2
"""Drawn so many times larger and reduced, which smooths the lines."""
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f")

Curves = Mapping[str, Sequence[tuple[float, float]]]


def draw_curves(
    path: Path,
    title: str,
    across: str,
    upwards: str,
    curves: Curves,
    top: float | None = None,
    *,
    logarithmic: bool = False,
) -> None:
    """Draw curves, each a name with its points (x, y), into a PNG of 900x560 px.

    Args:
        path: of the picture.
        title: above it.
        across: what x is.
        upwards: what y is.
        curves: with one point at least among them.
        top: the largest y; None takes that of the points. The smallest is 0.
        logarithmic: whether x, all above 0, is drawn on a logarithmic scale.

    Raises:
        OutputError: it cannot be written.
    """
    if logarithmic:
        curves = {name: [(math.log10(x), y) for x, y in points] for name, points in curves.items()}
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    low, high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    top = top or max(ys) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _FINE * (_LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)),
            _FINE * (_HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)),
        )

    picture = Image.new("RGB", (_FINE * _WIDTH, _FINE * _HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FINE * 16)
    for y in _ticks(0, top):
        pen.line([place(low, y), place(high, y)], "#dddddd", _FINE)
        pen.text(place(low, y), f"{y:g} ", "black", font, "rm")
    for x in range(math.ceil(low), math.floor(high) + 1) if logarithmic else _ticks(low, high):
        at, under = place(x, 0)
        pen.line([(at, under), (at, under + _FINE * 5)], "black", _FINE)
        pen.text((at, under + _FINE * 8), f"{10**x if logarithmic else x:.3g}", "black", font, "ma")
    pen.line([place(low, top), place(low, 0), place(high, 0)], "black", _FINE)
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        pen.line([place(x, y) for x, y in points], colour, 3 * _FINE, joint="curve")
        corner = _FINE * (_WIDTH - _RIGHT + 12)
        beside = _FINE * (_TOP + 12 + 22 * number)
        pen.line([(corner, beside), (corner + _FINE * 24, beside)], colour, 3 * _FINE)
        pen.text((corner + _FINE * 32, beside), name, "black", font, "lm")
    pen.text((_FINE * _WIDTH / 2, _FINE * 30), title, "black", ImageFont.load_default(_FINE * 20), "mm")
    pen.text((_FINE * _WIDTH / 2, _FINE * (_HEIGHT - 24)), across, "black", font, "mm")
    pen.text((_FINE * _LEFT, _FINE * (_TOP - 12)), upwards, "black", font, "ls")
    with written_whole(path) as temporary:
        picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(temporary)


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from `low` to `high`."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
