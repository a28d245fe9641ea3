"""``python -m app identify``: name people after a gallery, in videos or live."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.gallery import GALLERY_DB, GalleryOption, gallery_service
from app.cli.options import FreshOption, VerboseOption, with_settings
from app.cli.terminal import console, error_console, say, write_json
from app.cli.watch import stopped_by_signals, watch_cameras
from app.errors import SettingsError, VideoError

if TYPE_CHECKING:
    from app.gallery.store import JSON
    from app.settings import Settings


@with_settings("threshold", "far", "k", "closed", "blur")
def identify(
    videos: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO", help="Paths, or names in input_videos/.")
    ] = None,
    gallery_db: GalleryOption = GALLERY_DB,
    live: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Watch a live source: a camera's number, an address (rtsp, http), or a file. More sources may follow.",
        ),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="Live: append the events to this file. Default: print them to standard output.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Live: write a painted video to this file.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Live: play the file again and again.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Live: end after this many seconds.")] = None,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Name the walkers of videos, or of a live source, after the people of the gallery."""
    if live is not None:
        if not videos:
            _watch(live, gallery_db, settings, events, save, loop, seconds, verbose)
            return
        if save is not None:
            raise SettingsError("--save paints the video of one source. Leave it out, or watch one source.")
        _watch_several([live, *videos], gallery_db, settings, events, loop, seconds, verbose)
        return
    for option, value in {"--events": events, "--save": save, "--loop": loop, "--seconds": seconds}.items():
        if value:
            raise SettingsError(f"{option} can only be used with --live SOURCE.")
    _name(videos or [], gallery_db, settings, fresh, verbose)


def _name(videos: list[str], gallery_db: str, settings: Settings, fresh: bool, verbose: bool) -> None:
    from app.cli.show import begun, show_result
    from app.runs.identify import identify
    from app.video.sources import check_headers, find_videos

    if not videos:
        raise VideoError("There is no video to look at. Give one or more files, or --live SOURCE.")
    paths = find_videos(videos)
    check_headers(paths)
    with gallery_service(gallery_db, output=settings.output.folder) as gallery:
        with begun(settings, verbose=verbose) as run:
            result = identify(paths, gallery.store, run, fresh=fresh)
            folder = result.write()
        show_result(console, result.report(), folder)
    result.refuse_failures()


def _watch(
    source: str,
    gallery_db: str,
    settings: Settings,
    events: Path | None,
    save: Path | None,
    loop: bool,
    seconds: float | None,
    verbose: bool,
) -> None:
    """Watch a live source. Events go to standard output or a file, and everything else to standard error."""
    from app.cli.show import show_models
    from app.runs.build import build
    from app.runs.events import appending
    from app.runs.live import LiveOptions, watch
    from app.video.live import LiveSource
    from app.video.sources import find_video, is_file, public_name

    if is_file(source):
        source = str(find_video(source))
    with ExitStack() as stack:
        gallery = stack.enter_context(gallery_service(gallery_db, to=error_console, output=settings.output.folder))
        stages = build(settings)
        show_models(error_console, stages, verbose=verbose)
        out = sys.stdout
        if events is not None:
            out = stack.enter_context(appending(events))

        def emit(event: dict[str, JSON]) -> None:
            write_json(event, to=out)

        stop = stack.enter_context(stopped_by_signals())
        say(f"Watching {public_name(source)}. Press Ctrl-C to end it.", to=error_console)
        playing = stack.enter_context(LiveSource(source, loop=loop, reading=settings.video))
        live = LiveOptions(seconds=seconds)
        summary = watch(playing, gallery.store, stages, emit, live, save=save, stop=stop, expire=gallery.expire)
    total = summary.frames + summary.dropped
    say(
        f"Watched for {summary.seconds:.1f} s. Frames: {total}, of which {summary.dropped} were dropped."
        + (f" Times that the source broke off: {summary.outages}." if summary.outages else "")
        + (f" Painted video: {save}" if save else ""),
        to=error_console,
    )


def _watch_several(
    sources: list[str],
    gallery_db: str,
    settings: Settings,
    events: Path | None,
    loop: bool,
    seconds: float | None,
    verbose: bool,
) -> None:
    """Watch several live sources by one process, each under its own name."""
    from app.runs.watch import CameraConfig, WatchConfig
    from app.video.sources import distinct_names, find_video, is_file, public_name

    found = [str(find_video(source)) if is_file(source) else source for source in sources]
    names = distinct_names([Path(source) if is_file(source) else Path(public_name(source)) for source in found])
    cameras = {name: CameraConfig(source, loop=loop) for name, source in zip(names, found, strict=True)}
    watch_cameras(WatchConfig(cameras, gallery=gallery_db, events=events), settings, seconds=seconds, verbose=verbose)
