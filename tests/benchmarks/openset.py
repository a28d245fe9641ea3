"""Known people and strangers: ``python -m tests.benchmarks.openset [--data FOLDER]``.

`walkers-100` (`app.lab.walkers.benchmark`): half of the hundred people are enrolled with four plain walks from eleven
views, the others are strangers; probes are compared with all other views than their own. Error rates are means over 20
random halves, in brackets the 95 % interval over people. Then the scores beside the checkpoint, which were learnt from
other walkers, are held against these: what was said, and what was so.

With ``--data`` (the walkers that the scores were learnt from, in OpenGait's layout) also `app.recognise.domain`: scores
of one half of the people, searches among the other half in small groups, whose distances are made smaller or larger,
or whose silhouettes are spoilt as by a poor segmenter. "raw" takes the scores as they are, "ratio" scales them by the
group's median alone, "adapt" is the rule of the program, "z-norm" takes mean and deviation of the group.

``python -m tests.benchmarks.accuracy gait`` lets the hundred people walk.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.gallery.distances import Distances, part_distances
from app.lab.data.opengait import read_silhouettes, walk_files
from app.lab.evaluation.openset import Claims, nearest_walks, open_set, trials
from app.lab.training.silhouettes import worsened
from app.lab.walkers.benchmark import CONDITIONS, GALLERY_WALKS, VIEWS
from app.recognise.domain import PLACES, adapt
from app.recognise.scores import Pairs, ScoreModel, find_scores
from app.settings import GaitSettings
from app.stages import GaitModel
from app.types import Bytes, Floats, GaitSequence, Ints
from app.weights.checkpoints import CheckpointFile, find_checkpoints
from app.weights.registry import gait_models

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 100
WALKS_FOR_CLAIMS = 1200
GROUPS = (3, 4, 8)
"""People seen together, whose distances tell the scale."""
SEARCHES = 2000
ASKED = 0.1
"""False accept rate whose threshold is tried in other places."""


@dataclass(frozen=True, eq=False)
class Walks:
    """N walks: embeddings (N, P, C), and who, under which condition, which walk of it, from where."""

    features: Floats
    people: Ints
    conditions: Ints
    walks: Ints
    views: Ints

    @classmethod
    def of_benchmark(cls, model: GaitModel, paths: Sequence[Path]) -> Walks:
        """The people of ``walkers-100``, a file for each."""
        labels, features = [], []
        for path in track(paths, "Embedding"):
            with np.load(path) as file:
                labels.append(file["labels"])
                features.append(embedded(model, file["silhouettes"]))
        people, conditions, walks, views = np.concatenate(labels).T
        return cls(np.concatenate(features), people - people.min(), conditions, walks, views)

    def nearest(self, chosen: Ints) -> Distances:
        """From walks to people: the nearest plain walk of another view, (n, people)."""
        gallery = np.flatnonzero((self.conditions == 0) & (self.walks < GALLERY_WALKS))
        table = np.empty((len(chosen), int(self.people.max()) + 1))
        for view in VIEWS:
            own = np.flatnonzero(self.views[chosen] == view)
            others = gallery[self.views[gallery] != view]
            distances = part_distances(self.features[chosen[own]], self.features[others])
            table[own] = nearest_walks(distances, self.people[others], table.shape[1])
        return table


def strangers(walks: Walks) -> Table:
    """Open-set error rates by condition."""
    table = Table("", "probes", "FNIR at FPIR 1 %", "FNIR at FPIR 10 %", "EER, probe and person")
    in_gallery = (walks.conditions == 0) & (walks.walks < GALLERY_WALKS)
    for number, name in enumerate(CONDITIONS):
        chosen = np.flatnonzero((walks.conditions == number) & ~in_gallery)
        found = open_set(walks.nearest(chosen), walks.people[chosen])
        rates = (*found.fnir.values(), found.eer)
        cells = (f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]" for rate in rates)
        table.add_row(name, str(found.probes), *cells)
    return table


def told(title: str, claims: Claims) -> Table:
    """What was said, and what was so."""
    table = Table("said", "right", "searches", title=f"{title}: off by {100 * claims.error():.1f} % in the mean")
    for said, so, count in claims.bins():
        table.add_row(f"{100 * said:.0f} %", f"{100 * so:.0f} %", str(count))
    return table


def carried_over(walks: Walks, scores: ScoreModel) -> Iterator[Table]:
    """The scores of other walkers on these, as they are and adapted by ten people."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(walks.people), WALKS_FOR_CLAIMS, replace=False))
    distances = part_distances(walks.features[chosen], walks.features[chosen])
    takes = [f"{condition}-{walk}" for condition, walk in zip(walks.conditions, walks.walks, strict=True)]
    recordings = [takes[index] for index in chosen]
    together = np.array([rng.choice(np.flatnonzero(walks.people[chosen] == person)) for person in range(10)])
    impostors = distances[np.ix_(together, together)][np.triu_indices(10, 1)]
    domain = adapt(scores, impostors, len(together))
    for title, judged in (("as they are", scores), (domain.note, domain.scores)):
        if judged is not None:
            yield told(title, trials(judged, distances, walks.people[chosen], recordings))


def ratio(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    return scores.scaled(float(np.median(impostors)) / scores.threshold(0.5))


def adapted(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    """`adapt`, without its refusal of places too far away."""
    return scores.scaled(adapt(scores, impostors, walks).scale)


def normalised(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    """Z-norm: the group's mean and deviation take the place of those of the scores, told from quantiles."""
    low, middle, high = (scores.threshold(rate) for rate in (0.1587, 0.5, 0.8413))
    stretch = float(impostors.std()) / ((high - low) / 2)
    shift = float(impostors.mean()) - stretch * middle
    intercept, slope = scores.evidence
    return replace(
        scores,
        impostor=tuple((stretch * np.array(scores.impostor) + shift).tolist()),
        evidence=(intercept - slope * shift / stretch, slope / stretch),
    )


RULES: Mapping[str, Callable[[ScoreModel, Distances, int], ScoreModel]] = {
    "raw": lambda scores, impostors, walks: scores,
    "ratio": ratio,
    "adapt": adapted,
    "z-norm": normalised,
}


def other_places(model: GaitModel, folder: Path, people: int) -> Table:
    """How the rules do where distances are others."""
    every = walk_files(folder)
    names = sorted({walk.identity for walk in every})[:people]
    # One camera of each recording.
    first = {(walk.identity, walk.condition): walk for walk in reversed(every) if walk.identity in names}
    files = sorted(first.values(), key=lambda walk: walk.name)
    owners = np.searchsorted(names, [walk.identity for walk in files])
    takes = np.array([walk.condition for walk in files])
    learnt = np.isin(owners, np.random.default_rng(0).permutation(len(names))[: len(names) // 2])
    silhouettes = [read_silhouettes(walk.path) for walk in files]
    clean = embedded(model, silhouettes)
    rng = np.random.default_rng(5)
    spoilt = embedded(model, [worsened(walk, 1.0, rng) for walk in silhouettes])
    own = [names[owner] for owner in owners[learnt]]
    pairs = Pairs.of(clean[learnt], own, takes[learnt].tolist(), "euclidean")
    scores = ScoreModel.fit(pairs, model_id=model.card.model_id, metric="euclidean", data="half of them")
    table = Table("place", "group", "rule", f"false accepts, {ASKED:.0%} asked", "true accepts", "log loss", "off by")
    table.title = f"Scores elsewhere (the scale's deviation between places: {PLACES})"
    for place, features, stretch in (
        ("the same", clean, 1.0), ("x 0.7", clean, 0.7), ("x 1.3", clean, 1.3), ("spoilt", spoilt, 1.0)
    ):  # fmt: skip
        distances = stretch * part_distances(features[~learnt], features[~learnt])
        for size in GROUPS:
            for rule, adapt_to in RULES.items():
                false, true, claims = searched(scores, adapt_to, distances, owners[~learnt], takes[~learnt], size)
                table.add_row(
                    place, str(size), rule, f"{100 * false:.1f} %", f"{100 * true:.0f} %",
                    f"{claims.log_loss():.3f}", f"{100 * claims.error():.1f} %",
                )  # fmt: skip
    return table


def embedded(model: GaitModel, silhouettes: Sequence[Bytes]) -> Floats:
    """Embeddings (N, P, C) of walks (T, 64, 44 or 64)."""
    walks = [np.pad(walk, ((0, 0), (0, 0), ((64 - walk.shape[2]) // 2,) * 2)) for walk in silhouettes]
    found = model.embed([GaitSequence(np.arange(len(walk)), walk, 25.0) for walk in walks])
    return np.stack([embedding.parts for embedding in found])


def searched(
    scores: ScoreModel,
    rule: Callable[[ScoreModel, Distances, int], ScoreModel],
    distances: Distances,
    owners: Ints,
    takes: np.ndarray[tuple[int], np.dtype[np.str_]],
    size: int,
) -> tuple[float, float, Claims]:
    """Search in groups of `size` people, whose own distances tell the place: false and true accepts, and the claims."""
    rng = np.random.default_rng(1)
    names = np.unique(owners)
    rows, false, true = [], [], []
    for _ in range(SEARCHES):
        group = rng.choice(names, size, replace=False)
        gallery = np.array([rng.choice(np.flatnonzero(owners == name)) for name in group])
        known = rng.random() < 0.5
        place = int(rng.integers(size))
        who = group[place] if known else rng.choice(np.setdiff1d(names, group))
        probe = rng.choice(np.flatnonzero((owners == who) & ~(known & (takes == takes[gallery[place]]))))
        here = rule(scores, distances[np.ix_(gallery, gallery)][np.triu_indices(size, 1)], size)
        found, threshold = distances[probe, gallery], here.threshold(ASKED)
        nearest = int(found.argmin())
        others = np.delete(found, place) if known else found
        false.append(float((others <= threshold).mean()))
        if known:
            true.append(float(found[place] <= threshold))
        said = float(here.probabilities(found[None])[0, nearest])
        rows.append((said, known and nearest == place, size))
    said_, right, sizes = (np.array(column) for column in zip(*rows, strict=True))
    return float(np.mean(false)), float(np.mean(true)), Claims(said_, right, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walkers", type=Path, default=Path("output/accuracy/walkers-100"), help="kept here")
    parser.add_argument("--data", type=Path, help="walkers the scores were learnt from, for the rules in other places")
    parser.add_argument("--people", type=int, default=60, help="of --data, the first")
    parser.add_argument("--checkpoint", type=Path, help="default: the embedded network")
    parser.add_argument("--scores", type=Path, help="default: the file beside the checkpoint")
    options = parser.parse_args()
    file = (
        CheckpointFile.given(options.checkpoint)
        if options.checkpoint
        else next(find_checkpoints((ROOT / "checkpoints",), ("embedded/gait",)))
    )
    model = gait_models.recognise(file.path).build(file, GaitSettings(max_frames=720))
    console = Console(width=130)
    paths = sorted((options.walkers / "silhouettes").glob("*.npz"))[:PEOPLE]
    if len(paths) < PEOPLE:
        parser.error(f"{options.walkers} holds {len(paths)} people. First: python -m tests.benchmarks.accuracy gait")
    walks = Walks.of_benchmark(model, paths)
    console.print(strangers(walks))
    scores = (
        ScoreModel.from_json(options.scores.read_text(encoding="utf-8"))
        if options.scores
        else find_scores(model.card, "euclidean")
    )
    if scores is None:
        print("No scores lie beside the checkpoint: python -m app calibrate makes them.")
    else:
        for table in carried_over(walks, scores):
            console.print(table)
    if options.data is not None:
        console.print(other_places(model, options.data, options.people))


if __name__ == "__main__":
    main()
