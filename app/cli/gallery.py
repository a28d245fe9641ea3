"""``python -m app gallery``: look after the people in the gallery."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.options import FreshOption, VerboseOption, load_settings, with_settings
from app.cli.terminal import ProgressBars, console, error_console, say, show_log, write_json
from app.errors import counted

if TYPE_CHECKING:
    from app.gallery.distances import Metric
    from app.gallery.service import GalleryService
    from app.gallery.store import Person
    from app.gallery.strangers import Strangers
    from app.settings import Settings

app = typer.Typer(
    help="Look after the people in the gallery: list, rename, merge, forget, export, import.", no_args_is_help=True
)

OUTPUT = Path("output")
GALLERY_DB = str(OUTPUT / "gallery.db")
GalleryOption = Annotated[
    str, typer.Option("--gallery-db", help="The gallery's file, or an address that begins with postgresql://.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A person in the gallery.")]
WalkArgument = Annotated[int, typer.Argument(metavar="WALK", help="A walk's number, as `show` lists it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutputOption = Annotated[
    Path,
    typer.Option("--output", help="Folder of the results; its cache is cleared too, as it may show people."),
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="People of one name are the same person. Otherwise that is an error.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_(gallery_db: GalleryOption = GALLERY_DB, json_: JsonOption = False) -> None:
    """List everybody."""
    with gallery_service(gallery_db, to=error_console if json_ else console) as gallery:
        people = gallery.people()
    if json_:
        write_json([asdict(person) for person in people], indent=1)
        return
    table = _table("name", "walks", "enrolled", "kept until", "consent")
    for person in people:
        until = _day(person.expires) if person.expires is not None else ""
        table.add_row(
            Text(person.name, style="bold"), str(person.walks), _day(person.enrolled), until, Text(person.consent)
        )
    console.print(table if people else "The gallery is empty. `python -m app enrol VIDEO --name NAME` adds somebody.")


@app.command()
def show(name: NameArgument, gallery_db: GalleryOption = GALLERY_DB) -> None:
    """Show a person and their walks."""
    with gallery_service(gallery_db) as gallery:
        person, walks = gallery.store.person(name), gallery.walks(name)
        denials = gallery.store.denials(name)
    console.print(Text(person.name, style="bold"))
    until = f"kept until {_day(person.expires)}" if person.expires is not None else "kept until forgotten"
    console.print(Text(f"Enrolled {_day(person.enrolled)}, {until}. Consent: {person.consent}"), soft_wrap=True)
    table = _table("walk", "video", "track", "view", "frames", "seconds", "added")
    for walk in walks:
        table.add_row(
            str(walk.walk_id),
            Text(walk.source),
            "" if walk.track_id is None else str(walk.track_id),
            Text(walk.view or (f"from {walk.seen_from}" if walk.seen_from else "")),
            str(walk.frames),
            f"{walk.seconds:.1f}",
            _day(walk.added),
        )
    console.print(table)
    for model in dict.fromkeys(walk.model_id for walk in walks):
        say(f"Embedded with {model}: {_numbers([walk.walk_id for walk in walks if walk.model_id == model])}")
    for denial in denials:
        say(f"Not {person.name}: track {denial.track_id} of {denial.source}, as somebody said on {_day(denial.added)}.")
    kept = [walk.walk_id for walk in walks if walk.has_silhouettes]
    if kept:
        say(f"Silhouettes are kept of: {_numbers(kept)}")


@app.command()
def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    gallery_db: GalleryOption = GALLERY_DB,
) -> None:
    """Give a person another name."""
    with gallery_service(gallery_db) as gallery:
        gallery.rename(name, new)
    say(f"{name} is now called {new}.")


@app.command()
def merge(
    name: NameArgument,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The name that stays.")],
    gallery_db: GalleryOption = GALLERY_DB,
) -> None:
    """Give all walks of NAME to INTO, because both are the same person."""
    with gallery_service(gallery_db) as gallery:
        person = gallery.store.person(gallery.merge(name, into).kept.name)
    say(f"{person.name} has {counted(person.walks, 'walk')} now. {_agreed(person)}")


@app.command()
def consent(
    name: NameArgument,
    note: Annotated[str | None, typer.Argument(metavar="NOTE", help="What the person agrees to, and how.")] = None,
    retain_days: Annotated[int | None, typer.Option(min=1, help="Forget them so many days from now.")] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Keep them until they are forgotten.")] = False,
    gallery_db: GalleryOption = GALLERY_DB,
) -> None:
    """Change what a person agrees to, or until when they are kept."""
    from app.errors import GalleryError
    from app.gallery.store import kept_until

    if note is None and retain_days is None and not no_limit:
        raise GalleryError("Give a note on the consent, --retain-days or --no-limit.")
    if retain_days is not None and no_limit:
        raise GalleryError("--retain-days and --no-limit contradict each other: give one of them.")
    with gallery_service(gallery_db) as gallery:
        person = gallery.store.person(name)
        expires = person.expires
        if retain_days is not None:
            expires = kept_until(retain_days, datetime.now(timezone.utc))
        elif no_limit:
            expires = None
        gallery.set_consent(person.name, person.consent if note is None else note, expires)
        person = gallery.store.person(name)
    say(_agreed(person))


@app.command()
def access(
    name: NameArgument,
    out: Annotated[Path, typer.Option(help="The zip that is written, e.g. anna.zip.")],
    gallery_db: GalleryOption = GALLERY_DB,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write everything that is stored of a person into a zip, because they asked for it."""
    from app.files import need_new, written_whole

    need_new(out, overwrite=overwrite)
    with gallery_service(gallery_db) as gallery, written_whole(out) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("r+b") as file:
            files = gallery.access(name, file)
    say(
        f"Wrote {len(files)} files to {out}. README.txt in it explains them. Runs are not in it: the web page adds "
        "those that it has, on the page of the person. Keep this file safe: whoever has it can recognise the person."
    )


@app.command()
def move(walk: WalkArgument, name: NameArgument, gallery_db: GalleryOption = GALLERY_DB) -> None:
    """Give a walk to NAME, because it is theirs."""
    with gallery_service(gallery_db) as gallery:
        gallery.move(walk, name)
    say(f"Walk {walk} belongs to {name} now.")


@app.command()
def forget(
    name: NameArgument, gallery_db: GalleryOption = GALLERY_DB, output: OutputOption = OUTPUT, yes: YesOption = False
) -> None:
    """Remove a person and everything stored about them for good, and clear the cache of the output folder."""
    with gallery_service(gallery_db, output=output) as gallery:
        person = gallery.store.person(name)
        if not yes:
            typer.confirm(f"Remove {person.name} with {counted(person.walks, 'walk')} for good?", abort=True)
        walks = gallery.forget(person.name)
    say(f"Removed {counted(walks, 'walk')}: embeddings, silhouettes and pictures, and the name from the log.")
    _say_cleared(gallery)


@app.command("forget-walk")
def forget_walk(
    walk: WalkArgument, gallery_db: GalleryOption = GALLERY_DB, output: OutputOption = OUTPUT, yes: YesOption = False
) -> None:
    """Remove one walk for good, and clear the cache of the output folder."""
    with gallery_service(gallery_db, output=output) as gallery:
        owner = gallery.store.owner(walk)
        if not yes:
            typer.confirm(f"Remove walk {walk} of {owner.name} for good?", abort=True)
        person = gallery.forget_walk(walk)
    say(f"Removed walk {walk} of {person.name}.")
    _say_cleared(gallery)
    if not person.walks:
        say(
            f"{person.name} stays in the gallery with 0 walks. To remove the person too: "
            f"python -m app gallery forget {shlex.quote(person.name)}",
            "yellow",
        )


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write, e.g. gallery.jsonl.gz.")],
    gallery_db: GalleryOption = GALLERY_DB,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Write everybody, with everything stored about them, into one file."""
    from app.files import need_new

    need_new(file, overwrite=overwrite)
    with gallery_service(gallery_db) as gallery, ProgressBars(transient=True) as bars:
        people, walks = gallery.export(file, bars)
    say(
        f"Wrote {_people(people)} with {counted(walks, 'walk')} to {file}. Keep this file safe: whoever has it can "
        "recognise these people."
    )


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.")],
    gallery_db: GalleryOption = GALLERY_DB,
    merge: MergeOption = False,
) -> None:
    """Add the people of an exported gallery, all or none."""
    from app.gallery.transfer import read_gallery

    total = sum(1 for _ in read_gallery(file))  # a damaged file is found before a gallery is made or locked
    with gallery_service(gallery_db, create=True) as gallery, ProgressBars(transient=True) as bars:
        people, walks = gallery.import_file(file, merge=merge, progress=bars, total=total)
    say(f"Added {counted(walks, 'walk')} of {_people(people)} to the gallery.")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A gallery's file or address.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Another one; it is made where there is none.")],
    merge: MergeOption = False,
) -> None:
    """Copy everybody into another gallery, e.g. from a file into PostgreSQL, and check the copy."""
    from app.gallery.transfer import copy_gallery

    with (
        gallery_service(source) as ours,
        gallery_service(target, create=True) as theirs,
        ProgressBars(transient=True) as bars,
    ):
        people, walks = copy_gallery(ours.store, theirs.store, merge=merge, progress=bars)
        ours.store.record("copy", people=people, walks=walks)
    say(f"Copied {counted(walks, 'walk')} of {_people(people)}, and read them again: both galleries have the same.")


@app.command()
def stats(gallery_db: GalleryOption = GALLERY_DB) -> None:
    """Print how much the gallery holds."""
    with gallery_service(gallery_db) as gallery:
        people, walks, models = gallery.people(), gallery.walks(), gallery.store.model_ids()
        size = gallery.store.size()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows: list[tuple[str, Any]] = [
        ("people", len(people)),
        ("walks", len(walks)),
        ("with silhouettes", sum(walk.has_silhouettes for walk in walks)),
        ("seconds", f"{sum(walk.seconds for walk in walks):.0f}"),
        ("people with a time limit", sum(person.expires is not None for person in people)),
        *((f"walks of {model}", count) for model, count in models.items()),
        ("size", f"{size / 1e6:.1f} MB"),
    ]
    for what, value in rows:
        table.add_row(Text(what), Text(str(value)))
    console.print(table)


@app.command()
def index(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS", help="http://HOST:19530, or a file for milvus-lite; none: in memory, as usual."
        ),
    ] = None,
    gallery_db: GalleryOption = GALLERY_DB,
    lost: Annotated[
        bool, typer.Option("--lost", help="The former index is gone for good: remove nothing there.")
    ] = False,
) -> None:
    """Keep the search index of a large gallery in Milvus, for all programs. Without ADDRESS, say where it is."""
    with gallery_service(gallery_db) as gallery:
        if address is not None:
            gallery.store.place_index(None if address == "none" else address, lost=lost)
        place = gallery.store.index_place()
    say(f"The index of {gallery_db} is in Milvus at {place}." if place else "Walks are searched in memory.")


@app.command()
def log(
    gallery_db: GalleryOption = GALLERY_DB,
    limit: Annotated[int, typer.Option(min=1, help="How many lines.")] = 50,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print what was done with the gallery, the newest entry last."""
    with gallery_service(gallery_db, to=error_console if json_ else console) as gallery:
        events = gallery.store.log(limit)[::-1]
    if json_:
        for event in events:
            write_json(asdict(event))
        return
    table = _table("when", "what", "details")
    for event in events:
        details = ", ".join(
            f"{key}: {_short(value)}" for key, value in event.details.items() if value not in (None, [])
        )
        table.add_row(f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}", Text(event.event), Text(details))
    console.print(table)


@app.command("re-embed")
def re_embed(
    gallery_db: GalleryOption = GALLERY_DB,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", "--gait-checkpoint", help="Gait network, e.g. GaitBase_DA-60000.pt.")
    ] = None,
    gait: Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")] = None,
) -> None:
    """Embed walks with another gait model, from their silhouettes. If it is stopped, the next call continues."""
    from app.runs.build import build_gait
    from app.weights.checkpoints import checkpoint_roots

    settings = load_settings(named={"gait.checkpoint": checkpoint, "gait.name": gait})
    with gallery_service(gallery_db) as gallery:
        gallery.store.need_writable()
        model, _ = build_gait(settings, checkpoint_roots(settings.checkpoints))
        with ProgressBars(transient=True) as bars:
            done, lacking = gallery.store.re_embed(model, bars)
    say(f"Embedded {counted(done, 'walk')} with {model.card.model_id}.")
    if lacking:
        what = "silhouettes with keypoints" if model.card.keypoints else "silhouettes"
        say(
            f"Not embedded, and not compared with that model, for want of {what}: walk {_numbers(lacking)}. "
            "To change that, enrol again with --keep-silhouettes.",
            "yellow",
        )


@app.command()
@with_settings("pose_checkpoint", "body", "body_checkpoint")
def measure(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Whose walks. Default: everybody's.")] = None,
    video: Annotated[
        list[Path] | None,
        typer.Option(help="A video from which walks came, or a folder of videos; may be repeated."),
    ] = None,
    gallery_db: GalleryOption = GALLERY_DB,
    *,
    settings: Settings,
    fresh: FreshOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure the gait of walks that were enrolled without measures. Videos are looked for in input_videos/ too."""
    from app.cli.show import begun
    from app.runs.measure import measure_walks
    from app.video.sources import INPUT_VIDEOS, find_video, videos_below

    videos: list[Path] = []
    for place in [*(video or []), *([INPUT_VIDEOS] if INPUT_VIDEOS.is_dir() else [])]:
        videos += videos_below(place)[0] if place.is_dir() else [find_video(str(place))]
    settings = replace(settings, body=replace(settings.body, show=True))
    output, metric = settings.output.folder, settings.match.metric
    with gallery_service(gallery_db, output=output, metric=metric) as gallery:
        gallery.store.need_writable()
        if name is not None:
            name = gallery.store.person(name).name  # a name that is not there is told before the long work
        with begun(settings, verbose=verbose) as run:
            found = measure_walks(gallery, run, videos, name, fresh=fresh)
    say(f"Measured {counted(len(found.done), 'walk')}.")
    for walk_id, reason in found.lacking.items():
        say(f"Walk {walk_id} could not be measured: {reason}.", "yellow")


@app.command()
def sightings(name: NameArgument, gallery_db: GalleryOption = GALLERY_DB) -> None:
    """List when live cameras saw a person or a stranger, the newest first."""
    from app.gallery.strangers import sightings as found

    with gallery_service(gallery_db) as gallery:
        stores = [gallery.store, *([gallery.strangers.store] if gallery.strangers is not None else [])]
        store = next((one for one in stores if any(p.name == name for p in one.people())), gallery.store)
        names = [store.person(name).name, *store.former_names(name)]
        events = found(gallery.store, names)
    table = _table("when", "what", "camera", "called")
    for event in events:
        called = event.details.get("name") or event.details.get("stranger")
        table.add_row(
            f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}",
            Text(event.event),
            Text(str(event.details.get("source", ""))),
            Text(str(called)),
        )
    console.print(table if events else f"No live camera has seen {name}.")


strangers = typer.Typer(help="People without a name whom `watch` has seen.", no_args_is_help=True)
app.add_typer(strangers, name="strangers")
StrangerArgument = Annotated[str, typer.Argument(metavar="STRANGER", help="A stranger, e.g. stranger-0042.")]


@contextmanager
def _opened_strangers(place: str) -> Iterator[tuple[GalleryService, Strangers]]:
    from app.errors import GalleryError

    with gallery_service(place) as gallery:
        if gallery.strangers is None:
            raise GalleryError("This gallery has no strangers: `python -m app watch` gives numbers to them.")
        yield gallery, gallery.strangers


@strangers.command("list")
def list_strangers(gallery_db: GalleryOption = GALLERY_DB, json_: JsonOption = False) -> None:
    """List all strangers."""
    with _opened_strangers(gallery_db) as (_, found):
        people = found.store.people()
        walks = {person.name: found.store.walks(person.name) for person in people}
    if json_:
        write_json([asdict(person) for person in people], indent=1)
        return
    table = _table("stranger", "walks", "first seen", "last seen", "kept until", "cameras")
    for person in people:
        cameras = ", ".join(sorted({walk.source for walk in walks[person.name]}))
        last = max((walk.added for walk in walks[person.name]), default=person.enrolled)
        until = _day(person.expires) if person.expires is not None else ""
        table.add_row(Text(person.name), str(person.walks), _day(person.enrolled), _day(last), until, Text(cameras))
    console.print(table if people else "There are no strangers.")


@strangers.command("name")
def name_stranger(
    stranger: StrangerArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is: somebody new, or in the gallery.")],
    consent: Annotated[str, typer.Option(help="What the person agreed to; needed for somebody new.")] = "",
    retain_days: Annotated[int | None, typer.Option(min=1, help="Forget somebody new after so many days.")] = None,
    gallery_db: GalleryOption = GALLERY_DB,
) -> None:
    """Give a stranger a name. All earlier sightings are then of that person."""
    with _opened_strangers(gallery_db) as (_, found):
        person = found.name(stranger, name, consent=consent, retain_days=retain_days)
    say(f"{stranger} is {person.name} now, who has {counted(person.walks, 'walk')}.")


@strangers.command("merge")
def merge_strangers(
    stranger: StrangerArgument,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The stranger who keeps all walks.")],
    gallery_db: GalleryOption = GALLERY_DB,
) -> None:
    """Two numbers turned out to be one stranger."""
    with _opened_strangers(gallery_db) as (_, found):
        person = found.merge(stranger, into)
    say(f"{person.name} has {counted(person.walks, 'walk')} now.")


@strangers.command("drop")
def drop_stranger(stranger: StrangerArgument, gallery_db: GalleryOption = GALLERY_DB) -> None:
    """Remove a stranger for good, in the log too."""
    with _opened_strangers(gallery_db) as (gallery, found):
        found.store.need_writable()
        gallery.clear_caches()
        walks = found.drop(stranger)
    say(f"{stranger} is gone, with {counted(walks, 'walk')}.")


def _say_cleared(gallery: GalleryService) -> None:
    say(f"What was kept of all videos in {gallery.caches} is deleted too.")
    say(
        "The program cannot know of other places: other output folders (name each with --output), and painted videos, "
        "reports, silhouettes, features and exports that were written before. Remove those yourself."
    )


@contextmanager
def gallery_service(
    place: str,
    *,
    create: bool = False,
    to: Console = console,
    output: Path = OUTPUT,
    metric: Metric = "euclidean",
    with_strangers: bool = False,
) -> Iterator[GalleryService]:
    """Open a gallery, show its warnings (on `to`), and forget everybody whose time is over.

    `output` is a folder whose cache may show people of the gallery. With `create` the gallery, and with
    `with_strangers` a store of its strangers, is made where there is none.
    """
    from app.gallery.opening import open_store, open_strangers
    from app.gallery.service import GalleryService

    with ExitStack() as stack:
        stack.enter_context(show_log(to))
        store = open_store(place, create=create)
        strangers = open_strangers(place, create=with_strangers)
        gallery = stack.enter_context(GalleryService(store, [output], metric, strangers=strangers))
        forgotten = gallery.expire()
        if forgotten:
            message = f"Forgotten, because their time was over: {', '.join(forgotten)}."
            say(f"{message} What was kept of all videos in {gallery.caches} is deleted too.", "yellow", to=to)
        yield gallery


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        number = column in ("walks", "walk", "track", "frames", "seconds")
        fixed = number or column in ("enrolled", "kept until", "first seen", "last seen", "added", "when", "what")
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=fixed)
    return table


def _numbers(walk_ids: Sequence[int]) -> str:
    return ", ".join(map(str, walk_ids[:20])) + (" ..." if len(walk_ids) > 20 else "")


def _agreed(person: Person) -> str:
    until = f"until {_day(person.expires)}" if person.expires is not None else "until forgotten"
    return f"{person.name} is kept {until}. Consent: {person.consent}"


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"


def _short(value: Any) -> str:
    if isinstance(value, list):
        between = "; " if isinstance(next(iter(value), None), dict) else " "
        return between.join(map(_short, value[:8])) + (" ..." if len(value) > 8 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items() if inner is not None)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d}"
