"""``python -m app prepare``: gait data sets from raw folders and from videos."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ConfigOption, SetOption, WorkersOption, load_settings
from app.cli.terminal import ProgressBars, say

if TYPE_CHECKING:
    from app.lab.data.conversion import Report

app = typer.Typer(help="Make gait data sets in OpenGait's layout, from raw folders or videos.", no_args_is_help=True)


@app.command()
def silhouettes(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="casia-b, oumvlp, grew, gait3d, sustech1k, ccpg, or a .yaml file of your own."
        ),
    ],
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="The unpacked data set: folders of pictures.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the new data set. A run that was stopped continues there.")
    ],
    partition: Annotated[Path | None, typer.Option(help="OpenGait's JSON with TRAIN_SET and TEST_SET.")] = None,
    size: Annotated[int, typer.Option(help="Size of the silhouettes: 64 or 128 px.")] = 64,
    min_frames: Annotated[int, typer.Option(min=1, help="Drop walks with fewer silhouettes.")] = 5,
    workers: WorkersOption = 0,
) -> None:
    """Cut out, scale and centre the silhouettes of a published data set, as OpenGait does."""
    from app.lab.data.raw import prepare_silhouettes, read_layout

    layout = read_layout(dataset)
    _prepare(
        partial(prepare_silhouettes, layout, raw, size=size, min_frames=min_frames, partition=partition), out, workers
    )


@app.command()
def heatmaps(
    pose_data_path: Annotated[Path, typer.Option(help="Data set of keypoints, in OpenGait's layout.")],
    save_root: Annotated[Path, typer.Option(help="Folder in which the new data set becomes a folder.")],
    dataset_name: Annotated[str, typer.Option(help="Name of the new data set.")],
    ext_name: Annotated[str, typer.Option(help="Addition to the name, after '_'.")] = "",
    transfer_to_coco17: Annotated[
        bool, typer.Option("--transfer-to-coco17", help="The keypoints are OpenPose's 18 joints, as OUMVLP's are.")
    ] = False,
    workers: WorkersOption = 0,
) -> None:
    """Draw skeleton maps, the input of SkeletonGait, from keypoints. A run that was stopped continues."""
    from app.lab.data.skeleton_maps import prepare_heatmaps

    out = save_root / (f"{dataset_name}_{ext_name}" if ext_name else dataset_name)
    _prepare(partial(prepare_heatmaps, pose_data_path, openpose=transfer_to_coco17), out, workers)


@app.command()
def body(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Data set of keypoints, or of SMPL parameters: identity/condition/view/*.pkl."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the new data set. A run that was stopped continues there.")
    ],
    name: Annotated[
        str, typer.Option("--body", help="Body estimator: lift, or fit, which takes 20 times as long.")
    ] = "fit",
    view: Annotated[float, typer.Option(help="From which side bodies are drawn, degrees; 0 is the front.")] = 90.0,
    fps: Annotated[float, typer.Option(min=1.0, help="Frames a second of the walks.")] = 25.0,
    transfer_to_coco17: Annotated[
        bool, typer.Option("--transfer-to-coco17", help="The keypoints are OpenPose's 18 joints, as OUMVLP's are.")
    ] = False,
    smpl: Annotated[
        Path | None, typer.Option(help="Your own SMPL_NEUTRAL.npz: draw it with the SMPL parameters of the data set.")
    ] = None,
    parameters: Annotated[
        bool,
        typer.Option(
            "--parameters", help="Write the bodies' parameters in SMPL's layout, for SMPLGait, and no silhouettes."
        ),
    ] = False,
    workers: WorkersOption = 0,
) -> None:
    """Fit bodies to keypoints and draw their silhouettes from one side: a data set of calibrated silhouettes."""
    from app.errors import SettingsError
    from app.lab.data.bodies import prepare_bodies, prepare_smpl_bodies

    if smpl is not None:
        if parameters:
            raise SettingsError("With --smpl the data set has SMPL parameters already. Give --smpl or --parameters.")
        _prepare(partial(prepare_smpl_bodies, data, smpl, view=view), out, workers)
        return
    make = partial(
        prepare_bodies, data, name=name, view=view, fps=fps, openpose=transfer_to_coco17, parameters=parameters
    )
    _prepare(make, out, workers)


@app.command()
def link(
    silhouettes: Annotated[Path, typer.Option(help="Data set of silhouettes.")],
    out: Annotated[Path, typer.Option(help="Folder of the links. A run that was stopped continues there.")],
    heatmaps: Annotated[Path | None, typer.Option(help="Data set of skeleton maps, for SkeletonGait++.")] = None,
    smpl: Annotated[Path | None, typer.Option(help="Data set of SMPL parameters, for SMPLGait.")] = None,
    workers: WorkersOption = 0,
) -> None:
    """Link silhouettes side by side with skeleton maps or SMPL parameters, for SkeletonGait++ or SMPLGait."""
    from app.errors import SettingsError
    from app.lab.data.link import link as make_links

    other = heatmaps or smpl
    if other is None or (heatmaps and smpl):
        raise SettingsError("Silhouettes are put beside one other data set: give either --heatmaps or --smpl.")
    _prepare(partial(make_links, other, silhouettes, modality="heatmap" if heatmaps else "smpl"), out, workers)


@app.command()
def from_videos(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of videos, including its sub-folders.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the new data set. A run that was stopped continues there.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns video, track, identity, condition, view. Without it, the program writes one for "
            "you to fill in."
        ),
    ] = None,
    without_names: Annotated[
        bool,
        typer.Option(
            "--without-names",
            help="Make each track a person of its own, for networks that learn without names. No labels are needed.",
        ),
    ] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Track and cut out everybody in videos. With your labels they become a data set with keypoints and heatmaps."""
    from app.errors import SettingsError
    from app.lab.data.from_videos import prepare_videos, write_template

    if without_names and labels is not None:
        raise SettingsError("Labels say who the tracks are. Give --labels or --without-names, not both.")
    settings = load_settings(config, set_)
    report = None
    with ProgressBars.of_frames() as progress:
        if labels is None:
            template = write_template(folder, out, settings, progress, nameless=without_names)
        if labels is not None or without_names:
            report = prepare_videos(folder, labels or template, out, settings, progress)
    if report is not None:
        _show(report, out)
        return
    again = shlex.join(
        ["python", "-m", "app", "prepare", "from-videos", *map(str, (folder, out, "--labels", template))]
    )
    say(
        f"Wrote {template} with a line for each track, and pictures of the tracks in {out / 'tracks'}. Fill in the "
        "identities: all tracks of one person get the same, and people whom you do not want get none. Then run: "
        f"{again}"
    )


def _prepare(make: Callable[..., Report], out: Path, workers: int) -> None:
    """Make a data set in `out` with a progress bar, and show the report."""
    with ProgressBars() as bars:
        report = make(out=out, workers=workers, progress=bars)
    _show(report, out)


def _show(report: Report, out: Path) -> None:
    for line in report.lines():
        say(line)
    say(f"Wrote {out}. Its report.json has the details.")
