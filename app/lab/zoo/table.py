"""The table of the families: each trained alike on virtual walkers for a small budget, and judged on others.

The people are learnt as the embedded gait network learns them (filmed from anywhere, dressed in turn); the test people
are those of the Walkers benchmark (`app.lab.walkers.benchmark`), judged by CASIA-B's protocol. Silhouettes are exact;
keypoints, and the heatmaps drawn from them, have the errors of an estimator (`app.lab.zoo.estimate`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, get_args

import torch

from app.errors import SettingsError, nearest
from app.files import written_whole
from app.gait.base import EmbeddingNetwork
from app.gait.opengait.saving import architecture_for
from app.lab.walkers.benchmark import CHANGE, FRAMES, TEST_FIRST
from app.lab.walkers.dataset import Plan, write_dataset
from app.lab.zoo.config import ZooSettings, read_opengait
from app.lab.zoo.estimate import estimated
from app.lab.zoo.sampling import tensors
from app.lab.zoo.task import judged, seen, train
from app.lab.zoo.walks import SeenWalks, Sight

TRAIN_FIRST = 200_061
"""Number of the first person learnt from: the embedded network's first who is not held out."""
GROUPS = ("NM", "BG", "CL")
_TIMED = 30

Progress: TypeAlias = Callable[[str, int, int], None]
Part: TypeAlias = Literal["training", "test"]
Recorded: TypeAlias = Literal["silhouette", "pose", "smpl"]

RECORDED: Mapping[Sight, tuple[Recorded, ...]] = {
    "silhouettes": ("silhouette",),
    "silhouettes with smpl": ("silhouette", "smpl"),
    "keypoints": ("pose",),
    "heatmaps": ("pose", "silhouette"),
    "heatmaps with silhouettes": ("pose", "silhouette"),
}
"""What is recorded of the people, each in a folder of its own, for what a network sees.

Heatmaps take minutes to draw, so they are drawn once, for both who see them.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A family: rank-1 and mAP, 0..1, for plain walks, with bags and in coats.

    `parameters` are those that embedding needs; `milliseconds` of one processor core for a walk of 20 frames (median of
    30); `steps` and processor `minutes` of its training, `walks` of each step.
    """

    family: str
    sees: Sight
    rank1: dict[str, float]
    mean_precision: dict[str, float]
    parameters: int
    milliseconds: float
    steps: int
    walks: int
    minutes: float


def families() -> list[str]:
    """The configurations that come with the project."""
    folder = resources.files("app.lab.training").joinpath("configs/zoo")
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def read_family(name: str, out: Path, steps: int | None = None) -> ZooSettings:
    """Read a configuration of the table, to be trained in `out`, for `steps` instead of its own.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in families():
        hint = nearest(name, families()) or f" Known: {', '.join(families())}."
        raise SettingsError(f"There is no configuration of a family '{name}'.{hint}")
    changes = [f"out={json.dumps(str(out))}"]
    if steps is not None:
        changes.append(f"trainer_cfg.total_iter={steps}")
    with resources.as_file(resources.files("app.lab.training").joinpath(f"configs/zoo/{name}.yaml")) as path:
        return read_opengait(path, changes)


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
    """Train and judge families, write ``table.md`` and ``results.json`` to `folder`, and return the rows.

    A run that was stopped goes on: people who walked, steps that were done and families that were judged stay. The
    table is written anew after each family, of all that were judged in `folder`.

    Args:
        folder: of everything.
        names: see `families`.
        subjects: how many people are learnt from.
        test_subjects: how many are to be told apart.
        cache: of the body model.
        wardrobe: clothes for the people learnt from, see `app.lab.walkers.dataset`.
        workers: processes that make walkers.
        steps: of each training, instead of the configurations' own.
        progress: gets what is done, how much of it and all of it.

    Raises:
        SettingsError: unknown family, or too few people for its batches.
        MissingExtraError: the extra `walkers` is not installed.
        OutputError: `folder` cannot be written, or holds other people.
    """
    every = [read_family(name, folder / name, steps) for name in names]
    todo = [settings for settings in every if not (settings.out / "result.json").is_file()]
    for recorded in sorted({recorded for settings in todo for recorded in RECORDED[settings.sight]}):
        for part, plan, clothes in (
            ("training", _learnt(subjects, recorded), wardrobe),
            ("test", _tested(test_subjects, recorded), None),
        ):
            report = None if progress is None else _named(progress, f"{part} people ({recorded}s)")
            write_dataset(
                folder / f"people-{recorded}" / part, plan,
                cache=cache, wardrobe=clothes, workers=workers, progress=report,
            )  # fmt: skip
    for settings in todo:
        _judge(settings, folder, progress)
        write_table(folder)
    return write_table(folder)


def _learnt(subjects: int, recorded: Recorded) -> Plan:
    return Plan(
        subjects=subjects, first=TRAIN_FIRST, training=subjects, conditions=(("nm", 4), ("bg", 3), ("cl", 3)),
        frames=24, cameras=3, outfits=3, change=CHANGE, heights=(0.4, 5.0), distances=(3.5, 18.0),
        modalities=(recorded,),
    )  # fmt: skip


def _tested(subjects: int, recorded: Recorded) -> Plan:
    return Plan(subjects=subjects, first=TEST_FIRST, frames=FRAMES, change=CHANGE, modalities=(recorded,))


def _walks(folder: Path, part: Part, sight: Sight, progress: Progress | None) -> SeenWalks:
    """What is seen of the people in `folder`, copied into one file unless that was done before."""
    packed: Sight = "heatmaps with silhouettes" if sight == "heatmaps" else sight
    report = None if progress is None else _named(progress, f"reading {packed} ({part})")
    homes = {recorded: folder / f"people-{recorded}" for recorded in RECORDED[sight]}
    pack = homes[RECORDED[sight][0]] / f"{part}-{packed.replace(' ', '-')}"
    SeenWalks.packed({recorded: home / part for recorded, home in homes.items()}, None, packed, pack, report, estimated)
    return SeenWalks(pack, sight)


def _named(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)


def _judge(settings: ZooSettings, folder: Path, progress: Progress | None) -> None:
    """Train and judge a family on the people in `folder`."""
    learnt, tested = (_walks(folder, part, settings.sight, progress) for part in get_args(Part))
    spent = settings.out / "seconds"
    network = _timed_training(settings, learnt, spent)
    scores = judged(
        network, tested, replace(settings, protocol="casia-b", partition=None),
        None if progress is None else _named(progress, f"judging {settings.name}"),
    )  # fmt: skip
    row = Row(
        family=settings.name,
        sees=settings.sight,
        rank1={group.name: group.metrics["Rank-1"].value or 0.0 for group in scores},
        mean_precision={group.name: group.metrics["mAP"].value or 0.0 for group in scores},
        parameters=parameters(network),
        milliseconds=milliseconds(network, tested),
        steps=settings.steps,
        walks=settings.sampling.people * settings.sampling.walks,
        minutes=float(spent.read_text(encoding="utf-8")) / 60,
    )
    with written_whole(settings.out / "result.json") as temporary:
        temporary.write_text(json.dumps(asdict(row), indent=1), encoding="utf-8")


def _timed_training(settings: ZooSettings, learnt: SeenWalks, spent: Path) -> EmbeddingNetwork:
    """Train, or go on, and keep the processor's seconds in `spent`."""
    before = float(spent.read_text(encoding="utf-8")) if spent.is_file() else 0.0
    start = time.process_time()
    try:
        return train(settings, learnt)
    finally:
        with written_whole(spent) as temporary:
            temporary.write_text(f"{before + time.process_time() - start:.1f}", encoding="utf-8")


def parameters(network: EmbeddingNetwork) -> int:
    """How many parameters embedding needs: those of the classifier are not counted."""
    unused = architecture_for(network).training
    return sum(value.numel() for name, value in network.named_parameters() if not name.startswith(unused))


def milliseconds(network: EmbeddingNetwork, walks: SeenWalks) -> float:
    """Processor time of one thread to embed a walk alone: the median of 30 walks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    try:
        with torch.inference_mode():
            for index in range(min(_TIMED, len(walks))):
                walk = tensors(walks[index][None])
                start = time.process_time()
                network.embed(*(seen(network, value) for value in walk.values()))
                times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * median(times)


def write_table(folder: Path) -> list[Row]:
    """Write ``results.json`` and ``table.md`` of all families that were judged in `folder`, and return their rows."""
    results = (folder / name / "result.json" for name in families())
    rows = [Row(**json.loads(result.read_text(encoding="utf-8"))) for result in results if result.is_file()]
    rows.sort(key=lambda row: -row.rank1["NM"])
    with written_whole(folder / "results.json") as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    head = ("family", "sees", *GROUPS, "mAP", "parameters", "ms a walk", "steps", "core minutes")
    lines = [" | ".join(head), " | ".join(["---"] * 2 + ["--:"] * (len(head) - 2))]
    lines += [" | ".join(cells(row)) for row in rows]
    with written_whole(folder / "table.md") as temporary:
        temporary.write_text("".join(f"| {line} |\n" for line in lines), encoding="utf-8")
    return rows


def cells(row: Row) -> list[str]:
    """A row as text: shares in %, mAP the mean over the groups."""
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
