"""The comparison of the families of gait networks: each is trained for a small budget, and evaluated on other people.

All are virtual walkers. The training people are those of the embedded gait network: filmed from random places, in
several sets of clothes. The test people are those of the Walkers benchmark (`app.lab.walkers.benchmark`), with the
protocol of CASIA-B. Silhouettes and maps of body parts are exact. Keypoints, and the heatmaps drawn from them and the
bodies fitted to them, have the errors of a pose estimator (`app.lab.zoo.estimate`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, get_args

import torch

from app.files import write_text
from app.gait.base import EmbeddingNetwork
from app.gait.opengait.saving import architecture_for
from app.lab.data.bodies import prepare_bodies
from app.lab.data.opengait import Modality
from app.lab.evaluation.protocol import read_protocol
from app.lab.training.gait.config import families, read_shipped
from app.lab.training.gait.judging import EvaluationSet, network_input
from app.lab.training.gait.sampling import tensors
from app.lab.training.gait.settings import GaitTrainSettings
from app.lab.training.gait.task import train
from app.lab.training.gait.walks import Form, PackedWalks
from app.lab.walkers.benchmark import CHANGE, FRAMES, TEST_FIRST
from app.lab.walkers.choices import MotionVersion
from app.lab.walkers.dataset import Plan, write_dataset
from app.lab.zoo.estimate import with_errors
from app.progress import Progress, Titled

TRAIN_FIRST = 200_061
"""Number of the first training person: the first one who is not held out from the embedded network's training."""
_MOTION: MotionVersion = 1
"""The motion of the people in the published table, see `app.lab.walkers.choices`."""
GROUPS = ("NM", "BG", "CL")
_TIMED = 30
_TUNED = "-finetune"
"""The end of the name of a configuration that goes on from the one that ends in ``-pretrain``."""

Part: TypeAlias = Literal["training", "test"]
Recorded: TypeAlias = Literal["silhouette", "pose", "smpl", "parsing"]

RECORDED: Mapping[Form, tuple[Recorded, ...]] = {
    "silhouettes": ("silhouette",),
    "silhouettes with smpl": ("silhouette", "smpl"),
    "keypoints": ("pose",),
    "heatmaps": ("pose", "silhouette"),
    "heatmaps with silhouettes": ("pose", "silhouette"),
    "parsing": ("parsing",),
    "parsing with silhouettes": ("parsing", "silhouette"),
    "silhouettes with parsing": ("silhouette", "parsing"),
}
"""What is recorded of the people for each form of walks; every recording has its own folder.

Heatmaps take minutes to draw, so they are drawn once for the two forms that contain them.
"""
ESTIMATED = "smplgait-estimated"
"""The family whose SMPL parameters are not recorded, but those of bodies that are fitted to keypoints with errors."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """The results of a family: rank-1 and mAP, 0..1, for normal walks, with bags and in coats.

    `sees` is the form in which it takes walks. `parameters` are those that embedding needs. `milliseconds` are those of
    one processor core for a walk of 20 frames (median of 30). The training had so many `steps`, with so many `walks`
    in each, and took so many `minutes` of one core.
    """

    family: str
    sees: Form
    rank1: dict[str, float]
    mean_precision: dict[str, float]
    parameters: int
    milliseconds: float
    steps: int
    walks: int
    minutes: float


def read_family(name: str, out: Path, steps: int | None = None) -> GaitTrainSettings:
    """Read the configuration of a family, to be trained in `out`, for `steps` instead of its own number.

    Raises:
        SettingsError: there is no family of this name.
    """
    changes = [f"out={json.dumps(str(out))}"]
    if steps is not None:
        changes.append(f"trainer_cfg.total_iter={steps}")
    return read_shipped(name, changes)


def make_table(
    folder: Path,
    names: Sequence[str],
    subjects: int,
    test_subjects: int,
    *,
    cache: Path,
    wardrobe: Path | None = None,
    workers: int = 1,
    steps: int | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Train and evaluate families, write ``table.md`` and ``results.json`` to `folder`, and return the rows.

    A run that was stopped continues: people that are recorded, steps and finished families are not repeated. The
    table is rewritten after each family, with all the families that have been evaluated in `folder`.

    Args:
        names: of the families, see `app.lab.training.gait.config.families`.
        wardrobe: clothes for the training people, see `app.lab.walkers.dataset`.
        workers: processes that record walkers.
        steps: of each training, instead of the number in its configuration.
        progress: where it is shown how much of each step is done.

    Raises:
        SettingsError: a family is unknown, or there are too few people for its batches.
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written, or holds other people.
    """
    every = [read_family(name, folder / name, steps) for name in names]
    todo = [settings for settings in every if not (settings.out / "result.json").is_file()]
    for recorded in sorted({recorded for settings in todo for recorded in _recorded(settings)}):
        for part, plan, clothes in (
            ("training", _training_people(subjects, recorded), wardrobe),
            ("test", _test_people(test_subjects, recorded), None),
        ):
            shown = Titled(progress, f"{part} people ({recorded}s)".capitalize())
            write_dataset(
                folder / f"people-{recorded}" / part, plan,
                cache=cache, wardrobe=clothes, workers=workers, progress=shown,
            )  # fmt: skip
    for settings in todo:
        if _is_estimated(settings):
            _fit_bodies(folder, workers, progress)
        _evaluate(settings, folder, progress)
        write_table(folder)
    return write_table(folder)


def _is_estimated(settings: GaitTrainSettings) -> bool:
    return settings.out.name == ESTIMATED


def _recorded(settings: GaitTrainSettings) -> tuple[Recorded, ...]:
    return ("silhouette", "pose") if _is_estimated(settings) else RECORDED[settings.form]


def _fit_bodies(folder: Path, workers: int, progress: Progress | None) -> None:
    """Write SMPL parameters of everybody, from bodies that are lifted from keypoints with errors."""
    for part in get_args(Part):
        prepare_bodies(
            folder / "people-pose" / part, folder / "people-estimated" / part,
            name="lift", parameters=True, estimate=with_errors, workers=workers,
            progress=Titled(progress, f"Fitting bodies ({part})"),
        )  # fmt: skip


def _training_people(subjects: int, recorded: Recorded) -> Plan:
    return Plan(
        subjects=subjects, first=TRAIN_FIRST, training=subjects, conditions=(("nm", 4), ("bg", 3), ("cl", 3)),
        frames=24, cameras=3, outfits=3, change=CHANGE[_MOTION], heights=(0.4, 5.0), distances=(3.5, 18.0),
        modalities=(recorded,), motion=_MOTION,
    )  # fmt: skip


def _test_people(subjects: int, recorded: Recorded) -> Plan:
    return Plan(
        subjects=subjects,
        first=TEST_FIRST,
        frames=FRAMES,
        change=CHANGE[_MOTION],
        modalities=(recorded,),
        motion=_MOTION,
    )


def _walks(folder: Path, part: Part, settings: GaitTrainSettings, progress: Progress | None) -> PackedWalks:
    """Return the walks of the people in `folder`, packed into one file unless that has been done before."""
    form = settings.form
    packed: Form = "heatmaps with silhouettes" if form == "heatmaps" else form
    homes: dict[Modality, Path] = {recorded: folder / f"people-{recorded}" for recorded in RECORDED[form]}
    if _is_estimated(settings):
        homes["smpl"] = folder / "people-estimated"
    name = f"{part}-{packed.replace(' ', '-')}"
    pack = homes["smpl" if _is_estimated(settings) else RECORDED[form][0]] / name
    data: dict[Modality, Path] = {recorded: home / part for recorded, home in homes.items()}
    PackedWalks.pack(data, None, packed, pack, Titled(progress, f"Reading {packed} ({part})"), with_errors)
    return PackedWalks(pack, form)


def _evaluate(settings: GaitTrainSettings, folder: Path, progress: Progress | None) -> None:
    """Train a family on the people in `folder`, and evaluate it."""
    training, test = (_walks(folder, part, settings, progress) for part in get_args(Part))
    spent = settings.out / "seconds"
    network = _timed_training(_after_pretraining(settings, training, spent), training, spent)
    scores = EvaluationSet("", test, test.files, read_protocol("casia-b")).scores(
        network,
        metric=settings.metric,
        most=settings.most_frames,
        progress=Titled(progress, f"Evaluating {settings.name}"),
    )
    row = Row(
        family=settings.name,
        sees=settings.form,
        rank1={group.name: group.metrics["Rank-1"].value or 0.0 for group in scores},
        mean_precision={group.name: group.metrics["mAP"].value or 0.0 for group in scores},
        parameters=parameters(network),
        milliseconds=milliseconds(network, test),
        steps=settings.steps,
        walks=settings.sampling.people * settings.sampling.walks,
        minutes=float(spent.read_text(encoding="utf-8")) / 60,
    )
    write_text(settings.out / "result.json", json.dumps(asdict(row), indent=1))


def _after_pretraining(settings: GaitTrainSettings, walks: PackedWalks, spent: Path) -> GaitTrainSettings:
    """Train without names first where a family learns in two phases, and return the settings of the second one."""
    if not settings.out.name.endswith(_TUNED):
        return settings
    name = settings.out.name.removesuffix(_TUNED) + "-pretrain"
    usual = settings.steps == read_shipped(settings.out.name).steps
    first = read_family(name, settings.out.parent / name, None if usual else settings.steps)
    assert first.checkpoint is not None
    if not first.checkpoint.is_file():
        spent.parent.mkdir(parents=True, exist_ok=True)
        _timed_training(first, walks, spent)
    return replace(settings, start=first.checkpoint)


def _timed_training(settings: GaitTrainSettings, walks: PackedWalks, spent: Path) -> EmbeddingNetwork:
    """Train, or continue a training, and add the seconds of processor time to those in the file `spent`."""
    before = float(spent.read_text(encoding="utf-8")) if spent.is_file() else 0.0
    start = time.process_time()
    try:
        return train(settings, walks)
    finally:
        write_text(spent, f"{before + time.process_time() - start:.1f}")


def parameters(network: EmbeddingNetwork) -> int:
    """Return how many parameters embedding needs, which leaves out the classifier."""
    unused = architecture_for(network).training
    return sum(value.numel() for name, value in network.named_parameters() if not name.startswith(unused))


def milliseconds(network: EmbeddingNetwork, walks: PackedWalks) -> float:
    """Return the processor time of one thread to embed a single walk: the median of 30 walks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    try:
        with torch.inference_mode():
            for index in range(min(_TIMED, len(walks))):
                walk = tensors(walks[index][None])
                start = time.process_time()
                network.embed(*(network_input(network, value) for value in walk.values()))
                times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * median(times)


def write_table(folder: Path) -> list[Row]:
    """Write ``results.json`` and ``table.md`` of all families evaluated in `folder`, and return their rows."""
    results = (folder / name / "result.json" for name in families())
    rows = [Row(**json.loads(result.read_text(encoding="utf-8"))) for result in results if result.is_file()]
    rows.sort(key=lambda row: -row.rank1["NM"])
    write_text(folder / "results.json", json.dumps([asdict(row) for row in rows], indent=1))
    head = ("family", "sees", *GROUPS, "mAP", "parameters", "ms a walk", "steps", "core minutes")
    lines = [" | ".join(head), " | ".join(["---"] * 2 + ["--:"] * (len(head) - 2))]
    lines += [" | ".join(cells(row)) for row in rows]
    write_text(folder / "table.md", "".join(f"| {line} |\n" for line in lines))
    return rows


def cells(row: Row) -> list[str]:
    """Return a row as text: rank-1 and mAP in %, mAP as the mean over the groups."""
    precision = sum(row.mean_precision.values()) / len(row.mean_precision)
    return [
        row.family,
        row.sees,
        *(f"{100 * row.rank1[group]:.1f}" for group in GROUPS),
        f"{100 * precision:.1f}",
        f"{row.parameters / 1e6:.2f} M",
        f"{row.milliseconds:.1f}",
        str(row.steps),
        f"{row.minutes:.1f}",
    ]
