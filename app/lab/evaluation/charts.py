"""Curves as pictures, drawn with matplotlib (extras `evaluate` and `train`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from app.errors import needing
from app.files import written_whole

Curves: TypeAlias = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""For the name of each curve x (n,) and y (n,), which is a share of 0 to 1 and is shown in %."""


def need_matplotlib() -> None:
    """Raise `MissingExtraError` where curves cannot be drawn. Call it before long work whose result is drawn."""
    with needing("Curves are drawn with matplotlib: pip install 'gaitprint[evaluate]'."):
        import matplotlib  # noqa: F401


def draw_curves(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    curves: Curves,
    top: float | None = None,
    *,
    logarithmic: bool = False,
) -> Path:
    """Draw curves, x and y by name, into a PNG of 900x560 px, and return its path.

    The axis of y begins at 0 and ends at `top`, or else at the largest y. That of x may be logarithmic, where all x are
    above 0.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the picture cannot be written.
    """
    need_matplotlib()
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9, 5.6), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15))
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for name, points in curves.items():
        axes.plot(*points, label=name, linewidth=2.5)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    elif all((np.mod(x, 1) == 0).all() for x, _ in curves.values()):
        axes.locator_params(axis="x", integer=True)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(0, None if top is None else 1.02 * top)
    axes.grid(alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary)
    return path
