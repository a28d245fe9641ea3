"""Training of the detector: who gets which cell, what is learnt, and that the export finds what torch finds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from app.detect.letterbox import cells, decode
from app.detect.small import SmallDetector
from app.detect.yolox_onnx import YoloxOnnxDetector
from app.errors import CheckpointError, SettingsError
from app.lab.evaluation.metrics import Matches
from app.settings import DetectorSettings
from app.types import Floats, Frame, Image
from app.weights.registry import detectors

pytest.importorskip("lightning", reason="needs the extra train")
pytest.importorskip("onnx", reason="needs the extra train")

from app.lab.synthesis.photos import HELD_OUT
from app.lab.synthesis.scenes import Scene, Sources
from app.lab.training import detector as training
from app.lab.training.settings import read_config

GRID = torch.tensor(cells(96, 128))
CENTRES = (GRID[:, :2] + 0.5) * GRID[:, 2:]


def raw(boxes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The raw outputs that stand for `boxes` (B, A, 4) px and `logits` (B, A)."""
    size = boxes[..., 2:] - boxes[..., :2]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    stride = GRID[:, 2:]
    return torch.cat([middle / stride - GRID[:, :2], (size / stride).log(), logits[..., None]], dim=-1)


def guesses(seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    size = torch.rand(batch, len(GRID), 2, generator=random) * 50 + 8
    middle = CENTRES + torch.randn(batch, len(GRID), 2, generator=random) * 4
    logits = torch.randn(batch, len(GRID), generator=random)
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1), logits


TRUTH = torch.tensor([[[20.0, 10, 50, 90], [40, 12, 70, 92], [100, 50, 112, 60]], [[5, 5, 60, 80], [0] * 4, [0] * 4]])
NOTHING = torch.zeros(2, 1, 4)


def naive(boxes: Floats, logits: Floats, truth: Floats) -> list[int]:
    """SimOTA for one picture, in loops."""
    wanted: dict[int, tuple[float, int]] = {}
    for number, (x1, y1, x2, y2) in enumerate(truth.tolist()):
        if x2 <= x1:
            continue
        costs, ious = [], []
        for cell, (x, y) in enumerate(CENTRES.tolist()):
            stride = float(GRID[cell, 2])
            inside = x1 < x < x2 and y1 < y < y2
            near = abs(x - (x1 + x2) / 2) < 1.5 * stride and abs(y - (y1 + y2) / 2) < 1.5 * stride
            if not (inside or near):
                continue
            a1, b1, a2, b2 = boxes[cell].tolist()
            shared = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
            iou = shared / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared)
            cost = float(np.log1p(np.exp(-logits[cell]))) - 3 * np.log(iou + 1e-7) + (0 if inside and near else 1e4)
            costs.append((cost, cell))
            ious.append(iou)
        number_of_cells = max(1, int(sum(sorted(ious)[-10:])))
        for cost, cell in sorted(costs)[:number_of_cells]:
            if cell not in wanted or cost < wanted[cell][0]:
                wanted[cell] = (cost, number)
    return [wanted[cell][1] if cell in wanted else -1 for cell in range(len(CENTRES))]


@pytest.mark.parametrize("seed", range(4))
def test_cells_are_given_as_the_paper_does(seed: int) -> None:
    boxes, logits = guesses(seed)
    person, overlap = training.assign(boxes, logits, CENTRES, GRID[:, 2], TRUTH)
    for picture in range(2):
        assert person[picture].tolist() == naive(
            boxes[picture].numpy(), logits[picture].numpy(), TRUTH[picture].numpy()
        )
    assert ((person >= 0) | (overlap == 0)).all()
    assert set(person[0].unique().tolist()) == {-1, 0, 1, 2}
    assert set(person[1].unique().tolist()) == {-1, 0}


def test_a_picture_without_people_teaches_only_silence() -> None:
    boxes, logits = guesses(0)
    outputs = raw(boxes, logits).requires_grad_()
    found = training.detection_loss(outputs, GRID, NOTHING, NOTHING)
    found["loss"].backward()
    assert outputs.grad is not None
    assert found["box"] == 0
    assert (outputs.grad[..., 4] > 0).all()
    assert (outputs.grad[..., :4] == 0).all()


def test_nothing_is_learnt_where_labels_are_missing() -> None:
    boxes, logits = guesses(0)
    outputs = raw(boxes, logits).requires_grad_()
    ignore = torch.tensor([[[0.0, 0, 64, 96]], [[0, 0, 0, 0]]])
    training.detection_loss(outputs, GRID, NOTHING, ignore)["loss"].backward()
    assert outputs.grad is not None
    left = CENTRES[:, 0] < 64
    assert (outputs.grad[0, left] == 0).all()
    assert (outputs.grad[0, ~left, 4] > 0).all()
    assert (outputs.grad[1, :, 4] > 0).all()


def test_right_answers_cost_nothing() -> None:
    boxes = TRUTH[:, :1].expand(-1, len(GRID), -1)
    person, _ = training.assign(boxes, torch.zeros(2, len(GRID)), CENTRES, GRID[:, 2], TRUTH[:, :1])
    logits = torch.where(person >= 0, 15.0, -15.0)
    found = training.detection_loss(raw(boxes, logits), GRID, TRUTH[:, :1], NOTHING)
    assert found["loss"] < 1e-4
    assert found["overlap"] > 0.9999
    shifted = training.detection_loss(raw(boxes + 5, logits), GRID, TRUTH[:, :1], NOTHING)
    assert shifted["box"] > 0.1


def test_boxes_are_decoded_as_when_running() -> None:
    boxes, logits = guesses(1, batch=1)
    outputs = raw(boxes, logits)
    np.testing.assert_allclose(training.boxes_of(outputs, GRID), boxes, atol=1e-3)
    centred = decode(outputs[0, :, :4].numpy(), GRID.numpy())
    np.testing.assert_allclose(centred[:, :2], (boxes[0, :, :2] + boxes[0, :, 2:]) / 2, atol=1e-3)


def living_network() -> SmallDetector:
    """Random weights whose answers differ from cell to cell."""
    torch.manual_seed(0)
    network = SmallDetector().eval()
    for head in network.heads:
        last = head[1]
        torch.nn.init.normal_(last.weight, std=0.6)
        torch.nn.init.constant_(last.bias, -1.0)
    return network


def test_scores_become_the_share_that_is_right() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 4000)
    hits = random.random(4000) < 1 / (1 + np.exp(-(1.7 * logits - 0.6)))
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    gain, offset = training.calibrate(Matches(scores, hits, int(hits.sum())))
    assert gain == pytest.approx(1.7, abs=0.2)
    assert offset == pytest.approx(-0.6, abs=0.2)
    with pytest.raises(CheckpointError, match="0 wrong"):
        training.calibrate(Matches(scores, np.ones(4000, np.bool_), 4000))


def test_tracks_start_from_the_score_whose_detections_are_nearly_all_right() -> None:
    scores = np.linspace(0.99, 0.01, 99, dtype=np.float32)
    hits = scores > 0.495  # 50 are right, then none: 93 % of the strongest 53 are
    as_they_are = training.Calibration(1.0, 0.0)
    assert training.sure_score(Matches(scores, hits, 50), as_they_are) == pytest.approx(0.47, abs=0.011)
    assert training.sure_score(Matches(scores, ~hits, 49), as_they_are) == 1.0


def street(seed: int) -> tuple[Image, list[list[float]]]:
    """Grey ground with bright upright people."""
    random = np.random.default_rng(seed)
    image = random.integers(40, 90, (120, 160, 3)).astype(np.uint8)
    boxes = []
    for x in (10, 60, 110):
        left, top, tall = int(x + random.integers(0, 15)), int(random.integers(5, 40)), int(random.integers(60, 75))
        cv2.rectangle(image, (left, top), (left + tall // 3, top + tall), (230, 220, 240), -1)
        boxes.append([float(left), float(top), float(tall // 3), float(tall)])
    return image, boxes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("images", "backgrounds"):
        (folder / "coco" / name).mkdir(parents=True)
    labels = {}
    for number, name in enumerate([*sorted(HELD_OUT)[:2], "900000000001", "900000000002"]):
        image, boxes = street(number)
        cv2.imwrite(str(folder / "coco" / "images" / f"{name}.jpg"), image)
        outlines = [[x, y, x + w, y, x + w, y + h, x, y + h] for x, y, w, h in boxes]
        persons = [{"bbox": b, "full": True, "seg": [o]} for b, o in zip(boxes, outlines, strict=True)]
        labels[name] = {"w": 160, "h": 120, "complete": True, "persons": persons}
    (folder / "coco" / "labels.json").write_text(json.dumps(labels))
    cv2.imwrite(str(folder / "coco" / "backgrounds" / "1.jpg"), street(9)[0][:30])
    return folder


def settings_of(photos: Path, **changes: object) -> training.DetectorTrainSettings:
    given = {"out": photos.parent / "run", "photos": photos, "steps": 2, "batch": 2, "workers": 0, "threads": 1}
    given |= {"teacher": "null", "cutouts": "null", "clips": "{}", "sizes": "[[0, [256]], [0.5, [128]]]", "warmup": 1}
    values = [f"{key}={value}" for key, value in (given | changes).items()]
    return read_config(None, training.DetectorTrainSettings, values, "detector")


def test_batches_depend_on_nothing_but_the_step(photos: Path) -> None:
    settings = settings_of(photos, steps=10)
    image, boxes = street(0)
    truth = np.array(boxes, np.float32)
    truth[:, 2:] += truth[:, :2]
    somebody = np.full((60, 20, 4), 255, np.uint8)
    sources = Sources([Scene(image, truth, truth[:0])], [], [image[:30]], [somebody], shares=(1.0, 0.0))
    batches = training.SceneBatches(sources, settings)
    first, again, other = batches[3], training.SceneBatches(sources, settings)[3], batches[4]
    assert first["image"].shape == (2, 3, 256, 256)
    assert first["image"].dtype == torch.uint8
    assert batches[5]["image"].shape == (8, 3, 128, 128)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image"], other["image"])


def test_training_learns_and_its_export_finds_what_torch_finds(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_SEEN_AT", 160)
    torch.manual_seed(1)
    network = SmallDetector().train()
    settings = settings_of(photos)
    task = training.DetectorTask(network, settings)
    images, people = zip(*(street(seed) for seed in range(4)), strict=True)
    pixels = torch.from_numpy(np.stack(images)[:, :96]).permute(0, 3, 1, 2)
    boxes = torch.tensor(people)
    boxes[..., 2:] += boxes[..., :2]
    batch = {"image": pixels, "boxes": boxes, "ignore": torch.zeros(4, 1, 4)}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        found = task.loss(batch)
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)  # as the engine does
        optimizer.step()
        losses.append(float(found["loss"].detach()))
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])

    settings.out.mkdir()
    torch.save(network.state_dict(), settings.out / "network.pt")
    path = photos.parent / "own.onnx"
    assert training.export_network(settings, path) < 1e-3
    choice = detectors.choose("auto", path, ())
    entry, file = choice.entry, choice.file
    assert file is not None
    detector = entry.build(file, DetectorSettings(score=0.01, threads=1, input_size=(160, 160)))
    assert isinstance(detector, YoloxOnnxDetector)
    assert not detector.decoded
    assert detector.normalise == "raw"
    assert detector.card.name == "own"
    assert "M parameters" in detector.card.note
    (found_there,) = detector.detect([Frame(0, 0.0, images[0])])
    trained = training.load(settings)
    weights = training.first_network(settings_of(photos, start=path)).state_dict()  # a training goes on from the file
    assert all(torch.allclose(value, weights[name], atol=5e-3) for name, value in trained.state_dict().items())
    wanted, _ = training.detect(trained, images[0], 160, 1e-4)
    assert len(found_there.scores) > 0
    best = int(found_there.scores.argmax())
    off = np.abs(np.clip(wanted, 0, [160, 120, 160, 120]) - found_there.boxes[best]).max(axis=1)
    assert off.min() < 1.0


def test_a_run_from_photographs_to_a_network(photos: Path) -> None:
    settings = settings_of(photos, precision="32-true")
    with pytest.raises(SettingsError, match="Train the person detector first"):
        training.load(settings)
    network = training.train(settings)
    kept = training.load(settings).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    figures = training.DetectorTask(SmallDetector(), settings).check(living_network())
    assert set(figures) == {"recall", "recall_full"}
    assert all(0 <= value <= 1 for value in figures.values())
