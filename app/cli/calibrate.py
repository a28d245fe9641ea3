"""``python -m app calibrate``: what the distances of a gait model mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from app.cli.terminal import ProgressBars, console, say
from app.errors import GalleryError, SettingsError

if TYPE_CHECKING:
    from app.gallery.distances import Metric
    from app.lab.evaluation.calibrate import Calibration
    from app.stages import GaitModel
    from app.types import Floats, ModelCard


_USUAL_RATE = 0.01  # what identify asks for where nothing is said


def calibrate(
    data: Annotated[
        Path | None, typer.Option(help="Data set in OpenGait's layout, of people the model has not learnt.")
    ] = None,
    gallery_db: Annotated[Path | None, typer.Option(help="Or the gallery's file: your own enrolled walks.")] = None,
    partition: Annotated[Path | None, typer.Option(help="OpenGait's JSON: only its test people.")] = None,
    people: Annotated[int | None, typer.Option(min=1, help="Only so many people, the first.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", "--gait-checkpoint", help="Gait network. Default: the best found.")
    ] = None,
    gait: Annotated[str | None, typer.Option(help="Gait model by name.")] = None,
    metric: Annotated[str, typer.Option(help="euclidean or cosine.")] = "euclidean",
    name: Annotated[str | None, typer.Option(help="What the walks are, for reports.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write here. Default: NAME.scores.json beside the gallery's file, where identify looks first, or else "
            "beside the checkpoint, except for the one that comes with the program."
        ),
    ] = None,
    charts: Annotated[Path | None, typer.Option(help="Folder for curves of errors and of reliability.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings (default: output/cache/embeddings).")] = None,
) -> None:
    """Learn what distances mean, so that matches have a probability and a false accept rate can be asked for."""
    from app.lab.evaluation.calibrate import calibrate as learn
    from app.lab.evaluation.calibrate import draw
    from app.lab.evaluation.embeddings import CACHE, MAX_FRAMES
    from app.recognise.scores import scores_path
    from app.settings import Settings
    from app.weights.checkpoints import checkpoint_roots
    from app.weights.registry import gait_models

    if metric not in ("euclidean", "cosine"):
        raise SettingsError(f"There is no distance '{metric}'. Known: euclidean, cosine.")
    if (data is None) == (gallery_db is None):
        raise SettingsError("Give either --data, a data set, or --gallery-db, a gallery's file.")
    named: dict[str, Any] = {"gait.checkpoint": checkpoint, "gait.name": gait, "gait.max_frames": MAX_FRAMES}
    settings = Settings.load(named={key: value for key, value in named.items() if value is not None})
    with ProgressBars() as bars:
        model = gait_models.build(settings.gait, checkpoint_roots(settings.checkpoints))
        out = out or scores_path(gallery_db or _own_file(model.card))
        if data is not None:
            walks = _data(data, partition, people, model, cache or CACHE, bars.counter("Embedding"))
        else:
            walks = _enrolled(cast(Path, gallery_db), model)
        found = learn(
            *walks, model_id=model.card.model_id, metric=cast("Metric", metric),
            data=name or f"{len(set(walks[1]))} people of {(data or cast(Path, gallery_db)).name}",
        )  # fmt: skip
    found.scores.write(out)
    _show(found)
    used = gallery_db is not None and out == scores_path(gallery_db)
    say(f"Wrote {out}" + (": identify uses them with this gallery." if used else "."))
    smallest = found.scores.smallest_rate()
    if used and smallest > _USUAL_RATE:
        console.print(
            f"So few people tell nothing about rarer false accepts: give identify --far {smallest:.2g} or more."
        )
    for path in draw(found, charts) if charts is not None else ():
        say(f"Wrote {path}.")


def _own_file(card: ModelCard) -> Path:
    """Return the file of a gait model beside which scores may be written."""
    from app.weights.checkpoints import HOME

    if card.file is None:
        raise SettingsError(f"The gait model '{card.name}' has no file beside which scores could lie: give --out.")
    if HOME / "embedded" in card.file.resolve().parents:
        raise SettingsError(
            f"The scores beside {card.file.name} come with the program and are not replaced: give --out. "
            "As NAME.scores.json beside your gallery NAME.db, identify finds them first."
        )
    return card.file


def _data(
    folder: Path,
    partition: Path | None,
    people: int | None,
    model: GaitModel,
    cache: Path,
    progress: Callable[[int, int], None],
) -> tuple[Floats, list[str], list[str]]:
    from app.lab.data.opengait import read_partition, walk_files
    from app.lab.evaluation.embeddings import embed_walks

    files = walk_files(folder, None if partition is None else read_partition(partition, "test"))
    wanted = set(sorted({file.identity for file in files})[:people])
    files = [file for file in files if file.identity in wanted]
    features = embed_walks(files, model, cache=cache, progress=progress)
    return features, [file.identity for file in files], [file.condition for file in files]


def _enrolled(path: Path, model: GaitModel) -> tuple[Floats, list[str], list[str]]:
    import numpy as np

    from app.gallery.sqlite import SqliteGallery

    with SqliteGallery(path, create=False) as gallery:
        walks = [walk for walk in gallery.walks() if walk.model_id == model.card.model_id]
        if not walks:
            raise GalleryError(f"{path} holds no walks of {model.card.model_id}: python -m app gallery re-embed.")
        features = np.stack([embedding.parts for embedding in gallery.embeddings([walk.walk_id for walk in walks])])
    return features, [str(walk.person_id) for walk in walks], [walk.source for walk in walks]


def _show(found: Calibration) -> None:
    from app.recognise.scores import RATES

    scores = found.scores
    console.print(
        f"{escape(scores.model_id)}, {scores.metric} distance, on {escape(scores.data)}: {scores.people} people, "
        f"{scores.pairs[0]} pairs of one person, {scores.pairs[1]} of two",
        soft_wrap=True,
    )
    table = Table("False accepts", "Threshold", "95 % interval", "False rejects", box=SIMPLE)
    for rate, (_, low, high) in zip(RATES, scores.intervals, strict=True):
        if rate < scores.smallest_rate():
            continue
        value = scores.threshold(rate)
        table.add_row(
            f"{rate:.1%}", f"{value:.3f}", f"{low:.3f} to {high:.3f}", f"{(found.pairs.genuine > value).mean():.1%}"
        )
    console.print(table)
    claims = found.claims
    if claims is None:
        console.print("Too few people to check the probabilities on others than they were learnt from.")
        return
    table = Table("Probability said", "Were right", "Searches", box=SIMPLE)
    for said, so, count in claims.bins():
        table.add_row(f"{said:.0%}", f"{so:.0%}", str(count))
    console.print(table)
    console.print(
        f"On people they were not learnt from, probabilities are off by {claims.error():.1%} in the mean; half of the "
        f"walkers were strangers, in galleries of {claims.size.min()} to {claims.size.max()} people."
    )
