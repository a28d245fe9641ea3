"""Options that several commands share: which models, which settings, where the results go."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from app.settings import Settings

ConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file of settings, all of which docs/guide/settings.md lists.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Change one setting, e.g. match.far=0.01; may be repeated."
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", help="Say where each model comes from, its licence, and why it was chosen.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Compute everything anew; use nothing from the cache.")]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A cluster of Ray that does the work: HOST:6379, ray://HOST:10001, or auto for the one on this machine. "
        "Its machines must see the same files.",
    ),
]


def _few(workers: int) -> int:
    from app.workers import need_few

    return need_few(workers, "--workers")


WorkersOption = Annotated[
    int,
    typer.Option(
        min=0, callback=_few, help="How many processes work side by side. 0: one for each core; many more are refused."
    ),
]
WardrobeOption = Annotated[
    Path | None,
    typer.Option(help="Folder of MakeHuman clothes (.mhclo with .obj), from which some people wear suits."),
]
BodyCacheOption = Annotated[Path | None, typer.Option(help="Folder for the body model. Default: output/cache/walkers.")]

_MODELS: dict[str, tuple[str, Any]] = {
    "detector": (
        "detector.name",
        Annotated[str | None, typer.Option(help="Detector by name; `python -m app models` lists them.")],
    ),
    "segmenter": ("segmenter.name", Annotated[str | None, typer.Option(help="Segmenter by name.")]),
    "gait": ("gait.name", Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")]),
    "detector_checkpoint": (
        "detector.checkpoint",
        Annotated[Path | None, typer.Option(help="Detector's file: YOLOX .pth, .pth.tar or .onnx.")],
    ),
    "segmenter_checkpoint": (
        "segmenter.checkpoint",
        Annotated[Path | None, typer.Option(help="PP-HumanSeg deployment folder, or a segmenter's .onnx file.")],
    ),
    "gait_checkpoint": (
        "gait.checkpoint",
        Annotated[Path | None, typer.Option(help="Gait network's file, e.g. GaitBase_DA-180000.pt.")],
    ),
    "gait_config": (
        "gait.config",
        Annotated[Path | None, typer.Option(help="OpenGait's YAML of that network, for what its file does not tell.")],
    ),
    "speed": (
        "speed",
        Annotated[
            str | None,
            typer.Option(help="accurate, balanced or fast: how often and how closely it looks. Default: balanced."),
        ],
    ),
    "fps": (
        "video.fps",
        Annotated[float | None, typer.Option(help="The videos' true frame rate in 1/s, where a file says it wrongly.")],
    ),
    "from_": (
        "video.start",
        Annotated[float | None, typer.Option("--from", help="Read each video from this second on.")],
    ),
    "to": ("video.end", Annotated[float | None, typer.Option("--to", help="Read each video up to this second.")]),
    "device": (
        "detector.device segmenter.device pose.device gait.device",
        Annotated[
            str | None,
            typer.Option(help="Where networks run: cpu, cuda, rocm, mps, coreml, directml, openvino. Default: auto."),
        ],
    ),
    "precision": (
        "detector.precision segmenter.precision pose.precision",
        Annotated[
            str | None,
            typer.Option(help="What networks compute in: float32, bfloat16, float16 or int8. Default: auto."),
        ],
    ),
    "output": (
        "output.folder",
        Annotated[Path | None, typer.Option(help="Folder for results and cache. Default: output.")],
    ),
}
"""For each parameter: the settings it stands for, and its option. Every command of `with_settings` has these."""

_FURTHER: dict[str, tuple[str, Any]] = {
    "pose_checkpoint": (
        "pose.checkpoint",
        Annotated[Path | None, typer.Option(help="Pose network's .onnx file.")],
    ),
    "body": ("body.name", Annotated[str | None, typer.Option(help="Body estimator by name: lift or fit.")]),
    "body_checkpoint": (
        "body.checkpoint",
        Annotated[Path | None, typer.Option(help="File of the network that lifts keypoints into space.")],
    ),
    "pose": ("pose.paint", Annotated[bool | None, typer.Option("--pose", help="Paint skeletons too.")]),
    "threshold": (
        "match.threshold",
        Annotated[
            float | None,
            typer.Option(
                help="Largest distance at which two walks count as one person's. Default: derived from the run."
            ),
        ],
    ),
    "far": (
        "match.far",
        Annotated[
            float | None,
            typer.Option(
                help="False accept rate: the share of comparisons with a stranger that may pass, where the scores of "
                "the gait model are calibrated. Default: 0.05."
            ),
        ],
    ),
    "k": (
        "match.neighbours",
        Annotated[
            int | None,
            typer.Option("--k", help="How many of a person's nearest gallery walks count. Default: 3."),
        ],
    ),
    "closed": (
        "match.closed",
        Annotated[
            bool | None,
            typer.Option(
                "--closed",
                help="Everybody in the probe is in the gallery: give every walk the best name, without a threshold.",
            ),
        ],
    ),
    "blur": (
        "output.blur",
        Annotated[str | None, typer.Option(help="Whom to blur: none, faces, unknown (people) or everyone.")],
    ),
}

_SETTINGS_FILE = {"config": ConfigOption, "set_": SetOption}


def with_settings(*further: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that choose models, output and settings; it receives them as one `settings`.

    `further` are options that only some commands have (`_FURTHER`). The command has a keyword parameter ``settings``,
    in whose place the options appear in the help::

        @with_settings("threshold")
        def name_people(video: str, *, settings: Settings, fresh: FreshOption = False) -> None: ...
    """
    options = _MODELS | {name: _FURTHER[name] for name in further}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**arguments: Any) -> None:
            given = {parameter: arguments.pop(parameter) for parameter in options}
            named = {setting: given[name] for name, (settings, _) in options.items() for setting in settings.split()}
            flags = {setting: _flag(name) for name, (settings, _) in options.items() for setting in settings.split()}
            settings = load_settings(arguments.pop("config"), arguments.pop("set_"), named, flags)
            command(settings=settings, **arguments)

        # `Settings` is not imported here, because pydantic would slow down the command line's help.
        hints = get_type_hints(command, localns={"Settings": object}, include_extras=True)
        shared = {name: annotation for name, (_, annotation) in options.items()} | _SETTINGS_FILE
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            if name == "settings":
                parameters += [
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                    for name, annotation in shared.items()
                ]
            else:
                parameters.append(parameter.replace(annotation=hints[name]))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _flag(parameter: str) -> str:
    return f"--{parameter.rstrip('_').replace('_', '-')}"


def load_settings(
    config: Path | None = None,
    assignments: list[str] | None = None,
    named: dict[str, Any] | None = None,
    flags: dict[str, str] | None = None,
) -> Settings:
    """Load the settings from ``--config``, ``--set`` and `named` options; a named option of None changes nothing.

    `flags` says what the options are called that gave the named values.
    """
    from app.settings import Settings

    given = {setting: value for setting, value in (named or {}).items() if value is not None}
    return Settings.load(config, assignments or (), given, flags or {})
