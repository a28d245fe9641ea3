"""The training of a gait network: its loss, its optimiser, its evaluation and its checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from app.errors import CheckpointError, SettingsError, reason_of
from app.files import write_text
from app.gait.base import EmbeddingNetwork
from app.gait.models.gaitssb import SelfSupervised
from app.gait.models.gaitstrips import GaitStrips
from app.gait.opengait import load_network
from app.gait.opengait.saving import save_network
from app.lab.data.opengait import WalkFile, read_partition
from app.lab.evaluation.protocol import read_protocol
from app.lab.training.engine import Task, fit
from app.lab.training.export import fitting, stored_weights
from app.lab.training.gait.judging import EvaluationSet, first_walk, network_input, numbered
from app.lab.training.gait.sampling import GaitBatches
from app.lab.training.gait.settings import GaitTrainSettings, LossTerm
from app.lab.training.gait.walks import PackedWalks, WalkArray
from app.lab.training.losses import batch_all_triplet, contrastive, own_view, part_cross_entropy
from app.weights.checkpoints import load_strictly

logger = logging.getLogger(__name__)


class GaitTask(Task):
    """A gait network and its losses.

    With several devices, each one embeds its share of the people of a batch, and the losses are computed over all of
    them together.
    """

    network: EmbeddingNetwork
    settings: GaitTrainSettings

    def __init__(
        self, network: EmbeddingNetwork, settings: GaitTrainSettings, evaluations: Sequence[EvaluationSet] = ()
    ) -> None:
        # This order of the weights is faster on CPUs with AVX-512. On others, training small networks in it crashed or
        # never ended (PyTorch 2.13).
        if isinstance(network, GaitStrips) and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
            network = convert_conv2d_weight_memory_format(network, torch.channels_last)
        super().__init__(network, settings)
        self._evaluations = evaluations
        self._kept = 0

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        people = batch["people"]
        inputs = [value for name, value in batch.items() if name != "people"]
        if self._devices > 1:
            mine = self._share(people)
            inputs, people = [value[mine] for value in inputs], people[mine]
        if self.settings.learns_without_names:
            return self._without_names(network_input(self.network, inputs[0]))
        try:
            embedding, logits = self.network(*(network_input(self.network, value) for value in inputs))
        except RuntimeError as error:  # strips that the rows cannot be divided into, too little memory
            raise SettingsError(
                f"This {self.network.family} network cannot work at a batch of {tuple(inputs[0].shape)} "
                f"({reason_of(error)}). Look at model_cfg, and at the sizes of batches."
            ) from error
        if self._devices > 1:
            embedding, people = self._gathered(embedding), self._gathered(people)
            logits = None if logits is None else self._gathered(logits)
        values: dict[str, Tensor] = {}
        total = embedding.new_zeros(())
        for term in self.settings.losses:
            values[term.name] = loss_of(term, embedding, logits, people)
            total = total + term.weight * values[term.name]
        if not bool(torch.isfinite(total)):
            raise SettingsError(
                f"The loss of {self.settings.name} is no longer a finite number. Make the learning rate smaller (rate, "
                "or optimizer_cfg.lr), or train with full precision (precision=32-true, or "
                "trainer_cfg.enable_float16=false)."
            )
        if logits is not None:
            values["accuracy"] = (logits.mean(2).argmax(1) == people).float().mean()
        return {"loss": total, **values}

    def _without_names(self, views: Tensor) -> dict[str, Tensor]:
        """Return the loss of walks that are in the batch twice, the two views of each one after the other."""
        assert isinstance(self.network, SelfSupervised)
        if self._devices > 1:
            raise SettingsError("A network learns without names on one device only. Set devices to 1.")
        likeness = self.network.likeness(views[::2], views[1::2])
        loss = own_view(likeness)
        found = likeness[0].mean(2).argmax(1) == torch.arange(len(likeness[0]), device=loss.device)
        return {"loss": loss, "accuracy": found.float().mean()}

    @property
    def _devices(self) -> int:
        return 1 if self._trainer is None else self.trainer.world_size

    def _share(self, people: Tensor) -> Tensor:
        """Return which walks of the batch this device embeds: those of every n-th person, for n devices."""
        names = torch.unique(people)
        if len(names) % self._devices:
            raise SettingsError(f"{len(names)} people of a batch cannot be divided among {self._devices} devices.")
        return torch.isin(people, names[self.global_rank :: self._devices])

    def _gathered(self, mine: Tensor) -> Tensor:
        """Return the tensors of all devices, one after the other.

        Only this device's own part has gradients, and the gradients of the devices are averaged. Its part is therefore
        multiplied by the number of devices. (PyTorch's own gathering with gradients gave wrong ones on CPUs, 2.13.)
        """
        gathered = self.all_gather(mine)
        assert isinstance(gathered, Tensor)
        if mine.requires_grad:
            gathered[self.global_rank] = self._devices * mine - (self._devices - 1) * mine.detach()
        return gathered.flatten(0, 1)

    def train(self, mode: bool = True) -> GaitTask:
        super().train(mode)
        if self.settings.fixed_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def configure_optimizers(self) -> Any:
        settings = self.settings
        if settings.optimizer is None:
            return super().configure_optimizers()
        try:
            options = settings.optimizer.options
            optimizer = getattr(torch.optim, settings.optimizer.name)(self._grouped(), **options)
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

    def _grouped(self) -> list[dict[str, Any]]:
        """Return the weights that learn, with the options of their group: see `GaitTrainSettings.groups`."""
        groups = self.settings.groups
        parameters: list[list[nn.Parameter]] = [[] for _ in range(len(groups) + 1)]
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                fits = (place for place, group in enumerate(groups) if _belongs(name, group["names"]))
                parameters[next(fits, len(groups))].append(parameter)
        empty = [group["names"] for group, own in zip(groups, parameters[:-1], strict=True) if not own]
        if empty:
            known = ", ".join(sorted({name.partition(".")[0] for name, _ in self.network.named_parameters()}))
            raise SettingsError(f"optimizer_cfg.groups: no weight is called {empty[0]}. The modules are {known}.")
        options = [{key: value for key, value in group.items() if key != "names"} for group in (*groups, {})]
        return [{"params": own, **more} for own, more in zip(parameters, options, strict=True) if own]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step, settings = self.trainer.global_step, self.settings
        if settings.learns_without_names and isinstance(self.network, SelfSupervised):
            self.network.after_step(step / settings.steps)
        if step != self._kept and (step % settings.keep_every == 0 or step == settings.steps):
            self._kept = step
            if self.trainer.is_global_zero and settings.checkpoint is not None:
                self.keep(step)

    def keep(self, step: int) -> Path:
        """Write a checkpoint in OpenGait's format, and return its path."""
        optimizer = cast("torch.optim.Optimizer", self.optimizers())
        schedule = cast("torch.optim.lr_scheduler.LRScheduler | None", self.lr_schedulers())
        return _save(
            self.network, self.settings, step, optimizer.state_dict(), schedule.state_dict() if schedule else None
        )

    def check(self, network: nn.Module) -> dict[str, float]:
        assert isinstance(network, EmbeddingNetwork)
        metric, most = self.settings.metric, self.settings.most_frames
        figures: dict[str, float] = {}
        for evaluation in self._evaluations:
            figures |= evaluation.figures(network, metric=metric, most=most)
        return figures


def _belongs(name: str, names: Sequence[str]) -> bool:
    """Whether a weight is one of `names`, is in a module of such a name, or has such a pattern."""
    return any(name == own or name.startswith(f"{own}.") or fnmatch(name, own) for own in names)


def loss_of(term: LossTerm, embedding: Tensor, logits: Tensor | None, people: Tensor) -> Tensor:
    """Return a loss without its weight, of embeddings (n, C, P) and logits (n, classes, P)."""
    if term.kind == "CrossEntropyLoss":
        assert logits is not None, "the network was built with a classifier"
        return part_cross_entropy(logits, people, term.scale, term.smoothing)
    if term.kind == "TripletLoss":
        return batch_all_triplet(embedding, people, term.margin)[0]
    with torch.autocast(embedding.device.type, enabled=False):
        parts = embedding.float().permute(2, 0, 1)
        if term.kind == "SupConLoss_Lp":
            similarities = -torch.cdist(parts, parts)
        else:
            parts = F.normalize(parts, dim=2)
            similarities = parts @ parts.mT
            if term.kind == "SupConLoss_Mean":
                similarities = similarities.mean(0)
    return contrastive(similarities, people, 1 / term.temperature)


def walks_of(settings: GaitTrainSettings, part: Literal["train", "test"]) -> PackedWalks:
    """Return the walks of the training people or of the test people, packed in `settings.out`.

    Raises:
        DataSetError: there are no walks, or none can be read.
        SettingsError: `settings.out` holds a training on other walks.
    """
    people = None if settings.partition is None else read_partition(settings.partition, part)
    return PackedWalks.pack(settings.data, people, settings.form, settings.out / f"{part}-walks")


def filmed_walks_of(settings: GaitTrainSettings) -> PackedWalks | None:
    """Return the filmed walks, packed in `settings.out`, if there are any; errors as of `walks_of`."""
    if settings.filmed is None:
        return None
    if settings.form != "silhouettes":
        raise SettingsError(f"filmed walks are silhouettes of 64 rows, and this network takes {settings.form}.")
    return PackedWalks.pack(settings.filmed, None, settings.form, settings.out / "filmed-walks")


def evaluation_sets(settings: GaitTrainSettings, walks: PackedWalks, filmed: PackedWalks | None) -> list[EvaluationSet]:
    """Return what a network is evaluated on during the training.

    These are the test people of the partition, where the settings ask for them, and the people held out: with the
    silhouettes as they are, spoilt as in training, and as a segmenter has cut them out.
    """
    evaluations = []
    if settings.test and settings.protocol is not None:
        test = walks_of(settings, "test")
        evaluations.append(EvaluationSet("", test, test.files, read_protocol(settings.protocol), settings.partition))
    if settings.held_out:
        own, files = _of_people(walks, walks.people[: settings.held_out])
        files = numbered(files)
        protocol = first_walk(files)
        evaluations.append(EvaluationSet("clean", own, files, protocol))
        if spoiling := tuple(transform for transform in settings.transforms if transform.spoils):
            evaluations.append(EvaluationSet("spoilt", own, files, protocol, transforms=spoiling))
        if filmed is not None:
            own, files = _of_people(filmed, walks.people[: settings.held_out])
            files = numbered(files, conditions=False)
            if len({file.condition for file in files}) > 1:
                evaluations.append(EvaluationSet("filmed", own, files, first_walk(files)))
    return evaluations


def _of_people(walks: PackedWalks, people: Sequence[str]) -> tuple[list[WalkArray], list[WalkFile]]:
    indices = [int(index) for own in walks.of(people) for index in own]
    return [walks[index] for index in indices], [walks.files[index] for index in indices]


def train(settings: GaitTrainSettings, walks: PackedWalks | None = None) -> EmbeddingNetwork:
    """Train a gait network, or continue a training (`app.lab.training.engine.fit`), and return it in evaluation mode.

    It learns from `walks`, or else from those of the data set. The folder ``out/checkpoints`` receives the network in
    OpenGait's format, if there is one for it, and ``out/config.yaml`` the configuration.

    Raises:
        DataSetError: there are no walks, or none can be read.
        SettingsError: the settings contradict each other or the data set.
        CheckpointError: the weights to start from belong to another network.
    """
    walks = walks_of(settings, "train") if walks is None else walks
    filmed = filmed_walks_of(settings)
    people = walks.people[settings.held_out :]
    network = _untrained(settings, len(people))
    batches = GaitBatches(
        walks, settings.sampling, settings.transforms, seed=settings.seed, twice=settings.twice, people=people,
        filmed=filmed, filmed_share=settings.filmed_share, batches=settings.steps * settings.accumulate,
    )  # fmt: skip
    evaluations = evaluation_sets(settings, walks, filmed)
    logger.info(
        "%s: %d people to learn from, %d held out, %d walks",
        network.family, len(people), min(settings.held_out, len(walks.people)), len(walks),
    )  # fmt: skip
    if settings.text:
        write_text(settings.out / "config.yaml", settings.text)
    trained = fit(GaitTask(network, settings, evaluations), batches, settings)
    assert isinstance(trained, EmbeddingNetwork)
    if settings.checkpoint is not None and not settings.checkpoint.is_file():  # killed just before it was written
        _save(trained, settings, settings.steps)
    return trained


def _save(
    network: EmbeddingNetwork,
    settings: GaitTrainSettings,
    step: int,
    optimizer: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> Path:
    path = settings.checkpoint_at(step)
    note = f"trained here on {settings.data_name or settings.data.name}, {step} steps"
    save_network(
        network, path, iteration=step, optimizer=optimizer, scheduler=schedule,
        metadata={"licence": settings.licence, "note": note},
    )  # fmt: skip
    return path


def _untrained(settings: GaitTrainSettings, people: int) -> EmbeddingNetwork:
    """Return the network before the first step, with random weights or those of the file to start from."""
    torch.manual_seed(settings.seed)
    classifies = any(term.kind == "CrossEntropyLoss" for term in settings.losses)
    network = settings.plan.build(people, classifies)
    if settings.start is not None:
        if settings.start.suffix.lower() == ".onnx":
            return _started(network, stored_weights(settings.start), settings.start)
        # A network that is trained further may have another head, and begin with another family's first stages.
        stated = settings.plan.arguments if settings.strict else {}
        try:
            given = load_network(settings.start, stated, classifier=True)
        except SettingsError:  # these are arguments of another family
            given = load_network(settings.start, {}, classifier=True)
        if settings.strict and type(given) is not type(network):
            raise CheckpointError(f"{settings.start} is a {given.family} network, not a {network.family} network.")
        weights, own = given.state_dict(), network.state_dict()
        if not settings.strict:
            weights = fitting(network, weights)
            logger.info("%s: %d of %d weights are taken from it", settings.start, len(weights), len(own))
            if not weights:
                raise CheckpointError(
                    f"{settings.start} is a {given.family} network, none of whose weights fit a {network.family} "
                    "network."
                )
            weights = {**own, **weights}
        load_strictly(network, weights, settings.start, f"this {network.family} network (restore_ckpt_strict: false?)")
    return network


def _started(network: EmbeddingNetwork, weights: Mapping[str, Tensor], path: Path) -> EmbeddingNetwork:
    """Give a network those weights of an exported one that fit; all others stay as they are.

    A comparison over time that the exported network does not have begins as nothing, so that the new network begins as
    the exported one.
    """
    own, taken = network.state_dict(), fitting(network, weights)
    if not taken:
        raise CheckpointError(f"{path} has no weights that fit a {network.family} network.")
    logger.info("%s: %d of %d weights are taken from it", path, len(taken), len(own))
    network.load_state_dict({**own, **taken})
    if isinstance(network, GaitStrips) and network.temporal is not None and "temporal.conv.weight" not in taken:
        nn.init.zeros_(cast("nn.BatchNorm2d", network.temporal.norm).weight)
    return network
