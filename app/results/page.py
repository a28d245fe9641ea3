"""`report.html`: one file that needs no network, made from the content of `results.json` and pictures.

The template (Jinja2) escapes all text that it receives, and the page's own policy allows no script but the one in it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, Template

from app.results.report import Report
from app.results.view import Colours, ReportView, ShownVideo, TrackView, VideoView


def page(
    report: Report,
    gallery: ShownVideo | None,
    probes: Sequence[ShownVideo],
    identities: Sequence[str],
    portraits: Mapping[str, bytes] | None = None,
    *,
    embed_videos: bool = False,
) -> str:
    """Return the page as HTML.

    Args:
        gallery: the gallery video; None where the gallery is a file.
        identities: the names of the gallery, in the order that fixes the colours of the painted videos. Of a gallery
            file, only the names that were recognised are needed.
        portraits: JPEGs by name, of people who are not in a gallery video.
        embed_videos: whether the painted videos are put into the page. Otherwise they must be in the same folder.
    """
    colours = Colours(identities)

    def view(shown: ShownVideo, role: str, identifier: str) -> VideoView:
        source = _uri(shown.painted.read_bytes(), "video/mp4") if embed_videos else quote(shown.painted.name)
        return VideoView(shown, role, identifier, source, colours)

    script = _asset("page.js")
    return _template().render(
        view=ReportView(
            report,
            view(gallery, "gallery", "gallery") if gallery is not None else None,
            [view(probe, "probe", f"probe-{place}") for place, probe in enumerate(probes, 1)],
            identities,
            colours,
            portraits or {},
        ),
        created=datetime.fromisoformat(report.created),
        style=_asset("page.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _template() -> Template:
    """Return the template, which takes longer to compile than to fill."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        uri=_uri, clock=_clock, tick=_tick, when=_when, percent=lambda share: f"{100 * share:.2f}%", number=_number
    )
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return files("app.results").joinpath(name).read_text(encoding="utf-8").strip()


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _clock(seconds: float, *, unit: bool = True) -> str:
    """Return a time in a video as text: 4.2 s, or 1:04.2 from one minute on."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}" if minutes else f"{rest:.1f}{' s' if unit else ''}"


def _tick(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:02.0f}" if minutes else f"{rest:g} s"


def _when(track: TrackView) -> str:
    return f"{_clock(track.start, unit=track.end >= 60)} – {_clock(track.end)}"


def _number(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")
