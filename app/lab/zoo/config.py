"""OpenGait's YAML as the configuration of a training.

The sections and keys are OpenGait's where they have a meaning here; those that have none (how its processes talk to
each other, say) are allowed and told, and any other is an error. One section is ours: ``run_cfg``, of where and how to
run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from app.errors import SettingsError, nearest
from app.gallery.distances import Metric
from app.lab.evaluation.protocol import known_protocols
from app.lab.training.settings import TrainSettings
from app.lab.zoo.networks import NetworkPlan, read_network
from app.lab.zoo.sampling import Sampling, read_sampling
from app.lab.zoo.sections import Section
from app.lab.zoo.transforms import Transform, read_transforms, sequence_length, two_views
from app.lab.zoo.walks import Sight

LOSSES = ("TripletLoss", "CrossEntropyLoss", "SupConLoss_Re", "SupConLoss_Lp")


@dataclass(frozen=True)
class LossTerm:
    """A loss and its `weight`; `name` is what it is logged as.

    `margin` is the triplets', `scale` multiplies logits, `smoothing` is that of labels, `temperature` is that of the
    contrastive losses: ``SupConLoss_Re`` compares by cosine, ``SupConLoss_Lp`` by Euclidean distance.
    """

    kind: str
    name: str
    weight: float
    margin: float = 0.2
    scale: float = 16.0
    smoothing: float = 0.0
    temperature: float = 0.01


@dataclass(frozen=True)
class Recipe:
    """The name of a class of PyTorch's, an optimiser or a schedule, and its arguments."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ZooSettings(TrainSettings):
    """Training of a gait network as OpenGait's YAML describes it.

    `test` says that the test people are to be judged every `check_every` steps, by `protocol`.
    """

    name: str = "network"
    """Of the checkpoints."""
    data: Path
    data_name: str = ""
    """As the YAML calls the data set."""
    licence: str = "unknown: depends on the data it was trained on"
    """What may be done with the weights; checkpoints say it."""
    partition: Path | None = None
    protocol: str | None = None
    plan: NetworkPlan
    sight: Sight
    sampling: Sampling
    transforms: tuple[Transform, ...] = ()
    twice: bool = False
    """Whether every walk is learnt in two views of it."""
    losses: tuple[LossTerm, ...]
    optimizer: Recipe
    schedule: Recipe | None = None
    keep_every: int = 10_000
    """Steps between checkpoints in OpenGait's format."""
    fixed_norms: bool = False
    """Whether batch normalisations keep their statistics."""
    start: Path | None = None
    """OpenGait's checkpoint with whose weights the training begins."""
    strict: bool = True
    """Whether all of these must fit; else those of another shape, the classifier of other people say, are left out."""
    test: bool = False
    metric: Metric = "euclidean"
    most_frames: int = 720
    """Longest walk that is judged."""
    text: str = ""
    """The YAML."""


def is_opengait(path: Path) -> bool:
    """Whether a YAML file has OpenGait's sections."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and not {"model_cfg", "trainer_cfg"}.isdisjoint(content)


def read_opengait(path: Path, assignments: Sequence[str] = ()) -> ZooSettings:
    """Read OpenGait's YAML.

    Args:
        path: the file.
        assignments: ``section.key=value`` as given to ``--set``, values being YAML; without a section, of ``run_cfg``.

    Raises:
        SettingsError: unreadable file, unknown or missing key, or unusable value; the message says which and where.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    for assignment in assignments:
        _assign(content, assignment)
    top = Section(content, "", str(path))
    with top.within("model_cfg") as model:
        plan = read_network(model)
    sight = plan.sight
    found: dict[str, Any] = {"plan": plan, "sight": sight, "text": yaml.safe_dump(content, sort_keys=False)}
    with top.within("data_cfg") as data:
        found |= _data(data)
    with top.within("trainer_cfg") as trainer:
        found |= _trainer(trainer, sight)
    found["losses"] = tuple(_loss(term) for term in top.each("loss_cfg"))
    with top.within("optimizer_cfg") as optimizer:
        found |= _optimizer(optimizer)
    with top.within("scheduler_cfg", {}) as scheduler:
        found |= _schedule(scheduler)
    with top.within("evaluator_cfg", {}) as evaluator:
        found |= _evaluator(evaluator)
    with top.within("run_cfg", {}) as run:
        found |= _run(run, found["name"])
    top.close()
    if found["test"] and (found["protocol"] is None or found["partition"] is None):
        raise SettingsError(
            f"{path}: trainer_cfg.with_test needs data_cfg.dataset_partition, and a data_cfg.test_dataset_name whose "
            f"protocol is known: {', '.join(known_protocols())}."
        )
    return ZooSettings(**found)


def _assign(content: Any, assignment: str) -> None:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise SettingsError(f"--set {assignment}: write it as section.key=value, e.g. trainer_cfg.total_iter=500.")
    *sections, key = name.strip().split(".")
    for section in sections or ["run_cfg"]:
        content = content.setdefault(section, {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise SettingsError(f"--set {assignment}: there is no such section.")
    try:
        content[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {assignment} is not YAML: {error}") from error


def _data(data: Section) -> dict[str, Any]:
    data_name = data.take("dataset_name", str, "")
    name = data.take("test_dataset_name", str, data_name).lower().replace("_", "-")
    protocol = "casia-b" if name == "walkers" else name if name in known_protocols() else None
    data.without_effect("num_workers_test", "remove_no_gallery", "cache", "data_in_use", "rgb", "data_type")
    return {
        "data": data.take("dataset_root", Path),
        "data_name": data_name,
        "partition": data.take("dataset_partition", Path | None, None),
        "protocol": protocol,
        "workers": data.take("num_workers", int, 1),
    }


def _trainer(trainer: Section, sight: Sight) -> dict[str, Any]:
    transforms = trainer.take("transform", Any, [])
    with trainer.within("sampler") as sampler:
        sampling = read_sampling(sampler, sequence_length(transforms))
    steps = trainer.take("total_iter", int)
    test = trainer.take("with_test", bool, False)
    keep = trainer.take("save_iter", int, 10_000)
    half = "16-mixed" if torch.cuda.is_available() else "bf16-mixed"
    start = trainer.take("restore_hint", int | Path, 0)
    if isinstance(start, int) and start:
        raise SettingsError(
            f"{trainer.where('restore_hint')}: give the checkpoint's path, or 0. A training that was stopped goes on "
            "by itself."
        )
    trainer.without_effect("log_iter", "optimizer_reset", "scheduler_reset", "find_unused_parameters")
    within = Section({"transform": transforms}, trainer.place, trainer.file)
    found = {
        "name": trainer.take("save_name", str, "network"),
        "steps": steps,
        "batch": sampling.people,
        "sampling": sampling,
        "transforms": read_transforms(within, sight != "keypoints"),
        "twice": two_views(transforms),
        "precision": half if trainer.take("enable_float16", bool, False) else "32-true",
        "keep_every": keep,
        "save_every": min(keep, 250),
        "check_every": keep if test else steps,
        "test": test,
        "fixed_norms": trainer.take("fix_BN", bool, False),
        "sync_norms": trainer.take("sync_BN", bool, False),
        "start": start or None,
        "strict": trainer.take("restore_ckpt_strict", bool, True),
    }
    if steps < 1 or keep < 1:
        raise SettingsError(f"{trainer.where('total_iter')} and save_iter must be at least 1.")
    return found


def _loss(term: Section) -> LossTerm:
    kind = term.one_of("type", LOSSES)
    weight = term.take("loss_term_weight", float, 1.0)
    name = term.take("log_prefix", str, kind)
    term.without_effect("log_accuracy")
    if kind == "TripletLoss":
        return LossTerm(kind, name, weight, margin=term.take("margin", float, 0.2))
    if kind == "CrossEntropyLoss":
        scale, smooth = term.take("scale", float, 16.0), term.take("label_smooth", bool, True)
        share = term.take("eps", float, 0.1)
        return LossTerm(kind, name, weight, scale=scale, smoothing=share if smooth else 0.0)
    term.without_effect("base_temperature", "contrast_mode", "p")
    return LossTerm(kind, name, weight, temperature=term.take("temperature", float, 0.01))


def _optimizer(optimizer: Section) -> dict[str, Any]:
    known = tuple(name for name in torch.optim.__all__ if name not in ("lr_scheduler", "swa_utils"))
    name = optimizer.one_of("solver", known, "SGD")
    options = _options(optimizer, getattr(torch.optim, name), ("params",))
    if "lr" not in options:
        raise SettingsError(f"{optimizer.where('lr')} is missing.")
    return {"optimizer": Recipe(name, options), "rate": float(options["lr"])}


def _schedule(scheduler: Section) -> dict[str, Any]:
    warmup = scheduler.take("warmup_iter", int, 0)
    name = scheduler.one_of("scheduler", tuple(torch.optim.lr_scheduler.__all__), "MultiStepLR")
    options = _options(scheduler, getattr(torch.optim.lr_scheduler, name), ("optimizer", "last_epoch"))
    if name == "MultiStepLR" and "milestones" not in options:
        return {"schedule": None, "warmup": warmup}
    return {"schedule": Recipe(name, options), "warmup": warmup}


def _options(section: Section, kind: Any, own: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a class of PyTorch's, by their names."""
    known = [key for key in signature(kind).parameters if key not in own]
    found = section.rest()
    for key in found:
        if key not in known:
            raise SettingsError(f"{section.where(key)}: {kind.__name__} has no such argument.{nearest(key, known)}")
    return {key: _number(value) for key, value in found.items()}


def _number(value: Any) -> Any:
    """YAML takes 1e-4, without a point, for a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _evaluator(evaluator: Section) -> dict[str, Any]:
    metric: dict[str, Literal["euclidean", "cosine"]] = {"euc": "euclidean", "cos": "cosine"}
    found: dict[str, Any] = {"metric": metric[evaluator.one_of("metric", tuple(metric), "euc")]}
    with evaluator.within("sampler", {}) as sampler:
        found["most_frames"] = sampler.take("frames_all_limit", int, 720)
        sampler.one_of("sample_type", ("all_ordered",), "all_ordered")
        sampler.implied("type", "batch_size", "batch_shuffle", "frames_num_fixed", "frames_skip_num")
    evaluator.implied("save_name", "restore_hint", "restore_ckpt_strict", "transform")  # what was trained is judged
    evaluator.without_effect("enable_float16", "eval_func", "cross_view_gallery")
    return found


def _run(run: Section, name: str) -> dict[str, Any]:
    return {
        "out": run.take("out", Path, Path("output/training") / name),
        "seed": run.take("seed", int, 1),
        "threads": run.take("threads", int, 0),
        "devices": run.take("devices", int | str, "auto"),
        "nodes": run.take("nodes", int, 1),
        "accumulate": run.take("accumulate", int, 1),
        "ema": run.take("ema", float, 0.0),
        "licence": run.take("licence", str, ZooSettings.licence),
    }
