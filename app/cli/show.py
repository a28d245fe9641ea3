"""How the command line shows models and results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from app.results.report import Report, TrackReport, VideoReport
    from app.stages import Stages


def show_models(console: Console, stages: Stages, *, verbose: bool) -> None:
    """Name the models in one line; with `verbose`, say whence each is and under which licence."""
    for line in stages.lines() if verbose else [stages.summary()]:
        console.print(Text(line), soft_wrap=True)


def show_result(console: Console, report: Report, folder: Path) -> None:
    """Print who was seen in which probe, when, and how near they are; then how long it took and where the files are."""
    if report.gallery is not None:
        known = sorted({track.identity for track in report.gallery.tracks if track.identity})
        console.print(f"In the gallery: {len(known)} people, {escape(', '.join(known))}", soft_wrap=True)
        _show_unusable(console, report.gallery)
    for probe in report.probes:
        table = Table(title=Text(probe.name, style="bold"), title_justify="left")
        calibrated = any(track.probability is not None for track in probe.tracks)
        in_pieces = any(track.pieces is not None for track in probe.tracks)
        clear = ["probability" if calibrated else "how clear", *(["margin"] if report.gallery is None else [])]
        clear += ["pieces"] if in_pieces else []
        for column in ("track", "seen, s", "who", "distance", *clear):
            table.add_column(column, justify="left" if column == "who" else "right")
        for track in probe.tracks:
            if track.status == "unusable":
                continue
            table.add_row(
                str(track.track_id),
                f"{track.frames[0] / probe.fps:.1f} to {(track.frames[-1] + 1) / probe.fps:.1f}",
                _who(track),
                _distance(track),
                track.sureness.text if track.identity else "",
                *([] if report.gallery is not None else ["" if track.margin is None else f"{track.margin:.3f}"]),
                *([_pieces(track)] if in_pieces else []),
            )
        console.print(table if table.row_count else f"{escape(probe.name)}: nobody could be compared")
        _show_unusable(console, probe)
    seconds = report.timings["total"]
    frames = sum(video.frame_count for video in (report.gallery, *report.probes) if video is not None)
    console.print(f"{frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s), loading included")
    console.print(f"Results: [bold]{escape(str(folder))}[/]", soft_wrap=True)


def _distance(track: TrackReport) -> str:
    if track.distance is None:
        return ""
    return f"{track.distance:.3g}" + (f" of {track.threshold:.3g}" if track.threshold is not None else "")


def _who(track: TrackReport) -> Text:
    text, doubtful = track.sureness
    if track.identity is not None:
        return Text(f"{track.identity}?", style="bold yellow") if doubtful else Text(track.identity, style="bold green")
    nearest = track.candidates[0] if track.candidates else None
    if nearest is None:
        why = ""
    elif track.threshold is not None and nearest.distance <= track.threshold:  # somebody else has the name
        why = f" ({(track.reason or '').partition(', seen at the same time')[0]})"
    else:
        why = f" ({' '.join(filter(None, ['nearest', nearest.identity, text]))})"
    return Text.assemble(("unknown", "yellow"), why)


def _pieces(track: TrackReport) -> Text:
    votes = track.agreement
    style = "yellow" if votes and votes.divided and track.identity else ""
    return Text(f"{votes.agreeing} of {votes.pieces}" if votes else "", style)


def _show_unusable(console: Console, video: VideoReport) -> None:
    """Say in one line how many tracks could not be used, and why."""
    causes = Counter((track.reason or "").partition(":")[0] for track in video.tracks if track.status == "unusable")
    if causes:
        listed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        console.print(Text(f"Not used in {video.name}: {listed}", style="dim"), soft_wrap=True)
