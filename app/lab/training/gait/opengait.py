"""OpenGait's YAML as the configuration of a training.

The sections and keys are OpenGait's where they have a meaning here. Keys that have none, such as those about its
processes, are accepted and named in the log. Any other key is an error. Ours are the section ``run_cfg``, which says
where and how to run, and the keys ``held_out``, ``filmed`` and ``filmed_share`` of ``data_cfg``.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from app.errors import SettingsError, nearest
from app.lab.evaluation.protocol import known_protocols
from app.lab.training.gait.networks import read_network
from app.lab.training.gait.sampling import Order, Sampling
from app.lab.training.gait.sections import Section
from app.lab.training.gait.settings import LOSSES, GaitTrainSettings, LossTerm, Recipe
from app.lab.training.gait.transforms import read_transforms, sequence_length, two_views
from app.lab.training.gait.walks import Form
from app.lab.training.settings import split_assignment
from app.yaml_files import parse_yaml


def settings_from(content: Any, where: str, assignments: Sequence[str] = ()) -> GaitTrainSettings:
    """Return the settings that OpenGait's YAML describes.

    Args:
        content: of the YAML file.
        where: the file, for messages.
        assignments: ``section.key=value`` as given to ``--set``, the values being YAML. A key without a section belongs
            to ``run_cfg``.

    Raises:
        SettingsError: a key is unknown or missing, or has an unusable value. The message says which and where.
    """
    for assignment in assignments:
        _assign(content, assignment)
    top = Section(content, "", where)
    with top.within("model_cfg") as model:
        plan = read_network(model)
    values: dict[str, Any] = {"plan": plan, "text": yaml.safe_dump(content, sort_keys=False)}
    with top.within("data_cfg") as data:
        values |= _data(data)
    with top.within("trainer_cfg") as trainer:
        values |= _trainer(trainer, plan.form)
    values["losses"] = tuple(_loss(term) for term in top.each("loss_cfg"))
    with top.within("optimizer_cfg") as optimizer:
        values |= _optimizer(optimizer)
    with top.within("scheduler_cfg", {}) as scheduler:
        values |= _schedule(scheduler)
    with top.within("evaluator_cfg", {}) as evaluator:
        values |= _evaluator(evaluator)
    with top.within("run_cfg", {}) as run:
        values |= _run(run, values["name"])
    top.close()
    if values["test"] and (values["protocol"] is None or values["partition"] is None):
        raise SettingsError(
            f"{where}: trainer_cfg.with_test needs data_cfg.dataset_partition, and a data_cfg.test_dataset_name whose "
            f"protocol is known: {', '.join(known_protocols())}."
        )
    return GaitTrainSettings(**values)


def _assign(content: Any, assignment: str) -> None:
    name, value = split_assignment(assignment, "trainer_cfg.total_iter=500")
    *sections, key = name.split(".")
    for section in sections or ["run_cfg"]:
        content = content.setdefault(section, {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise SettingsError(f"--set {assignment}: there is no section {'.'.join(sections)}.")
    content[key] = parse_yaml(value, f"--set {assignment}", SettingsError)


def _data(data: Section) -> dict[str, Any]:
    data_name = data.take("dataset_name", str, "")
    name = data.take("test_dataset_name", str, data_name).lower().replace("_", "-")
    protocol = "casia-b" if name == "walkers" else name if name in known_protocols() else None
    data.without_effect("num_workers_test", "remove_no_gallery", "cache", "data_in_use", "rgb", "data_type")
    return {
        "data": data.take("dataset_root", Path),
        "data_name": data_name,
        "filmed": data.take("filmed", Path | None, None),
        "filmed_share": data.take("filmed_share", float, 0.5),
        "held_out": data.take("held_out", int, 0),
        "partition": data.take("dataset_partition", Path | None, None),
        "protocol": protocol,
        "workers": data.take("num_workers", int, 1),
    }


def _trainer(trainer: Section, form: Form) -> dict[str, Any]:
    transforms = trainer.take("transform", Any, [])
    with trainer.within("sampler") as sampler:
        sampling = _sampling(sampler, sequence_length(transforms))
    steps = trainer.take("total_iter", int)
    test = trainer.take("with_test", bool, False)
    keep = trainer.take("save_iter", int, 10_000)
    half = "16-mixed" if torch.cuda.is_available() else "bf16-mixed"
    start = trainer.take("restore_hint", int | Path, 0)
    if isinstance(start, int) and start:
        raise SettingsError(
            f"{trainer.where('restore_hint')}: give the path of a checkpoint, or 0. A training that was stopped "
            "continues by itself."
        )
    trainer.without_effect("log_iter", "optimizer_reset", "scheduler_reset", "find_unused_parameters")
    within = Section({"transform": transforms}, trainer.place, trainer.file)
    values = {
        "name": trainer.take("save_name", str, "network"),
        "steps": steps,
        "batch": sampling.people,
        "sampling": sampling,
        "transforms": read_transforms(within, form),
        "twice": two_views(transforms),
        "precision": half if trainer.take("enable_float16", bool, False) else "32-true",
        "keep_every": keep,
        "save_every": min(keep, 250),
        "check_every": keep,
        "test": test,
        "fixed_norms": trainer.take("fix_BN", bool, False),
        "sync_norms": trainer.take("sync_BN", bool, False),
        "start": start or None,
        "strict": trainer.take("restore_ckpt_strict", bool, True),
    }
    if steps < 1 or keep < 1:
        raise SettingsError(f"{trainer.where('total_iter')} and save_iter must be at least 1.")
    return values


def _sampling(sampler: Section, sequence: int | None) -> Sampling:
    """Read ``trainer_cfg.sampler``; `sequence` is what ``RandomSelectSequence`` takes, for ``all_ordered``."""
    sampler.one_of("type", ("TripletSampler",), "TripletSampler")
    sampler.implied("batch_shuffle", "frames_all_limit")  # people and walks are drawn at random in any case
    people, walks = sampler.take("batch_size", tuple[int, int])
    kinds = ("fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_ordered")
    kind, _, frames = sampler.one_of("sample_type", kinds).partition("_")
    order: Order = "ordered" if frames == "ordered" else "unordered"
    skip = sampler.take("frames_skip_num", int, 0)
    if kind == "all":
        if sequence is None:
            raise SettingsError(
                f"{sampler.where('sample_type')}: whole walks have different lengths. Say how many frames are taken, "
                "by the transform RandomSelectSequence or by fixed_ordered."
            )
        fewest = most = sequence
        sampler.implied("frames_num_fixed", "frames_num_min", "frames_num_max")
    elif kind == "fixed":
        fewest = most = sampler.take("frames_num_fixed", int)
        sampler.implied("frames_num_min", "frames_num_max")
    else:
        fewest, most = sampler.take("frames_num_min", int), sampler.take("frames_num_max", int)
        sampler.implied("frames_num_fixed")
    return Sampling(people, walks, fewest, most, order, skip)


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
    """Return the arguments of a class of PyTorch."""
    known = [key for key in signature(kind).parameters if key not in own]
    options = section.rest()
    for key in options:
        if key not in known:
            raise SettingsError(f"{section.where(key)}: {kind.__name__} has no such argument.{nearest(key, known)}")
    return {key: _number(value) for key, value in options.items()}


def _number(value: Any) -> Any:
    """Turn 1e-4 into a number, which YAML takes for a word because it has no point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _evaluator(evaluator: Section) -> dict[str, Any]:
    metrics: dict[str, Literal["euclidean", "cosine"]] = {"euc": "euclidean", "cos": "cosine"}
    values: dict[str, Any] = {"metric": metrics[evaluator.one_of("metric", tuple(metrics), "euc")]}
    with evaluator.within("sampler", {}) as sampler:
        values["most_frames"] = sampler.take("frames_all_limit", int, 720)
        sampler.one_of("sample_type", ("all_ordered",), "all_ordered")
        sampler.implied("type", "batch_size", "batch_shuffle", "frames_num_fixed", "frames_skip_num")
    evaluator.implied(
        "save_name", "restore_hint", "restore_ckpt_strict", "transform"
    )  # the trained network is evaluated
    evaluator.without_effect("enable_float16", "eval_func", "cross_view_gallery")
    return values


def _run(run: Section, name: str) -> dict[str, Any]:
    return {
        "out": run.take("out", Path, Path("output/training") / name),
        "seed": run.take("seed", int, 1),
        "threads": run.take("threads", int, 0),
        "devices": run.take("devices", int | str, "auto"),
        "nodes": run.take("nodes", int, 1),
        "accumulate": run.take("accumulate", int, 1),
        "ema": run.take("ema", float, 0.0),
        "licence": run.take("licence", str, GaitTrainSettings.licence),
    }
