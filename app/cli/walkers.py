"""``python -m app walkers``: virtual people in scenes, data sets and contact sheets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from app.cli.options import BodyCacheOption, ClusterOption, WardrobeOption, WorkersOption
from app.cli.terminal import ProgressBars, console, say
from app.lab.walkers.choices import CONDITIONS, MOTION, Condition, MotionVersion, Place, View

if TYPE_CHECKING:
    from app.lab.walkers.body import BodyModel
    from app.lab.walkers.wardrobe import Wardrobe

app = typer.Typer(help="Virtual walkers: parametric people with their own gait, and the truth about them.")

MotionOption = Annotated[int, typer.Option(min=1, max=2, help="2: as recorded people walk. 1: as a textbook says.")]


@app.command()
def scene(
    out: Annotated[Path, typer.Option(help="Folder for scene.mp4 and truth.json.")],
    people: Annotated[int, typer.Option(min=1, max=12, help="How many people walk.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same scene.")] = 7,
    condition: Annotated[Condition, typer.Option(help="nm: plain clothes. bg: with bags. cl: in coats.")] = "nm",
    camera: Annotated[View, typer.Option(help="Where the camera stands.")] = "front",
    place: Annotated[Place | None, typer.Option(help="Where the people walk. Default: drawn at random.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="How long the scene lasts, in s.")] = 8.0,
    fps: Annotated[int, typer.Option(min=5, max=60, help="Frames per second.")] = 25,
    size: Annotated[str, typer.Option(help="Width x height of the video in px.")] = "854x480",
    blur: Annotated[int, typer.Option(min=1, max=8, help="Pictures averaged into each frame as motion blur.")] = 1,
    masks: Annotated[bool, typer.Option("--masks", help="Also write masks.npz: who is at every pixel.")] = False,
    wardrobe: WardrobeOption = None,
    cache: BodyCacheOption = None,
) -> None:
    """Film a scene, and write the exact truth about it: boxes, keypoints, poses, camera and people."""
    from app.lab.walkers.demo import make_scene
    from app.lab.walkers.scene import write_clip

    width, height = _size(size)
    model, clothes = _load(cache, wardrobe)
    made = make_scene(
        model, people=people, seed=seed, condition=condition, view=camera, place=place,
        seconds=seconds, fps=fps, width=width, height=height, exposures=blur, wardrobe=clothes,
    )  # fmt: skip
    with ProgressBars() as bars:
        write_clip(
            made, out / "scene.mp4", out / "truth.json", masks=out / "masks.npz" if masks else None,
            progress=bars,
        )  # fmt: skip
    say(f"Wrote {out / 'scene.mp4'} and {out / 'truth.json'}.")


@app.command()
def dataset(
    out: Annotated[Path, typer.Option(help="Folder of the data set. A run that was stopped goes on.")],
    subjects: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many people.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 1,
    first: Annotated[int, typer.Option(min=1, help="Number of the first person.")] = 1,
    conditions: Annotated[str, typer.Option(help="Each condition with its number of walks.")] = "nm:6,bg:2,cl:2",
    views: Annotated[
        int, typer.Option(min=1, max=72, help="How many views, from 0 (front) to 180 degrees (behind).")
    ] = 11,
    frames: Annotated[int, typer.Option(min=1, max=10_000, help="Frames of each walk, at 25 per second.")] = 40,
    modalities: Annotated[
        str,
        typer.Option(
            help="What to write: silhouette, pose, body, heatmap, smpl, calibrated, parsing; separated by commas."
        ),
    ] = "silhouette",
    size: Annotated[int, typer.Option(help="Height of the silhouettes: 64 or 128 px.")] = 64,
    cameras: Annotated[
        int,
        typer.Option(
            min=0, max=72, help="How many cameras at random places all around each walk, in place of --views."
        ),
    ] = 0,
    rates: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest frame rate of walks that --cameras film.")
    ] = (12.0, 30.0),
    outfits: Annotated[int, typer.Option(min=1, max=9, help="Sets of clothes of each person, worn in turn.")] = 1,
    change: Annotated[float, typer.Option(min=0, help="How much people differ from day to day; 1 is usual.")] = 1.0,
    training: Annotated[int, typer.Option(min=0, help="How many of the subjects are in the training set.")] = 0,
    motion: MotionOption = MOTION,
    likeness: Annotated[
        float, typer.Option(min=0, max=1, help="How far the bodies' shapes in a group of --alike are drawn together.")
    ] = 0.0,
    life: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of walks with what everyday life brings, e.g. shopping bags, or a limp."
        ),
    ] = 0.0,
    alike: Annotated[int, typer.Option(min=0, help="People in each group of look-alikes; 0: no groups.")] = 0,
    workers: WorkersOption = 0,
    cluster: ClusterOption = None,
    wardrobe: WardrobeOption = None,
    cache: BodyCacheOption = None,
) -> None:
    """Make a gait data set in OpenGait's layout, with a partition into training and test people."""
    import numpy as np

    from app.lab.walkers.body import CACHE
    from app.lab.walkers.dataset import Plan, parse_conditions, parse_modalities, write_dataset

    anywhere: dict[str, Any] = {"heights": (0.4, 5.0), "distances": (3.5, 18.0)} if cameras else {}
    plan = Plan(
        subjects=subjects, seed=seed, first=first, conditions=parse_conditions(conditions),
        views=tuple(int(view) for view in np.round(np.linspace(0, 180, views))), frames=frames,
        modalities=parse_modalities(modalities), training=training, cameras=cameras, outfits=outfits, change=change,
        rates=rates, rows=size, motion=cast(MotionVersion, motion), alike=alike, likeness=likeness, life=life,
        **anywhere,
    )  # fmt: skip
    with ProgressBars() as bars:
        write_dataset(
            out, plan, cache=cache or CACHE, wardrobe=wardrobe, workers=workers,
            cluster=cluster, progress=bars,
        )  # fmt: skip
    say(f"Wrote {subjects} people to {out}.")


@app.command()
def benchmark(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the walks and of results.json. A stopped run goes on.")
    ],
    subjects: Annotated[
        int, typer.Option(min=2, max=100_000, help="How many people to test; as many more are for training.")
    ] = 100,
    motion: MotionOption = MOTION,
    workers: WorkersOption = 0,
    cache: BodyCacheOption = None,
) -> None:
    """Run the Walkers benchmark: how well simple methods recognise the walkers across views and clothes."""
    from app.lab.walkers.benchmark import results_name, run
    from app.lab.walkers.body import CACHE

    version = cast(MotionVersion, motion)
    with ProgressBars() as bars:
        results = run(folder, subjects, workers, cache or CACHE, bars, version)
    table = Table("People differ in", "Number", "Baseline", *(name.upper() for name in CONDITIONS))
    for result in results:
        shares = (f"{100 * result.rank1[name]:.1f}" for name in CONDITIONS)
        table.add_row(result.people, str(result.subjects), result.baseline, *shares)
    console.print(table)
    console.print("Rank-1 in %. These figures rank models and code; they say nothing by themselves about real people.")
    say(f"Wrote {folder / results_name(version)}.")


@app.command()
def real(
    recordings: Annotated[
        Path, typer.Argument(metavar="RECORDINGS", help="Folder of recorded walks, with index.csv (CMU database).")
    ],
    gait: Annotated[Path | None, typer.Option(help="Checkpoint of a gait network. Default: the usual choice.")] = None,
    cache: BodyCacheOption = None,
) -> None:
    """Measure walkers-real: people who walk as recorded subjects whom the model of motion has never seen."""
    from app.gait import load_gait_model
    from app.lab.walkers.recorded import film, judge, real_walks

    models = [load_gait_model(gait), load_gait_model(name="gei")]
    body, _ = _load(cache, None)
    walks = real_walks(recordings)
    table = Table("Bodies", "Model", "Any view to any other", "Front to side", "Chance")
    for bodies, own in (("one for all", False), ("one each", True)):
        filmed = list(film(walks, body, own_bodies=own))
        for model in models:
            table.add_row(bodies, model.card.name, *(f"{100 * share:.0f}" for share in judge(model, filmed).values()))
    console.print(table)
    console.print(f"Rank-1 in %, {len({walk.subject for walk in walks})} subjects, {len(walks)} walks.")


@app.command("fit-motion")
def fit_motion(
    recordings: Annotated[
        Path, typer.Argument(metavar="RECORDINGS", help="Folder of recorded walks, with index.csv (CMU database).")
    ],
    steps: Annotated[
        Path, typer.Argument(metavar="STEPS", help="Table of steps by speed, leg, sex and age (h2a.csv).")
    ],
    out: Annotated[Path, typer.Option(help="The file of numbers.")] = Path("app/lab/walkers/population.npz"),
) -> None:
    """Compute how people walk (motion 2) from recordings, and print how they differ."""
    from app.lab.walkers.mocap.fit import fit_recordings, write

    population, spreads = fit_recordings(recordings, steps)
    write(population, out)
    table = Table("RMS degrees between", "people", "walks", "strides")
    for name, of_curve in spreads.items():
        table.add_row(name, *(f"{value:.1f}" for value in of_curve))
    console.print(table)
    say(f"Wrote {out}.")


@app.command("fit-body")
def fit_body(
    out: Annotated[Path, typer.Option(help="Folder of body.npz and band.npy.")] = Path("app/body"),
    people: Annotated[int, typer.Option(min=10, max=100_000, help="Walkers whose steps are the usual ones.")] = 300,
    cache: BodyCacheOption = None,
) -> None:
    """Make the small body that bodies are fitted with, from Anny's, and the usual angles of its joints."""
    from app.lab.training.bodies import Motions, write_band
    from app.lab.walkers.small_body import write_small_body

    model, _ = _load(cache, None)
    with ProgressBars() as bars:
        error = write_small_body(out / "body.npz", model, bars)
        with tempfile.TemporaryDirectory() as folder:
            write_band(out / "band.npy", Motions.made(Path(folder) / "walks.npz", people, 0, bars))
    say(f"Wrote {out / 'body.npz'}, whose joints are {error:.1f} mm (RMS) from those of Anny, and {out / 'band.npy'}.")


@app.command()
def casts(
    out: Annotated[Path, typer.Option(help="Folder of the casts. A run that was stopped goes on.")],
    photos: Annotated[Path, typer.Option(help="Folder of pictures of places, see app/lab/synthesis/photos.py.")],
    casts: Annotated[int, typer.Option(min=1, max=999, help="How many casts of six people.")] = 16,
    first: Annotated[int, typer.Option(min=1, help="Number of the first person.")] = 300_001,
    segmenter: Annotated[Path | None, typer.Option(help="Segmenter's checkpoint. Default: the embedded one.")] = None,
    pose: Annotated[Path | None, typer.Option(help="Pose network's checkpoint. Default: the embedded one.")] = None,
    motion: MotionOption = MOTION,
    alike: Annotated[bool, typer.Option("--alike", help="The people of a cast look alike.")] = False,
    parts: Annotated[
        bool, typer.Option("--parts", help="Find body parts too, for gait networks that read them.")
    ] = False,
    workers: WorkersOption = 0,
    cache: BodyCacheOption = None,
) -> None:
    """Film casts of walkers in colour, each with six cameras, cut them out, and find their keypoints."""
    from app.lab.synthesis.casts import Set, film_casts
    from app.lab.walkers.body import CACHE
    from app.weights.checkpoints import HOME

    cutter = segmenter or HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx"
    joints = pose or HOME / "embedded" / "pose" / "gaitprint-pose.onnx"
    given = Set(casts, first, photos, cutter, joints, cache or CACHE, cast(MotionVersion, motion), alike, parts)
    with ProgressBars() as bars:
        film_casts(out, given, workers=workers, progress=bars)
    say(f"Wrote {casts} casts to {out}.")


@app.command()
def sheet(
    out: Annotated[Path, typer.Option(help="Folder for people.png, cycle.png, conditions.png and life.png.")] = Path(
        "output/walkers"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Number of the first person.")] = 0,
    wardrobe: WardrobeOption = None,
    cache: BodyCacheOption = None,
) -> None:
    """Draw contact sheets: 24 people, a gait cycle from 11 views, all bags, coats, hats and hair, and everyday life."""
    from app.lab.walkers.sheet import write_sheets

    model, clothes = _load(cache, wardrobe)
    for path in write_sheets(out, model, clothes, seed):
        say(f"Wrote {path}.")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the clips.")] = Path("input_videos"),
    only: Annotated[list[str] | None, typer.Option(help="Make only this clip; may be repeated.")] = None,
    wardrobe: WardrobeOption = None,
    cache: BodyCacheOption = None,
) -> None:
    """Make the clips of the demo, gallery and probe1 to probe4, with their truth."""
    from app.lab.walkers.demo import make_demo

    model, clothes = _load(cache, wardrobe)
    with ProgressBars() as bars:
        videos = make_demo(out, model, clothes, only=only or (), progress=bars)
    for video in videos:
        say(f"Wrote {video}.")


def _load(cache: Path | None, wardrobe: Path | None) -> tuple[BodyModel, Wardrobe | None]:
    from app.lab.walkers.body import CACHE, BodyModel
    from app.lab.walkers.wardrobe import Wardrobe

    model = BodyModel.load(cache or CACHE, announce=console.print)
    return model, None if wardrobe is None else Wardrobe(wardrobe)


def _size(text: str) -> tuple[int, int]:
    from app.errors import SettingsError

    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and 64 <= int(width) <= 4096 and 64 <= int(height) <= 4096):
        raise SettingsError(f"The size '{text}' is not understood. Write for example 854x480; each from 64 to 4096 px.")
    return int(width), int(height)
