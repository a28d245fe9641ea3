"""Training of gait networks on data sets in OpenGait's layout, those of virtual walkers for example."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from app.errors import SettingsError
from app.files import written_whole
from app.gait.models.gaitstrips import GaitStrips
from app.gallery.distances import part_distances
from app.lab.data.opengait import WalkFile, read_partition, read_silhouettes, walk_files
from app.lab.training.engine import Task, fit
from app.lab.training.export import export
from app.lab.training.losses import batch_all_triplet, contrastive, part_cross_entropy
from app.lab.training.settings import TrainSettings
from app.lab.training.silhouettes import moved, worsened
from app.types import Bytes, Floats, Ints

# Inverse temperatures of the contrastive loss. One strip tells people apart less surely than all together.
PART_SCALE, WALK_SCALE = 10.0, 30.0

NOTE = "trained on virtual walkers alone"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GaitTrainSettings(TrainSettings):
    """Training of a gait network. A batch is `batch` people with `walks_each` walks of `frames` silhouettes."""

    data: Path = Path("data/walkers")
    """Data set in OpenGait's layout."""
    partition: Path | None = None
    """OpenGait's JSON; people of ``TRAIN_SET`` are learnt. None takes everybody."""
    filmed: Path | None = None
    """Walks of the same people as a segmenter cut them: see `app.lab.synthesis.filmed`."""
    filmed_share: float = 0.5
    """How many of the walks are these, where a person has any."""
    held_out: int = 60
    """How many of these people, the first, are kept for judging."""
    walks_each: int = 4
    frames: tuple[int, int] = (8, 24)
    """Fewest and most silhouettes of a walk; every batch draws a number."""
    clean: float = 0.4
    """Share of walks whose silhouettes are not spoilt."""
    spoiling: float = 0.5
    """How strongly the others are: see `app.lab.training.silhouettes.worsened`."""
    ramp: float = 0.3
    """Share of the steps over which the spoiling grows to this strength."""
    contrastive: float = 1.0
    """Weight of the supervised contrastive loss, of each part and of the walk."""
    triplet: float = 0.0
    """Weight of the batch-all triplet loss."""
    entropy: float = 0.0
    """Weight of the cross entropy of the training set's people."""
    margin: float = 0.2
    """Of the triplet loss."""
    frame_widths: tuple[int, ...] = (24, 64)
    set_widths: tuple[int, ...] = (128, 192)
    parts: int = 16
    channels: int = 128
    keep: float = 1.0
    """Share of a walk's silhouettes that the exported network is shown: see `app.gait.onnx.ordinary`."""
    piece: int | None = 16
    """Silhouettes that the exported network is shown at once: see `app.gait.onnx`. None: the whole walk."""


class Walks:
    """Walks of a data set in one file, from which processes share the memory: ``walks[i]`` is uint8 (T, 64, 44).

    Args:
        folder: what `packed` has written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        index = json.loads((folder / "walks.json").read_text(encoding="utf-8"))
        self.identities: tuple[str, ...] = tuple(index["identities"])
        self.conditions: tuple[str, ...] = tuple(index["conditions"])
        self.views: tuple[str, ...] = tuple(index["views"])
        self._starts: list[int] = index["starts"]
        self._silhouettes = np.memmap(folder / "silhouettes.bin", np.uint8, "r").reshape(-1, 64, 44)

    def __reduce__(self) -> tuple[type[Walks], tuple[Path]]:
        return Walks, (self._folder,)  # a memory map would be sent to another process whole

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, index: int) -> Bytes:
        return self._silhouettes[self._starts[index] : self._starts[index + 1]]

    def of(self, people: Sequence[str]) -> list[Ints]:
        """The numbers of the walks of each of `people`."""
        owners = np.array(self.identities)
        return [np.flatnonzero(owners == person) for person in people]

    @classmethod
    def packed(cls, files: Sequence[WalkFile], folder: Path) -> Walks:
        """Copy `files` into `folder`, unless that was done before: a run that goes on sees what it has seen.

        Raises:
            DataSetError: a file cannot be read.
            OutputError: `folder` cannot be written.
        """
        if not folder.is_dir():
            with written_whole(folder) as temporary:
                temporary.mkdir()
                starts = [0]
                with (temporary / "silhouettes.bin").open("wb") as pack:
                    for file in files:
                        silhouettes = read_silhouettes(file.path)
                        pack.write(silhouettes.tobytes())
                        starts.append(starts[-1] + len(silhouettes))
                index = {
                    "identities": [file.identity for file in files],
                    "conditions": [file.condition for file in files],
                    "views": [file.view for file in files],
                    "starts": starts,
                }
                (temporary / "walks.json").write_text(json.dumps(index), encoding="utf-8")
        return cls(folder)


class GaitBatches:
    """P people with K walks each (Hermans et al. 2017, section 2), as the engine wants them.

    A batch holds ``silhouettes`` uint8 (P * K, T, 64, 44) and ``people`` int64 (P * K,), counted from 0. T is drawn
    for each batch. The frames of a walk are either one stretch of it or, as often, drawn from all of it.
    """

    def __init__(
        self, walks: Walks, people: Sequence[str], settings: GaitTrainSettings, filmed: Walks | None = None
    ) -> None:
        if settings.batch < 2 or settings.walks_each < 2 or len(people) < settings.batch:
            raise SettingsError(
                f"A batch of {settings.batch} people with {settings.walks_each} walks each cannot be drawn from "
                f"{len(people)} people for training: it takes at least two of both, and so many people."
            )
        self._walks, self._settings = walks, settings
        self._walks_of = walks.of(people)
        self._filmed, self._filmed_of = filmed, filmed.of(people) if filmed else []

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, step])
        strength = settings.spoiling * min(1.0, step / max(1.0, settings.ramp * settings.steps))
        frames = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
        people = rng.choice(len(self._walks_of), settings.batch, replace=False)
        silhouettes = []
        for person in people:
            own = self._walks_of[person]
            for index in rng.choice(own, settings.walks_each, replace=len(own) < settings.walks_each):
                found = self._drawn_filmed(person, rng)
                walk = self._walks[index] if found is None else found
                walk = moved(walk[_chosen(len(walk), frames, rng)], rng)
                as_it_is = found is not None or rng.random() < settings.clean
                silhouettes.append(walk if as_it_is else worsened(walk, strength, rng))
        return {
            "silhouettes": torch.from_numpy(np.stack(silhouettes)),
            "people": torch.from_numpy(people.repeat(settings.walks_each)),
        }

    def _drawn_filmed(self, person: int, rng: np.random.Generator) -> Bytes | None:
        """One of the person's filmed walks, as often as `filmed_share` says."""
        if self._filmed is None or not len(self._filmed_of[person]) or rng.random() >= self._settings.filmed_share:
            return None
        return self._filmed[int(rng.choice(self._filmed_of[person]))]


def _chosen(length: int, frames: int, rng: np.random.Generator) -> Ints:
    """Which `frames` of a walk of `length` are taken; a short walk begins again, as often as it must."""
    if length < frames:
        return np.arange(frames) % length
    if rng.random() < 0.5:
        return int(rng.integers(0, length - frames + 1)) + np.arange(frames)
    return np.sort(rng.choice(length, frames, replace=False))


class GaitTask(Task):
    """Walks of one person are to be alike, and unlike those of others, part by part and as a whole."""

    network: GaitStrips
    settings: GaitTrainSettings

    def __init__(
        self,
        network: GaitStrips,
        settings: GaitTrainSettings,
        walks: Walks,
        held_out: Sequence[str],
        filmed: Walks | None = None,
    ) -> None:
        super().__init__(convert_conv2d_weight_memory_format(network, torch.channels_last), settings)
        self._walks, self._held_out, self._filmed = walks, held_out, filmed

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        settings, people = self.settings, batch["people"]
        embedding, logits = self.network(batch["silhouettes"].float() / 255)
        triplet, active = batch_all_triplet(embedding, people, settings.margin)
        with torch.autocast(embedding.device.type, enabled=False):
            parts = embedding.permute(2, 0, 1)
            cosines = parts @ parts.mT
        of_parts = contrastive(cosines, people, PART_SCALE)
        of_walks = contrastive(cosines.mean(0), people, WALK_SCALE)
        loss = settings.contrastive * (of_parts + of_walks) + settings.triplet * triplet
        found = {"parts": of_parts, "walks": of_walks, "triplet": triplet, "active": active}
        if logits is not None:
            found["entropy"] = part_cross_entropy(logits, people)
            loss = loss + settings.entropy * found["entropy"]
        return {"loss": loss, **found}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Rank-1 of the people held out: see `rank1`; ``spoilt``: with silhouettes as bad as in training; ``filmed``:
        as a segmenter cut them."""
        assert isinstance(network, GaitStrips)
        rng, spoiling = np.random.default_rng(0), self.settings.spoiling
        chosen = [int(index) for own in self._walks.of(self._held_out) for index in own]
        labels = [(self._walks.identities[i], self._walks.conditions[i]) for i in chosen]
        figures: dict[str, float] = {}
        for kind in ("clean", "spoilt"):
            seen = (self._walks[i] if kind == "clean" else worsened(self._walks[i], spoiling, rng) for i in chosen)
            figures |= {f"{kind} {name}": value for name, value in _rates(network, seen, labels).items()}
        if self._filmed is not None:  # a few walks of each, any of them: the first is the gallery
            of_people = self._filmed.of(self._held_out)
            seen = (self._filmed[int(index)] for own in of_people for index in own)
            labels = [
                (name, f"walk-{i:02d}")
                for name, own in zip(self._held_out, of_people, strict=True)
                for i in range(len(own))
            ]
            figures |= {f"filmed {name}": value for name, value in _rates(network, seen, labels).items()}
        return figures


def _rates(network: GaitStrips, walks: Iterable[Bytes], labels: Sequence[tuple[str, str]]) -> dict[str, float]:
    return rank1(np.concatenate([embedded(network, walk[None]) for walk in walks]), labels)


def embedded(network: GaitStrips, walks: Bytes) -> Floats:
    """Embed walks of one length, uint8 (n, T, 64, 44), on the network's device: float32 (n, P, C)."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        found: Floats = network.embed(torch.tensor(walks, device=device).float() / 255).mT.cpu().numpy()
    return found


def rank1(parts: Floats, labels: Sequence[tuple[str, str]]) -> dict[str, float]:
    """How often the nearest of one walk of each person is the right one, 0..1, for each kind of condition.

    Every walk of the first condition of each person, ``nm-01`` in the field's data sets, is the gallery once: with
    several cameras the first of all people, then the second, and so on.

    Args:
        parts: float32 (n, P, C), embeddings.
        labels: identity and condition (``nm-01``) of each.
    """
    identities = np.array([identity for identity, _ in labels])
    conditions = np.array([condition for _, condition in labels])
    first = "nm-01" if "nm-01" in conditions else min(conditions.tolist())
    distances = part_distances(parts, parts)
    of_people = [np.flatnonzero((identities == identity) & (conditions == first)) for identity in np.unique(identities)]
    cameras = max(map(len, of_people))
    galleries = [np.array([own[i] for own in of_people if len(own) > i]) for i in range(cameras)]
    kinds = np.array([condition.partition("-")[0] for condition in conditions])
    result = {}
    for kind in np.unique(kinds):
        probes = np.flatnonzero((kinds == kind) & (conditions != first))
        hits = [
            identities[gallery][distances[np.ix_(probes, gallery)].argmin(1)] == identities[probes]
            for gallery in galleries
        ]
        result[str(kind)] = float(np.mean(hits))
    return result


def prepare(settings: GaitTrainSettings) -> tuple[Walks, list[str], list[str]]:
    """Return the packed walks, the people to learn and those held out.

    Raises:
        DataSetError: no walks, or a file that cannot be read.
        SettingsError: nobody is left to learn, or the training that `out` holds is of other walks.
    """
    chosen = None if settings.partition is None else read_partition(settings.partition, "train")
    walks = _packed(settings.data, chosen, settings.out / "walks")
    people = list(dict.fromkeys(walks.identities))
    return walks, people[settings.held_out :], people[: settings.held_out]


def _packed(data: Path, people: Sequence[str] | None, pack: Path) -> Walks:
    """Pack the walks of `people`, or go on with those that were packed before, if they are the same."""
    files = walk_files(data, people)
    walks = Walks.packed(files, pack)
    names = list(zip(walks.identities, walks.conditions, walks.views, strict=True))
    if names != [(file.identity, file.condition, file.view) for file in files]:
        raise SettingsError(
            f"{pack.parent} holds a training on other walks than those of {data}. Give another out=FOLDER, "
            f"or remove {pack} to go on with the new ones."
        )
    return walks


def network_of(settings: GaitTrainSettings, classes: int | None = None) -> GaitStrips:
    """The network that `settings` describe, untrained."""
    return GaitStrips(settings.frame_widths, settings.set_widths, settings.parts, settings.channels, classes)


def train(settings: GaitTrainSettings) -> nn.Module:
    """Train a gait network, or go on: see `app.lab.training.engine.fit`."""
    walks, people, held_out = prepare(settings)
    filmed = None
    if settings.filmed is not None:
        filmed = _packed(settings.filmed, None, settings.out / "filmed")
    logger.info("%d people to learn from, %d held out, %d walks", len(people), len(held_out), len(walks))
    task = GaitTask(network_of(settings, len(people) if settings.entropy else None), settings, walks, held_out, filmed)
    return fit(task, GaitBatches(walks, people, settings, filmed), settings)


def trained(settings: GaitTrainSettings) -> GaitStrips:
    """Read the network that a training has left in `settings.out`.

    Raises:
        SettingsError: there is none, or another network's.
    """
    file = settings.out / "network.pt"
    network = network_of(settings)
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict({key: value for key, value in weights.items() if not key.startswith("classifier.")})
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"{file} is not the gait network of these settings ({reason}). Train it first.") from error
    return network.eval()


class _Embedding(nn.Module):
    """Of what the network learns, what is left to be used: silhouettes (n, t, 64, 44) to the embedding (n, C, P)."""

    def __init__(self, network: GaitStrips) -> None:
        super().__init__()
        self.network = network

    def forward(self, silhouettes: Tensor) -> Tensor:
        return self.network.embed(silhouettes)


def export_network(settings: GaitTrainSettings, path: Path) -> float:
    """Write the trained network as `app.gait.onnx` reads it; see `app.lab.training.export.export`.

    Raises:
        SettingsError: nothing was trained in `settings.out`.
    """
    silhouettes = (torch.rand(2, 9, 64, 44, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    network = trained(settings)
    walks, _, held_out = prepare(settings)
    found = GaitTask(network, settings, walks, held_out).check(network)
    rates = [(key.removeprefix("clean "), value) for key, value in found.items() if key.startswith("clean ")]
    return export(
        _Embedding(network),
        {"silhouettes": silhouettes},
        ["embedding"],
        path,
        dynamic={"silhouettes": {0: "walks", 1: "frames"}, "embedding": {0: "walks"}},
        metadata={
            "licence": "Apache-2.0",
            "note": NOTE,
            "figures": f"{len(held_out)} held-out walkers, any view to any: rank-1 "
            + ", ".join(f"{name} {100 * value:.0f} %" for name, value in rates),
            "flip": "true",
            "keep": str(settings.keep),
        }
        | ({} if settings.piece is None else {"piece": str(settings.piece)}),
    )
