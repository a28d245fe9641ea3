"""``python -m app enrol``: people brought into the gallery, with their consent."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.prompt import Prompt
from rich.table import Table
from rich.text import Text

from app.cli.gallery import GALLERY_DB, GalleryOption, opened
from app.cli.options import FreshOption, VerboseOption, with_settings
from app.cli.terminal import ProgressBars, console, say
from app.errors import GaitprintError, GalleryError, NobodyFoundError, SettingsError, VideoError

if TYPE_CHECKING:
    from app.gallery.distances import Metric
    from app.gallery.store import GalleryStore, NewWalk
    from app.progress import Progress
    from app.settings import Settings
    from app.stages import Stages
    from app.walks.analyse import AnalysedVideo


@with_settings()
def enrol(
    video: Annotated[str | None, typer.Argument(metavar="[VIDEO]", help="Path, or a name in input_videos/.")] = None,
    name: Annotated[str | None, typer.Option(help="Who walks in it.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Instead: one sub-folder for each person, called as they are, with videos.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="What the person agreed to, and how; 'none' if nothing was agreed.")
    ] = None,
    track: Annotated[
        list[int] | None, typer.Option(help="Which walk, where there are several; may be repeated.")
    ] = None,
    view: Annotated[str, typer.Option(help="What is known of the camera, e.g. 'front'.")] = "",
    retain_days: Annotated[int | None, typer.Option(min=1, help="Forget the person after so many days.")] = None,
    keep_silhouettes: Annotated[
        bool, typer.Option("--keep-silhouettes", help="Keep them too, so that other gait models can be used later.")
    ] = False,
    thumbnail: Annotated[bool, typer.Option(help="Keep a picture of the person.")] = True,
    gallery_db: GalleryOption = GALLERY_DB,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring somebody who agreed to it into the gallery, from a video in which they walk."""
    from app.cli.show import show_models
    from app.gallery.sqlite import clean_name
    from app.runs.build import build
    from app.runs.enrol import enrol_walks
    from app.workspace import in_use

    if (folder is None) == (video is None):
        raise SettingsError("Give either a video, with --name, or --folder with one sub-folder for each person.")
    if folder is not None and (name is not None or track):
        raise SettingsError("--name and --track go with one video; with --folder the sub-folders are the names.")
    # The gallery keeps what it is told to keep; no further files are written beside it.
    settings = replace(settings, output=replace(settings.output, silhouettes=False, features=False))
    people = _people_of(folder) if folder is not None else _person(video or "", name)
    for who in people:
        clean_name(who)  # what cannot be a name is said before the long work
    agreed = consent if consent is not None else _asked(list(people))
    if not agreed.strip():
        raise GalleryError("--consent is empty: say what the person agreed to, e.g. 'signed form of 3 May', or none.")
    output_folder = settings.output.folder
    with opened(gallery_db, create=True, output=output_folder) as gallery, in_use(output_folder):
        with ProgressBars.of_frames() as progress:
            stages = build(settings)
            show_models(console, stages, verbose=verbose)
            seen, failures = _analysed(people, stages, progress, fresh)
        for who, videos in seen.items():
            walks: list[NewWalk] = []
            for one in videos:
                try:
                    chosen = track or _chosen(one, output_folder, ask=folder is None)
                    walks += enrol_walks(one, chosen, keep_silhouettes, view=view, thumbnails=thumbnail)
                except GaitprintError as error:
                    failures.append(error)
            try:
                _add(who, walks, gallery, settings.match.metric, agreed, retain_days)
            except GalleryError as error:
                failures.append(error)
    for failure in failures[:-1]:
        say(f"Not enrolled: {failure}", "yellow")
    if failures:
        raise failures[-1]


def _person(video: str, name: str | None) -> dict[str, list[Path]]:
    from app.video.reader import resolve_video

    if name is None:
        raise SettingsError(f"Who walks in {video}? Give --name NAME.")
    return {name: [resolve_video(video, Path("input_videos"))]}


def _people_of(folder: Path) -> dict[str, list[Path]]:
    """The videos in each sub-folder, by its name."""
    from app.runs.demo import VIDEO_SUFFIXES

    if not folder.is_dir():
        raise VideoError(f"{folder} is not a folder.")
    people = {
        place.name: sorted(path for path in place.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
    }
    people = {who: videos for who, videos in people.items() if videos}
    if not people:
        raise VideoError(f"{folder} has no sub-folder with videos. Make one for each person: {folder}/NAME/VIDEO.")
    return people


def _asked(names: list[str]) -> str:
    """Ask what was agreed."""
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


def _analysed(
    people: dict[str, list[Path]], stages: Stages, progress: Progress, fresh: bool
) -> tuple[dict[str, list[AnalysedVideo]], list[GaitprintError]]:
    """Analyse everybody's videos; those that cannot be used are among the failures."""
    from app.progress import Stopwatch
    from app.recognise.pieces import split_switches
    from app.runs.demo import distinct_names
    from app.walks.analyse import analyse

    owners = [(who, path) for who, paths in people.items() for path in paths]
    seen: dict[str, list[AnalysedVideo]] = {who: [] for who in people}
    failures: list[GaitprintError] = []
    output = stages.settings.output.folder
    for (who, path), name in zip(owners, distinct_names([path for _, path in owners]), strict=True):
        try:
            video = analyse(path, name, stages, output, progress, Stopwatch(), fresh=fresh)
            seen[who].append(split_switches(video, stages))
        except (VideoError, NobodyFoundError) as error:
            failures.append(error)
    return seen, failures


def _add(
    who: str, walks: list[NewWalk], gallery: GalleryStore, metric: Metric, consent: str, retain_days: int | None
) -> None:
    """Enrol the walks that are new, and say so."""
    from app.gallery.sqlite import name_key
    from app.runs.enrol import already_enrolled

    new = []
    for walk in walks:
        known = already_enrolled(walk, gallery, metric)
        if known is None:
            new.append(walk)
            continue
        owner, walk_id = known
        if name_key(owner) != name_key(who):
            raise GalleryError(
                f"Track {walk.track_id} of {walk.source} is in the gallery already, as walk {walk_id} of '{owner}'. If "
                f"is {who}, use `python -m app gallery move` or `rename`."
            )
        say(f"{walk.source}, track {walk.track_id}: {who} has this very walk already, number {walk_id}.")
    if new:
        person = gallery.enrol(who, new, consent=consent, retain_days=retain_days)
        until = f", kept until {person.expires.astimezone():%Y-%m-%d}" if person.expires else ""
        line = f": {len(new)} walk(s) added, {person.walks} in all{until}."
        console.print(Text.assemble((person.name, "bold"), line), soft_wrap=True)


def _chosen(video: AnalysedVideo, output: Path, *, ask: bool) -> list[int] | None:
    """Choose the walks of the person; None leaves the choice to where there is none.

    With `ask`, several are shown in a picture and the person at the terminal is asked; else they are taken for one
    person's where nobody is seen together with anybody.

    Raises:
        GalleryError: there are several, and nobody to ask.
    """
    from app.files import written_whole
    from app.results.portraits import contact_sheet, portraits
    from app.runs.enrol import listed, seconds_of, surely_one_person
    from app.workspace import SHEET

    if len(video.usable()) < 2:
        return None
    if not ask and surely_one_person(video.usable()):
        return [walk.track.track_id for walk in video.usable()]
    usable = {walk.track.track_id: walk.track for walk in video.usable()}
    fps = float(video.info.fps)
    spans = {
        number: f"{track.frame_indices[0] / fps:.1f} to {(track.frame_indices[-1] + 1) / fps:.1f} s"
        for number, track in usable.items()
    }
    sheet = output / "cache" / f"{video.name}{SHEET}"
    with written_whole(sheet) as temporary:
        captions = {number: [f"track {number}", span] for number, span in spans.items()}
        temporary.write_bytes(contact_sheet(portraits(video, list(usable.values())), captions))
    if not (ask and sys.stdin.isatty()):
        raise GalleryError(
            f"{video.info.path.name} shows several walks: {listed(video)}. Look at {sheet} and choose with --track "
            "NUMBER."
        )
    table = Table(title=f"{video.info.path.name} shows several walks", title_justify="left")
    for column in ("track", "seen", "seconds"):
        table.add_column(column, justify="right")
    for number, track in usable.items():
        table.add_row(str(number), spans[number], f"{seconds_of(track, video):.1f}")
    console.print(table)
    say(f"Pictures of them: {sheet}")
    choice = Prompt.ask("Which track", choices=[str(number) for number in usable], console=console)
    return [int(choice)]
