"""``python -m app batch``: name the people of many videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.gallery import GALLERY_DB, GalleryOption, gallery_service
from app.cli.options import ClusterOption, FreshOption, WorkersOption, with_settings
from app.cli.terminal import ProgressBars, say

if TYPE_CHECKING:
    from app.settings import Settings


@with_settings("threshold", "far", "k", "closed")
def batch(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Videos, and folders with videos in them or below.")
    ],
    gallery_db: GalleryOption = GALLERY_DB,
    workers: WorkersOption = 0,
    cluster: ClusterOption = None,
    results: Annotated[
        str | None,
        typer.Option(
            help="Where results go: a folder, or an address such as s3://BUCKET/FOLDER. Default: OUTPUT/batch."
        ),
    ] = None,
    *,
    settings: Settings,
    fresh: FreshOption = False,
) -> None:
    """Name the walkers of many videos; each gets a results.json, and nothing is painted. Run it again to go on."""
    from app.errors import VideoError
    from app.runs.batch import name_batch
    from app.video.sources import find_videos, videos_below

    below = {name: videos_below(Path(name))[0] for name in videos if Path(name).is_dir()}
    paths = find_videos([str(path) for name in videos for path in below.get(name) or [Path(name)]])
    with gallery_service(gallery_db, output=settings.output.folder):
        pass  # whoever is to be forgotten is forgotten before videos are looked at
    failed, there = [], 0
    with ProgressBars(transient=True) as bars, bars.stage("Naming videos", len(paths)) as advance:
        for outcome in name_batch(
            paths, gallery_db, settings, workers=workers, cluster=cluster, results=results, fresh=fresh
        ):
            advance(1)
            there += outcome.was_there
            if outcome.reason is not None:
                is_named = str(outcome.video) in outcome.reason
                failed.append(outcome.reason if is_named else f"{outcome.video}: {outcome.reason}")
    done = len(paths) - len(failed)
    already = f", {there} of them before" if there else ""
    say(f"Named {done} of {len(paths)} videos{already}. Results: {results or settings.output.folder / 'batch'}")
    if failed:
        raise VideoError("\n".join(failed))
