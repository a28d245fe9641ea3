"""`report.html`: one file that asks the network for nothing, made from the content of `results.json` and pictures.

The template escapes whatever it is given (Jinja2), and the page's own policy lets no script run but the one in it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

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
        report: what `results.json` holds.
        gallery: the gallery's video; None where the gallery is no video.
        probes: the videos of the people who were to be named.
        identities: the gallery's names in the order that fixes the colours of the painted videos; of a gallery that is
            no video, those who were seen are enough.
        portraits: JPEGs by name; those in the gallery's video need none.
        embed_videos: whether the painted videos are put into the page; else they must lie beside it.
    """
    colours = Colours(identities)

    def view(shown: ShownVideo, role: str, identifier: str) -> VideoView:
        source = _uri(shown.painted.read_bytes(), "video/mp4") if embed_videos else quote(shown.painted.name)
        return VideoView(shown, role, identifier, source, colours)

    script = _asset("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        uri=_uri, clock=_clock, tick=_tick, when=_when, percent=lambda share: f"{100 * share:.2f}%", number=_number
    )
    return environment.from_string(_asset("page.html")).render(
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


def _asset(name: str) -> str:
    return files("app.results").joinpath(name).read_text(encoding="utf-8").strip()


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _clock(seconds: float, *, unit: bool = True) -> str:
    """Write a time in a video: 4.2 s, or 1:04.2 from a minute on."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}" if minutes else f"{rest:.1f}{' s' if unit else ''}"


def _tick(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:02.0f}" if minutes else f"{rest:g} s"


def _when(track: TrackView) -> str:
    return f"{_clock(track.start, unit=track.end >= 60)} – {_clock(track.end)}"


def _number(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")
