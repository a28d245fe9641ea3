"""Fit scores to walks of known people, and check them on people they were not fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import GalleryError, SettingsError
from app.gallery.distances import Metric, part_distances
from app.gallery.opening import Place, is_address, open_store
from app.lab.data.opengait import warn_of
from app.lab.evaluation.casts import embed_casts
from app.lab.evaluation.charts import Curves, draw_curves
from app.lab.evaluation.embeddings import embed_walks, walks_for
from app.lab.evaluation.files import FileEmbedder
from app.lab.evaluation.pairs import Pairs, fit_scores
from app.lab.evaluation.reliability import Claims, random_searches
from app.lab.synthesis.casts import CAST
from app.progress import Progress
from app.recognise.adaptation import Shared, around, middles
from app.recognise.scores import FEWEST_PEOPLE, ScoreModel, scores_path
from app.stages import GaitModel
from app.types import Doubles, Floats, Ints, ModelCard
from app.weights.checkpoints import HOME

Names = NDArray[np.str_]

MOST_WALKS = 1200
"""The largest number of walks that are compared with each other: 720,000 pairs. Of more walks, equally many are drawn
from everybody."""
_BINS = 80


class KnownWalks(NamedTuple):
    """Embeddings (n, P, C) of walks, whose walks they are (n,), and which of the person's recordings they are (n,).

    `videos` says in which video each was filmed (n,), where every video shows several people; None where it does not.
    """

    features: Floats
    people: list[str]
    recordings: list[str]
    videos: list[str] | None = None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores, and what is known about them.

    `scores` are fitted to the `pairs` of everybody. `claims` are made about each half of the people by scores fitted
    to the other half. They are None where the halves are too small.
    """

    scores: ScoreModel
    pairs: Pairs
    claims: Claims | None

    def thresholds(self) -> Iterator[tuple[float, float, float, float, float]]:
        """Yield false accept rate, threshold, the ends of its 95 % interval, and false reject rate."""
        for rate, low, high in self.scores.intervals:
            if rate >= self.scores.smallest_rate():
                value = self.scores.threshold(rate)
                yield rate, value, low, high, float((self.pairs.genuine > value).mean())


def source_of(data: Path | None, gallery: Place | None, casts: Path | None = None) -> Place:
    """Return the data set, the gallery or the casts; `SettingsError` unless exactly one of them is given."""
    given = [source for source in (data, gallery, casts) if source is not None]
    if len(given) != 1:
        raise SettingsError(
            "Give one of these: --data with a data set, --gallery-db with a gallery, or --casts with a folder that "
            "`python -m app walkers casts` has made."
        )
    return given[0]


def scores_file(model: ModelCard, gallery: Place | None) -> Path:
    """Return where scores are written unless the user says otherwise: beside the gallery, or else beside the model.

    Raises:
        SettingsError: the gallery or the model has no file, or the model comes with the program, whose scores are not
            replaced.
    """
    if gallery is not None and is_address(gallery):
        raise SettingsError("The scores of a gallery in PostgreSQL need a file of their own: give it with --out.")
    if gallery is not None:
        return scores_path(Path(gallery))
    if model.file is None:
        raise SettingsError(
            f"The gait model '{model.name}' has no file beside which scores could be written: give --out."
        )
    if HOME / "embedded" in model.file.resolve().parents:
        raise SettingsError(
            f"The scores beside {model.file.name} come with the program and are not replaced: give --out. "
            "If you write NAME.scores.json beside your gallery NAME.db, identify prefers it."
        )
    return scores_path(model.file)


def known_walks(
    model: GaitModel | FileEmbedder,
    data: Path | None,
    gallery: Place | None,
    casts: Path | None = None,
    *,
    partition: Path | None = None,
    people: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> KnownWalks:
    """Embed the walks of a data set, or take the embeddings of a gallery.

    Args:
        data: a data set in OpenGait's layout, of people who were not in the model's training.
        gallery: a gallery's file, if there is no data set.
        casts: a folder of casts (``python -m app walkers casts``), if there is neither.
        partition: OpenGait's JSON, for the data set: only its test people are taken.
        people: only so many people of the data set are taken, the first ones.
        cache: see `app.lab.evaluation.embeddings.embed_walks`, as for `progress`.

    Raises:
        SettingsError: see `source_of`.
        DataSetError: the data set cannot be used.
        GalleryError: the gallery cannot be read, or has no walks of this model.
    """
    source = source_of(data, gallery, casts)
    if casts is not None:
        paths = sorted(casts.glob("*.npz"))[: None if people is None else -(-people // CAST)]
        found = embed_casts(paths, model, cache, progress)
        recordings = [str(walk.recording) for walk in found.walks]
        return KnownWalks(found.features, [str(walk.person) for walk in found.walks], recordings, found.videos)
    if data is None:
        return _of_gallery(model.card, source)
    walks = walks_for(model, data, partition)
    wanted = set(sorted({walk.identity for walk in walks})[:people])
    walks = [walk for walk in walks if walk.identity in wanted]
    embedded = embed_walks(walks, model, cache=cache, progress=progress)
    warn_of(embedded.left_out, data)
    walks = embedded.walks
    return KnownWalks(embedded.features, [walk.identity for walk in walks], [walk.condition for walk in walks])


def _of_gallery(model: ModelCard, place: Place) -> KnownWalks:
    with open_store(place, create=False) as gallery:
        walks = [walk for walk in gallery.walks() if walk.model_id == model.model_id]
        if not walks:
            raise GalleryError(
                f"The gallery has no walks that were embedded with {model.model_id}. Embed them anew: "
                "python -m app gallery re-embed."
            )
        features = np.stack([embedding.parts for embedding in gallery.embeddings([walk.walk_id for walk in walks])])
    people, sources = [str(walk.person_id) for walk in walks], [walk.source for walk in walks]
    several = len(set(zip(people, sources, strict=True))) > len(set(sources))
    return KnownWalks(features, people, sources, sources if several else None)


def calibrate(
    features: Floats,
    people: Sequence[str],
    recordings: Sequence[str],
    videos: Sequence[str] | None = None,
    *,
    model_id: str,
    metric: Metric,
    data: str,
) -> Calibration:
    """Fit scores to embeddings of walks, `features` (n, P, C), and check them. `data` is what the walks are, for the
    user.

    `people` (n,) is whose walks they are, and `recordings` (n,) which of the person's recordings each is from; walks of
    one recording are not compared. Where several people were filmed in each video, `videos` (n,) says in which one each
    walk was. The walks are then compared as the judge compares them: by the directions in which they leave the middle
    of their video (`app.recognise.adaptation`).

    Raises:
        GalleryError: there are too few people, or nobody has two recordings, which holds for a half of them too; or
            the model does not tell the people apart.
    """
    centre, together = None, None
    if videos is not None:
        features, centre, together = _adapted(features, np.array(people), np.array(videos), metric)
    chosen = _drawn(people)
    features, names, takes = features[chosen], np.array(people)[chosen], np.array(recordings)[chosen]
    films = None if videos is None else np.array(videos)[chosen]
    pairs = Pairs.of(features, names.tolist(), takes.tolist(), metric, None if films is None else films.tolist())
    scores = fit_scores(pairs, model_id=model_id, metric=metric, data=data, centre=centre, together=together)
    return Calibration(scores, pairs, _claims(scores, features, names, takes, films))


def _adapted(features: Floats, people: Names, videos: Names, metric: Metric) -> tuple[Floats, Doubles, float]:
    """Return the walks (n, P, C) around the middles of their videos, the centre of these, and `ScoreModel.together`."""
    _, person = np.unique(people, return_inverse=True)
    names, video = np.unique(videos, return_inverse=True)
    shared = [Shared.of(features[video == number], person[video == number]) for number in range(len(names))]
    centre = np.mean([one.mean for one in shared], axis=0)
    moved, apart = np.empty(features.shape, np.float32), []
    for number, middle in enumerate(middles(shared, centre, int(person.max()) + 1)):
        own = video == number
        moved[own] = around(features[own], middle)
        distances = part_distances(moved[own], moved[own], metric)
        apart.append(distances[person[own][:, None] != person[own]] / shared[number].widening)
    together = np.concatenate(apart)
    if not len(together):
        raise GalleryError("No video shows two people, so it cannot be learnt what a camera does to everybody in it.")
    return moved, centre, float(np.median(together))


def draw(calibration: Calibration, folder: Path) -> list[Path]:
    """Draw ``distances.png``, ``errors.png`` (the DET curve) and, where there are claims, ``reliability.png``.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: `folder` cannot be written.
    """
    scores, pairs = calibration.scores, calibration.pairs
    edges = np.linspace(0, max(pairs.genuine.max(), pairs.impostor.max()), _BINS + 1)
    shares: Curves = {
        name: ((edges[:-1] + edges[1:]) / 2, np.histogram(distances, edges)[0] / len(distances))
        for name, distances in (("same person", pairs.genuine), ("different people", pairs.impostor))
    }
    x_label = f"{scores.metric} distance"
    pictures = [draw_curves(folder / "distances.png", scores.model_id, x_label, "pairs of walks", shares)]
    rates = np.geomspace(scores.smallest_rate(), 1, _BINS)
    thresholds = np.quantile(pairs.impostor, rates)
    missed = 1 - np.searchsorted(np.sort(pairs.genuine), thresholds, "right") / len(pairs.genuine)
    errors: Curves = {"pairs of walks": (100 * rates, missed)}
    path = folder / "errors.png"
    pictures.append(draw_curves(path, scores.model_id, "false accepts, %", "false rejects", errors, logarithmic=True))
    if calibration.claims is not None:
        stated, true, _ = np.array(calibration.claims.bins()).T
        curves: Curves = {"ideal": ((0, 100), (0, 1)), "measured": (100 * stated, true)}
        title = f"{scores.model_id}, on people the scores were not fitted to"
        path = folder / "reliability.png"
        pictures.append(draw_curves(path, title, "stated probability, %", "were right", curves, 1))
    return pictures


def _claims(
    scores: ScoreModel, features: Floats, people: Names, recordings: Names, videos: Names | None
) -> Claims | None:
    names, person = np.unique(people, return_inverse=True)
    if len(names) < 2 * FEWEST_PEOPLE:
        return None
    half = np.random.default_rng(0).permutation(len(names)) < len(names) // 2
    claims = []
    for fitted in (half[person], ~half[person]):
        films = None if videos is None else videos[fitted].tolist()
        pairs = Pairs.of(features[fitted], people[fitted].tolist(), recordings[fitted].tolist(), scores.metric, films)
        of_half = fit_scores(pairs, model_id=scores.model_id, metric=scores.metric, data=scores.data)
        others = part_distances(features[~fitted], features[~fitted], scores.metric)
        claims.append(random_searches(of_half, others, person[~fitted], recordings[~fitted].tolist()))
    return Claims.joined(claims)


def _drawn(people: Sequence[str]) -> Ints:
    """Return the indices of at most about `MOST_WALKS` walks in rising order, equally many of everybody if possible."""
    names = np.array(people)
    rng = np.random.default_rng(0)
    each = max(2, MOST_WALKS // max(1, len(np.unique(names))))
    own = [rng.permutation(np.flatnonzero(names == name))[:each] for name in np.unique(names)]
    return np.sort(np.concatenate(own)) if own else np.zeros(0, np.int64)
