"""Training of segmenter, pose network and parser: one network with three heads for crops of one person.

They are trained together (`app.lab.training.person`), because most crops have labels for all and each task helps the
others. ``train segmenter`` and ``train pose`` are therefore the same training. The first exports the matte, the second
keypoints and body parts. After one of them, the other needs ``--export-only`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.crops.windows import crop_of, crop_windows, matte_of
from app.lab.evaluation.metrics import mask_ious, pck
from app.lab.synthesis.photos import Annotated, Photo, read_photos
from app.lab.training.crops import GENTLE, SHAPE, UNKNOWN, Crop, CropBatches
from app.lab.training.engine import Task, fit, load_trained
from app.lab.training.export import Answering, export, fitting, stored_weights
from app.lab.training.person import (
    CELL,
    HEIGHT,
    MEAN,
    STD,
    WIDTH,
    PersonNetwork,
    both_ways,
    keypoints_and_parts,
    matte_only,
)
from app.lab.training.settings import PHOTOS, TrainSettings
from app.settings import Amount, Share
from app.types import BODY_PARTS, Bools, Bytes, Doubles, Floats, Image

THRESHOLD = 0.45
"""Probability from which a pixel belongs to the body: the best one for the held-out people, real and rendered."""
_SMALLEST = 60
"""People of less height in px are not evaluated, because their outlines are labelled too coarsely."""
NOTE = (
    "started from NanoDet-g's weights (Copyright 2020-2021 RangiLyu, Apache-2.0), trained on 1,525 COCO photographs, "
    "some of them for non-commercial use, and virtual walkers"
)
"""Stands in the exported file, so that whoever runs it sees it."""


@dataclass(frozen=True, kw_only=True)
class PersonTrainSettings(TrainSettings):
    """Settings of ``train segmenter`` and ``train pose``."""

    photos: Path = field(metadata={"about": PHOTOS})
    """Folder of labelled pictures: see `app.lab.synthesis.photos`."""
    cutouts: Path | None = None
    """Folder of rendered walkers, made by ``python -m app train cutouts``. None: real people only."""
    walkers: Share = 0.25
    """Share of the crops that show walkers, who know the body part of each pixel; all others show real people."""
    gentle: Share = 0.2
    """Share of the steps, the last ones, with easier crops."""
    gentle_hardness: Share = GENTLE
    """Hardness of those crops: at 0 they are as clear as the pictures they come from, at 1 as hard as all others."""
    keypoint_weight: Amount = 0.6
    """Weight of the keypoints' loss; the matte's has the weight 1."""
    parts_weight: Amount = 0.5
    """Weight of the body parts' loss."""
    parts_only: bool = False
    """Whether nothing but the head of the body parts learns, so that matte and keypoints stay as they are."""
    start: tuple[Path, ...] = ()
    """ONNX files whose weights the network starts from: NanoDet-g's as published, for the encoder alone, or those that
    a training of this network has exported, one for each head. Without any, weights are random."""
    backbone_rate: Amount = 0.25
    """Factor of the learning rate for the encoder."""


@dataclass(frozen=True, eq=False)
class HeldOutPerson:
    """A held-out person: the crop uint8 BGR, its window in px of the picture, and the labels."""

    crop: Image
    window: Any
    photo: Photo
    person: Annotated


class PersonTask(Task):
    """Matte, keypoints and body parts of crops of one person."""

    settings: PersonTrainSettings
    network: PersonNetwork

    def __init__(self, settings: PersonTrainSettings) -> None:
        network = PersonNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, settings)
        if settings.parts_only:
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name.split(".")[0] in PersonNetwork.OF_PARTS)
            self.train()  # Lightning leaves a network in the mode in which it gets it
        self._people: list[HeldOutPerson] | None = None
        self._walkers: list[Crop] = []

    def train(self, mode: bool = True) -> PersonTask:
        super().train(mode)
        if self.settings.parts_only:  # the norms of all others keep their statistics, too
            for name, module in self.network.named_children():
                module.train(mode and name in PersonNetwork.OF_PARTS)
        return self

    def share_of_rate(self, name: str) -> float:
        return self.settings.backbone_rate if name.startswith("network.backbone.") else 1.0

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        crops = normalise(batch["image"]).contiguous(memory_format=torch.channels_last)
        matte, keypoints, parts = self.network(crops)
        outline = matte_loss(matte.float(), batch["matte"].float() / 255, batch["known"])
        places = keypoint_loss(keypoints.float(), batch["keypoints"])
        labels = parts_loss(parts.float(), batch["parts"])
        loss = outline + self.settings.keypoint_weight * places + self.settings.parts_weight * labels
        return {"loss": loss, "matte": outline, "keypoints": places, "parts": labels}

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return mean IoU and PCK of the people in the held-out pictures, cut by their boxes, and of walkers.

        For walkers it is also the mean IoU of the body parts.
        """
        if self._people is None:
            self._people = held_out_people(self.settings.photos)
            if self.settings.cutouts is not None:
                unseen = CropBatches(self.settings.photos, self.settings.cutouts, 1, 0, held_out="forty")
                self._walkers = [unseen.walker(np.random.default_rng([0, number]), 0.0) for number in range(120)]
        mattes, keypoints, _ = predict(network, [one.crop for one in self._people])
        keypoint_hits = pck(*keypoint_pairs(self._people, keypoints))
        figures = {
            "iou": float(np.mean(mask_ious(*mask_pairs(self._people, mattes)))),
            "pck": keypoint_hits.overall,
            "ankles": keypoint_hits.ankles,
        }
        if self._walkers:
            mattes, keypoints, parts = predict(network, [one.image for one in self._walkers])
            truths = [one.matte > 127 for one in self._walkers if one.matte is not None]
            scale = np.array([WIDTH, HEIGHT, 1], np.float32)
            truth = np.stack([one.keypoints for one in self._walkers]) * scale
            heights = np.full(len(truth), HEIGHT / (1 + 2 * SHAPE.margin), np.float32)
            figures["walkers_iou"] = float(np.mean(mask_ious(list(mattes > THRESHOLD), truths)))
            figures["walkers_pck"] = pck((keypoints * scale)[..., :2], truth, heights).overall
            true_parts = np.stack([one.parts for one in self._walkers])
            figures["walkers_parts"] = float(np.nanmean(part_ious(labels_of(parts), true_parts)))
        return figures


def normalise(crops: Tensor) -> Tensor:
    """Return crops uint8 RGB (N, 3, h, w) as the network takes them: float32, normalised."""
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return (crops.float() - mean) / std


def matte_loss(logits: Tensor, matte: Tensor, known: Tensor) -> Tensor:
    """Return the cross entropy, weighted five times at the outline, plus the Dice loss (Milletari et al. 2016).

    Args:
        logits: (N, 1, h, w).
        matte: (N, 1, h, w) in 0..1.
        known: (N,), 0 where the matte is not labelled.
    """
    near = functional.avg_pool2d(matte, 5, 1, 2, count_include_pad=False)
    weight = 1 + 16 * near * (1 - near)
    entropy = functional.binary_cross_entropy_with_logits(logits, matte, reduction="none")
    entropy = (entropy * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    body = logits.sigmoid()
    shared, total = (body * matte).sum((1, 2, 3)), (body + matte).sum((1, 2, 3))
    dice = 1 - (2 * shared + 1) / (total + 1)
    return ((entropy + dice) * known).sum() / known.sum().clamp(min=1)


def keypoint_loss(logits: Tensor, keypoints: Tensor) -> Tensor:
    """Return the cross entropy over places: the target is a Gaussian of 1.3 cells, or "not in the crop".

    Args:
        logits: (N, 17, cells + 1), see `PersonNetwork.forward`.
        keypoints: (N, 17, 3): x, y in 0..1 of the crop, and above 0 if labelled, -1 if outside, 0 if not labelled.
    """
    rows, columns = HEIGHT // CELL, WIDTH // CELL
    across = torch.arange(columns, device=logits.device) + 0.5 - keypoints[..., :1] * columns
    down = torch.arange(rows, device=logits.device) + 0.5 - keypoints[..., 1:2] * rows
    across, down = (torch.exp(-offset.square() / (2 * 1.3**2)) for offset in (across, down))
    bell = (down[..., :, None] * across[..., None, :]).flatten(2)
    bell = bell / bell.sum(2, keepdim=True).clamp(min=1e-6)
    here, outside = (keypoints[..., 2] > 0).float(), (keypoints[..., 2] < 0).float()
    target = torch.cat([bell * here[..., None], outside[..., None]], dim=2)
    entropy = -(target * logits.log_softmax(dim=2)).sum(2)
    return entropy.sum() / (here + outside).sum().clamp(min=1)


_SCARCE = (0.7, 1.0, 0.9, 1.2, 1.2, 1.7, 1.7, 1.0, 1.0, 1.4, 1.4, 1.0)
"""Weights of background and parts in the loss: hands and feet are small."""


def parts_loss(logits: Tensor, parts: Tensor) -> Tensor:
    """Return the weighted cross entropy plus the Dice loss of the body parts, of the px whose part is known.

    The Dice loss (Milletari et al. 2016) is the mean over the labels of the batch. It counts a hand as much as a torso.

    Args:
        logits: (N, 12, h, w), which are enlarged to the size of the labels.
        parts: uint8 (N, H, W): labels, and `app.lab.training.crops.UNKNOWN`.
    """
    logits = functional.interpolate(logits, parts.shape[1:], mode="bilinear")
    weights = torch.tensor(_SCARCE, device=logits.device)
    entropy = functional.cross_entropy(logits, parts.long(), weights, ignore_index=UNKNOWN, reduction="sum")
    known = parts != UNKNOWN
    entropy = entropy / weights[parts[known].long()].sum().clamp(min=1)
    truth = functional.one_hot(parts.where(known, 0).long(), len(_SCARCE)).movedim(3, 1)
    shares, truth = logits.softmax(dim=1) * known[:, None], truth * known[:, None]
    both, total = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    dice = 1 - (2 * both + 1) / (total + 1)
    return entropy + dice.mean()


def labels_of(parts: Floats) -> Bytes:
    """Return the likeliest labels of crops (N, 192, 96), from probabilities (N, 12, h, w), as `app.parse` does."""
    size = (WIDTH, HEIGHT)
    shares = (np.ascontiguousarray(one.transpose(1, 2, 0)) for one in parts)
    enlarged = (cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in shares)
    return np.stack([one.argmax(axis=2).astype(np.uint8) for one in enlarged])


def part_ious(found: Bytes, truth: Bytes) -> Doubles:
    """Return the IoU of each of the 11 body parts over all maps (N, h, w); NaN for a part that is in none."""
    known = truth != UNKNOWN
    ious = np.full(len(BODY_PARTS), np.nan)
    for label in range(1, len(BODY_PARTS) + 1):
        one, other = (found == label) & known, truth == label
        if (one | other).any():
            ious[label - 1] = (one & other).sum() / (one | other).sum()
    return ious


def held_out_people(photos: Path) -> list[HeldOutPerson]:
    """Return the people in the held-out pictures of `photos` who have an outline or keypoints, cut by their boxes."""
    people = []
    for photo in read_photos(photos, held_out="forty"):
        image = photo.read()
        for person in photo.people:
            known = person.polygons or (person.keypoints is not None and (person.keypoints[:, 2] > 0).any())
            if person.crowd or person.box[3] - person.box[1] < _SMALLEST or not known:
                continue
            window = crop_windows(person.box[None], photo.width, photo.height, SHAPE)[0]
            people.append(HeldOutPerson(crop_of(image, window, SHAPE), window, photo, person))
    return people


def predict(network: nn.Module, crops: Sequence[Image], batch: int = 32) -> tuple[Floats, Floats, Floats]:
    """Return mattes (N, 192, 96), keypoints (N, 17, 3) and parts (N, 12, 96, 48) of crops, uint8 BGR: `both_ways`."""
    mattes, keypoints, parts = [], [], []
    for start in range(0, len(crops), batch):
        pixels = np.stack([crop[..., ::-1].transpose(2, 0, 1) for crop in crops[start : start + batch]])
        inputs = normalise(torch.from_numpy(pixels)).contiguous(memory_format=torch.channels_last)
        matte, places, labels = both_ways(network, inputs)
        mattes.append(matte[:, 0].numpy())
        keypoints.append(places.numpy())
        parts.append(labels.numpy())
    return np.concatenate(mattes), np.concatenate(keypoints), np.concatenate(parts)


def mask_pairs(people: Sequence[HeldOutPerson], mattes: Floats) -> tuple[list[Bools], list[Bools]]:
    """Return predicted and true masks of the people with an outline, in px of the picture around each person."""
    masks, truths = [], []
    for one, matte in zip(people, mattes, strict=True):
        truth = one.person.mask(one.photo.height, one.photo.width)
        if truth is None:
            continue
        left, top, right, bottom = one.window.tolist()
        masks.append(matte_of(matte, one.window).alpha >= THRESHOLD * 255)
        truths.append(truth[top:bottom, left:right])
    return masks, truths


def keypoint_pairs(people: Sequence[HeldOutPerson], keypoints: Floats) -> tuple[Floats, Floats, Floats]:
    """Return predicted (n, 17, 2) and true (n, 17, 3) keypoints, px of the pictures, and the boxes' heights (n,)."""
    predicted, truth, heights = [], [], []
    for one, places in zip(people, keypoints, strict=True):
        if one.person.keypoints is None:
            continue
        left, top, right, bottom = one.window.tolist()
        predicted.append(places[:, :2] * (right - left, bottom - top) + (left, top))
        truth.append(one.person.keypoints)
        heights.append(one.person.box[3] - one.person.box[1])
    return np.asarray(predicted, np.float32), np.stack(truth), np.array(heights, np.float32)


def train(settings: PersonTrainSettings) -> nn.Module:
    """Train both heads, or continue a training that was stopped: see `app.lab.training.engine.fit`."""
    gentle_from = round((1 - settings.gentle) * settings.steps)
    batches = CropBatches(
        settings.photos,
        settings.cutouts,
        settings.batch,
        settings.seed,
        walkers=settings.walkers,
        gentle_from=gentle_from,
        gentle=settings.gentle_hardness,
    )
    task = PersonTask(settings)
    for path in settings.start:
        start(task.network, path)
    return fit(task, batches, settings)


def start(network: PersonNetwork, path: Path) -> None:
    """Give `network` the weights of a file: see `PersonTrainSettings.start`.

    Raises:
        CheckpointError: the file is neither NanoDet-g nor a network of ours.
        MissingExtraError: the package `onnx` is not installed.
    """
    taken = fitting(network, stored_weights(path))
    if "places" in taken:
        network.load_state_dict({**network.state_dict(), **taken})
    else:
        network.backbone.start(path, rgb=True)


def load(settings: PersonTrainSettings) -> PersonNetwork:
    """Load the network that a training has left in `settings.out`; see `app.lab.training.engine.load_trained`."""
    return load_trained(PersonNetwork(), settings.out, "network for crops of one person")


def export_segmenter(settings: PersonTrainSettings, path: Path) -> float:
    """Write the matte's part of the trained network as `app.segment.onnx_matte` reads it."""
    network = load(settings)
    text = f"mean IoU {evaluate(network, settings)['iou']:.2f} of people in held-out COCO pictures"
    return export_heads(
        Answering(network, matte_only), ["matte"], path, {"threshold": str(THRESHOLD), "flip": "true", "figures": text}
    )


def export_pose(settings: PersonTrainSettings, path: Path) -> float:
    """Write keypoints and body parts of the trained network as `app.pose.onnx_pose` and `app.parse` read them."""
    network = load(settings)
    figures = evaluate(network, settings)
    text = f"PCK at 0.1 {figures['pck']:.2f}, ankles {figures['ankles']:.2f}, of people in held-out COCO pictures"
    return export_heads(
        Answering(network, keypoints_and_parts), ["keypoints", "parts"], path, {"kind": "pose17", "figures": text}
    )


def evaluate(network: PersonNetwork, settings: PersonTrainSettings) -> dict[str, float]:
    """Evaluate a trained network; see `PersonTask.check`."""
    with torch.inference_mode():
        return PersonTask(settings).check(network)


def export_heads(network: nn.Module, outputs: Sequence[str], path: Path, metadata: Mapping[str, str]) -> float:
    """Write heads as ONNX with the metadata for `app.crops.network`; see `app.lab.training.export.export`."""
    examples = {"image": torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 4 - 2}
    known = {
        "mean": ",".join(map(str, MEAN)),
        "std": ",".join(map(str, STD)),
        "margin": str(SHAPE.margin),
        "aspect": str(SHAPE.aspect),
        "licence": "Apache-2.0",
        "note": NOTE,
    }
    return export(
        network,
        examples,
        list(outputs),
        path,
        dynamic={name: {0: "batch"} for name in ("image", *outputs)},
        metadata=known | dict(metadata),
        storage="int8",  # on the held-out people this costs nothing in IoU and 0.001 of PCK
    )
