"""``python -m app calibrate``: what the distances of a gait model mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from app.cli.options import load_settings
from app.cli.terminal import ProgressBars, console, say

if TYPE_CHECKING:
    from app.lab.evaluation.calibrate import Calibration

_USUAL_RATE = 0.01  # the false accept rate of `identify` without --far


def calibrate(
    data: Annotated[
        Path | None,
        typer.Option(help="Data set in OpenGait's layout, of people who were not in the model's training."),
    ] = None,
    gallery_db: Annotated[
        str | None, typer.Option(help="Or a gallery's file or address, to use the walks that you have enrolled.")
    ] = None,
    casts: Annotated[
        Path | None,
        typer.Option(help="Or a folder of filmed casts: python -m app walkers casts. Then cameras are adapted to."),
    ] = None,
    partition: Annotated[
        Path | None, typer.Option(help="OpenGait's JSON: take only the test people of the data set.")
    ] = None,
    people: Annotated[
        int | None, typer.Option(min=1, help="Take only so many people of the data set, the first.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Gait network's file. Default: the best that is found."),
    ] = None,
    gait_checkpoint: Annotated[Path | None, typer.Option(hidden=True)] = None,  # as other commands call it
    gait: Annotated[str | None, typer.Option(help="Gait model by name, e.g. gei.")] = None,
    metric: Annotated[str, typer.Option(help="Distance of embeddings: euclidean or cosine.")] = "euclidean",
    name: Annotated[str | None, typer.Option(help="What the walks are called in reports.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the scores to this file. Default: NAME.scores.json beside the gallery's file, where identify "
            "looks first, or else beside the checkpoint, except for the one that comes with the program."
        ),
    ] = None,
    charts: Annotated[
        Path | None, typer.Option(help="Draw curves of errors and reliability into this folder (extra evaluate).")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings. Default: output/cache/embeddings.")] = None,
) -> None:
    """Measure what distances mean, so that results have probabilities and you can ask for a false accept rate."""
    from app.files import need_writable
    from app.lab.evaluation.calibrate import calibrate as fit
    from app.lab.evaluation.calibrate import draw, known_walks, scores_file, source_of
    from app.lab.evaluation.charts import need_matplotlib
    from app.lab.evaluation.embeddings import MAX_FRAMES
    from app.lab.evaluation.files import load_model

    source = source_of(data, gallery_db, casts)
    file = checkpoint or gait_checkpoint
    named = {"gait.checkpoint": file, "gait.name": gait, "gait.max_frames": MAX_FRAMES, "match.metric": metric}
    settings = load_settings(named=named)
    model = load_model(settings, of_files=data is not None)
    path = out or scores_file(model.card, gallery_db)
    need_writable(path)
    if charts is not None:
        need_matplotlib()
    with ProgressBars() as bars:
        walks = known_walks(
            model,
            data,
            gallery_db,
            casts,
            partition=partition,
            people=people,
            cache=cache,
            progress=bars,
        )
        called = name or f"{len(set(walks.people))} people of {Path(source).name}"
        found = fit(*walks, model_id=model.card.model_id, metric=settings.match.metric, data=called)
    found.scores.write(path)
    _show(found)
    own = gallery_db is not None and out is None
    say(f"Wrote {path}" + (": identify uses these scores with this gallery." if own else "."))
    smallest = found.scores.smallest_rate()
    if own and smallest > _USUAL_RATE:
        say(f"So few people say nothing about rarer false accepts: give identify --far {smallest:.2g} or more.")
    for picture in draw(found, charts) if charts is not None else ():
        say(f"Wrote {picture}.")


def _show(found: Calibration) -> None:
    scores, claims = found.scores, found.claims
    say(
        f"{scores.model_id}, {scores.metric} distance, on {scores.data}: {scores.people} people, {scores.pairs[0]} "
        f"pairs of walks of the same person, {scores.pairs[1]} of different people"
    )
    table = Table("False accepts", "Threshold", "95 % interval", "False rejects", box=SIMPLE)
    for rate, threshold, low, high, rejected in found.thresholds():
        table.add_row(f"{rate:.1%}", f"{threshold:.3f}", f"{low:.3f} to {high:.3f}", f"{rejected:.1%}")
    console.print(table)
    if claims is None:
        say("There are too few people to check the probabilities on people whom the scores were not fitted to.")
        return
    table = Table("Stated probability", "Were right", "Searches", box=SIMPLE)
    for stated, true, count in claims.bins():
        table.add_row(f"{stated:.0%}", f"{true:.0%}", str(count))
    console.print(table)
    say(
        f"On people the scores were not fitted to, probabilities are wrong by {claims.error():.1%} on average. Half of "
        f"the searches were for strangers, in galleries of {claims.size.min()} to {claims.size.max()} people."
    )
