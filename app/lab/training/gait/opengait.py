"""OpenGait's YAML as the configuration of a training.

The sections and keys are OpenGait's where they have a meaning here. Keys that have none, such as those about its
processes, are accepted and named in the log. Any other key is an error. Ours are the section ``run_cfg``, which says
where and how to run, and the keys ``held_out``, ``filmed`` and ``filmed_share`` of ``data_cfg`` and ``groups`` of
``optimizer_cfg``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml

from app.errors import SettingsError, nearest
from app.lab.evaluation.protocol import known_protocols
from app.lab.training.gait.networks import read_network
from app.lab.training.gait.rules import Rule, need_known, no_effect, one_of, only, read, section, sections, take
from app.lab.training.gait.sampling import Order, Sampling
from app.lab.training.gait.settings import LOSSES, GaitTrainSettings, LossTerm, Recipe
from app.lab.training.gait.transforms import centres_missing, read_transforms, sequence_length, two_views
from app.lab.training.settings import split_assignment
from app.settings import Amount, Share
from app.yaml_files import parse_yaml, validated

_NEEDED = ("model_cfg", "data_cfg", "trainer_cfg", "loss_cfg", "optimizer_cfg")
_OPTIONAL = ("scheduler_cfg", "evaluator_cfg", "run_cfg")
_SAMPLES = ("fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_ordered")
_METRICS = {"euc": "euclidean", "cos": "cosine"}


def _same(*names: str) -> dict[str, Rule]:
    return {name: name for name in names}


def _start(hint: Any) -> Mapping[str, Any]:
    if isinstance(hint, int) and hint:
        raise ValueError("give the path of a checkpoint, or 0. A training that was stopped continues by itself")
    return {"start": hint} if hint else {}


def _float16(on: Any) -> Mapping[str, Any]:
    if not isinstance(on, bool):
        raise ValueError("it must be true or false")
    half = "16-mixed" if torch.cuda.is_available() else "bf16-mixed"
    return {"precision": half if on else "32-true"}


_DATA: dict[str, Rule] = {
    "dataset_root": "data",
    "dataset_name": "data_name",
    "test_dataset_name": "protocol",
    "dataset_partition": "partition",
    "num_workers": "workers",
    **_same("held_out", "filmed", "filmed_share"),
    **dict.fromkeys(("num_workers_test", "remove_no_gallery", "cache", "data_in_use", "rgb", "data_type"), no_effect),
}
_TRAINER: dict[str, Rule] = {
    "save_name": "name",
    "total_iter": "steps",
    "save_iter": "keep_every",
    "with_test": "test",
    "fix_BN": "fixed_norms",
    "sync_BN": "sync_norms",
    "restore_ckpt_strict": "strict",
    "restore_hint": _start,
    "enable_float16": _float16,
    **dict.fromkeys(("log_iter", "optimizer_reset", "scheduler_reset", "find_unused_parameters"), no_effect),
}
_SAMPLER: dict[str, Rule] = {
    "type": only("TripletSampler"),
    **dict.fromkeys(("batch_shuffle", "frames_all_limit")),  # people and walks are drawn at random in any case
    **_same("batch_size", "sample_type", "frames_skip_num", "frames_num_fixed", "frames_num_min", "frames_num_max"),
}
_EVALUATOR: dict[str, Rule] = {
    "metric": "metric",
    "sampler.frames_all_limit": "most_frames",
    "sampler.sample_type": only("all_ordered"),
    # It is the trained network that is evaluated, on whole walks.
    **dict.fromkeys(f"sampler.{key}" for key in ("type", "batch_size", "batch_shuffle")),
    **dict.fromkeys(("sampler.frames_num_fixed", "sampler.frames_skip_num")),
    **dict.fromkeys(("save_name", "restore_hint", "restore_ckpt_strict", "transform")),
    **dict.fromkeys(("enable_float16", "eval_func", "cross_view_gallery"), no_effect),
}
_RUN = _same("out", "seed", "threads", "devices", "nodes", "accumulate", "ema", "licence")
_LOSS: dict[str, Rule] = {"loss_term_weight": "weight", "log_prefix": "name", "log_accuracy": no_effect}
_CONTRASTIVE: dict[str, Rule] = {
    **_same("temperature"),
    **dict.fromkeys(("base_temperature", "contrast_mode", "p"), no_effect),
}
_TERMS: dict[str, dict[str, Rule]] = {
    **{kind: {**_LOSS, **_CONTRASTIVE} for kind in LOSSES},
    "TripletLoss": {**_LOSS, **_same("margin")},
    "CrossEntropyLoss": {**_LOSS, **_same("scale", "label_smooth", "eps")},
}


def settings_from(content: Any, where: str, assignments: Sequence[str] = ()) -> GaitTrainSettings:
    """Return the settings that OpenGait's YAML describes; `where` is the file, for messages.

    `assignments` are ``section.key=value`` as given to ``--set``, the values being YAML. A key without a section
    belongs to ``run_cfg``.

    Raises:
        SettingsError: a key is unknown or missing, or has an unusable value. The message says which and where.
    """
    for assignment in assignments:
        _assign(content, assignment)
    top = section(content, where)
    for key in top:
        need_known(key, (*_NEEDED, *_OPTIONAL), where)
    losses = take(top, "loss_cfg", where)
    parts = {
        name: section(take(top, name, where) if name in _NEEDED else top.get(name, {}), f"{where}: {name}")
        for name in (*_NEEDED, *_OPTIONAL)
        if name != "loss_cfg"
    }
    types = get_type_hints(GaitTrainSettings, include_extras=True)
    plan = read_network(parts["model_cfg"], f"{where}: model_cfg")
    trainer, place = parts["trainer_cfg"], f"{where}: trainer_cfg"
    transforms = trainer.pop("transform", [])
    plan = replace(plan, centred=centres_missing(transforms))
    sampling = _sampling(take(trainer, "sampler", place), f"{place}.sampler", sequence_length(transforms))
    values = {"keep_every": 10_000, "precision": "32-true", **read(trainer, place, _TRAINER, types)}
    if "steps" not in values:
        raise SettingsError(f"{place}.total_iter is missing.")
    if losses in ([], {}, None):
        raise SettingsError(f"{where}: loss_cfg has no loss, so nothing can be learnt.")
    values |= {
        "plan": plan,
        "text": yaml.safe_dump(content, sort_keys=False),
        "batch": sampling.people,
        "sampling": sampling,
        "transforms": read_transforms(transforms, f"{place}.transform", plan.form),
        "twice": two_views(transforms),
        "save_every": min(values["keep_every"], 250),
        "check_every": values["keep_every"],
        "losses": tuple(_loss(term, term_place) for term, term_place in sections(losses, f"{where}: loss_cfg")),
        **_data(parts["data_cfg"], f"{where}: data_cfg", types),
        **_optimizer(parts["optimizer_cfg"], f"{where}: optimizer_cfg"),
        **_schedule(parts["scheduler_cfg"], f"{where}: scheduler_cfg"),
        **_evaluator(parts["evaluator_cfg"], f"{where}: evaluator_cfg", types),
        "ema": 0.0,
        "out": Path("output/training") / values.get("name", GaitTrainSettings.name),
        **read(parts["run_cfg"], f"{where}: run_cfg", _RUN, types),
    }
    if values.get("test") and (values["protocol"] is None or values.get("partition") is None):
        raise SettingsError(
            f"{where}: trainer_cfg.with_test needs data_cfg.dataset_partition, and a data_cfg.test_dataset_name whose "
            f"protocol is known: {', '.join(known_protocols())}."
        )
    return GaitTrainSettings(**values)


def _assign(content: Any, assignment: str) -> None:
    name, value = split_assignment(assignment, "trainer_cfg.total_iter=500")
    *names, key = name.split(".")
    for inner in names or ["run_cfg"]:
        content = content.setdefault(inner, {}) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise SettingsError(f"--set {assignment}: there is no section {'.'.join(names)}.")
    content[key] = parse_yaml(value, f"--set {assignment}", SettingsError)


def _data(data: Mapping[str, Any], place: str, types: Mapping[str, Any]) -> dict[str, Any]:
    values = read(data, place, _DATA, types)
    if "data" not in values:
        raise SettingsError(f"{place}.dataset_root is missing.")
    name = (values.get("protocol") or values.get("data_name", "")).lower().replace("_", "-")
    protocol = "casia-b" if name == "walkers" else name
    return {**values, "protocol": protocol if protocol in known_protocols() else None}


def _sampling(content: Any, place: str, sequence: int | None) -> Sampling:
    """Read ``trainer_cfg.sampler``. `sequence` is what ``RandomSelectSequence`` takes, for ``all_ordered``."""
    frames = ("frames_skip_num", "frames_num_fixed", "frames_num_min", "frames_num_max")
    types = {"batch_size": tuple[int, int], "sample_type": str, **dict.fromkeys(frames, int)}
    values = read(section(content, place), place, _SAMPLER, types)
    people, walks = take(values, "batch_size", place)
    sample_type = one_of(take(values, "sample_type", place), _SAMPLES, f"{place}.sample_type")
    if sample_type == "all_ordered":
        if sequence is None:
            raise SettingsError(
                f"{place}.sample_type: whole walks have different lengths. Say how many frames are taken, by the "
                "transform RandomSelectSequence or by fixed_ordered."
            )
        fewest = most = sequence
    elif sample_type.startswith("fixed"):
        fewest = most = take(values, "frames_num_fixed", place)
    else:
        fewest, most = take(values, "frames_num_min", place), take(values, "frames_num_max", place)
    order: Order = "unordered" if sample_type.endswith("unordered") else "ordered"
    return Sampling(people, walks, fewest, most, order, values.get("frames_skip_num", 0))


def _loss(term: dict[str, Any], place: str) -> LossTerm:
    kind = one_of(take(term, "type", place), LOSSES, f"{place}.type")
    types = {**get_type_hints(LossTerm, include_extras=True), "label_smooth": bool, "eps": Share}
    values = read(term, place, _TERMS[kind], types)
    if kind == "CrossEntropyLoss":
        share = values.pop("eps", 0.1)
        values["smoothing"] = share if values.pop("label_smooth", True) else 0.0
    return LossTerm(**{"kind": kind, "name": kind, "weight": 1.0, **values})


def _optimizer(options: dict[str, Any], place: str) -> dict[str, Any]:
    base = torch.optim.Optimizer
    known = [n for n, kind in vars(torch.optim).items() if isinstance(kind, type) and base in kind.__mro__[1:]]
    name = one_of(options.pop("solver", "SGD"), known, f"{place}.solver")
    groups = [_group(group, inside) for group, inside in sections(options.pop("groups", []), f"{place}.groups")]
    options = _options(options, place, getattr(torch.optim, name), ("params",))
    if "lr" not in options:
        raise SettingsError(f"{place}.lr is missing.")
    rate = validated(Amount, options["lr"], f"{place}.lr: {options['lr']!r}", SettingsError)
    return {"optimizer": Recipe(name, {**options, "lr": rate}), "rate": rate, "groups": tuple(groups)}


def _group(group: dict[str, Any], place: str) -> dict[str, Any]:
    """Read options of the optimiser for some of the weights."""
    rules: dict[str, Rule] = _same("names", "lr", "weight_decay")
    values = read(group, place, rules, {"names": tuple[str, ...], "lr": Amount, "weight_decay": Amount})
    if "names" not in values:
        raise SettingsError(f"{place}.names is missing.")
    return values


def _schedule(options: dict[str, Any], place: str) -> dict[str, Any]:
    warmup = read({"warmup_iter": options.pop("warmup_iter", 0)}, place, {"warmup_iter": "warmup"}, {"warmup": int})
    if "T_max_iter" in options:  # SwinGait's cosine
        options["T_max"] = options.pop("T_max_iter")
    name = one_of(options.pop("scheduler", "MultiStepLR"), torch.optim.lr_scheduler.__all__, f"{place}.scheduler")
    options = _options(options, place, getattr(torch.optim.lr_scheduler, name), ("optimizer", "last_epoch"))
    return {**warmup, "schedule": Recipe(name, options) if options or name != "MultiStepLR" else None}


def _options(options: Mapping[str, Any], place: str, kind: Any, own: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of a class of PyTorch."""
    known = {key: parameter.default for key, parameter in signature(kind).parameters.items() if key not in own}
    values = {key: _number(value) for key, value in options.items()}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{place}.{key}: {kind.__name__} has no such argument.{nearest(key, known)}")
        if type(known[key]) in (int, float) and type(value) not in (int, float):
            raise SettingsError(f"{place}.{key}: {value!r} is no number.")
    return values


def _number(value: Any) -> Any:
    """Turn 1e-4 into a number, which YAML takes for a word because it has no point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _evaluator(evaluator: dict[str, Any], place: str, types: Mapping[str, Any]) -> dict[str, Any]:
    evaluator["metric"] = _METRICS[one_of(evaluator.get("metric", "euc"), _METRICS, f"{place}.metric")]
    return read(evaluator, place, _EVALUATOR, types)
