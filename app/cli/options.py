"""Options that several commands share: the models, and the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Settings

DetectorOption = Annotated[str | None, typer.Option(help="Detector by name (python -m app models).")]
SegmenterOption = Annotated[str | None, typer.Option(help="Segmenter by name.")]
GaitOption = Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")]
DetectorFileOption = Annotated[Path | None, typer.Option(help="YOLOX .pth, .pth.tar or .onnx.")]
SegmenterFileOption = Annotated[Path | None, typer.Option(help="PP-HumanSeg deployment folder, or an ONNX matte.")]
GaitFileOption = Annotated[Path | None, typer.Option(help="Gait network, e.g. GaitBase_DA-180000.pt.")]
OutputOption = Annotated[Path | None, typer.Option(help="Folder for the results.")]
ConfigOption = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Say all that is known of the models.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Use nothing that an earlier run found.")]


def settings_of(config: Path | None, assignments: list[str] | None, **named: Any) -> Settings:
    """Load the settings; a name such as ``gait__checkpoint`` stands for ``gait.checkpoint``, and None says nothing."""
    from app.settings import Settings

    given = {key.replace("__", "."): value for key, value in named.items() if value is not None}
    return Settings.load(config, assignments or (), given)
