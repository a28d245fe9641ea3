"""The engine under every training: Lightning, with exact resumption, averaged weights and progress with time left."""

from __future__ import annotations

import logging
import math
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from app.errors import MissingExtraError, SettingsError
from app.files import explained, written_whole
from app.lab.training.settings import TrainSettings

try:
    import lightning as pl
    from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
    from lightning.pytorch.loggers import TensorBoardLogger
except ImportError as missing:
    raise MissingExtraError('Training needs Lightning: pip install -e ".[train]"') from missing

logger = logging.getLogger(__name__)


class Batches(Protocol):
    """Training data: ``batches[number]`` is a whole batch, a pure function of its number and the settings' seed.

    The number is that of the step, or with `accumulate` counts several for each step.

    So a run that is resumed sees what it would have seen, and several processes can make batches side by side.
    """

    def __getitem__(self, step: int) -> dict[str, Tensor]: ...


class Task(pl.LightningModule):
    """What is learnt: the network, its loss, and how it is judged."""

    def __init__(self, network: nn.Module, settings: TrainSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is to become small under ``loss``, and whatever else is worth logging."""
        raise NotImplementedError

    def check(self, network: nn.Module) -> dict[str, float]:
        """Judge `network` (averaged weights, evaluation mode) on data it was not trained with."""
        return {}

    def share_of_rate(self, name: str) -> float:
        """Return how much of the learning rate the parameter called `name` takes."""
        return 1.0

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        found = self.loss(batch)
        for name, value in found.items():
            self.log(f"train/{name}", value.detach(), prog_bar=name == "loss")
        return found["loss"]

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov & Hutter 2019) without decay of biases and norms; linear warm-up, then a cosine."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decay = self.settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((decay, self.settings.rate * self.share_of_rate(name)), []).append(parameter)
        of_groups = [{"params": of, "weight_decay": decay, "lr": rate} for (decay, rate), of in groups.items()]
        optimizer = torch.optim.AdamW(of_groups, lr=self.settings.rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_at(self, step: int) -> float:
        steps, warmup = self.settings.steps, self.settings.warmup
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


class _Steps(Sampler[int]):
    """The numbers of the batches that are still to do; asked anew after each of what Lightning takes for an epoch."""

    def __init__(self, task: Task) -> None:
        self._task, self._each, self._end = task, task.settings.accumulate, task.settings.steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._task.global_step * self._each, self._end * self._each))

    def __len__(self) -> int:
        return self._end * self._each


def _ends_step(task: Task, batch_idx: int) -> bool:
    """Whether the weights were changed after this batch."""
    return (batch_idx + 1) % task.settings.accumulate == 0


class _StepData(Dataset[dict[str, Tensor]]):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self._batches[step]


class _Check(Callback):
    """Judge now and then, with the averaged weights."""

    def __init__(self, average: EMAWeightAveraging | None) -> None:
        self._average = average

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Task)
        step = trainer.global_step
        if not _ends_step(pl_module, batch_idx):
            return
        if step and step % pl_module.settings.check_every == 0 and step < pl_module.settings.steps:
            figures = judge(pl_module, self._average)
            if figures and trainer.is_global_zero:
                for log in trainer.loggers:
                    log.log_metrics({f"check/{name}": value for name, value in figures.items()}, step)
                text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                logger.info("step %d: %s", step, text)


class _Bar(RichProgressBar):
    """Counts steps, those before a stop too; Lightning's counts the batches of an epoch, which mean nothing here."""

    @property
    def total_train_batches(self) -> int:
        return int(self.trainer.max_steps)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def _get_train_description(self, current_epoch: int) -> str:
        return "Steps"


class _Ending(Callback):
    """A checkpoint after the last step; Ctrl-C makes that the one that is being done."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Take the signal; a second one stops at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Task)
        if not _ends_step(pl_module, batch_idx):
            return
        if self.asked or trainer.global_step == pl_module.settings.steps:
            trainer.save_checkpoint(pl_module.settings.out / "last.ckpt")
            trainer.should_stop = True


def judge(task: Task, average: EMAWeightAveraging | None = None) -> dict[str, float]:
    """Return the task's figures, of the averaged weights where there are some."""
    averaged = None if average is None else average._average_model
    judged = task if averaged is None or not averaged.n_averaged else averaged.module
    assert isinstance(judged, Task)
    network = judged.network
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            return task.check(network)
    finally:
        for module, mode in modes.items():
            module.training = mode


def fit(task: Task, batches: Batches, settings: TrainSettings) -> nn.Module:
    """Train, or go on with a training that was stopped, and return the network with averaged weights.

    `settings.out` receives ``last.ckpt`` (every `save_every` steps, at an interruption and at the end), a TensorBoard
    log and, at the end, ``network.pt``: the network's state dict.

    Raises:
        SettingsError: `settings.out` holds the checkpoint of another network or other steps.
        OutputError: `settings.out` cannot be written.
        KeyboardInterrupt: the user stopped it; the checkpoint is written.
    """
    out = settings.out
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(settings.seed, verbose=False)
    last = out / "last.ckpt"
    start = _steps_done(last, settings)
    if start == settings.steps:  # Lightning keeps the averaged weights as those of the task
        task.load_state_dict(torch.load(last, map_location="cpu", weights_only=True)["state_dict"])
        return _written(task.network, out)
    average = None
    if settings.ema:  # not from the start: the weights that were drawn by chance would stay in it for long
        average = EMAWeightAveraging(decay=settings.ema, update_starting_at_step=settings.steps // 10)
    saving = ModelCheckpoint(
        out, filename="last", every_n_train_steps=settings.save_every, save_top_k=1, enable_version_counter=False
    )
    ending = _Ending()
    callbacks: list[Callback] = [saving, _Bar(leave=False), _Check(average), ending]
    if average is not None:
        callbacks.insert(0, average)
    with warnings.catch_warnings():
        # Advice about loaders and loggers that does not hold here: a batch is a step, its length is known.
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
            enable_model_summary=False,
            log_every_n_steps=20,
            use_distributed_sampler=False,
        )
        before = signal.signal(signal.SIGINT, ending.ask)
        try:
            trainer.fit(task, _loader(batches, settings, task), ckpt_path=last if start else None)
        finally:
            signal.signal(signal.SIGINT, before)
    if ending.asked:
        raise KeyboardInterrupt
    return _written(task.network, out) if trainer.is_global_zero else task.network.eval()


def _written(network: nn.Module, out: Path) -> nn.Module:
    with written_whole(out / "network.pt") as temporary:
        torch.save(network.state_dict(), temporary)
    return network.eval()


def _steps_done(last: Path, settings: TrainSettings) -> int:
    if not last.is_file():
        return 0
    content = torch.load(last, map_location="cpu", weights_only=True)
    done = int(content["global_step"])
    if done > settings.steps:
        raise SettingsError(
            f"{last} has {done} steps already, more than the {settings.steps} asked for. Give another out."
        )
    logger.info("going on after step %d of %d (%s)", done, settings.steps, last)
    return done


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
    """One thread in each process that makes batches; Ctrl-C is the main process's business."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    os.nice(1)
