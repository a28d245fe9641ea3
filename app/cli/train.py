"""``python -m app train``: the networks that come with the project, and the pictures they learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from app.cli.options import BodyCacheOption, WardrobeOption, WorkersOption
from app.cli.terminal import ProgressBars, say, show_log

app = typer.Typer(
    help="Train the detector, the segmenter, the pose, the body and the gait network.", no_args_is_help=True
)

ConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file of settings. Default: the one in app/lab/training/configs.")
]
GaitConfigOption = Annotated[
    Path | None,
    typer.Option(
        help="YAML file: settings as in app/lab/training/configs/gait.yaml, or OpenGait's. Or the name of a "
        "configuration in families.yaml there, e.g. gaitset. Default: gait.yaml, the embedded network."
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. steps=500; may be repeated.")
]
ExportOption = Annotated[Path | None, typer.Option(help="Path of the ONNX file. Default: OUT/NETWORK.onnx.")]
ExportOnlyOption = Annotated[
    bool, typer.Option("--export-only", help="Do not train. Export the network that has been trained in OUT.")
]


class _Training(NamedTuple):
    """The training of a network of the project: its settings, the name of their file, how it trains and is exported."""

    settings: type[Any]
    config: str
    train: Callable[[Any], object]
    export: Callable[[Any, Path], float]


def _network(load: Callable[[], _Training]) -> None:
    """Add the command that trains a network, with the name and the docstring of `load`, which imports its training."""

    @app.command(load.__name__, help=load.__doc__)
    def command(
        config: ConfigOption = None,
        set_: SetOption = None,
        export: ExportOption = None,
        export_only: ExportOnlyOption = False,
    ) -> None:
        from app.lab.training.settings import read_config

        training = load()
        settings = read_config(config, training.settings, set_ or (), training.config)
        _train(load.__name__, settings, training.train, training.export, export, export_only)


@_network
def detector() -> _Training:
    """Train the person detector. Needs --set photos=FOLDER, labelled pictures."""
    from app.lab.training.detector import DetectorTrainSettings, export_network, train

    return _Training(DetectorTrainSettings, "detector", train, export_network)


@_network
def segmenter() -> _Training:
    """Train the network that cuts a person out of a crop. Needs --set photos=FOLDER, labelled pictures."""
    from app.lab.training.segmenter import PersonTrainSettings, export_segmenter, train

    return _Training(PersonTrainSettings, "person", train, export_segmenter)


@_network
def pose() -> _Training:
    """Train the network that finds a person's 17 keypoints: the same training as the segmenter's."""
    from app.lab.training.segmenter import PersonTrainSettings, export_pose, train

    return _Training(PersonTrainSettings, "person", train, export_pose)


@_network
def body() -> _Training:
    """Train the network that lifts keypoints into space. It needs no pictures."""
    from app.lab.training.body import BodyTrainSettings, export_network, train

    return _Training(BodyTrainSettings, "body", train, export_network)


@_network
def joints() -> _Training:
    """Train a gait network that sees how joints move. It needs no pictures."""
    from app.lab.training.joints import JointsTrainSettings, export_network, train

    return _Training(JointsTrainSettings, "joints", train, export_network)


@app.command()
def gait(
    config: GaitConfigOption = None,
    set_: SetOption = None,
    export: ExportOption = None,
    export_only: ExportOnlyOption = False,
) -> None:
    """Train a gait network, ours or one of the field, on data in OpenGait's layout."""
    from app.lab.training.gait.config import read_gait_config
    from app.lab.training.gait.export import export_trained
    from app.lab.training.gait.task import train

    settings = read_gait_config(config, set_ or ())
    checkpoint = settings.checkpoint
    more = "" if checkpoint is None else f"\nThe checkpoint in OpenGait's format is {checkpoint}."
    _train("gait", settings, train, export_trained, export, export_only, more)


@app.command()
def cutouts(
    out: Annotated[Path, typer.Option(help="Folder of the cut-outs. A run that was stopped continues.")],
    people: Annotated[
        int, typer.Option(min=1, max=100_000, help="Number of walkers; each is drawn twelve times.")
    ] = 600,
    workers: WorkersOption = 0,
    wardrobe: WardrobeOption = None,
    cache: BodyCacheOption = None,
) -> None:
    """Render virtual walkers without background, for training the detector, the segmenter and the pose network."""
    from app.lab.synthesis.cutouts import write_cutouts
    from app.lab.walkers.body import CACHE

    with ProgressBars() as bars:
        write_cutouts(
            out, people, cache=cache or CACHE, wardrobe=wardrobe, workers=workers,
            progress=bars,
        )  # fmt: skip
    say(f"Wrote {out}.")


@app.command()
def filmed(
    data: Annotated[Path, typer.Option(help="Data set made by: python -m app walkers dataset")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set. A run that was stopped continues.")],
    photos: Annotated[Path, typer.Option(help="Folder of labelled pictures, see app/lab/synthesis/photos.py.")],
    cutouts: Annotated[Path, typer.Option(help="Cut-outs for bystanders: python -m app train cutouts")],
    segmenter: Annotated[
        list[Path] | None,
        typer.Option(help="A segmenter's checkpoint. Several take turns at random. Default: the embedded one."),
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, help="Only so many people, the first ones.")] = None,
    walks: Annotated[int, typer.Option(min=1, max=1000, help="Walks of each person, each from one camera.")] = 4,
    workers: WorkersOption = 0,
    wardrobe: Annotated[Path | None, typer.Option(help="Folder of MakeHuman clothes, as for the data set.")] = None,
    cache: BodyCacheOption = None,
) -> None:
    """Film virtual walkers in colour and cut them out with a segmenter, for training the gait network."""
    from app.lab.synthesis.filmed import Studio, write_filmed
    from app.lab.walkers.body import CACHE
    from app.weights.checkpoints import HOME

    segmenters = tuple(segmenter or [HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx"])
    studio = Studio(data, photos, cutouts, segmenters, cache or CACHE, wardrobe, walks)
    with ProgressBars() as bars:
        write_filmed(
            out, studio, people=people, workers=workers,
            progress=bars,
        )  # fmt: skip
    say(f"Wrote {out}.")


def _train(
    name: str,
    settings: Any,
    train: Callable[[Any], object],
    export_network: Callable[[Any, Path], float],
    export: Path | None,
    export_only: bool,
    more: str = "",
) -> None:
    """Train and export a network, and print how far the exported file is from torch."""
    from app.files import need_writable
    from app.lab.training.engine import is_first_process

    path = export or settings.out / f"{name}.onnx"
    need_writable(path)  # before the long work
    with show_log(times=True):
        if not export_only:
            train(settings)
            if not is_first_process():
                return
        difference = export_network(settings, path)
    say(f"Wrote {path}. ONNX Runtime and torch differ by {difference:.1e} at most.{more}")
