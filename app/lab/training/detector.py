"""Training of the small person detector (`app.detect.small`) on composed scenes (`app.lab.synthesis.scenes`).

It starts from the weights that NanoDet-g learnt on COCO, where they are given (`SmallDetector.start`).
Cells are assigned to people by the cost of the network's own outputs (SimOTA: Ge et al. 2021, arXiv 2107.08430, section
2.1). The score learns the IoU of the cell's box with the person (quality focal loss: Li et al. 2020, arXiv 2006.04388).
The box learns by the generalised IoU (Rezatofighi et al. 2019, arXiv 1902.09630).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import Tensor, nn

from app.detect.letterbox import cells, corners, decode, letterbox, nms
from app.detect.small import SmallDetector
from app.errors import CheckpointError
from app.lab.evaluation.metrics import Matches, Scored, matched
from app.lab.synthesis.cutouts import Cutouts
from app.lab.synthesis.photos import HeldOut, Photo, frames_of, read_grounds, read_photos
from app.lab.synthesis.scenes import Scene, Sources, compose, labelled_scene, people_of, stacked, taught_scene
from app.lab.training.engine import Task, fit, load_trained
from app.lab.training.export import Answering, export, mix, stored_weights
from app.lab.training.settings import PHOTOS, Natural, TrainSettings
from app.settings import DetectorSettings, Share, Side
from app.types import Detections, Floats, Frame, Image, VideoInfo
from app.weights.checkpoints import CheckpointFile

_MOST_CELLS = 10
_RADIUS = 1.5
_NMS = DetectorSettings().nms_iou
_SEEN_AT = 640
"""Longer side in px of pictures in evaluation and calibration, and by default at inference."""
_SURE = 0.93
"""Share of detections that must be right from the score on from which they may start tracks."""
_LEAST = 20.0
"""Held-out people of less height than this, at that size, do not count."""


@dataclass(frozen=True, kw_only=True)
class DetectorTrainSettings(TrainSettings):
    """Settings of ``train detector``."""

    photos: Path = field(metadata={"about": PHOTOS})
    """Labelled photographs, and pictures without people: see `app.lab.synthesis.photos`."""
    cutouts: Path | None = None
    """Folder of rendered walkers, made by ``python -m app train cutouts``. None: real people only."""
    teacher: Path | None = None
    """A YOLOX detector in ONNX form, whose boxes replace labels on `clips` and where photographs have none."""
    start: Path | None = None
    """The ONNX file whose weights the network starts from: NanoDet-g's as published, or one that a training of this
    network has exported. None: random weights."""
    start_share: Share = 0.0
    """Share of the weights of `start` in the exported network, the rest being the trained ones (Wortsman et al. 2022,
    arXiv 2109.01903). It may be changed after the training, with ``--export-only``."""
    frozen: Natural = 1
    """How many of the four stages keep the weights of `start`, the stem with them. It has no effect without `start`."""
    clips: dict[Path, int] = field(default_factory=dict)
    """Videos for the teacher, and the step between the frames that are used. Their licences must permit training."""
    sizes: tuple[tuple[float, tuple[Side, ...]], ...] = ((0.0, (256, 320)), (0.5, (256, 320, 416)))
    """Sides of the training pictures in px, multiples of 32, from each share of the training on. One of them is drawn
    for each step. A batch has `batch` pictures of the side 256, or so many of another side as have as many pixels."""
    calm: Share = 0.8
    """Share of the training after which pictures are degraded less."""


class SceneBatches:
    """Batches of composed scenes: ``image`` uint8 (B, 3, S, S), ``boxes`` and ``ignore`` float32 (B, M, 4) px.

    Rows without a person are zero.
    """

    def __init__(self, sources: Sources, settings: DetectorTrainSettings) -> None:
        self._sources = sources
        self._settings = settings

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        done = step / self._settings.steps
        sides = max((start, sides) for start, sides in self._settings.sizes if start <= done)[1]
        size = sides[int(np.random.default_rng((self._settings.seed, step)).integers(len(sides)))]
        strength = 0.9 if done < self._settings.calm else 0.4
        scenes = []
        for number in range(max(2, round(self._settings.batch * (256 / size) ** 2))):
            rng = np.random.default_rng((self._settings.seed, step, number))
            scenes.append(compose(self._sources, size, rng, strength))
        images = np.stack([scene.image for scene in scenes])
        return {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2),
            "boxes": _padded([scene.boxes for scene in scenes]),
            "ignore": _padded([scene.ignore for scene in scenes]),
        }


def _padded(boxes: Sequence[Floats]) -> Tensor:
    rows = np.zeros((len(boxes), max(1, *(len(of_one) for of_one in boxes)), 4), np.float32)
    for row, of_one in zip(rows, boxes, strict=True):
        row[: len(of_one)] = of_one
    return torch.from_numpy(rows)


def sources_of(settings: DetectorTrainSettings) -> Sources:
    """Read everything that scenes are composed from, once. The processes that prepare batches share the memory."""
    teacher = None if settings.teacher is None else _Teacher(settings.teacher)
    photos = read_photos(settings.photos, held_out=None)
    frames: list[Scene] = []
    if teacher is not None:
        for clip, every in settings.clips.items():
            frames += [taught_scene(image, teacher(image)) for image in frames_of(clip, every)]
    return Sources(
        labelled=[labelled_scene(photo, teacher) for photo in photos],
        frames=frames,
        backgrounds=read_grounds(settings.photos),
        real=[person for photo in photos for person in people_of(photo)],
        walkers=None if settings.cutouts is None else Cutouts(settings.cutouts),
    )


class _Teacher:
    """A trained detector that is run on single pictures."""

    def __init__(self, path: Path) -> None:
        from app.detect.yolox_onnx import YoloxOnnxDetector

        settings = DetectorSettings(score=0.25, nms_iou=_NMS, threads=1)
        self._detector = YoloxOnnxDetector(CheckpointFile(path, "given"), settings)

    def __call__(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        self._detector.start(VideoInfo(Path("picture"), width, height, Fraction(1)))  # no picture follows another
        return self._detector.detect([Frame(0, 0.0, image)])[0]


class DetectorTask(Task):
    """Trains boxes and scores, and evaluates them on the held-out photographs."""

    settings: DetectorTrainSettings

    def __init__(self, network: SmallDetector, settings: DetectorTrainSettings) -> None:
        super().__init__(network, settings)
        self._held_out: list[tuple[Photo, Image]] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images = batch["image"].float().contiguous(memory_format=torch.channels_last)
        grid = torch.tensor(cells(*images.shape[2:]), device=images.device)
        return detection_loss(self.network(images).float(), grid, batch["boxes"], batch["ignore"])

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return recall at precision 0.8 on the held-out photographs: of everybody, and of people shown completely."""
        if not self._held_out:
            self._held_out = [(photo, photo.read()) for photo in held_out_photos(self.settings.photos)]
        detections = [detect(network, image, _SEEN_AT, 0.1) for _, image in self._held_out]
        photos = [photo for photo, _ in self._held_out]
        return {
            "recall": matches_with(detections, photos, full=False).best_recall()[0],
            "recall_full": matches_with(detections, photos, full=True).best_recall()[0],
        }


def held_out_photos(folder: Path) -> list[Photo]:
    """Return all photographs that no training sees: `HELD_OUT`, and those of ``coco_val`` where it is there."""
    parts: list[HeldOut] = ["forty", "val"] if (folder / "coco_val").is_dir() else ["forty"]
    return [photo for part in parts for photo in read_photos(folder, held_out=part)]


def detect(network: nn.Module, image: Image, size: int, score: float = 0.02) -> Scored:
    """Return boxes (N, 4) in px of the image, and scores (N,). The picture's longer side is scaled to `size`."""
    boxed = letterbox([image], (size, size))
    with torch.inference_mode():
        pixels = torch.from_numpy(boxed.pixels).permute(0, 3, 1, 2).float()
        output = network(pixels.contiguous(memory_format=torch.channels_last))[0].float().numpy()
    scores = 1 / (1 + np.exp(-output[:, 4]))
    strong = np.flatnonzero(scores >= score)
    boxes = corners(decode(output[strong, :4], cells(*boxed.pixels.shape[1:3])[strong])) / boxed.ratios[0]
    chosen = nms(boxes, scores[strong], _NMS)
    return boxes[chosen].astype(np.float32), scores[strong][chosen].astype(np.float32)


def matches_with(detections: Sequence[Scored], photos: Sequence[Photo], *, full: bool) -> Matches:
    """Compare `detections` with the people of `photos`. Groups, tiny people and people without labels do not count.

    With `full`, only people who are shown from head to foot should be found, and detections of others do not count.
    """
    truth, ignore = [], []
    for photo in photos:
        least = _LEAST * max(photo.width, photo.height) / _SEEN_AT
        wanted = [not p.crowd and p.box[3] - p.box[1] >= least and (p.full or not full) for p in photo.people]
        truth.append(stacked([p.box for p, want in zip(photo.people, wanted, strict=True) if want]))
        other = [p.box for p, want in zip(photo.people, wanted, strict=True) if not want]
        if not photo.complete:
            other.append(np.array([0, 0, photo.width, photo.height], np.float32))
        ignore.append(stacked(other))
    return Matches.joined(matched(detections, truth, ignore))


def detection_loss(outputs: Tensor, grid: Tensor, truth: Tensor, ignore: Tensor) -> dict[str, Tensor]:
    """Return the ``loss`` of raw outputs (B, A, 5), its terms ``score`` and ``box``, and ``overlap``.

    The overlap is the mean IoU of boxes with their people. `grid` (A, 3) is that of `app.detect.letterbox.cells`, and
    `truth` (B, M, 4) px has zeros in rows without a person. Cells in the boxes `ignore` (B, K, 4) that belong to nobody
    have no loss.
    """
    boxes, logits = boxes_of(outputs, grid), outputs[..., 4]
    centres = (grid[:, :2] + 0.5) * grid[:, 2:]
    with torch.no_grad():
        person, overlap = assign(boxes, logits, centres, grid[:, 2], truth)
        positive = person >= 0
        counted = positive | ~_within(centres, ignore).any(dim=1)
        target = torch.where(positive, overlap, torch.zeros_like(overlap))
        number = positive.sum().clamp(min=1)
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    score = ((target - probability).abs().square() * cross * counted).sum() / number
    wanted = truth.gather(1, person.clamp(min=0)[..., None].expand(-1, -1, 4))
    generalised = _giou(boxes[positive], wanted[positive])
    box = (1 - generalised).sum() / number
    return {"loss": score + 2 * box, "score": score, "box": box, "overlap": overlap[positive].sum() / number}


def boxes_of(outputs: Tensor, grid: Tensor) -> Tensor:
    """Return the boxes x1, y1, x2, y2 in px (B, A, 4) of raw outputs (B, A, 5)."""
    stride = grid[:, 2:]
    centre = (outputs[..., :2] + grid[:, :2]) * stride
    half = outputs[..., 2:4].clamp(max=6).exp() * stride / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def assign(boxes: Tensor, logits: Tensor, centres: Tensor, strides: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Assign cells to people (SimOTA): the number of each cell's person or -1, int64 (B, A), and the IoU of their
    boxes, (B, A).

    A cell may belong to a person if its centre lies in the person's box or near the centre of the box. The number of a
    person's cells is the sum of the ten best IoUs, and at least one. The cells of the lowest cost are taken. The cost
    is that of the score plus three times the negative logarithm of the IoU.

    `boxes` (B, A, 4), `centres` (A, 2) and `strides` (A,) are in px, `logits` are (B, A), and `truth` (B, M, 4) px has
    zeros in rows without a person.
    """
    real = (truth[..., 2] > truth[..., 0]) & (truth[..., 3] > truth[..., 1])
    middle = (truth[..., :2] + truth[..., 2:]) / 2
    near = ((centres - middle[:, :, None]).abs() < _RADIUS * strides[:, None]).all(dim=-1)
    inside = _within(centres, truth)
    allowed = (near | inside) & real[..., None]
    overlap = _iou(truth[:, :, None], boxes[:, None]) * allowed
    cost = F.softplus(-logits)[:, None] - 3 * (overlap + 1e-7).log() + 1e4 * ~(near & inside)
    cost = cost.masked_fill(~allowed, 1e9)
    most = min(_MOST_CELLS, boxes.shape[1])
    number = overlap.topk(most, dim=-1).values.sum(dim=-1).long().clamp(min=1)
    cheapest = cost.topk(most, dim=-1, largest=False)
    taken = (torch.arange(most, device=boxes.device) < number[..., None]) & (cheapest.values < 1e9)
    chosen = torch.zeros_like(allowed).scatter(-1, cheapest.indices, taken)
    # A cell that several people could have goes to the one of the lowest cost.
    least, person = cost.masked_fill(~chosen, 1e9).min(dim=1)
    none = least >= 1e9
    own_overlap = overlap.gather(1, person[:, None])[:, 0]
    return person.masked_fill(none, -1), own_overlap.masked_fill(none, 0)


def _within(centres: Tensor, boxes: Tensor) -> Tensor:
    """Return whether each of (A, 2) points lies in each of (B, M, 4) boxes: (B, M, A)."""
    x, y = centres[:, 0], centres[:, 1]
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=-2)
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    return shared / (_area(a) + _area(b) - shared).clamp(min=1e-6)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    union = (_area(a) + _area(b) - shared).clamp(min=1e-6)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(dim=-1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def first_network(settings: DetectorTrainSettings) -> SmallDetector:
    """Return the network before the first step, with random weights or those of `DetectorTrainSettings.start`.

    Raises:
        CheckpointError: that file is neither NanoDet-g nor a network of ours.
        MissingExtraError: the package `onnx` is not installed.
    """
    network = SmallDetector()
    if settings.start is not None:
        weights = stored_weights(settings.start)
        if weights.keys() >= network.state_dict().keys():
            network.load_state_dict({name: weights[name] for name in network.state_dict()})
        else:
            network.start(settings.start)
        network.backbone.freeze(settings.frozen)
    return network


def train(settings: DetectorTrainSettings) -> nn.Module:
    """Train, or continue a training that was stopped: see `app.lab.training.engine.fit`."""
    network = first_network(settings).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fit(DetectorTask(network, settings), SceneBatches(sources_of(settings), settings), settings)


class Calibration(NamedTuple):
    """A score is the sigmoid of `gain` times the network's logit plus `offset`."""

    gain: float
    offset: float


def calibrate(matches: Matches) -> Calibration:
    """Fit scores to the share of correct detections (Platt 1999), so that half of those scored 0.5 are correct.

    `matches` are of a network's uncalibrated scores. All of the strongest detections may be correct. As in the paper,
    targets that stay away from 0 and 1 keep the slope finite.

    Raises:
        CheckpointError: correct detections do not have higher scores than others.
    """
    right, wrong = int(matches.hits.sum()), int((~matches.hits).sum())
    target = np.where(matches.hits, (right + 1) / (right + 2), 1 / (wrong + 2))
    logits = logit(np.clip(matches.scores.astype(np.float64), 1e-6, 1 - 1e-6))

    def cost(weights: NDArray[np.float64]) -> float:
        fitted = weights[0] * logits + weights[1]
        return float(np.mean(np.logaddexp(0, fitted) - target * fitted))

    gain, offset = minimize(cost, np.array([1.0, 0.0])).x.tolist()
    if not right or not wrong or gain <= 0:
        raise CheckpointError(
            f"The detector's scores cannot be calibrated: {right} detections on the held-out photographs are right, "
            f"{wrong} wrong. Train it longer."
        )
    return Calibration(gain, offset)


def sure_score(matches: Matches, calibration: Calibration) -> float:
    """Return the calibrated score from which `_SURE` of the detections are right: those may start tracks.

    `matches` are of a network's uncalibrated scores.
    """
    order = np.argsort(-matches.scores)
    precision = np.cumsum(matches.hits[order]) / np.arange(1, len(order) + 1)
    right = np.flatnonzero(precision >= _SURE)
    if not len(right):
        return 1.0
    weakest = float(np.clip(matches.scores[order[right[-1]]], 1e-6, 1 - 1e-6))
    return round(float(expit(calibration.gain * logit(weakest) + calibration.offset)), 2)


def _calibrated(calibration: Calibration, network: nn.Module, images: Tensor) -> Tensor:
    """Return boxes as YOLOX returns them, the calibrated score as objectness, and one certain class."""
    output: Tensor = network(images)
    score = (output[..., 4:] * calibration.gain + calibration.offset).sigmoid()
    return torch.cat([output[..., :4], score, torch.ones_like(score)], dim=-1)


def load(settings: DetectorTrainSettings) -> SmallDetector:
    """Load the network that a training has left in `settings.out`; see `app.lab.training.engine.load_trained`."""
    return load_trained(SmallDetector(), settings.out, "person detector")


def export_network(settings: DetectorTrainSettings, path: Path) -> float:
    """Write the trained network as ONNX for `app.detect.yolox_onnx`, with calibrated scores (`calibrate`).

    The scores are fitted on the held-out photographs. Height and width are free and must be multiples of 32. Returns
    the largest difference between ONNX Runtime and torch.

    Raises:
        SettingsError: `settings.out` holds no trained network.
        CheckpointError: the network finds nobody.
    """
    network = load(settings)
    if settings.start is not None and settings.start_share:
        mix(network, stored_weights(settings.start), settings.start_share)
    photos = held_out_photos(settings.photos)
    matches = matches_with([detect(network, photo.read(), _SEEN_AT) for photo in photos], photos, full=False)
    calibration = calibrate(matches)
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 96, 128), generator=random).float()
    return export(
        Answering(network, partial(_calibrated, calibration)),
        {"images": image},
        ["people"],
        path,
        dynamic={"images": {0: "batch", 2: "height", 3: "width"}, "people": {0: "batch", 1: "cells"}},
        metadata={
            "name": path.stem,
            "sure": str(sure_score(matches, calibration)),
            "normalise": "raw",
            "licence": "Apache-2.0; training photographs under their own licences, see the model card",
            "note": f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, made for "
            f"{_SEEN_AT} px; scores are the share of detections that are right; started from NanoDet-g's weights "
            "(Copyright 2020-2021 RangiLyu, Apache-2.0)",
            "figures": f"held-out COCO pictures, everybody: AP {matches.average_precision():.2f}",
        },
        storage="int8",  # kernels in 8 bits with a scale each
    )
