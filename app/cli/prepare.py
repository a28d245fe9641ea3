"""``python -m app prepare``: gait data sets from raw folders and from videos."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from app.cli.terminal import ProgressBars, console, say

if TYPE_CHECKING:
    from app.lab.data.conversion import Report

app = typer.Typer(help="Make gait data sets in OpenGait's layout, from raw folders or videos.", no_args_is_help=True)

WorkersOption = Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")]


@app.command()
def silhouettes(
    dataset: Annotated[
        str, typer.Argument(help="casia-b, oumvlp, grew, gait3d, sustech1k, ccpg, or a .yaml of your own.")
    ],
    raw: Annotated[Path, typer.Argument(help="The unpacked data set, folders of pictures.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set. A run that was stopped goes on.")],
    partition: Annotated[Path | None, typer.Option(help="OpenGait's JSON with TRAIN_SET and TEST_SET.")] = None,
    size: Annotated[int, typer.Option(help="Of the silhouettes: 64 or 128 px.")] = 64,
    min_frames: Annotated[int, typer.Option(min=1, help="Walks with fewer silhouettes are dropped.")] = 5,
    workers: WorkersOption = 0,
) -> None:
    """Cut, scale and centre the silhouettes of a published data set, as OpenGait does."""
    from app.errors import SettingsError
    from app.lab.data.raw import prepare_silhouettes, read_layout
    from app.settings import cores

    if size not in (64, 128):
        raise SettingsError(f"--size {size}: silhouettes are 64 or 128 px.")
    layout = read_layout(dataset)
    with ProgressBars() as bars:
        report = prepare_silhouettes(
            layout, raw, out, size=size, min_frames=min_frames, partition=partition, workers=workers or cores(),
            progress=bars.counter("Walks"),
        )  # fmt: skip
    _show(report, out)


@app.command()
def heatmaps(
    pose_data_path: Annotated[Path, typer.Option(help="Data set of keypoints: identity/condition/view/*.pkl.")],
    save_root: Annotated[Path, typer.Option(help="The new data set becomes a folder in here.")],
    dataset_name: Annotated[str, typer.Option(help="Name of that folder.")],
    ext_name: Annotated[str, typer.Option(help="Put behind the name, after '_'.")] = "",
    heatmap_config: Annotated[Path | None, typer.Option(help="YAML file with transfer_to_coco17.")] = None,
    transfer_to_coco17: Annotated[
        bool, typer.Option("--transfer-to-coco17", help="The keypoints are OpenPose's 18 joints, as OUMVLP's.")
    ] = False,
    workers: WorkersOption = 0,
) -> None:
    """Draw the skeleton maps that SkeletonGait reads from keypoints. A run that was stopped goes on."""
    from app.lab.data.skeleton_maps import HeatmapSettings, prepare_heatmaps, read_heatmap_settings
    from app.settings import cores

    settings = HeatmapSettings() if heatmap_config is None else read_heatmap_settings(heatmap_config)
    if transfer_to_coco17:
        settings = HeatmapSettings(transfer_to_coco17=True)
    out = save_root / (f"{dataset_name}_{ext_name}" if ext_name else dataset_name)
    with ProgressBars() as bars:
        report = prepare_heatmaps(
            pose_data_path, out, settings, workers=workers or cores(), progress=bars.counter("Walks")
        )
    _show(report, out)


@app.command()
def link(
    silhouettes: Annotated[Path, typer.Option(help="Data set of silhouettes.")],
    out: Annotated[Path, typer.Option(help="Folder of the links. A run that was stopped goes on.")],
    heatmaps: Annotated[Path | None, typer.Option(help="Data set of skeleton maps, for SkeletonGait++.")] = None,
    smpl: Annotated[Path | None, typer.Option(help="Data set of SMPL parameters, for SMPLGait.")] = None,
    workers: WorkersOption = 0,
) -> None:
    """Link silhouettes side by side with skeleton maps or SMPL parameters, as SkeletonGait++ or SMPLGait read them."""
    from app.errors import SettingsError
    from app.lab.data.link import link as make_links
    from app.settings import cores

    other = heatmaps or smpl
    if other is None or (heatmaps and smpl):
        raise SettingsError("Silhouettes are linked with one other data set: give --heatmaps or --smpl.")
    with ProgressBars() as bars:
        report = make_links(
            other, silhouettes, out, "heatmap" if heatmaps else "smpl", workers=workers or cores(),
            progress=bars.counter("Walks"),
        )  # fmt: skip
    _show(report, out)


@app.command()
def from_videos(
    folder: Annotated[Path, typer.Argument(help="Folder of videos; sub-folders count.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set. A run that was stopped goes on.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV: video, track, identity, condition, view. Without it, one to fill in is made."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
    ] = None,
) -> None:
    """Follow and cut out everybody in videos; with your labels, a data set of silhouettes, keypoints and heatmaps."""
    from app.settings import Settings

    settings = Settings.load(config, set_ or ())
    from app.lab.data.from_videos import prepare_videos, write_template

    with ProgressBars.of_frames() as progress:
        if labels is None:
            template = write_template(folder, out, settings, progress)
        else:
            report = prepare_videos(folder, labels, out, settings, progress)
    if labels is not None:
        _show(report, out)
        return
    again = shlex.join(
        ["python", "-m", "app", "prepare", "from-videos", *map(str, (folder, out, "--labels", template))]
    )
    say(
        f"Wrote {template}, a line for each track, and pictures of them in {out / 'tracks'}. Fill in the identity "
        f"(tracks of one person get the same; leave out whom you do not want), then: {again}"
    )


def _show(report: Report, out: Path) -> None:
    say(f"{out}: {report.people} people, {report.walks} walks, {report.frames} frames.")
    for reason, frames in report.frames_dropped.items():
        console.print(f"Frames dropped, {escape(reason)}: {frames}")
    for what, found in (("Walks dropped", report.walks_dropped), ("Left out", report.left_out)):
        more = report.more.get("walks_dropped" if found is report.walks_dropped else "left_out", 0)
        if found:
            reasons = Counter(found.values()).most_common(3)
            told = "; ".join(f"{count} x {reason}" for reason, count in reasons)
            say(f"{what}: {len(found) + more} ({told}). See {out / 'report.json'}.")
