"""``python -m app enrol``: add people to the gallery, with their consent."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.prompt import Prompt
from rich.table import Table
from rich.text import Text

from app.cli.gallery import GALLERY_DB, GalleryOption, gallery_service
from app.cli.options import FreshOption, VerboseOption, with_settings
from app.cli.terminal import console, say
from app.errors import GalleryError, SettingsError, counted

if TYPE_CHECKING:
    from app.gallery.service import Enrolment
    from app.settings import Settings
    from app.walks.analysed import AnalysedVideo


@with_settings()
def enrol(
    video: Annotated[str | None, typer.Argument(metavar="VIDEO", help="Path, or a name in input_videos/.")] = None,
    name: Annotated[str | None, typer.Option(help="Who walks in it.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Instead of VIDEO: a folder that has one sub-folder NAME with videos for each person."),
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="What the person agreed to, and how; 'none' if nothing was agreed.")
    ] = None,
    track: Annotated[
        list[int] | None, typer.Option(help="Which walk to take where the video shows several; may be repeated.")
    ] = None,
    view: Annotated[str, typer.Option(help="What is known of the camera, e.g. 'front'.")] = "",
    retain_days: Annotated[int | None, typer.Option(min=1, help="Forget the person after this many days.")] = None,
    keep_silhouettes: Annotated[
        bool,
        typer.Option("--keep-silhouettes", help="Keep silhouettes, so that other gait models can be used later."),
    ] = False,
    no_thumbnail: Annotated[bool, typer.Option("--no-thumbnail", help="Keep no picture of the person.")] = False,
    gallery_db: GalleryOption = GALLERY_DB,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Add somebody who agreed to it to the gallery, from a video in which they walk."""
    from app.cli.show import begun
    from app.gallery.store import clean_name
    from app.runs.enrol import EnrolOptions, analyse_people, enrol_person, people_in
    from app.video.sources import find_video
    from app.workspace import in_use

    if (folder is None) == (video is None):
        raise SettingsError("Give either a video, with --name, or --folder with one sub-folder for each person.")
    if folder is not None and (name is not None or track):
        raise SettingsError(
            "--name and --track are for a single video. With --folder, the names are those of the sub-folders."
        )
    if folder is not None:
        people = people_in(folder)
    elif name is None:
        raise SettingsError(f"Who walks in {video}? Give --name NAME.")
    else:
        people = {name: [find_video(video or "")]}
    for one in people:
        clean_name(one)  # a name that cannot be used is refused before the long work
    agreed = consent if consent is not None else _ask_consent(list(people))
    if not agreed.strip():
        raise GalleryError("--consent is empty: say what the person agreed to, e.g. 'signed form of 3 May', or none.")
    options = EnrolOptions(
        agreed, track, view, retain_days, keep_silhouettes, not no_thumbnail, alone=folder is not None
    )
    choose = _ask_track if folder is None and sys.stdin.isatty() else None
    # The gallery keeps what it is told to keep; no further files are written beside it.
    settings = replace(settings, output=replace(settings.output, silhouettes=False, features=False))
    output, metric = settings.output.folder, settings.match.metric
    with gallery_service(gallery_db, create=True, output=output, metric=metric) as gallery, in_use(output):
        gallery.store.need_writable()
        with begun(settings, verbose=verbose) as run:
            analysed, failures = analyse_people(people, run, fresh=fresh)
        for one, videos in analysed.items():
            enrolment, errors = enrol_person(one, videos, gallery, run, options, choose)
            failures += errors
            if enrolment is not None:
                _show(enrolment)
    for failure in failures[:-1]:
        say(f"Not enrolled: {failure}", "yellow")
    if failures:
        raise failures[-1]


def _ask_consent(names: list[str]) -> str:
    """Ask at the terminal what was agreed."""
    if not sys.stdin.isatty():
        raise GalleryError(
            "Gait is biometric data: say what the person agreed to with --consent TEXT, e.g. --consent 'signed form of "
            "3 May', or --consent none."
        )
    whose = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    console.print("Gait is biometric data, and in many countries a person must agree before it is kept.")
    while not (answer := Prompt.ask(f"What did {whose} agree to, and how ('none' if nothing)?", console=console)):
        pass
    return answer


def _ask_track(video: AnalysedVideo, sheet: Path) -> list[int]:
    """Ask at the terminal which walk of a video is the person's; `sheet` shows pictures of all."""
    from app.runs.enrol import seconds_of, span_of

    tracks = {str(walk.track.track_id): walk.track for walk in video.usable()}
    table = Table(title=f"{video.info.path.name} shows several walks", title_justify="left")
    for column in ("track", "seen", "seconds"):
        table.add_column(column, justify="right")
    for number, track in tracks.items():
        table.add_row(number, span_of(track, video), f"{seconds_of(track, video):.1f}")
    console.print(table)
    say(f"Pictures of them: {sheet}")
    return [int(Prompt.ask("Which track", choices=list(tracks), console=console))]


def _show(enrolment: Enrolment) -> None:
    person = enrolment.person
    for walk, walk_id in enrolment.present:
        say(f"{walk.source}, track {walk.track_id}: {person.name} has this very walk already, as walk {walk_id}.")
    if enrolment.added:
        until = f", kept until {person.expires.astimezone():%Y-%m-%d}" if person.expires else ""
        line = f": {counted(len(enrolment.added), 'walk')} added, {person.walks} in all{until}."
        console.print(Text.assemble((person.name, "bold"), line), soft_wrap=True)
