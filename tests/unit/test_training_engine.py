"""The engine: a stopped run ends as one that was never stopped; averaged weights; settings; the exported file."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.errors import OutputError, SettingsError

pytest.importorskip("lightning")

from app.lab.training.body import BodyTrainSettings
from app.lab.training.detector import DetectorTrainSettings
from app.lab.training.disentangled import DisentangledTrainSettings
from app.lab.training.engine import Task, fit, load_trained
from app.lab.training.gait.settings import EmbeddedGaitSettings
from app.lab.training.joints import JointsTrainSettings
from app.lab.training.segmenter import PersonTrainSettings
from app.lab.training.settings import TrainSettings, read_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


class Numbers:
    """The mean of four numbers is to be learnt."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        self.steps.append(step)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": x.mean(1, keepdim=True)}


class Mean(Task):
    """`stop` is called in the step of that number."""

    def __init__(self, settings: TrainSettings, stop: int | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 1), settings)
        self.stop = stop
        self.checks: list[float] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.global_step == self.stop:
            os.kill(os.getpid(), signal.SIGINT)
        return {"loss": (self.network(batch["x"]) - batch["y"]).square().mean()}

    def check(self, network: nn.Module) -> dict[str, float]:
        assert not network.training
        self.checks.append(float(network.weight.detach().sum()))
        return {"sum": self.checks[-1]}


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        out=tmp_path / "run", steps=60, batch=16, rate=0.05, warmup=5, ema=0.9, precision="32-true", workers=0,
        threads=1, save_every=20, check_every=25,
    )  # fmt: skip


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_it_learns_checks_and_keeps_averaged_weights(settings: TrainSettings) -> None:
    task = Mean(settings)
    assert weights(task.network)[:4].sub(0.25).abs().max() > 0.2
    network = fit(task, Numbers(), settings)
    assert weights(network)[:4].sub(0.25).abs().max() < 0.1
    assert len(task.checks) == 2
    assert task.checks[0] != task.checks[1]
    stored = torch.load(settings.out / "network.pt", weights_only=True)
    assert torch.equal(torch.cat([stored["weight"].flatten(), stored["bias"]]), weights(network))


def test_a_stopped_run_says_so_and_ends_as_one_that_was_not(
    settings: TrainSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    whole = weights(fit(Mean(settings), Numbers(), settings))
    broken = replace(settings, out=tmp_path / "broken")
    seen: list[int] = []
    for stop in (8, 11, 40, None):
        numbers = Numbers()
        if stop is None:
            assert torch.equal(weights(fit(Mean(broken), numbers, broken)), whole)
        else:
            with pytest.raises(KeyboardInterrupt):
                fit(Mean(broken, stop=stop), numbers, broken)
            assert signal.getsignal(signal.SIGINT) == before
            assert capfd.readouterr().err.count("Stopping. Finished work is kept") == 1
        seen += numbers.steps
    assert seen == list(range(60))
    assert (broken.out / "network.pt").read_bytes() == (settings.out / "network.pt").read_bytes()


@pytest.mark.parametrize("becomes", [None, RuntimeError, SystemError, ImportError])
def test_a_second_ctrl_c_ends_a_training_at_once_and_as_ctrl_c_does(
    settings: TrainSettings, becomes: type[Exception] | None
) -> None:
    """`becomes` is what a library makes of the exception that ends it."""

    class Impatient(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.global_step == self.stop:
                os.kill(os.getpid(), signal.SIGINT)
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt as error:
                    if becomes is not None:
                        raise becomes from error
                    raise
            return super().loss(batch)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Impatient(settings, stop=8), Numbers(), settings)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_ctrl_c_is_heeded_where_a_library_loses_it(settings: TrainSettings) -> None:
    """The handler from before the training is asked, which knows what to do then."""
    asked: list[int] = []

    class Losing(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.global_step == self.stop:
                for _ in range(2):
                    os.kill(os.getpid(), signal.SIGINT)
            return super().loss(batch)

    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Losing(settings, stop=8), Numbers(), settings)
    finally:
        signal.signal(signal.SIGINT, before)
    assert asked == [signal.SIGINT]


def test_an_error_after_the_first_ctrl_c_is_told(settings: TrainSettings) -> None:
    class Failing(Mean):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.global_step == self.stop:
                os.kill(os.getpid(), signal.SIGINT)
                raise RuntimeError("no space is left")
            return super().loss(batch)

    with pytest.raises(RuntimeError, match="no space is left"):
        fit(Failing(settings, stop=8), Numbers(), settings)


def test_a_finished_run_is_not_trained_again(settings: TrainSettings) -> None:
    done = weights(fit(Mean(settings), Numbers(), settings))
    more = Numbers()
    assert torch.equal(weights(fit(Mean(settings), more, settings)), done)
    assert more.steps == []


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_last_step_is_kept_between_two_checkpoints(settings: TrainSettings, ema: float) -> None:
    odd = replace(settings, steps=50, save_every=20, ema=ema)
    done = weights(fit(Mean(odd), Numbers(), odd))
    (odd.out / "network.pt").unlink()  # killed before it was written
    more = Numbers()
    assert torch.equal(weights(fit(Mean(odd), more, odd)), done)
    assert more.steps == [], "none is repeated"


def test_averaging_changes_the_result(settings: TrainSettings, tmp_path: Path) -> None:
    short = replace(settings, steps=12)
    plain = replace(short, ema=0.0, out=tmp_path / "plain")
    assert not torch.equal(weights(fit(Mean(short), Numbers(), short)), weights(fit(Mean(plain), Numbers(), plain)))


def test_more_steps_than_asked_for_are_refused(settings: TrainSettings) -> None:
    short = replace(settings, steps=20)
    fit(Mean(short), Numbers(), short)
    with pytest.raises(SettingsError, match="has 20 steps already"):
        fit(Mean(short), Numbers(), replace(short, steps=10))


@dataclass(frozen=True)
class Sized(TrainSettings):
    size: int = 3


def test_settings_come_from_a_file_and_assignments(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("out: runs/a\nsteps: 10\nbatch: 2\nrate: 0.1\nsize: 7\n")
    found = read_config(path, Sized, ["steps=20", "precision=32-true"])
    assert (found.out, found.steps, found.size, found.precision) == (Path("runs/a"), 20, 7, "32-true")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("stepps: 5", "no setting 'stepps'.*Did you mean 'steps'"),
        ("size: large", "'size' cannot be used"),
        ("steps: 0", "'steps' cannot be used"),
        ("save_every: 0", "'save_every' cannot be used"),
        ("batch: 1000000", "'batch' cannot be used: .* 4096"),
        ("rate: .nan", "'rate' cannot be used"),
        ("precision: 8", "'precision' cannot be used"),
        ("[", "is not YAML"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"out: a\nsteps: 10\nbatch: 2\nrate: 0.1\n{line}\n")
    with pytest.raises(SettingsError, match=rf"mine\.yaml.*{complaint}"):
        read_config(path, Sized)
    path.write_text("out: a\nsteps: 10\nbatch: 2\nrate: 0.1\n")
    assignment = line.replace(": ", "=") if line != "[" else "size=["
    with pytest.raises(SettingsError, match=rf"^--set {re.escape(assignment)}.*{complaint}"):
        read_config(path, Sized, [assignment])


def test_processes_that_would_stop_the_machine_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.workers.cores", lambda: 2)
    with pytest.raises(SettingsError, match=r"The setting workers: 255 is too much for a machine of 2 cores.*most 16"):
        TrainSettings(tmp_path, steps=10, batch=2, rate=0.1, workers=255)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("body", BodyTrainSettings),
        ("detector", DetectorTrainSettings),
        ("disentangled", DisentangledTrainSettings),
        ("gait", EmbeddedGaitSettings),
        ("joints", JointsTrainSettings),
        ("person", PersonTrainSettings),
    ],
)
def test_no_number_of_a_training_is_negative(name: str, kind: type[TrainSettings]) -> None:
    given = [f"photos={name}"] if name in ("detector", "person") else []
    settings = read_config(None, kind, given, name)
    values = {each.name: getattr(settings, each.name) for each in fields(kind)}
    numbers = [key for key, value in values.items() if type(value) in (int, float)]
    assert {"steps", "rate", "workers"} < set(numbers)
    for key in numbers:
        with pytest.raises(SettingsError, match=f"'{key}' cannot be used"):
            read_config(None, kind, [*given, f"{key}=-1"], name)


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("out: a\nbatch: 2\nrate: 0.1\n")
    with pytest.raises(SettingsError, match=r"'steps' is missing.*--set steps=VALUE"):
        read_config(path, Sized)


def test_weights_of_another_network_are_refused(settings: TrainSettings) -> None:
    settings.out.mkdir()
    torch.save({**nn.Linear(4, 1).state_dict(), "classifier.weight": torch.zeros(1)}, settings.out / "network.pt")
    assert not load_trained(nn.Linear(4, 1), settings.out, "line").training
    for other in (nn.Linear(3, 1), nn.LSTM(4, 1)):
        with pytest.raises(SettingsError, match=r"does not hold the line .*Train it first"):
            load_trained(other, settings.out, "line")
    with pytest.raises(SettingsError, match=r"^There is no no.network\.pt\. Train the line first"):
        load_trained(nn.Linear(4, 1), Path("no"), "line")


def test_options_of_the_optimiser_that_have_no_effect_are_named(
    settings: TrainSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fit(Mean(settings), Numbers(), replace(settings, steps=20))
    fit(Mean(settings), Numbers(), replace(settings, steps=22))
    assert "no effect" not in caplog.text
    other = replace(settings, steps=24, rate=7.0, weight_decay=0.5)
    fit(Mean(other), Numbers(), other)
    assert "no effect: weight_decay 0.5 instead of" in caplog.text
    assert "initial_lr 7.0 instead of" in caplog.text


class Descent(Mean):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_training_by_another_optimiser_does_not_go_on(settings: TrainSettings) -> None:
    fit(Mean(settings), Numbers(), replace(settings, steps=20))
    with pytest.raises(SettingsError, match=r"last\.ckpt is of another optimiser than the settings describe"):
        fit(Descent(settings), Numbers(), settings)


def test_a_full_disk_loses_no_checkpoint(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second checkpoint ends halfway; the first one stays, and the training goes on from it."""
    save, calls = torch.save, 0

    def full(content: object, file: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        save(content, file, **options)
        if calls == 2:
            file.truncate(100)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space is left to write"):
        fit(Mean(settings), Numbers(), settings)
    monkeypatch.undo()
    assert [path.name for path in settings.out.glob("*.ckpt")] == ["last.ckpt"]
    again = Numbers()
    fit(Mean(settings), again, settings)
    assert min(again.steps) == 20


def test_a_full_disk_is_told_where_the_log_needs_it(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger.save", full)
    with pytest.raises(OutputError, match=r"No space is left to write .*log"):
        fit(Mean(settings), Numbers(), settings)


def test_a_damaged_checkpoint_is_called_so(settings: TrainSettings) -> None:
    fit(Mean(settings), Numbers(), replace(settings, steps=20))
    last = settings.out / "last.ckpt"
    whole = last.read_bytes()
    for content in (b"", whole[:100], whole[:-200], b"no checkpoint", pickle.dumps(print), pickle.dumps({"a": 1})):
        last.write_bytes(content)
        with pytest.raises(SettingsError, match=r"last\.ckpt is damaged .* Remove it to begin anew") as told:
            fit(Mean(settings), Numbers(), settings)
        assert "weights_only" not in str(told.value)


@pytest.mark.parametrize("steps", [20, 40])
def test_a_training_of_another_network_does_not_go_on(settings: TrainSettings, steps: int) -> None:
    fit(Mean(settings), Numbers(), replace(settings, steps=20))
    for network in (nn.Linear(3, 1), nn.Linear(4, 1, bias=False)):
        task = Mean(settings)
        task.network = network
        with pytest.raises(SettingsError, match=r"last\.ckpt is of another network than the settings describe"):
            fit(task, Numbers(), replace(settings, steps=steps))
