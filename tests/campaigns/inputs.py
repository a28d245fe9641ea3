"""What is damaged, and what is then done with it: for each kind good files, and the work that a user would ask for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest

from app.errors import GaitprintError
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.gallery.transfer import write_gallery
from app.lab.data.opengait import read_keypoints, read_partition, read_silhouettes
from app.lab.evaluation.protocol import FOLDER as PROTOCOLS
from app.lab.evaluation.protocol import read_protocol
from app.progress import Silent
from app.settings import Settings
from app.types import Embedding, GaitSequence
from app.video.reader import VideoReader
from app.weights.registry import detectors, gait_models, pose_models, segmenters
from tests.campaigns.mutations import mutated, mutated_text
from tests.clips import Walker, crossing, write_clip
from tests.contract.samples import CHECKPOINTS

CONTAINERS = {
    **{"mp4": "libx264", "mov": "mpeg4", "mkv": "ffv1", "avi": "mjpeg", "webm": "libvpx", "mpg": "mpeg2video"},
    **{"ts": "mpeg2video", "flv": "flv", "wmv": "wmv2"},
}
"""Each container with the encoder of its clip."""


@dataclass(frozen=True)
class Kind:
    """A kind of input. `make` writes good files into a folder, `damage` damages the bytes of one, `use` uses it."""

    make: Callable[[Path], None]
    damage: Callable[[bytes, Random], bytes]
    use: Callable[[Path], None]


def make_videos(folder: Path) -> None:
    scene = crossing([Walker(1)], first=-0.5, seconds=0.8, width=160, height=120, fps=Fraction(25))
    for suffix, codec in CONTAINERS.items():
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_clip(folder / f"clip.{suffix}", scene, codec=codec, pix_fmt=pixels)


def use_video(path: Path) -> None:
    with VideoReader(path) as reader:
        for _ in reader:
            pass


def make_checkpoints(folder: Path) -> None:
    import onnxruntime  # noqa: F401 - here and not again in each child, which takes seconds

    for registry in (detectors, segmenters, pose_models, gait_models):
        registry.entries()
    for name, make in CHECKPOINTS.items():
        inner = folder / name
        inner.mkdir()
        with suppress(pytest.skip.Exception):  # made with an extra that is not installed
            made = make(inner)
            if made.is_file():
                made.rename(folder / f"{name}{made.suffix}")


def use_checkpoint(path: Path) -> None:
    settings, refusals = Settings(), []
    for registry, section in (
        (detectors, settings.detector),
        (segmenters, settings.segmenter),
        (pose_models, settings.pose),
        (gait_models, settings.gait),
    ):
        try:
            registry.build(replace(section, checkpoint=path), ())  # type: ignore[type-var, arg-type]
        except GaitprintError as error:
            refusals.append(error)
    if len(refusals) == 4:
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
        walks = [NewWalk(first, "a.mp4", number + 1, silhouettes=sequence), NewWalk(second, "b.mp4", number + 1)]
        found[f"Person {seed}.{number}"] = walks
    return found


def make_galleries(folder: Path) -> None:
    with SqliteGallery(folder / "gallery.db") as gallery:
        for name, walks in people().items():
            gallery.enrol(name, walks, consent="form 7", retain_days=900)
        for suffix in (".jsonl", ".jsonl.gz"):
            write_gallery(gallery, folder / f"gallery{suffix}", Silent())


def use_gallery(path: Path) -> None:
    if path.suffix != ".db":
        with GalleryService(SqliteGallery(None)) as gallery:
            gallery.import_file(path)
        return
    with GalleryService(SqliteGallery(path, create=False, patience=1)) as gallery:
        store = gallery.store
        for person in gallery.people():
            store.thumbnail(person.name)
        walks = [walk.walk_id for walk in gallery.walks()]
        for walk_id in walks:
            store.silhouettes(walk_id)
        store.search(store.embeddings(walks), 3)
        store.log()
        gallery.export(path.with_suffix(".jsonl"))
        gallery.rename("Person 0.1", "Anna")
        gallery.forget("Person 0.2")


def make_settings(folder: Path) -> None:
    from dataclasses import asdict

    lines = []
    for section, values in asdict(Settings()).items():
        if isinstance(values, dict):
            lines += [f"{section}:", *(f"  {key}: {_scalar(value)}" for key, value in values.items())]
    (folder / "settings.yaml").write_text("\n".join(lines))
    for name in ("casia-b", "gait3d"):
        (folder / f"{name}.yaml").write_bytes((PROTOCOLS / f"{name}.yaml").read_bytes())
    (folder / "partition.json").write_text('{\n"TRAIN_SET": [\n"001",\n"002"\n],\n"TEST_SET": [\n"003",\n4\n]\n}')


def _scalar(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


def use_settings(path: Path) -> None:
    if path.suffix == ".json":
        read_partition(path, "test")
    elif "settings" in path.name:
        Settings.load(path)
    else:
        read_protocol(str(path))


def make_walks(folder: Path) -> None:
    random = np.random.default_rng(0)
    silhouettes = random.integers(0, 256, (9, 64, 44)).astype(np.uint8)
    keypoints = random.normal(size=(9, 17, 3)).astype(np.float32)
    for protocol in (0, 2, 4, 5):
        (folder / f"silhouettes{protocol}.pkl").write_bytes(pickle.dumps(silhouettes, protocol))
        (folder / f"keypoints{protocol}.pkl").write_bytes(pickle.dumps(keypoints, protocol))
    np.savez_compressed(folder / "silhouettes.npz", silhouettes)
    np.savez(folder / "keypoints.npz", keypoints)


def use_walk(path: Path) -> None:
    (read_keypoints if "keypoints" in path.name else read_silhouettes)(path)


KINDS: dict[str, Kind] = {
    "videos": Kind(make_videos, mutated, use_video),
    "checkpoints": Kind(make_checkpoints, mutated, use_checkpoint),
    "galleries": Kind(make_galleries, mutated, use_gallery),
    "settings": Kind(make_settings, mutated_text, use_settings),
    "walks": Kind(make_walks, mutated, use_walk),
}
