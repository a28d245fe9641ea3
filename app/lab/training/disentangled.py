"""Training of the network that tells motion, body and view of skeletons apart: see `app.gait.models.disentangled`."""

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
from app.lab.data.opengait import read_keypoints, read_partition, walk_files
from app.lab.training.engine import Task, fit
from app.lab.training.gait import rank1
from app.lab.training.losses import batch_all_triplet
from app.lab.training.settings import TrainSettings
from app.types import Floats

SCALING = 0.4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DisentangledTrainSettings(TrainSettings):
    """A batch is `batch` people with `walks_each` walks, each seen from two views at the same time."""

    data: Path = Path("data/walkers")
    """Data set in OpenGait's layout with keypoints, its views filmed at the same time."""
    partition: Path | None = None
    """OpenGait's JSON; people of ``TRAIN_SET`` are learnt. None takes everybody."""
    held_out: int = 10
    """How many of these people, the first, are kept for judging."""
    walks_each: int = 2
    alone: float = 0.75
    """Share of the steps, the first, in which the recognition network, which takes most of the time, sees only one walk
    of a batch."""
    scaling: float = SCALING
    """Limbs of the changed bodies are longer or shorter by up to this share, or its inverse."""
    reconstruction: float = 10000.0
    exchange: float = 10000.0
    """Weight of what comes of one walk's motion and another's body, or view; the paper's, like the ones that follow."""
    body: float = 200.0
    motion: float = 200.0
    view: float = 500.0
    triplet: float = 100.0
    centre: float = 0.008
    identity: float = 1.0
    smoothing: float = 0.1
    """Of the labels, in the loss of identity."""


class Skeletons:
    """The keypoints of a data set: ``walks[person][walk]`` are float32 (views, T, 17, 3), two views at least.

    Raises:
        DataSetError: no walks, or a file that cannot be read.
        SettingsError: no walk has two views of the same frames.
    """

    def __init__(self, folder: Path, people: Sequence[str] | None = None) -> None:
        views: dict[tuple[str, str], list[Floats]] = {}
        for file in walk_files(folder, people, "pose"):
            views.setdefault((file.identity, file.condition), []).append(read_keypoints(file.path))
        self.walks: dict[str, dict[str, Tensor]] = {}
        for (person, condition), seen in views.items():
            same = [keypoints for keypoints in seen if len(keypoints) == len(seen[0])]
            if len(same) > 1:
                self.walks.setdefault(person, {})[condition] = torch.from_numpy(np.stack(same))
        if not self.walks:
            raise SettingsError(f"{folder}: no walk has two views of as many frames, which exchange needs.")
        self.people = list(self.walks)


class SkeletonBatches:
    """Rows of walks, as the engine wants them: a function of the seed and the step.

    ``rows`` float32 (n, 2, 2, 30, 64): of each walk two views, and of each the body as it is and one of other limbs
    that moves alike; ``people`` int64 (n,), counted from 0.
    """

    def __init__(self, skeletons: Skeletons, people: Sequence[str], settings: DisentangledTrainSettings) -> None:
        if settings.batch < 2 or len(people) < settings.batch:
            raise SettingsError(f"A batch of {settings.batch} people cannot be drawn from {len(people)} for training.")
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
                rows.append(changed(Disentangled.seen(views[:, start : start + FRAMES]), settings.scaling, rng))
        return {"rows": torch.stack(rows), "people": torch.from_numpy(people.repeat(settings.walks_each))}


def changed(rows: Tensor, scaling: float, rng: np.random.Generator) -> Tensor:
    """Give two views of a walk, rows (2, 30, t), another body too: (2, views; 2, as it is and changed; 30, t).

    All limbs keep their directions and have other lengths, right and left alike (Yang et al., "TransMoMo", section
    3.3): what is seen of the motion and of the view stays. The root's speed changes as the legs do.
    """
    limbs = 1 + scaling * rng.random(len(PARENTS))
    limbs = np.where(rng.random(len(PARENTS)) < 0.5, limbs, 1 / limbs)
    limbs[5:8], limbs[12:15] = limbs[2:5], limbs[9:12]  # the left side is as the right
    poses = poses_from(rows)
    scaled = poses * float(limbs[10])
    for joint in (1, 0, *range(2, 8), *range(9, 15)):
        parent = PARENTS[joint]
        scaled[:, :, joint] = scaled[:, :, parent] + float(limbs[joint]) * (poses[:, :, joint] - poses[:, :, parent])
    return torch.stack([rows, rows_of(scaled)], 1)


def crossed(network: Disentangled, rows: Tensor, codes: Codes) -> dict[str, tuple[Tensor, Tensor]]:
    """What the decoder makes of exchanged codes, and what it should be: ``body`` and ``view``, (n, 2, 2, 30, t) each.

    Args:
        network: the autoencoder.
        rows: (n, 2, 2, 30, t), as in a batch.
        codes: of ``rows.flatten(0, 2)``.
    """
    motion, body, view = (code.reshape(*rows.shape[:3], *code.shape[1:]) for code in codes)
    found = {}
    for what, parts in (("body", (motion, body.flip(2), view)), ("view", (motion, body, view.flip(1)))):
        decoded = network.decode(Codes(*(part.flatten(0, 2) for part in parts)))[:, :ROWS]
        found[what] = decoded.reshape(rows.shape), rows.flip(2 if what == "body" else 1)
    return found


class DisentangledTask(Task):
    """The autoencoder and the recognition network at once.

    Reconstruction and exchange are squared errors of the rows that are seen. Invariance: the motion code is the same
    whatever body or view, the body code whatever view and whichever walk of a person, the view code whatever body. The
    triplets are of the body code and of the embedding; centre (Wen et al., ECCV 2016) and identity of the embedding.
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
        found = {"reconstruction": F.mse_loss(network.decode(codes)[:, :ROWS], flat)}
        exchanged = [F.mse_loss(made, wanted) for made, wanted in crossed(network, rows, codes).values()]
        found["exchange"] = torch.stack(exchanged).mean()
        motion, body, view = (code.reshape(*rows.shape[:3], *code.shape[1:]) for code in codes)
        found["motion"] = _spread(motion, (1, 2))
        of_person = body[:, :, 0].reshape(-1, settings.walks_each, 2, body.shape[-2])
        found["body"] = (_spread(body, (1,)) + _spread(of_person, (1, 2))) / 2
        found["view"] = _spread(view, (2,))
        owners = people.repeat_interleave(2)
        triplet, _ = batch_all_triplet(F.normalize(body[:, :, 0].flatten(0, 1), dim=1), owners)
        alone = self.global_step < settings.alone * settings.steps
        walks = 1 if alone else len(rows)
        owners = owners[: 2 * walks]
        shown = Codes(*(code[:walks, :, 0].flatten(0, 1) for code in (motion, body, view)))
        embedding = network.features(rows[:walks, :, 0].flatten(0, 1), shown)
        if not alone:
            triplet = (triplet + batch_all_triplet(F.normalize(embedding)[..., None], owners)[0]) / 2
        found["triplet"] = triplet
        found["centre"] = (embedding - self.centres[owners]).square().sum(1).mean() / 2
        assert network.classifier is not None
        logits = network.classifier(embedding)
        found["identity"] = F.cross_entropy(logits, owners, label_smoothing=settings.smoothing)
        loss = torch.stack([getattr(settings, name) * value for name, value in found.items()]).sum()
        return {"loss": loss, **found}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Figures of the people held out: see `errors` and, by condition, `app.lab.training.gait.rank1`."""
        assert isinstance(network, Disentangled)
        rows, labels = [], []
        for person in self._held_out:
            for condition, views in self._skeletons.walks[person].items():
                rows.append(Disentangled.seen(views))
                labels += [(person, condition)] * len(views)
        parts = network.embed(torch.cat(rows)).mT.numpy()
        return {**errors(network, rows, self.settings.scaling), **rank1(parts, labels)}


def errors(network: Disentangled, walks: Sequence[Tensor], scaling: float = SCALING) -> dict[str, float]:
    """How far joints are from where they should be, in per cent of the body's height.

    ``reconstruction`` of walks as they are; ``body`` and ``view`` with the body code of the same walk with other limbs,
    or the view code of another view, against that walk; ``body kept`` and ``view kept`` against the same, had the codes
    not been exchanged.

    Args:
        network: in evaluation mode.
        walks: rows (views, 30, 64) of each; the first two views are taken.
        scaling: of the limbs, see `changed`.
    """
    rng = np.random.default_rng(0)
    rows = torch.stack([changed(views[:2], scaling, rng) for views in walks])
    codes = network.encode(rows.flatten(0, 2))
    plain = network.decode(codes)[:, :ROWS].reshape(rows.shape)
    found = {"reconstruction": _error(plain[:, :, 0], rows[:, :, 0])}
    for what, (made, wanted) in crossed(network, rows, codes).items():
        found |= {what: _error(made, wanted), f"{what} kept": _error(plain, wanted)}
    return found


def _error(made: Tensor, wanted: Tensor) -> float:
    """Mean distance of joints from the root's place, in per cent of the body's height."""
    ours, theirs = (poses_from(rows.flatten(0, -3)) for rows in (made, wanted))
    ours, theirs = (poses - poses[:, :, ROOT : ROOT + 1] for poses in (ours, theirs))
    return 100 * float((ours - theirs).norm(dim=-1).mean())


def _spread(codes: Tensor, alike: tuple[int, ...]) -> Tensor:
    """How far codes are from their mean over the axes along which they should be alike, squared."""
    return (codes - codes.mean(alike, keepdim=True)).square().mean()


def prepare(settings: DisentangledTrainSettings) -> tuple[Skeletons, list[str], list[str]]:
    """Return the skeletons, the people to learn and those held out."""
    people = None if settings.partition is None else read_partition(settings.partition, "train")
    skeletons = Skeletons(settings.data, people)
    return skeletons, skeletons.people[settings.held_out :], skeletons.people[: settings.held_out]


def train(settings: DisentangledTrainSettings) -> Disentangled:
    """Train, or go on: see `app.lab.training.engine.fit`. Its ``network.pt`` is a checkpoint that runs can use.

    Raises:
        DataSetError: no walks, or a file that cannot be read.
        SettingsError: too few people, or no walk with two views.
    """
    skeletons, people, held_out = prepare(settings)
    logger.info("%d people to learn from, %d held out", len(people), len(held_out))
    torch.manual_seed(settings.seed)
    task = DisentangledTask(Disentangled(classes=len(people)), settings, skeletons, held_out)
    network = fit(task, SkeletonBatches(skeletons, people, settings), settings)
    assert isinstance(network, Disentangled)
    return network
