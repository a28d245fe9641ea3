"""What is damaged, and what is then done with it: for each kind good files, and the work that a user would ask for."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from app.errors import GaitprintError
from app.gallery.redaction import Redaction
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import JSON, NewWalk
from app.gallery.transfer import write_gallery
from app.hub.inventory import registries
from app.lab.data.labels import read_labels
from app.lab.data.opengait import (
    read_heatmaps,
    read_keypoints,
    read_partition,
    read_silhouettes,
    read_smpl,
    walk_files,
)
from app.lab.evaluation.protocol import FOLDER as PROTOCOLS
from app.lab.evaluation.protocol import read_protocol
from app.lab.synthesis.photos import read_photos
from app.lab.training.detector import DetectorTrainSettings
from app.lab.training.gait.config import read_gait_config
from app.lab.training.settings import read_config, shipped
from app.progress import Silent
from app.recognise.scores import read_scores
from app.runs.build import begin
from app.runs.identify import survey
from app.settings import Settings
from app.types import Embedding, GaitSequence, Reading, Track
from app.video.background import BackgroundModel
from app.video.reader import VideoReader
from app.video.sources import distinct_names
from app.walks import archive
from app.walks.sequences import Walk
from app.weights.checkpoints import HOME
from app.weights.registry import detectors, gait_models, pose_models, segmenters
from tests.campaigns.crew import Attempt, FaultError, Part
from tests.campaigns.mutations import (
    damage_database,
    mutated,
    mutated_graph,
    mutated_json,
    mutated_lines,
    mutated_pickle,
    mutated_tensors,
    mutated_text,
    mutated_zip,
)
from tests.clips import Walker, crossing, write_clip
from tests.contract.samples import CHECKPOINTS, Evil

CONTAINERS = {
    **{"mp4": "libx264", "mov": "mpeg4", "mkv": "ffv1", "avi": "mjpeg", "webm": "libvpx", "mpg": "mpeg2video"},
    **{"ts": "mpeg2video", "flv": "flv", "wmv": "wmv2"},
}
"""Each container with the encoder of its clip."""
WEIGHT_FREE = ("detector.name=motion", "segmenter.name=motion", "gait.name=gei")
"""Settings of a run without networks."""

Damage = Callable[[bytes, Random], bytes]


def of_files(
    make: Callable[[Path], None], damage: Mapping[str, Damage], use: Callable[[Path, Random], None]
) -> Callable[[Path], Attempt]:
    """Return a part that damages one of several good files and uses it.

    Args:
        make: writes the good files into a folder.
        damage: how files are damaged, by the ends of their names; the first that fits is taken.
        use: uses a file, damaged or not.
    """

    def prepare(folder: Path) -> Attempt:
        make(folder)
        good = [path for path in sorted(folder.iterdir()) if path.is_file()]

        def attempt(random: Random, place: Path) -> None:
            source = random.choice(good)
            how = next(damage for end, damage in damage.items() if source.name.endswith(end))
            # If good files were refused, damaged ones would show nothing, so a few are used as they are.
            whole = random.random() < 0.02
            path = place / source.name
            path.write_bytes(source.read_bytes() if whole else how(source.read_bytes(), random))
            try:
                use(path, random)
            except GaitprintError as error:
                if whole:
                    raise FaultError(f"{source.name} is a good file, but refused: {error}") from error
                raise
            if (place / "ran").exists():
                raise FaultError(f"{source.name} ran code")

        return attempt

    return prepare


def make_videos(folder: Path) -> None:
    scene = crossing([Walker(1)], first=-0.5, seconds=0.8, width=160, height=120, fps=Fraction(25))
    for suffix, codec in CONTAINERS.items():
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_clip(folder / f"clip.{suffix}", scene, codec=codec, pix_fmt=pixels)


def use_video(path: Path, random: Random) -> None:
    if random.random() < 0.05:  # all that a run does, which takes ten times as long
        run = begin(Settings.load(None, [*WEIGHT_FREE, "output.folder=out"]))
        survey([path], run).write()
        return
    reading = Reading(
        *random.choice([(None, 0.0, None)] * 6 + [(12.0, 0.0, None), (None, 0.3, 0.6), (None, 0.5, None)])
    )
    with VideoReader(path, reading) as reader:
        if random.random() < 0.1:
            list(reader.key_pictures(5))
            return
        background = BackgroundModel() if random.random() < 0.2 else None
        if background is not None:
            background.start(reader.info)
        for frame in reader:
            if background is not None:
                background.foreground([frame])


def make_checkpoints(folder: Path) -> None:
    from safetensors.torch import save_file

    for registry in (detectors, segmenters, pose_models, gait_models):
        registry.entries()
    for name, make in CHECKPOINTS.items():
        inner = folder / name
        inner.mkdir()
        with suppress(pytest.skip.Exception), warnings.catch_warnings():  # made with an extra that is not installed
            warnings.simplefilter("ignore")
            made = make(inner)
            if made.is_file():
                made.rename(folder / f"{name}{made.suffix}")
    network = torch.load(folder / "opengait.pt", weights_only=True)
    torch.save(network, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(network["model"], folder / "network.pth")
    (folder / "plain.pt").write_bytes(pickle.dumps({"a": [1.5, "x"]}, 2))
    torch.save({**network, "evil": Evil(Path("ran"))}, folder / "evil.pt")
    torch.save({"model": _pretended_ultralytics()}, folder / "ultralytics.pt")
    save_file(network["model"], folder / "network.safetensors")


def _pretended_ultralytics() -> Any:
    """Return a layer whose class has the name of one of ultralytics', which need not be installed."""
    import sys
    import types

    from torch import nn

    tasks = types.ModuleType("ultralytics.nn.tasks")
    kind = type("DetectionModel", (nn.Conv2d,), {"__module__": "ultralytics.nn.tasks"})
    tasks.DetectionModel = kind  # type: ignore[attr-defined]
    for name in ("ultralytics", "ultralytics.nn"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules.setdefault("ultralytics.nn.tasks", tasks)
    return kind(3, 4, 3)


def use_checkpoint(path: Path, random: Random) -> None:
    settings, refusals = Settings(), []
    stages = [registry for registry in registries() if hasattr(getattr(settings, registry.stage), "checkpoint")]
    for registry in stages:
        section = getattr(settings, registry.stage)
        try:
            registry.build(replace(section, checkpoint=path), ())
        except GaitprintError as error:
            refusals.append(error)
    if len(refusals) == len(stages) and path.stem not in ("plain", "evil", "ultralytics", "network"):
        raise refusals[0]


def people(seed: int = 0, count: int = 6) -> dict[str, list[NewWalk]]:
    """Return people for a gallery, each with two walks, one of which has silhouettes."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 2, (9, 64, 64)).astype(np.uint8) * np.uint8(255)
    sequence = GaitSequence(np.arange(9), pictures, 25.0)
    found = {}
    for number in range(count):
        parts = random.normal(size=(2, 16, 32)).astype(np.float32)
        first, second = (Embedding(part, "gei@12345678", 9) for part in parts)
        jpeg = b"\xff\xd8\xff picture"
        walks = [NewWalk(first, "a.mp4", number + 1, silhouettes=sequence, thumbnail=jpeg), NewWalk(second, "b.mp4", 1)]
        found[f"Person {seed}.{number}"] = walks
    return found


def make_gallery(path: Path) -> None:
    with SqliteGallery(path) as gallery:
        for name, walks in people().items():
            gallery.enrol(name, walks, consent="form 7", retain_days=900)
        gallery.rename("Person 0.5", "Zoe")
        gallery.record("identify", names=["Zoe"], probability=0.5)


def use_gallery(path: Path, random: Random) -> None:
    with GalleryService(SqliteGallery(path, create=False, patience=1)) as gallery:
        store = gallery.store
        gallery.expire()
        for person in gallery.people():
            store.thumbnail(person.name)
            store.former_names(person.name)
        walks = [walk.walk_id for walk in gallery.walks()]
        for walk_id in walks:
            store.silhouettes(walk_id)
        store.search(store.embeddings(walks), 3)
        store.log()
        gallery.export(path.with_suffix(".jsonl.gz"))
        names = [person.name for person in gallery.people()]
        gallery.store.enrol("Bo", people(3, 1)["Person 3.0"], consent="form 9")
        if len(names) > 3:
            gallery.rename(names[0], "Anna")
            gallery.merge(names[1], names[2])
        gallery.forget(names[-1])


def prepare_galleries(folder: Path) -> Attempt:
    make_gallery(folder / "gallery.db")

    def attempt(random: Random, place: Path) -> None:
        path = place / "gallery.db"
        path.write_bytes((folder / "gallery.db").read_bytes())
        whole = random.random() < 0.02
        if not whole:
            damage_database(path, random)
        try:
            use_gallery(path, random)
        except GaitprintError as error:
            if whole:
                raise FaultError(f"a good gallery is refused: {error}") from error
            raise

    return attempt


def make_exports(folder: Path) -> None:
    make_gallery(folder / "gallery.db")
    with SqliteGallery(folder / "gallery.db") as gallery:
        write_gallery(gallery, folder / "gallery.jsonl.gz", Silent())
    for left in folder.glob("gallery.db*"):
        left.unlink()


def use_export(path: Path, random: Random) -> None:
    here = path.with_name("gallery.db") if random.random() < 0.2 else None
    with GalleryService(SqliteGallery(here)) as gallery:
        gallery.store.enrol("Bo", people(3, 1)["Person 3.0"], consent="form 9")
        try:
            gallery.import_file(path, merge=random.random() < 0.3)
        except GaitprintError:
            if [person.name for person in gallery.people()] != ["Bo"]:
                raise FaultError("a refused export was imported in part") from None
            raise
        walks = [walk.walk_id for walk in gallery.walks()]
        for walk_id in walks:
            gallery.store.silhouettes(walk_id)
        gallery.store.embeddings(walks)
        gallery.export(path.with_name("again.gz"))


def make_settings(folder: Path) -> None:
    lines = []
    for section, values in asdict(Settings()).items():
        if isinstance(values, dict):
            lines += [f"{section}:", *(f"  {key}: {_scalar(value)}" for key, value in values.items())]
    (folder / "settings.yaml").write_text("\n".join(lines))
    for name in ("casia-b", "gait3d", "oumvlp", "grew"):
        (folder / f"{name}.protocol.yaml").write_bytes((PROTOCOLS / f"{name}.yaml").read_bytes())
    (folder / "detector.training.yaml").write_text("photos: x\n" + shipped("configs/detector.yaml"))
    (folder / "gait.yaml").write_text("data: x\n" + shipped("configs/gait.yaml"))
    (folder / "GaitBase.opengait.yaml").write_text(_OPENGAIT)
    (folder / "deploy.paddle.yaml").write_text(
        "Deploy:\n  model: model.pdmodel\n  params: model.pdiparams\n  output_op: softmax\n  transforms:\n"
        "  - {target_size: [32, 32], type: Resize}\n  - {type: Normalize}\n"
    )
    (folder / "default.yaml").write_text("detector: yolox.pth\ngait: GaitBase.pt\n")


_OPENGAIT = """
data_cfg:
  dataset_name: CASIA-B
  dataset_root: data
  dataset_partition: partition.json
  num_workers: 1
  remove_no_gallery: false
  test_dataset_name: CASIA-B
evaluator_cfg:
  enable_float16: true
  restore_ckpt_strict: true
  restore_hint: 60000
  save_name: GaitBase
  eval_func: identification
  sampler:
    batch_size: 16
    sample_type: all_ordered
    type: InferenceSampler
  transform:
    - type: BaseSilCuttingTransform
loss_cfg:
  - loss_term_weight: 1.0
    margin: 0.2
    type: TripletLoss
    log_prefix: triplet
  - loss_term_weight: 1.0
    scale: 16
    type: CrossEntropyLoss
    log_prefix: softmax
    log_accuracy: true
model_cfg:
  model: Baseline
  backbone_cfg:
    type: ResNet9
    block: BasicBlock
    channels: [4, 6, 8, 10]
    layers: [1, 1, 1, 1]
    strides: [1, 2, 2, 1]
    maxpool: false
  SeparateFCs:
    in_channels: 10
    out_channels: 5
    parts_num: 16
  SeparateBNNecks:
    class_num: 4
    in_channels: 5
    parts_num: 16
  bin_num: [16]
optimizer_cfg:
  lr: 0.1
  momentum: 0.9
  solver: SGD
  weight_decay: 0.0005
scheduler_cfg:
  gamma: 0.1
  milestones: [20, 40]
  scheduler: MultiStepLR
trainer_cfg:
  enable_float16: true
  log_iter: 100
  restore_ckpt_strict: true
  restore_hint: 0
  save_iter: 20
  save_name: GaitBase
  total_iter: 60
  sampler:
    batch_shuffle: true
    batch_size: [4, 2]
    frames_num_fixed: 8
    frames_skip_num: 0
    sample_type: fixed_ordered
    type: TripletSampler
  transform:
    - type: BaseSilCuttingTransform
"""


def _scalar(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


def use_settings(path: Path, random: Random) -> None:
    if "protocol" in path.name:
        read_protocol(str(path))
    elif "opengait" in path.name:
        read_gait_config(path)
    elif "training" in path.name:
        read_config(path, DetectorTrainSettings, (), "detector")
    elif path.name == "gait.yaml":
        read_gait_config(path)
    elif "paddle" in path.name:
        path.rename(path.with_name("deploy.yaml"))
        (path.parent / "model.pdmodel").write_bytes(b"x")
        (path.parent / "model.pdiparams").write_bytes(b"x")
        with suppress(GaitprintError):  # its network is none
            segmenters.build(replace(Settings().segmenter, checkpoint=path.parent), ())
    elif path.name == "default.yaml":
        with suppress(GaitprintError):  # there are no such files
            gait_models.build(Settings().gait, (path.parent,))
    else:
        Settings.load(path)


def make_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    (folder / "partition.json").write_text('{"TRAIN_SET": ["001", "002"], "TEST_SET": ["003", 4]}')
    entry = {"w": 64, "h": 48, "complete": True, "persons": [{"bbox": [1, 2, 30, 40], "kp": [1.0, 2.0, 2.0] * 17}]}
    entry["persons"].append({"bbox": [5, 2, 20, 40], "seg": [[1, 2, 9, 9, 4, 7]], "crowd": False})  # type: ignore[attr-defined]
    (folder / "labels.json").write_text(json.dumps({f"{number:012d}": entry for number in range(8)}))
    (folder / "labels.csv").write_text(
        "video,track,identity,condition,view\na.mp4,1,Ann,nm-01,090\na.mp4,2,Bo,nm-01,090\n"
    )
    (folder / "scores.json").write_bytes(next((HOME / "embedded" / "gait").glob("*.scores.json")).read_bytes())
    arrays: dict[str, Any] = {
        "silhouettes": random.integers(0, 256, (9, 64, 44)).astype(np.uint8),
        "keypoints": random.normal(size=(9, 17, 3)).astype(np.float32),
        "heatmaps": random.integers(0, 256, (4, 2, 64, 64)).astype(np.uint8),
        "smpl": random.normal(size=(9, 85)).astype(np.float32),
    }
    for name, array in arrays.items():
        for protocol in (0, 2, 4, 5):
            (folder / f"{name}{protocol}.pkl").write_bytes(pickle.dumps(array, protocol))
        np.savez_compressed(folder / f"{name}.npz", array)
        np.savez(folder / f"{name}-stored.npz", array)


def use_data(path: Path, random: Random) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "silhouettes": read_silhouettes, "keypoints": read_keypoints, "heatmaps": read_heatmaps, "smpl": read_smpl,
    }  # fmt: skip
    if path.name == "partition.json":
        read_partition(path, "test")
    elif path.name == "labels.csv":
        read_labels(path, ["a.mp4"])
    elif path.name == "labels.json":
        for name in ("coco", "coco_val"):
            (path.parent / name).mkdir()
            (path.parent / name / "labels.json").write_bytes(path.read_bytes())
        for photo in read_photos(path.parent, None):
            for person in photo.people:
                person.mask(48, 64)
    elif path.name == "scores.json":
        scores = read_scores(path)
        scores.probabilities(np.array([[0.5, 1.0]]), 0.5)
    else:
        reader = next(reader for name, reader in readers.items() if path.name.startswith(name))
        reader(path)
        walk = path.parent / "data" / "001" / "nm-01" / "090"
        walk.mkdir(parents=True)
        path.rename(walk / path.name)
        walk_files(path.parent / "data")


def make_archives(folder: Path) -> None:
    random = np.random.default_rng(0)
    with archive.writing(folder / "cache.zip") as writer:
        for number in (1, 2, 3):
            frames = np.arange(9)
            boxes = random.uniform(0, 50, (9, 4)).astype(np.float32)
            boxes[:, 2:] += 60
            pictures = random.integers(0, 2, (9, 64, 64)).astype(np.uint8) * np.uint8(255)
            joints = random.random((9, 17, 3), np.float32)
            sequence = GaitSequence(frames, pictures, 25.0, joints) if number < 3 else None
            writer.add(
                Walk(
                    Track(number, frames, boxes, np.ones(9, np.float32)), sequence, "too short" if number == 3 else None
                )
            )
        writer.end(archive.Ending(40, ("a warning",)))


def use_archive(path: Path, random: Random) -> None:
    ending = archive.read_ending(path)
    if ending is None:
        raise GaitprintError("The archive is not used.")
    for walk in archive.read_walks(path):
        archive.read_walk(path, walk.track.track_id)


_PIECES = [
    *(
        "..",
        ".",
        " ",
        "/",
        "\\",
        "~nobody",
        "CON",
        "nul",
        "aux.mp4",
        "a" * 260,
        "é",
        "e\u0301",
        "\x00",
        "\n",
        "\x1b[31m",
    ),
    *(
        "\udcff",
        ":memory:",
        "file:x?mode=memory",
        "%00",
        "'",
        '"',
        ";",
        "--",
        "-",
        "$(x)",
        "*",
        "[!x]",
        "ß",
        "ẞ",
        "İ",
        "👩‍👩",
    ),
    *("\u202e", "\ufeff", "Zoe", "zoe", "ZOË", "x", "mp4", ".", "_", "#1", "01", "?", "|", "\u2028", "a b", "\t"),
]


def _tells_of(name: str, details: JSON, others: Sequence[str]) -> bool:
    """Whether `name` stands in the details of a log entry, other than as a part of the name of somebody who stays."""
    if isinstance(details, str):
        for other in others:
            details = details.replace(other, "")
        return name in details
    if isinstance(details, Mapping):
        return any(_tells_of(name, each, others) for pair in details.items() for each in pair)
    return isinstance(details, Sequence) and any(_tells_of(name, each, others) for each in details)


def prepare_names(folder: Path) -> Attempt:
    def attempt(random: Random, place: Path) -> None:
        text = "".join(random.choice(_PIECES) for _ in range(random.choice([1, 1, 2, 3])))
        other = "".join(random.choice(_PIECES) for _ in range(random.choice([1, 2])))
        video = Path(f"{text}.mp4")
        for name in distinct_names([video, Path("x") / video, Path(f"{other}.mp4")]):
            child = place / name
            child.mkdir()  # it can be a plain child, and is another one each time
            if child.parent != place or child.name != name or name.startswith("."):
                raise FaultError(f"{name!r} is no plain child")
        refused = list[GaitprintError]()
        with closing(SqliteGallery(None)) as store:
            for name in (text, other):
                try:
                    store.enrol(name, people(3, 1)["Person 3.0"], consent=random.choice([text, other, "yes"]))
                except GaitprintError as error:
                    refused.append(error)
            written = place / "all.jsonl.gz"
            write_gallery(store, written, Silent())
            before = [(person.name, person.consent, person.walks) for person in store.people()]
            with GalleryService(SqliteGallery(None)) as again:
                again.import_file(written)
                if [(person.name, person.consent, person.walks) for person in again.people()] != before:
                    raise FaultError(f"{before} came back otherwise")
                for name, *_ in before:
                    again.forget(name)
                    others = [person.name for person in again.people()]
                    left = [event for event in again.store.log(None) if _tells_of(name, event.details, others)]
                    if left and len(name) > 3:
                        raise FaultError(f"{name!r} stays in the log: {left}")
        Redaction([text or "x"])
        try:
            with SqliteGallery(place / f"{other}.db") as gallery:
                gallery.people()
        except ValueError as error:
            if "null" not in str(error):  # the command line cannot be given a NUL
                raise
        if refused:
            raise refused[0]

    return attempt


PARTS: dict[str, Part] = {
    "videos": Part(of_files(make_videos, {"": mutated}, use_video), 2400),
    "checkpoints": Part(
        of_files(
            make_checkpoints,
            {
                ".onnx": mutated_graph,
                "plain.pt": mutated_pickle,
                "old.pt": mutated,
                ".safetensors": mutated_tensors,
                "": mutated_zip,
            },
            use_checkpoint,
        ),
        1600,
        seconds=150,  # a network of the user's is tried for a minute
    ),
    "galleries": Part(prepare_galleries, 1100),
    "exports": Part(of_files(make_exports, {"": mutated_lines}, use_export), 900),
    "settings": Part(of_files(make_settings, {"": mutated_text}, use_settings), 1500),
    "data": Part(
        of_files(
            make_data, {".pkl": mutated_pickle, ".npz": mutated_zip, ".json": mutated_json, "": mutated_text}, use_data
        ),
        1500,
    ),
    "archives": Part(of_files(make_archives, {"": mutated_zip}, use_archive), 500),
    "names": Part(prepare_names, 500),
}
"""What is fed to the program, in all ten thousand."""
