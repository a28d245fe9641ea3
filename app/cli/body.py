"""``python -m app body``: the bodies of the people in a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import FreshOption, VerboseOption, with_settings
from app.cli.terminal import console, say

if TYPE_CHECKING:
    from app.settings import Settings


@with_settings("pose_checkpoint", "body", "body_checkpoint")
def body(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="Path, or a name in input_videos/.")],
    track: Annotated[int | None, typer.Option(min=1, help="Only the person of this track.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results. Default: body/NAME in --output.")] = None,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Fit a body in space to everybody who walks in a video, and show and measure it."""
    from rich.table import Table

    from app.cli.show import begun
    from app.runs.body import write_bodies
    from app.video.sources import find_video

    path = find_video(video)
    folder = out or settings.output.folder / "body" / path.stem
    # No gait network is needed, but keypoints are.
    light = replace(settings.gait, name="gei", checkpoint=None, input="silhouettes")
    pose, shown = replace(settings.pose, when="always", paint=False), replace(settings.body, show=True)
    settings = replace(settings, gait=light, pose=pose, body=shown)
    with begun(settings, verbose=verbose) as run:
        bodies = write_bodies(path, run, folder, only=track, fresh=fresh)
    table = Table("track", "frames", "confidence", "cadence", "step length", "stance", "arm swing")
    for found in bodies:
        measures = {one.name: one for one in found.gait.measures()}
        cells = []
        for name, digits in (("cadence", 0), ("step length", 2), ("stance share", 0), ("arm swing", 0)):
            one = measures.get(name)
            error = "" if one is None or one.uncertainty is None else f" ± {one.uncertainty:.{max(digits, 1)}f}"
            cells.append("" if one is None else f"{one.value:.{digits}f}{error}")
        confidence = f"{found.motion.confidence.mean():.2f}"
        table.add_row(str(found.track_id), str(len(found.motion)), confidence, *cells)
    console.print(table)
    say("Cadence is in steps/min, step length in heights of the body, stance in % of the cycle, arm swing in degrees.")
    say(f"Wrote {folder}.")
