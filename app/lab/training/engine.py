"""The engine of every training: Lightning, with exact resumption, averaged weights and a bar with the time left."""

from __future__ import annotations

import logging
import math
import os
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from app.errors import CheckpointError, SettingsError, needing
from app.files import explained, written_whole
from app.lab.training.settings import TrainSettings
from app.progress import tell_stopping
from app.weights.checkpoints import load_pickle_safely

with needing('Training needs Lightning: pip install -e ".[train]"'):
    import lightning as pl
    from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.plugins.io import TorchCheckpointIO
    from lightning.pytorch.utilities import rank_zero_only

Network = TypeVar("Network", bound=nn.Module)

logger = logging.getLogger(__name__)


class Batches(Protocol):
    """Training data: ``batches[number]`` is a whole batch, and depends on nothing but its number and the seed.

    A resumed run therefore sees the same batches as one that was never stopped, and several processes can prepare
    batches side by side. The number is that of the step; with `accumulate`, each step has several numbers.
    """

    def __getitem__(self, step: int) -> dict[str, Tensor]: ...


class Task(pl.LightningModule):
    """A network, its loss and its evaluation."""

    def __init__(self, network: nn.Module, settings: TrainSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss under the key ``loss``, and any other values that should be logged."""
        raise NotImplementedError

    def check(self, network: nn.Module) -> dict[str, float]:
        """Evaluate `network`, which has averaged weights and is in evaluation mode, on data it was not trained on."""
        return {}

    def share_of_rate(self, name: str) -> float:
        """Return the factor by which the learning rate of the parameter called `name` is multiplied."""
        return 1.0

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        values = self.loss(batch)
        for name, value in values.items():
            self.log(f"train/{name}", value.detach(), prog_bar=name == "loss")
        return values["loss"]

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov & Hutter 2019), without weight decay of biases and norms; linear warm-up, then a cosine."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decay = self.settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((decay, self.settings.rate * self.share_of_rate(name)), []).append(parameter)
        options = [{"params": params, "weight_decay": decay, "lr": rate} for (decay, rate), params in groups.items()]
        optimizer = torch.optim.AdamW(options, lr=self.settings.rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_at(self, step: int) -> float:
        steps, warmup = self.settings.steps, self.settings.warmup
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


class _WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all.

    Lightning's own way copies them from the folder of temporary files, and a copy may end halfway.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        with written_whole(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class _Steps(Sampler[int]):
    """The numbers of the batches that remain. Lightning asks again after each of what it takes for an epoch."""

    def __init__(self, task: Task) -> None:
        self._task, self._per_step = task, task.settings.accumulate

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._task.global_step * self._per_step, len(self)))

    def __len__(self) -> int:
        return self._task.settings.steps * self._per_step


class _StepData(Dataset[dict[str, Tensor]]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self._batches[step]


class _Bar(RichProgressBar):
    """Counts steps, including those before a stop. Lightning's own bar counts the batches of an epoch."""

    @property
    def total_train_batches(self) -> int:
        return int(self.trainer.max_steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def _get_train_description(self, current_epoch: int) -> str:
        return "Steps"


class _AfterStep(Callback):
    """Evaluates every `check_every` steps, and writes a checkpoint after the last step or after Ctrl-C."""

    def __init__(self, average: EMAWeightAveraging | None) -> None:
        self._average = average
        self.interrupted = self.ended = False
        self._before: Any = None

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal: finish the current step first, or stop at once if this is the second signal."""
        if self.interrupted:
            self.ended = True
            if callable(self._before):  # the command line's way knows what to do where a library loses the exception
                self._before(number, frame)
            raise KeyboardInterrupt
        self.interrupted = True
        tell_stopping()

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Handle Ctrl-C meanwhile, and raise `KeyboardInterrupt` at the end if there was one."""
        self._before = signal.signal(signal.SIGINT, self.interrupt)
        try:
            yield
        except (Exception, SystemExit):  # Lightning and torch make errors of their own of a second Ctrl-C
            if not self.ended:
                raise
        finally:
            signal.signal(signal.SIGINT, self._before)
        if self.interrupted:
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Task)
        settings, step = pl_module.settings, trainer.global_step
        if (batch_idx + 1) % settings.accumulate:  # the weights are updated after several batches
            return
        if step and step % settings.check_every == 0 and step < settings.steps:
            self._evaluate(trainer, pl_module)
        if self.interrupted or step == settings.steps:
            trainer.save_checkpoint(settings.out / "last.ckpt")
            trainer.should_stop = True

    def _evaluate(self, trainer: pl.Trainer, task: Task) -> None:
        figures = judge(task, self._average)
        if figures and trainer.is_global_zero:
            for log in trainer.loggers:
                log.log_metrics({f"check/{name}": value for name, value in figures.items()}, trainer.global_step)
            text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            logger.info("step %d: %s", trainer.global_step, text)


def judge(task: Task, average: EMAWeightAveraging | None = None) -> dict[str, float]:
    """Evaluate the task with the averaged weights, or with the present ones where none are averaged yet."""
    averaged = None if average is None else average._average_model
    evaluated = task if averaged is None or not averaged.n_averaged else averaged.module
    assert isinstance(evaluated, Task)
    network = evaluated.network
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            return task.check(network)
    finally:
        for module, mode in modes.items():
            module.training = mode


def fit(task: Task, batches: Batches, settings: TrainSettings) -> nn.Module:
    """Train, or continue a training that was stopped, and return the network with averaged weights.

    `settings.out` receives ``last.ckpt`` (every `save_every` steps, after an interruption and at the end), a
    TensorBoard log and, at the end, ``network.pt``: the state dict of the network.

    Raises:
        SettingsError: the checkpoint in `settings.out` has more steps than `settings.steps`, is of another network, or
            is damaged.
        OutputError: `settings.out` cannot be written.
        KeyboardInterrupt: the user stopped the training. Its checkpoint is written.
    """
    out = settings.out
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(settings.seed, verbose=False)
    last = out / "last.ckpt"
    start, weights = _begun(last, task, settings)
    if start == settings.steps:  # in the checkpoint, the weights of the task are the averaged ones
        task.load_state_dict(weights)
        return _written(task.network, out)
    average = None
    if settings.ema:  # averaging begins late, because the random first weights would stay in the average for long
        average = EMAWeightAveraging(decay=settings.ema, update_starting_at_step=settings.steps // 10)
    saving = ModelCheckpoint(
        out, filename="last", every_n_train_steps=settings.save_every, save_top_k=1, enable_version_counter=False
    )
    after_step = _AfterStep(average)
    callbacks: list[Callback] = [saving, _Bar(leave=False), after_step]
    if average is not None:
        callbacks.insert(0, average)
    with warnings.catch_warnings():
        # Lightning's advice about data loaders and loggers does not apply: here one batch is one step.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = pl.Trainer(
            max_steps=settings.steps,
            precision=settings.precision,
            devices=settings.devices,
            accelerator="auto" if torch.cuda.is_available() else "cpu",
            num_nodes=settings.nodes,
            gradient_clip_val=10.0,
            accumulate_grad_batches=settings.accumulate,
            sync_batchnorm=settings.sync_norms,
            callbacks=callbacks,
            logger=TensorBoardLogger(out, name="log", version=""),
            default_root_dir=out,
            plugins=[_WholeCheckpoints()],
            enable_model_summary=False,
            log_every_n_steps=20,
            use_distributed_sampler=False,
        )
        with after_step.heeding(), explained(out / "log"):
            trainer.fit(task, _loader(batches, settings, task), ckpt_path=last if start else None)
    return _written(task.network, out) if trainer.is_global_zero else task.network.eval()


def is_first_process() -> bool:
    """Whether this is the process that writes files; with several devices or machines there are others."""
    return not getattr(rank_zero_only, "rank", 0)


def load_trained(network: Network, out: Path, what: str) -> Network:
    """Load the weights that `fit` has left in the folder `out` into `network`, and return it in evaluation mode.

    Weights that only training needs, such as a classifier that `network` does not have, are left out. `what` is what
    the message calls the network: "person detector".

    Raises:
        SettingsError: there are no weights, or they are those of another network.
    """
    file = out / "network.pt"
    if not file.is_file():
        raise SettingsError(f"There is no {file}. Train the {what} first, or name the folder of its training.")
    try:
        weights, known = load_pickle_safely(file), network.state_dict()
        network.load_state_dict({key: value for key, value in weights.items() if key in known})
    except (CheckpointError, RuntimeError, AttributeError) as error:
        raise SettingsError(
            f"{file} does not hold the {what} that these settings describe. Train it first, or give the settings it "
            "was trained with."
        ) from error
    return network.eval()


def _written(network: nn.Module, out: Path) -> nn.Module:
    # Not to a path: torch writes its name into the file, and that of a temporary file differs each time.
    with written_whole(out / "network.pt") as temporary, temporary.open("wb") as file:
        torch.save(network.state_dict(), file)
    return network.eval()


def _begun(last: Path, task: Task, settings: TrainSettings) -> tuple[int, Mapping[str, Tensor]]:
    """Return how many steps the training in `last` has done, and the weights of the task then."""
    if not last.is_file():
        return 0, {}
    try:
        content = load_pickle_safely(last)
        done, weights = int(content["global_step"]), dict(content["state_dict"])
        kept = list(content["optimizer_states"][0]["param_groups"])
    except (CheckpointError, LookupError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{last} is damaged or no checkpoint of a training, so it cannot go on. Remove it to begin anew, or give "
            "another folder as out."
        ) from error
    if {key: value.shape for key, value in weights.items()} != {k: v.shape for k, v in task.state_dict().items()}:
        raise SettingsError(
            f"{last} is of another network than the settings describe. Give the settings with which it was begun, or "
            "another folder as out."
        )
    made = task.configure_optimizers()
    groups = (made if isinstance(made, torch.optim.Optimizer) else made["optimizer"]).state_dict()["param_groups"]
    if [(set(group), len(group["params"])) for group in kept] != [(set(g), len(g["params"])) for g in groups]:
        raise SettingsError(
            f"{last} is of another optimiser than the settings describe. Give the settings with which it was begun, or "
            "another folder as out."
        )
    if changed := _changed(kept, groups):
        logger.warning("%s: the optimiser goes on as it was begun, so this has no effect: %s.", last, changed)
    if done > settings.steps:
        raise SettingsError(
            f"{last} has {done} steps already, more than the {settings.steps} that are asked for. Give another folder "
            "as out."
        )
    logger.info("Continuing after step %d of %d (%s).", done, settings.steps, last)
    return done, weights


def _changed(kept: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> str:
    """Return which options of an optimiser differ from those in its checkpoint, which count."""
    changed = {
        key: f"{key} {new[key]} instead of {old[key]}"
        for old, new in zip(kept, groups, strict=True)
        for key in old
        # A schedule changes the rate from step to step.
        if key not in ("params", "lr" if "initial_lr" in old else "") and old[key] != new[key]
    }
    return ", ".join(changed.values())


def _loader(batches: Batches, settings: TrainSettings, task: Task) -> DataLoader[dict[str, Tensor]]:
    return DataLoader(
        _StepData(batches),
        batch_size=None,
        sampler=_Steps(task),
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        persistent_workers=False,
        worker_init_fn=_quiet,
    )


def _quiet(worker: int) -> None:
    """Let a process that prepares batches use one thread, and leave Ctrl-C to the main process."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    os.nice(1)
