"""Known people and strangers: ``python -m tests.benchmarks.openset [--data FOLDER]``.

On `walkers-100` (`app.lab.walkers.benchmark`), half of the hundred people are enrolled with four plain walks from
eleven views, and the others are strangers. Probes are compared with all views except their own. Error rates are means
over 20 random halves; the 95 % interval over people stands in brackets. Then the scores beside the checkpoint, which
were fitted to other walkers, are checked on these: what was claimed, and what was true.

With ``--data`` (the walkers that the scores were fitted to, in OpenGait's layout), `app.recognise.domain` is tried too.
Scores of one half of the people are used for searches among the other half in small groups, whose distances are made
smaller or larger, or whose silhouettes are spoilt as a poor segmenter would. "raw" takes the scores as they are,
"ratio" scales them by the group's median alone, "adapt" is the rule of the program, and "z-norm" takes the mean and the
deviation of the group.

``python -m tests.benchmarks.accuracy gait`` lets the hundred people walk.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.gallery.distances import Distances, part_distances
from app.lab.data.opengait import read_silhouettes, walk_files
from app.lab.evaluation.bootstrap import percentile_interval
from app.lab.evaluation.embeddings import parts_of, sequence_of
from app.lab.evaluation.pairs import Pairs, fit_scores
from app.lab.evaluation.rates import equal_error_rate, false_negative_identification_rate
from app.lab.evaluation.reliability import Claims, random_searches
from app.lab.training.silhouettes import worsened
from app.lab.walkers.benchmark import GALLERY_WALKS
from app.lab.walkers.choices import CASIA_VIEWS, CONDITIONS
from app.recognise.domain import PLACES, adapt
from app.recognise.scores import ScoreModel, find_scores
from app.settings import GaitSettings
from app.stages import GaitModel
from app.types import Bools, Floats, Ints
from app.weights.checkpoints import HOME
from app.weights.registry import gait_models

PEOPLE = 100
RATES = (0.01, 0.1)
"""False-positive identification rates at which the false-negative rate is measured."""
WALKS_FOR_CLAIMS = 1200
GROUPS = (3, 4, 8)
"""Numbers of people seen together, whose distances give the scale."""
SEARCHES = 2000
ASKED = 0.1
"""The false accept rate whose threshold is tried in other places."""


@dataclass(frozen=True, eq=False)
class Walks:
    """N walks: embeddings (N, P, C), and of each the person, the condition, which walk of it, and the view."""

    features: Floats
    people: Ints
    conditions: Ints
    walks: Ints
    views: Ints

    @classmethod
    def of_benchmark(cls, model: GaitModel, paths: Sequence[Path]) -> Walks:
        """Read and embed the people of ``walkers-100``, each of whom has a file."""
        labels, features = [], []
        for path in track(paths, "Embedding"):
            with np.load(path) as file:
                labels.append(file["labels"])
                features.append(parts_of(model, [sequence_of(walk) for walk in file["silhouettes"]]))
        people, conditions, walks, views = np.concatenate(labels).T
        return cls(np.concatenate(features), people - people.min(), conditions, walks, views)

    def nearest(self, chosen: Ints) -> Distances:
        """Return the distance from walks to people: that of the nearest plain walk from another view (n, people)."""
        gallery = np.flatnonzero((self.conditions == 0) & (self.walks < GALLERY_WALKS))
        table = np.empty((len(chosen), int(self.people.max()) + 1))
        for view in CASIA_VIEWS:
            own = np.flatnonzero(self.views[chosen] == view)
            others = gallery[self.views[gallery] != view]
            distances = part_distances(self.features[chosen[own]], self.features[others])
            table[own] = nearest_walks(distances, self.people[others], table.shape[1])
        return table


class Rate(NamedTuple):
    """An error rate, 0 to 1, and its 95 % interval."""

    value: float
    low: float
    high: float


def nearest_walks(distances: Distances, owners: Ints, people: int, dropped: Bools | None = None) -> Distances:
    """Return the distance from each probe to each person's nearest walk (n, people).

    Args:
        distances: from probes to gallery walks (n, m).
        owners: the number of each gallery walk's person, from 0 (m,).
        people: the number of people. Whoever has no walk is infinitely far.
        dropped: what a probe is not compared with (n, m).
    """
    compared = distances if dropped is None else np.where(dropped, np.inf, distances)
    table = np.full((len(distances), people), np.inf)
    for person in np.unique(owners).tolist():
        table[:, person] = compared[:, owners == person].min(1)
    return table


def open_set(table: Distances, people: Ints, draws: int = 20, samples: int = 200, seed: int = 0) -> list[Rate]:
    """Divide the people at random into known people and strangers, `draws` times; return the mean error rates.

    These are the false-negative identification rates at `RATES`, then the equal error rate of probe and person. The
    intervals come from `samples` further divisions, whose known people and whose strangers are drawn again with
    replacement.

    Args:
        table: from probes to people (n, people), see `nearest_walks`.
        people: whose probe it is, the number of a column (n,).
        draws: the number of divisions that the rates are the means of.
        samples: the number of divisions that the intervals come from.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    count = table.shape[1]
    rates = np.empty((draws + samples, len(RATES) + 1))
    for number, row in enumerate(rates):
        order = rng.permutation(count)
        known, unknown = order[: count // 2], order[count // 2 :]
        times = np.zeros(count)
        for group in (known, unknown):
            drawn = rng.integers(0, len(group), len(group)) if number >= draws else np.arange(len(group))
            times[group] = np.bincount(drawn, minlength=len(group))
        row[:] = division_rates(table, people, known, times)
    ends = percentile_interval(rates[draws:])
    return [Rate(*values) for values in zip(rates[:draws].mean(0).tolist(), *ends.tolist(), strict=True)]


def division_rates(table: Distances, people: Ints, known: Ints, times: NDArray[np.float64]) -> list[float]:
    """Return the error rates of one division into `known` people and strangers; each person counts `times`."""
    is_mated = np.isin(people, known)
    weights = times[people]
    to_known = table[:, known]
    nearest = to_known.min(1)
    mated = np.where(known[to_known.argmin(1)] == people, nearest, np.inf)[is_mated]
    fnir = [
        false_negative_identification_rate(mated, nearest[~is_mated], rate, weights[is_mated], weights[~is_mated])
        for rate in RATES
    ]
    others = people[:, None] != known
    distances = np.concatenate([table[is_mated, people[is_mated]], to_known[others]])
    counts = np.concatenate([weights[is_mated], np.broadcast_to(weights[:, None] * times[known], others.shape)[others]])
    is_genuine = np.arange(len(distances)) < is_mated.sum()
    order = np.argsort(distances)
    genuine, impostor = (np.where(kind, counts, 0)[order] for kind in (is_genuine, ~is_genuine))
    return [*fnir, equal_error_rate(genuine, impostor)]


def strangers(walks: Walks) -> Table:
    """Return the open-set error rates by condition."""
    table = Table("", "probes", "FNIR at FPIR 1 %", "FNIR at FPIR 10 %", "EER, probe and person")
    in_gallery = (walks.conditions == 0) & (walks.walks < GALLERY_WALKS)
    for number, name in enumerate(CONDITIONS):
        chosen = np.flatnonzero((walks.conditions == number) & ~in_gallery)
        found = open_set(walks.nearest(chosen), walks.people[chosen])
        cells = (f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]" for rate in found)
        table.add_row(name, str(len(chosen)), *cells)
    return table


def claims_table(title: str, claims: Claims) -> Table:
    """Compare the stated probabilities with how often they were right."""
    table = Table("stated", "right", "searches", title=f"{title}: wrong by {100 * claims.error():.1f} % on average")
    for stated, true, count in claims.bins():
        table.add_row(f"{100 * stated:.0f} %", f"{100 * true:.0f} %", str(count))
    return table


def log_loss(claims: Claims) -> float:
    """Return the mean of -log of the probability that was given to the truth."""
    given = np.where(claims.right, claims.probability, 1 - claims.probability)
    return float(-np.log(np.maximum(given, 1e-12)).mean())


def carried_over(walks: Walks, scores: ScoreModel) -> Iterator[Table]:
    """Check the scores of other walkers on these people, as they are and adapted to ten of them."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(walks.people), WALKS_FOR_CLAIMS, replace=False))
    distances = part_distances(walks.features[chosen], walks.features[chosen])
    takes = [f"{condition}-{walk}" for condition, walk in zip(walks.conditions, walks.walks, strict=True)]
    recordings = [takes[index] for index in chosen]
    together = np.array([rng.choice(np.flatnonzero(walks.people[chosen] == person)) for person in range(10)])
    impostors = distances[np.ix_(together, together)][np.triu_indices(10, 1)]
    domain = adapt(scores, impostors, len(together))
    for title, tried in (("as they are", scores), (domain.note, domain.scores)):
        if tried is not None:
            yield claims_table(title, random_searches(tried, distances, walks.people[chosen], recordings))


def ratio(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    return scores.scaled(float(np.median(impostors)) / scores.threshold(0.5))


def adapted(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    """`adapt`, without its refusal of places too far away."""
    return scores.scaled(adapt(scores, impostors, walks).scale)


def normalised(scores: ScoreModel, impostors: Distances, walks: int) -> ScoreModel:
    """Replace the mean and deviation of the scores, read from their quantiles, by those of the group (Z-norm)."""
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
    """Compare the rules where distances differ."""
    every = walk_files(folder)
    names = sorted({walk.identity for walk in every})[:people]
    # One camera of each recording.
    first = {(walk.identity, walk.condition): walk for walk in reversed(every) if walk.identity in names}
    files = sorted(first.values(), key=lambda walk: walk.name)
    owners = np.searchsorted(names, [walk.identity for walk in files])
    takes = np.array([walk.condition for walk in files])
    fitted = np.isin(owners, np.random.default_rng(0).permutation(len(names))[: len(names) // 2])
    silhouettes = [read_silhouettes(walk.path) for walk in files]
    clean = parts_of(model, [sequence_of(walk) for walk in silhouettes])
    rng = np.random.default_rng(5)
    spoilt = parts_of(model, [sequence_of(worsened(walk, 1.0, rng)) for walk in silhouettes])
    own = [names[owner] for owner in owners[fitted]]
    pairs = Pairs.of(clean[fitted], own, takes[fitted].tolist(), "euclidean")
    scores = fit_scores(pairs, model_id=model.card.model_id, metric="euclidean", data="half of them")
    table = Table("place", "group", "rule", f"false accepts, {ASKED:.0%} asked", "true accepts", "log loss", "wrong by")
    table.title = f"Scores elsewhere (the scale's deviation between places: {PLACES})"
    for place, features, stretch in (
        ("the same", clean, 1.0), ("x 0.7", clean, 0.7), ("x 1.3", clean, 1.3), ("spoilt", spoilt, 1.0)
    ):  # fmt: skip
        distances = stretch * part_distances(features[~fitted], features[~fitted])
        for size in GROUPS:
            for rule, adapt_to in RULES.items():
                false, true, claims = searched(scores, adapt_to, distances, owners[~fitted], takes[~fitted], size)
                table.add_row(
                    place, str(size), rule, f"{100 * false:.1f} %", f"{100 * true:.0f} %",
                    f"{log_loss(claims):.3f}", f"{100 * claims.error():.1f} %",
                )  # fmt: skip
    return table


def searched(
    scores: ScoreModel,
    rule: Callable[[ScoreModel, Distances, int], ScoreModel],
    distances: Distances,
    owners: Ints,
    takes: np.ndarray[tuple[int], np.dtype[np.str_]],
    size: int,
) -> tuple[float, float, Claims]:
    """Search in groups of `size` people, whose own distances give the scale: false and true accepts, and the claims."""
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
        stated = float(here.probabilities(found[None])[0, nearest])
        rows.append((stated, known and nearest == place, size))
    probability, right, sizes = (np.array(column) for column in zip(*rows, strict=True))
    return float(np.mean(false)), float(np.mean(true)), Claims(probability, right, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--walkers", type=Path, default=Path("output/accuracy/walkers-100"), help="folder of the benchmark's walks"
    )
    parser.add_argument(
        "--data", type=Path, help="the walkers that the scores were fitted to, to try the rules in other places"
    )
    parser.add_argument("--people", type=int, default=60, help="number of people taken from --data")
    parser.add_argument("--checkpoint", type=Path, help="default: the network that a run would choose")
    parser.add_argument("--scores", type=Path, help="default: the file beside the checkpoint")
    options = parser.parse_args()
    model = gait_models.build(GaitSettings(checkpoint=options.checkpoint, max_frames=720), (HOME,))
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
        print("There are no scores beside the checkpoint: make them with python -m app calibrate.")
    elif scores.middle is not None:
        print("The scores are for walks around the middle of their video: see python -m tests.benchmarks.filmed.")
    else:
        for table in carried_over(walks, scores):
            console.print(table)
    if options.data is not None:
        console.print(other_places(model, options.data, options.people))


if __name__ == "__main__":
    main()
