"""Training of the disentangled network, which separates motion, body and view: see `app.gait.models.disentangled`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.errors import SettingsError
from app.gait.models.disentangled import FRAMES, PARENTS, ROOT, ROWS, Codes, Disentangled, poses_from, rows_of
from app.lab.data.opengait import read_keypoints, read_partition, readable, walk_files
from app.lab.training.engine import Task, fit
from app.lab.training.gait.judging import EvaluationSet, first_walk
from app.lab.training.losses import batch_all_triplet
from app.lab.training.settings import Few, Natural, TrainSettings
from app.settings import Amount, Share
from app.types import Floats

SCALING = 0.4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DisentangledTrainSettings(TrainSettings):
    """A batch has `batch` people with `walks_each` walks each, and each walk is seen from two views at once."""

    data: Path = Path("data/walkers")
    """Data set in OpenGait's layout with keypoints, whose views show the same moments."""
    partition: Path | None = None
    """OpenGait's JSON, whose ``TRAIN_SET`` is learnt from. None takes everybody."""
    held_out: Natural = 10
    """How many of these people, the first ones, are kept for evaluation."""
    walks_each: Few = 2
    alone: Share = 0.75
    """Share of the steps, the first ones, in which the recognition network gets only one walk of a batch. It takes most
    of the time."""
    scaling: Amount = SCALING
    """The limbs of the other bodies are longer or shorter by up to this share."""
    reconstruction: Amount = 10000.0
    exchange: Amount = 10000.0
    """Weight of the loss of exchanged codes. This weight and those below are the paper's."""
    body: Amount = 200.0
    motion: Amount = 200.0
    view: Amount = 500.0
    triplet: Amount = 100.0
    centre: Amount = 0.008
    identity: Amount = 1.0
    smoothing: Share = 0.1
    """Label smoothing of the identity loss."""


class Skeletons:
    """The walks of a data set that have two views at least.

    `files` and `keypoints` hold every walk that can be read.
    ``walks[person][condition]`` are float32 (views, T, 17, 3).

    Raises:
        DataSetError: there are no walks, or none can be read.
        SettingsError: no walk has two views of the same frames.
    """

    def __init__(self, folder: Path, people: Sequence[str] | None = None) -> None:
        found = list(readable(walk_files(folder, people, "pose"), read_keypoints, folder))
        self.files = [file for file, _ in found]
        self.keypoints = [keypoints for _, keypoints in found]
        views: dict[tuple[str, str], list[Floats]] = {}
        for file, keypoints in zip(self.files, self.keypoints, strict=True):
            views.setdefault((file.identity, file.condition), []).append(keypoints)
        self.walks: dict[str, dict[str, Tensor]] = {}
        for (person, condition), walks in views.items():
            same_length = [walk for walk in walks if len(walk) == len(walks[0])]
            if len(same_length) > 1:
                self.walks.setdefault(person, {})[condition] = torch.from_numpy(np.stack(same_length))
        if not self.walks:
            raise SettingsError(f"{folder}: no walk has two views of the same number of frames, which training needs.")
        self.people = list(self.walks)

    def test(self, people: Sequence[str]) -> EvaluationSet:
        """Return all walks of some people for evaluation, with the first walk of each as gallery."""
        chosen = [index for index, file in enumerate(self.files) if file.identity in people]
        files = [self.files[index] for index in chosen]
        return EvaluationSet("", [self.keypoints[index] for index in chosen], files, first_walk(files))


class SkeletonBatches:
    """Batches for the engine, which depend on nothing but the seed and the step.

    ``rows`` float32 (n, 2, 2, 30, 64) holds two views of each walk, each with the real body and with another body that
    moves alike (see `with_other_body`). ``people`` int64 (n,) are counted from 0.
    """

    def __init__(self, skeletons: Skeletons, people: Sequence[str], settings: DisentangledTrainSettings) -> None:
        if settings.batch < 2 or len(people) < settings.batch:
            raise SettingsError(
                f"A batch of {settings.batch} people cannot be drawn from {len(people)} training people. Make batch or "
                "held_out smaller, or give more people."
            )
        self._walks = [list(skeletons.walks[person].values()) for person in people]
        self._settings = settings

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, step])
        people = rng.choice(len(self._walks), settings.batch, replace=False)
        rows = []
        for person in people:
            own = self._walks[person]
            for walk in rng.choice(len(own), settings.walks_each, replace=len(own) < settings.walks_each):
                views = own[walk][rng.choice(len(own[walk]), 2, replace=False)]
                start = int(rng.integers(0, max(1, views.shape[1] - FRAMES + 1)))
                rows.append(
                    with_other_body(Disentangled.input_of(views[:, start : start + FRAMES]), settings.scaling, rng)
                )
        return {"rows": torch.stack(rows), "people": torch.from_numpy(people.repeat(settings.walks_each))}


def with_other_body(rows: Tensor, scaling: float, rng: np.random.Generator) -> Tensor:
    """Add another body to two views of a walk: rows (2, 30, t) become (2 views, 2 bodies, 30, t).

    The limbs of the other body keep their directions and get other lengths, the same on both sides (Yang et al.,
    "TransMoMo", section 3.3), so motion and view stay the same. The speed of the root changes as the legs do.
    """
    limbs = 1 + scaling * rng.random(len(PARENTS))
    limbs = np.where(rng.random(len(PARENTS)) < 0.5, limbs, 1 / limbs)
    limbs[5:8], limbs[12:15] = limbs[2:5], limbs[9:12]  # both sides are alike
    poses = poses_from(rows)
    scaled = poses * float(limbs[10])
    for joint in (1, 0, *range(2, 8), *range(9, 15)):
        parent = PARENTS[joint]
        scaled[:, :, joint] = scaled[:, :, parent] + float(limbs[joint]) * (poses[:, :, joint] - poses[:, :, parent])
    return torch.stack([rows, rows_of(scaled)], 1)


def exchange(network: Disentangled, rows: Tensor, codes: Codes) -> dict[str, tuple[Tensor, Tensor]]:
    """Decode `codes` after an exchange of bodies, and of views.

    `rows` (n, 2, 2, 30, t) are as in a batch, and the codes those of ``rows.flatten(0, 2)``. Returns for ``body`` and
    ``view`` the decoded rows and the correct ones, of the same shape.
    """
    motion, body, view = (code.reshape(*rows.shape[:3], *code.shape[1:]) for code in codes)
    results = {}
    for what, parts in (("body", (motion, body.flip(2), view)), ("view", (motion, body, view.flip(1)))):
        decoded = network.decode(Codes(*(part.flatten(0, 2) for part in parts)))[:, :ROWS]
        results[what] = decoded.reshape(rows.shape), rows.flip(2 if what == "body" else 1)
    return results


class DisentangledTask(Task):
    """Trains the autoencoder and the recognition network together.

    The losses of reconstruction and exchange are squared errors of the input rows. Three losses make codes invariant:
    the motion code to body and view, the body code to the view and to which walk of a person it is, and the view code
    to the body. Triplet losses are those of the body code and of the embedding. The centre loss (Wen et al., ECCV 2016)
    and the identity loss are those of the embedding.
    """

    network: Disentangled
    settings: DisentangledTrainSettings

    def __init__(
        self, network: Disentangled, settings: DisentangledTrainSettings, skeletons: Skeletons, held_out: Sequence[str]
    ) -> None:
        super().__init__(network, settings)
        self._skeletons, self._held_out = skeletons, held_out
        classes, channels = network.classifier.weight.shape if network.classifier is not None else (1, 1)
        self.centres = nn.Parameter(torch.zeros(classes, channels))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        settings, network, rows, people = self.settings, self.network, batch["rows"], batch["people"]
        flat = rows.flatten(0, 2)
        codes = network.encode(flat)
        losses = {"reconstruction": F.mse_loss(network.decode(codes)[:, :ROWS], flat)}
        exchanged = [F.mse_loss(decoded, correct) for decoded, correct in exchange(network, rows, codes).values()]
        losses["exchange"] = torch.stack(exchanged).mean()
        motion, body, view = (code.reshape(*rows.shape[:3], *code.shape[1:]) for code in codes)
        losses["motion"] = _spread(motion, (1, 2))
        of_person = body[:, :, 0].reshape(-1, settings.walks_each, 2, body.shape[-2])
        losses["body"] = (_spread(body, (1,)) + _spread(of_person, (1, 2))) / 2
        losses["view"] = _spread(view, (2,))
        owners = people.repeat_interleave(2)
        triplet, _ = batch_all_triplet(F.normalize(body[:, :, 0].flatten(0, 1), dim=1), owners)
        alone = self.global_step < settings.alone * settings.steps
        walks = 1 if alone else len(rows)
        owners = owners[: 2 * walks]
        shown = Codes(*(code[:walks, :, 0].flatten(0, 1) for code in (motion, body, view)))
        embedding = network.features(rows[:walks, :, 0].flatten(0, 1), shown)
        if not alone:
            triplet = (triplet + batch_all_triplet(F.normalize(embedding)[..., None], owners)[0]) / 2
        losses["triplet"] = triplet
        losses["centre"] = (embedding - self.centres[owners]).square().sum(1).mean() / 2
        assert network.classifier is not None
        logits = network.classifier(embedding)
        losses["identity"] = F.cross_entropy(logits, owners, label_smoothing=settings.smoothing)
        loss = torch.stack([getattr(settings, name) * value for name, value in losses.items()]).sum()
        return {"loss": loss, **losses}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return `errors` and rank-1 of the people held out."""
        assert isinstance(network, Disentangled)
        rows = [
            Disentangled.input_of(views)
            for person in self._held_out
            for views in self._skeletons.walks[person].values()
        ]
        ranks = self._skeletons.test(self._held_out).figures(network)
        return {**errors(network, rows, self.settings.scaling), **ranks}


def errors(network: Disentangled, walks: Sequence[Tensor], scaling: float = SCALING) -> dict[str, float]:
    """Return how far joints are from their correct places, in per cent of the body's height.

    Of each walk, `walks` has rows (views, 30, 64), of which the first two views are used; `scaling` is as in
    `with_other_body`. ``reconstruction`` is the error of walks as they are. ``body`` and ``view`` are the errors after
    the body code of another body, or the view code of another view, has been put in. ``body without exchange`` and
    ``view without exchange`` are the errors against the same correct places if nothing is put in.
    """
    rng = np.random.default_rng(0)
    rows = torch.stack([with_other_body(views[:2], scaling, rng) for views in walks])
    codes = network.encode(rows.flatten(0, 2))
    plain = network.decode(codes)[:, :ROWS].reshape(rows.shape)
    results = {"reconstruction": _error(plain[:, :, 0], rows[:, :, 0])}
    for what, (decoded, correct) in exchange(network, rows, codes).items():
        results |= {what: _error(decoded, correct), f"{what} without exchange": _error(plain, correct)}
    return results


def _error(decoded: Tensor, correct: Tensor) -> float:
    """Return the mean distance of joints, relative to the root, in per cent of the body's height."""
    ours, theirs = (poses_from(rows.flatten(0, -3)) for rows in (decoded, correct))
    ours, theirs = (poses - poses[:, :, ROOT : ROOT + 1] for poses in (ours, theirs))
    return 100 * float((ours - theirs).norm(dim=-1).mean())


def _spread(codes: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the variance of codes along axes along which they should be equal."""
    return (codes - codes.mean(axes, keepdim=True)).square().mean()


def train(settings: DisentangledTrainSettings) -> Disentangled:
    """Train, or continue a training: see `app.lab.training.engine.fit`. Runs can use its ``network.pt``.

    Raises:
        DataSetError: there are no walks, or none can be read.
        SettingsError: there are too few people, or no walk has two views.
    """
    chosen = None if settings.partition is None else read_partition(settings.partition, "train")
    skeletons = Skeletons(settings.data, chosen)
    people, held_out = skeletons.people[settings.held_out :], skeletons.people[: settings.held_out]
    batches = SkeletonBatches(skeletons, people, settings)
    logger.info("%d people to learn from, %d held out", len(people), len(held_out))
    torch.manual_seed(settings.seed)
    task = DisentangledTask(Disentangled(classes=len(people)), settings, skeletons, held_out)
    network = fit(task, batches, settings)
    assert isinstance(network, Disentangled)
    return network
