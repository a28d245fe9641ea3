"""What the command line shows of models and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.cli.terminal import ProgressBars, console

if TYPE_CHECKING:
    from app.results.report import Report, TrackReport, VideoReport
    from app.settings import Settings
    from app.stages import Run, Stages


@contextmanager
def begun(settings: Settings, *, verbose: bool) -> Iterator[Run]:
    """Begin a run that shows how far it is, after the names of its models."""
    from app.runs.build import begin

    with ProgressBars.of_frames() as progress:
        yield begin(settings, progress, partial(show_models, console, verbose=verbose))


def show_models(console: Console, stages: Stages, *, verbose: bool) -> None:
    """Print the names of the models in one line; with `verbose`, where each comes from and what its licence is."""
    for line in stages.lines() if verbose else [stages.summary()]:
        console.print(Text(line), soft_wrap=True)


def show_result(console: Console, report: Report, folder: Path) -> None:
    """Print a table of the walks of each probe, then how long the run took and where its files are."""
    from app.walks.quality import slow_rate  # here, because --help needs none of it

    if report.gallery is not None:
        names = sorted({track.identity for track in report.gallery.tracks if track.identity})
        console.print(f"People in the gallery: {len(names)} ({escape(', '.join(names))})", soft_wrap=True)
        _show_unusable(console, report.gallery)
    if report.rule:
        console.print(report.rule, soft_wrap=True)
    for probe in report.probes:
        table = Table(title=Text(probe.name, style="bold"), title_justify="left")
        calibrated = any(track.probability is not None for track in probe.tracks)
        in_pieces = any(track.pieces is not None for track in probe.tracks)
        columns = ["track", "in view (s)", "name", "distance", "probability" if calibrated else "how clear"]
        columns += ["margin"] if report.gallery is None else []
        columns += ["pieces"] if in_pieces else []
        for column in columns:
            # A long name is folded, because one that is cut off names nobody.
            table.add_column(column, justify="left" if column == "name" else "right", overflow="fold")
        for track in probe.tracks:
            if track.status == "unusable":
                continue
            table.add_row(
                str(track.track_id),
                f"{track.frames[0] / probe.fps:.1f} to {(track.frames[-1] + 1) / probe.fps:.1f}",
                _name(track),
                "" if track.distance is None else f"{track.distance:#.3g}",
                track.sureness.text if track.identity else "",
                *([] if report.gallery is not None else ["" if track.margin is None else f"{track.margin:.3f}"]),
                *([_pieces(track)] if in_pieces else []),
            )
        nothing = f"no walk can be compared{slow_rate(probe.fps)}"
        console.print(table if table.row_count else f"{escape(probe.name)}: {nothing}")
        _show_unusable(console, probe)
    seconds = report.timings["total"]
    frames = sum(video.frame_count for video in (report.gallery, *report.probes) if video is not None)
    console.print(f"{frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s), with the loading of models")
    console.print(f"Results: [bold]{escape(str(folder))}[/]", soft_wrap=True)


def _name(track: TrackReport) -> Text:
    """Return the name of a walk, or that it is unknown and why."""
    sureness, doubtful = track.sureness
    if track.identity is not None:
        return Text(f"{track.identity}?", style="bold yellow") if doubtful else Text(track.identity, style="bold green")
    nearest = track.candidates[0] if track.candidates else None
    if nearest is None:
        why = ""
    elif track.threshold is None or nearest.distance <= track.threshold:  # another walk has the name
        why = f" ({(track.reason or '').partition(', which')[0]})"
    else:
        why = f" (nearest: {', '.join(filter(None, [nearest.identity, sureness]))})"
    return Text.assemble(("unknown", "yellow"), why)


def _pieces(track: TrackReport) -> Text:
    votes = track.agreement
    style = "yellow" if votes and votes.divided and track.identity else ""
    return Text(f"{votes.agreeing} of {votes.pieces}" if votes else "", style)


def _show_unusable(console: Console, video: VideoReport) -> None:
    """Print in one line how many tracks of a video could not be used, and why."""
    causes = Counter((track.reason or "").partition(":")[0] for track in video.tracks if track.status == "unusable")
    if causes:
        reasons = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        console.print(Text(f"Tracks of {video.name} that were not used: {reasons}", style="dim"), soft_wrap=True)
