"""Training a network of the zoo, and judging it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.errors import CheckpointError, SettingsError
from app.files import written_whole
from app.gait.base import EmbeddingNetwork, JointNetwork
from app.gait.opengait import load_network
from app.gait.opengait.saving import save_network
from app.lab.data.opengait import read_partition
from app.lab.evaluation.protocol import groups_of, read_protocol, views_of
from app.lab.evaluation.scores import Score, score
from app.lab.training.engine import Task, fit
from app.lab.training.losses import batch_all_triplet, contrastive, part_cross_entropy
from app.lab.zoo.config import LossTerm, ZooSettings
from app.lab.zoo.sampling import ZooBatches, tensors
from app.lab.zoo.walks import SeenWalks
from app.types import Floats
from app.weights.checkpoints import load_strictly

BATCH = 16
"""Walks of one length that are embedded at once when a network is judged."""

logger = logging.getLogger(__name__)


class ZooTask(Task):
    """A network of the zoo and its losses.

    With several processors, each embeds its share of the people of a batch, and the losses are of all of them together.
    """

    network: EmbeddingNetwork
    settings: ZooSettings

    def __init__(self, network: EmbeddingNetwork, settings: ZooSettings, test: SeenWalks | None) -> None:
        super().__init__(network, settings)
        self._test = test
        self._kept = 0

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        people = batch["people"]
        inputs = [value for name, value in batch.items() if name != "people"]
        if self._processors > 1:
            mine = self._share(people)
            inputs, people = [value[mine] for value in inputs], people[mine]
        embedding, logits = self.network(*(seen(self.network, value) for value in inputs))
        if self._processors > 1:
            embedding, people = self._of_all(embedding), self._of_all(people)
            logits = None if logits is None else self._of_all(logits)
        found: dict[str, Tensor] = {}
        total = embedding.new_zeros(())
        for term in self.settings.losses:
            value = loss_of(term, embedding, logits, people)
            found[term.name] = value
            total = total + term.weight * value
        if not bool(torch.isfinite(total)):
            raise SettingsError(
                f"The loss of {self.settings.name} is no number any more. Make optimizer_cfg.lr smaller, or set "
                "trainer_cfg.enable_float16 to false."
            )
        if logits is not None:
            found["accuracy"] = (logits.mean(2).argmax(1) == people).float().mean()
        return {"loss": total, **found}

    @property
    def _processors(self) -> int:
        return 1 if self._trainer is None else self.trainer.world_size

    def _share(self, people: Tensor) -> Tensor:
        """Which walks of the batch are this processor's: those of every so-manieth person."""
        names = torch.unique(people)
        shares = self._processors
        if len(names) % shares:
            raise SettingsError(f"{len(names)} people of a batch cannot be divided among {shares} processors.")
        return torch.isin(people, names[self.global_rank :: shares])

    def _of_all(self, mine: Tensor) -> Tensor:
        """What all processors have, one after the other.

        Each learns from what is its own, and the mean of their gradients is taken: so this is to count as often as
        there are processors. (PyTorch's own gathering with gradients gave wrong ones on CPUs, 2.13.)
        """
        every = self.all_gather(mine)
        assert isinstance(every, Tensor)
        if mine.requires_grad:
            every[self.global_rank] = self._processors * mine - (self._processors - 1) * mine.detach()
        return every.flatten(0, 1)

    def train(self, mode: bool = True) -> ZooTask:
        super().train(mode)
        if self.settings.fixed_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def configure_optimizers(self) -> Any:
        settings = self.settings
        try:
            optimizer = getattr(torch.optim, settings.optimizer.name)(self.parameters(), **settings.optimizer.options)
            schedules = []
            if settings.warmup:
                rise = torch.optim.lr_scheduler.LinearLR
                schedules.append(rise(optimizer, 1 / settings.warmup, total_iters=settings.warmup - 1 or 1))
            if settings.schedule is not None:
                kind = getattr(torch.optim.lr_scheduler, settings.schedule.name)
                schedules.append(kind(optimizer, **settings.schedule.options))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"optimizer_cfg or scheduler_cfg: PyTorch cannot use them: {error}.") from error
        if not schedules:
            return optimizer
        schedule = schedules[0] if len(schedules) == 1 else torch.optim.lr_scheduler.ChainedScheduler(schedules)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        if step != self._kept and (step % self.settings.keep_every == 0 or step == self.settings.steps):
            self._kept = step
            if self.trainer.is_global_zero:
                self.keep(step)

    def keep(self, step: int) -> Path:
        """Write the network in OpenGait's format, to ``out/checkpoints``, and return where."""
        path = self.settings.out / "checkpoints" / f"{self.settings.name}-{step:05d}.pt"
        optimizer = cast("torch.optim.Optimizer", self.optimizers())
        schedule = cast("torch.optim.lr_scheduler.LRScheduler | None", self.lr_schedulers())
        note = f"trained here on {self.settings.data_name or self.settings.data.name}, {step} steps"
        save_network(
            self.network, path, iteration=step, optimizer=optimizer.state_dict(),
            scheduler=schedule.state_dict() if schedule is not None else None,
            metadata={"licence": self.settings.licence, "note": note},
        )  # fmt: skip
        return path

    def check(self, network: nn.Module) -> dict[str, float]:
        if self._test is None or self.settings.protocol is None:
            return {}
        assert isinstance(network, EmbeddingNetwork)
        scores = judged(network, self._test, self.settings)
        figures = ((group.name, name, figure.value) for group in scores for name, figure in group.metrics.items())
        return {f"{group} {name}": value for group, name, value in figures if value is not None}


def seen(network: EmbeddingNetwork, walks: Tensor) -> Tensor:
    """What a network takes, of one of the `tensors` of walks: pictures as 0..1, keypoints as it looks at them.

    SMPL parameters stay as they are.
    """
    if isinstance(network, JointNetwork):
        return network.seen(walks)
    return walks.float() / 255 if walks.dtype == torch.uint8 else walks


def loss_of(term: LossTerm, embedding: Tensor, logits: Tensor | None, people: Tensor) -> Tensor:
    """A loss without its weight, of embeddings (n, C, P) and logits (n, classes, P)."""
    if term.kind == "CrossEntropyLoss":
        assert logits is not None, "the network was made with a classifier"
        return part_cross_entropy(logits, people, term.scale, term.smoothing)
    if term.kind == "TripletLoss":
        return batch_all_triplet(embedding, people, term.margin)[0]
    with torch.autocast(embedding.device.type, enabled=False):
        parts = embedding.float().permute(2, 0, 1)
        if term.kind == "SupConLoss_Lp":
            likeness = -torch.cdist(parts, parts)
        else:
            parts = F.normalize(parts, dim=2)
            likeness = parts @ parts.mT
    return contrastive(likeness, people, 1 / term.temperature)


def embedded(
    network: EmbeddingNetwork, walks: SeenWalks, most: int = 720, progress: Callable[[int, int], None] | None = None
) -> Floats:
    """Embed all walks, in their order: float32 (N, P, C).

    Args:
        network: in eval mode.
        walks: whole, but for the middle `most` frames of longer ones, and as many as a network over joints sees.
        most: see above.
        progress: gets the walks done and all of them.
    """
    limit = network.frames if isinstance(network, JointNetwork) else most
    device = next(network.parameters()).device
    lengths = [min(len(walks[index]), limit) for index in range(len(walks))]
    found: Floats | None = None
    done = 0
    order = sorted(range(len(walks)), key=lambda index: lengths[index])
    for length, group in groupby(order, key=lambda index: lengths[index]):
        alike = list(group)
        for start in range(0, len(alike), BATCH):
            chosen = alike[start : start + BATCH]
            starts = [(len(walks[index]) - length) // 2 for index in chosen]
            batch = np.stack([walks[index][at : at + length] for index, at in zip(chosen, starts, strict=True)])
            with torch.inference_mode():
                inputs = (seen(network, value.to(device)) for value in tensors(batch).values())
                parts = network.embed(*inputs).mT.float().cpu().numpy()
            if found is None:
                found = np.empty((len(walks), *parts.shape[1:]), np.float32)
            found[chosen] = parts
            done += len(chosen)
            if progress is not None:
                progress(done, len(walks))
    assert found is not None, "a data set has walks"
    return found


def judged(
    network: EmbeddingNetwork,
    walks: SeenWalks,
    settings: ZooSettings,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Score a network, in eval mode, on test walks by the data set's protocol."""
    assert settings.protocol is not None
    rules = read_protocol(settings.protocol)
    groups = groups_of(rules, walks.files, settings.partition)
    people = np.array([file.identity for file in walks.files])
    features = embedded(network, walks, settings.most_frames, progress)
    return score(features, people, views_of(rules, walks.files), groups, rules, metric=settings.metric)


def walks_of(settings: ZooSettings, part: Literal["train", "test"]) -> SeenWalks:
    """The walks of the training or of the test people, packed in `settings.out`.

    Raises:
        DataSetError: no walks, or a file that cannot be read.
    """
    people = None if settings.partition is None else read_partition(settings.partition, part)
    return SeenWalks.packed(settings.data, people, settings.sight, settings.out / f"{part}-walks")


def train(settings: ZooSettings, walks: SeenWalks | None = None) -> EmbeddingNetwork:
    """Train a network of the zoo, or go on: see `app.lab.training.engine.fit`.

    ``out/checkpoints`` receives it in OpenGait's format, ``out/config.yaml`` the configuration.

    Args:
        settings: see `app.lab.zoo.config.read_opengait`.
        walks: to learn from; None reads the data set's.

    Returns:
        The network, in eval mode.

    Raises:
        DataSetError: no walks, or a file that cannot be read.
        SettingsError: what the configuration asks for does not go together.
        CheckpointError: the weights to begin with are not this network's.
    """
    walks = walks_of(settings, "train") if walks is None else walks
    people = len(walks.by_person())
    network = _begun(settings, people)
    test = walks_of(settings, "test") if settings.test else None
    logger.info("%s: %d people to learn from, %d walks", network.family, people, len(walks))
    with written_whole(settings.out / "config.yaml") as temporary:
        temporary.write_text(settings.text, encoding="utf-8")
    batches = ZooBatches(walks, settings.sampling, settings.transforms, settings.seed, settings.twice)
    trained = fit(ZooTask(network, settings, test), batches, settings)
    assert isinstance(trained, EmbeddingNetwork)
    return trained


def _begun(settings: ZooSettings, people: int) -> EmbeddingNetwork:
    """The network before the first step: random weights of the seed, or those of the checkpoint to begin with."""
    torch.manual_seed(settings.seed)
    classifies = any(term.kind == "CrossEntropyLoss" for term in settings.losses)
    network = settings.plan.built(people, classifies)
    if settings.start is not None:
        given = load_network(settings.start, settings.plan.arguments, classifier=True)
        if type(given) is not type(network):
            raise CheckpointError(f"{settings.start} is a {given.family} network, not a {network.family}.")
        weights, own = given.state_dict(), network.state_dict()
        if not settings.strict:
            weights = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
            logger.info("%s: %d of %d weights are begun with", settings.start, len(weights), len(own))
            weights = {**own, **weights}
        load_strictly(network, weights, settings.start, f"this {network.family} network (restore_ckpt_strict: false?)")
    return network
