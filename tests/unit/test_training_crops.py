"""Crops to train with: matte and keypoints lie where the picture shows them, however the crop is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import app.lab.training.crops as module
from app.lab.synthesis.photos import HELD_OUT
from app.lab.training.crops import Crop, CropBatches
from app.types import BODY_PARTS, Bools, Bytes, Floats, Image

RED, BLUE, GREEN = (30, 30, 220), (230, 40, 30), (40, 220, 40)
LEFT_WRIST, RIGHT_WRIST, NOSE = 9, 10, 0


def body(height: int) -> tuple[Bytes, Floats]:
    """Somebody in red, BGRA, with the left wrist in blue, the right one in green; they are the keypoints."""
    width = height // 2
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[:, width // 5 : width - width // 5] = (*RED, 255)
    pixels[int(0.6 * height) :, int(0.42 * width) : int(0.58 * width)] = 0  # between the legs
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[NOSE] = 0.5 * width, 0.1 * height, 2
    for joint, colour, x in ((LEFT_WRIST, BLUE, 0.68), (RIGHT_WRIST, GREEN, 0.32)):
        keypoints[joint] = x * width, 0.45 * height, 2
        cv2.circle(pixels, (round(x * width), round(0.45 * height)), height // 14, (*colour, 255), -1)
    return pixels, keypoints


TORSO, LEFT_LEG, RIGHT_LEG = (BODY_PARTS.index(name) + 1 for name in ("torso", "left leg", "right leg"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures to train with and one that is held out, each with the red person before grey noise."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("coco/images", "coco/backgrounds", "textures"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    grey = lambda: cv2.GaussianBlur(rng.integers(60, 150, (300, 400, 1), np.uint8).repeat(3, axis=2), (0, 0), 3)  # noqa: E731
    for number in range(2):
        cv2.imwrite(str(folder / f"coco/backgrounds/{number}.jpg"), grey())
    cv2.imwrite(str(folder / "textures/plain.png"), grey())
    pixels, keypoints = body(140)
    mask = pixels[..., 3] > 0
    outlines = [outline[:, 0] for outline in cv2.findContours(mask.astype(np.uint8), 0, 2)[0]]
    labels = {}
    for name, x in (("000000000001", 40), ("000000000002", 300), (min(HELD_OUT), 150)):
        image = grey()
        image[100:240, x : x + 70][mask] = pixels[..., :3][mask]
        cv2.imwrite(str(folder / f"coco/images/{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
        person = {
            "bbox": [x + 14, 100, 42, 140],
            "seg": [np.add(outline, (x, 100)).ravel().tolist() for outline in outlines],
            "kp": (keypoints + (x, 100, 0) * (keypoints[:, 2:] > 0)).ravel().tolist(),
        }
        labels[name] = {"w": 400, "h": 300, "complete": True, "persons": [person]}
    (folder / "coco/labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of three walkers, of whom one, number 20, is held out and has a head of its own."""
    folder = tmp_path_factory.mktemp("cutouts")
    shapes, keypoints, pixels = [], [], []
    for number in (19, 20, 21):
        walker, points = body(160)
        if number == 20:
            walker[:30][walker[:30, :, 3] > 0] = (255, 255, 255, 255)
        # The left half of the picture shows the right leg below the wrists.
        parts = np.where(walker[..., 3] > 0, np.uint8(TORSO), np.uint8(0))
        low = int(0.6 * 160)
        parts[low:, :40][parts[low:, :40] > 0] = RIGHT_LEG
        parts[low:, 40:][parts[low:, 40:] > 0] = LEFT_LEG
        pixels.append(np.dstack([walker, parts]).ravel())
        shapes.append(walker.shape[:2])
        keypoints.append(points)
    starts = np.cumsum([0] + [len(part) for part in pixels[:-1]])
    np.concatenate(pixels).tofile(folder / "pixels.bin")
    np.savez(
        folder / "index.npz", starts=starts, shapes=np.array(shapes), keypoints=np.stack(keypoints),
        identities=np.array([19, 20, 21]),
    )  # fmt: skip
    return folder


def near(image: Image, colour: tuple[int, int, int]) -> Bools:
    """Whose hue is that of `colour`, however bright."""
    main = int(np.argmax(colour))
    others = np.delete(image, main, axis=2).max(axis=2).astype(int)
    return image[..., main] > 1.5 * others + 20


def of_person(image: Image) -> Bools:
    return near(image, RED) | near(image, BLUE) | near(image, GREEN)


def iou(one: Bools, other: Bools) -> float:
    return float((one & other).sum() / (one | other).sum())


def mirrored(crop: Crop) -> bool:
    """Check that the wrists are where their colours are; return whether left and right are exchanged."""
    colours = []
    for joint in (LEFT_WRIST, RIGHT_WRIST):
        x, y = (crop.keypoints[joint, :2] * (module.WIDTH, module.HEIGHT)).astype(int)
        colours.append([bool(near(crop.image[y : y + 1, x : x + 1], colour)) for colour in (BLUE, GREEN)])
    assert colours in ([[True, False], [False, True]], [[False, True], [True, False]])
    return colours[0][1]


def assert_parts_follow(crop: Crop, is_mirrored: bool) -> None:
    """The labels lie on the body, the torso above the legs, and left and right change places with the wrists."""
    assert crop.matte is not None
    assert iou(crop.matte > 127, crop.parts > 0) > 0.9
    columns = {label: np.nonzero(crop.parts == label)[1] for label in (LEFT_LEG, RIGHT_LEG)}
    if min(map(len, columns.values())) > 20:
        # The picture shows the person's left on the right, and mirrored pictures have their labels exchanged.
        assert np.median(columns[LEFT_LEG]) > np.median(columns[RIGHT_LEG])
        assert np.nonzero(crop.parts == TORSO)[0].mean() < np.nonzero(crop.parts == LEFT_LEG)[0].mean()


def test_parts_are_guessed_where_joints_and_outline_agree() -> None:
    matte = np.zeros((192, 96), np.uint8)
    keypoints = np.zeros((17, 3), np.float32)
    places = {
        "nose": (48, 26), "shoulders": ((62, 45), (34, 45)), "elbows": ((68, 72), (28, 72)),
        "wrists": ((70, 98), (26, 98)), "hips": ((56, 95), (40, 95)), "knees": ((58, 132), (38, 132)),
        "ankles": ((60, 168), (36, 168)),
    }  # fmt: skip
    joints = [places["nose"], *(point for name in list(places)[1:] for point in places[name])]
    keypoints[[0, *range(5, 17)]] = [(x, y, 2) for x, y in joints]
    for first, second in ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)):
        cv2.line(matte, keypoints[first, :2].astype(int), keypoints[second, :2].astype(int), 255, 9)
    cv2.circle(matte, (48, 24), 12, 255, -1)
    cv2.rectangle(matte, (36, 42), (60, 96), 255, -1)
    for x in (60, 36):
        cv2.rectangle(matte, (x - 5, 170), (x + 5, 178), 255, -1)
    parts = module.guessed_parts(matte, keypoints)
    at = {"head": (48, 22), "torso": (48, 70), "left arm": (69, 85), "right arm": (27, 85), "left leg": (58, 125),
          "right leg": (38, 125), "left foot": (60, 176), "right foot": (36, 176)}  # fmt: skip
    for name, (x, y) in at.items():
        assert parts[y, x] == BODY_PARTS.index(name) + 1, name
    assert (parts[matte == 0] == 0).all()
    assert (parts == module.UNKNOWN).any(), "what lies between two parts is not known"
    keypoints[9, 2] = 0
    hand, body = module.guessed_parts(matte, keypoints), matte > 0
    assert (hand[body] == module.UNKNOWN).all(), "without a wrist nobody knows where the arm goes"
    assert (module.guessed_parts(None, keypoints) == module.UNKNOWN).all()


@pytest.mark.parametrize("kind", ["in place", "pasted", "walker"])
def test_truth_lies_where_the_picture_shows_it(photos: Path, cutouts: Path, kind: str) -> None:
    batches = CropBatches(photos, cutouts, 1, 0)
    rng = np.random.default_rng(1)
    people = batches._people
    if kind != "in place":
        batches._scenes = batches._backgrounds  # where nobody else is in red
    draw = {
        "in place": lambda rng: batches._in_place(rng, 0.0),
        "pasted": lambda rng: batches._paste_person(rng, people, 0.0),
        "walker": lambda rng: batches.walker(rng, 0.0),
    }[kind]
    flips = []
    for _ in range(60):
        crop = draw(rng)
        assert crop.image.shape == (192, 96, 3)
        assert crop.matte is not None
        assert iou(crop.matte > 127, of_person(crop.image)) > 0.8
        if (crop.keypoints[[LEFT_WRIST, RIGHT_WRIST], 2] == 2).all():
            flips.append(mirrored(crop))
            if kind == "walker":
                assert_parts_follow(crop, flips[-1])
            else:  # the joints that tell the parts are not labelled
                assert set(np.unique(crop.parts)) <= {0, module.UNKNOWN}
                assert (crop.parts[cv2.erode(crop.matte, np.ones((3, 3))) > 127] == module.UNKNOWN).all()
        places = crop.keypoints[:, :2]
        inside = (places >= 0).all(axis=1) & (places <= 1).all(axis=1)
        known = crop.keypoints[:, 2]
        assert (known[~inside] <= 0).all()
        assert set(known[[NOSE, LEFT_WRIST, RIGHT_WRIST]]) <= {-1.0, 2.0}
        assert (np.delete(known, [NOSE, LEFT_WRIST, RIGHT_WRIST]) == 0).all()
    assert 0.2 < np.mean(flips) < 0.8


def test_what_stands_before_the_person_is_not_the_person(
    photos: Path, cutouts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_degrade", lambda image, rng, strength: image)
    batches = CropBatches(photos, cutouts, 1, 0)
    grey = np.full((40, 200, 4), 255, np.uint8)
    monkeypatch.setattr(
        batches,
        "_others",
        lambda height, width, hardness, rng: [(module._Body(grey, np.zeros((17, 3), np.float32)), place(height), True)],
    )

    def place(height: float) -> Floats:
        return np.array([[1, 0, -60], [0, 1, 0.36 * height], [0, 0, 1]], np.float32)

    rng, hidden = np.random.default_rng(2), 0
    for _ in range(20):
        crop = batches.walker(rng)
        assert crop.matte is not None
        white = (crop.image > 240).all(axis=2)
        assert crop.matte[cv2.erode(white.astype(np.uint8), np.ones((5, 5))) > 0].max(initial=0) < 20
        hidden += int((crop.keypoints[[LEFT_WRIST, RIGHT_WRIST], 2] == 1).sum())
        assert crop.keypoints[NOSE, 2] != 1 or (crop.matte > 0).mean() < 0.2
    assert hidden > 20


def test_batches_are_functions_of_seed_and_step(photos: Path, cutouts: Path) -> None:
    batches, again, other = (CropBatches(photos, cutouts, 6, seed) for seed in (3, 3, 4))
    first, second = batches[7], batches[8]
    assert first["image"].shape == (6, 3, 192, 96)
    assert first["image"].dtype == first["matte"].dtype == torch.uint8
    assert first["matte"].shape == (6, 1, 192, 96)
    assert first["keypoints"].shape == (6, 17, 3)
    assert first["parts"].shape == (6, 192, 96)
    assert first["parts"].dtype == torch.uint8
    assert first["known"].tolist() == [1.0] * 6
    for key, value in again[7].items():
        assert torch.equal(value, first[key])
    assert not torch.equal(first["image"], second["image"])
    assert not torch.equal(first["image"], other[7]["image"])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_crops_show_walkers(photos: Path, cutouts: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    batches = CropBatches(photos, cutouts, 1, 0, walkers=share)
    drawn: list[str] = []
    for name in ("walker", "_paste_person", "_in_place"):
        monkeypatch.setattr(batches, name, lambda *_, name=name: drawn.append(name))
    rng = np.random.default_rng(0)
    for _ in range(400):
        batches.crop(rng)
    assert drawn.count("walker") / 400 == pytest.approx(share, abs=0.07)
    assert drawn.count("_paste_person") / 400 == pytest.approx(0.2 * (1 - share), abs=0.07)


@pytest.mark.parametrize("hardness", [None, 0.25])
def test_crops_become_gentle(
    photos: Path, cutouts: Path, monkeypatch: pytest.MonkeyPatch, hardness: float | None
) -> None:
    given = {} if hardness is None else {"gentle": hardness}
    batches = CropBatches(photos, cutouts, 2, 0, gentle_from=5, **given)
    seen: list[float] = []
    draw = batches.crop
    monkeypatch.setattr(batches, "crop", lambda rng, hardness: seen.append(hardness) or draw(rng, hardness))
    for step in (4, 5):
        batches[step]
    wanted = module.GENTLE if hardness is None else hardness
    assert seen == [1.0, 1.0, wanted, wanted]


def test_what_is_held_out_is_not_trained_with(photos: Path, cutouts: Path) -> None:
    training, validation = (CropBatches(photos, cutouts, 1, 0, held_out=held) for held in (None, "forty"))
    assert [photo.id for photo in training._photos] == ["000000000001", "000000000002"]
    assert [photo.id for photo in validation._photos] == [min(HELD_OUT)]

    def white_heads(batches: CropBatches) -> list[bool]:
        crops = [batches.walker(np.random.default_rng(number), 0.0) for number in range(12)]
        return [
            bool((crop.image[crop.matte > 250].min(axis=1) > 150).mean() > 0.05)
            for crop in crops
            if crop.matte is not None
        ]

    assert not any(white_heads(training))
    assert np.mean(white_heads(validation)) > 0.6  # of some crops the head is cut off


def test_without_walkers_there_are_real_people(photos: Path) -> None:
    crop = CropBatches(photos, None, 1, 0).crop(np.random.default_rng(0), 0.0)
    assert crop.matte is not None
    assert iou(crop.matte > 127, of_person(crop.image)) > 0.8
