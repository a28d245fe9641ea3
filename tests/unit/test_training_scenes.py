"""Composed training pictures: the boxes must follow the pixels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.lab.synthesis.photos import Annotated, Photo, read_photos
from app.lab.synthesis.scenes import Scene, Sources, compose, labelled_scene, people_of, taught_scene
from app.types import Bytes, Detections, Floats, Image

NOBODY = np.zeros((0, 4), np.float32)


def dark(height: int = 200, width: int = 300) -> Image:
    return np.full((height, width, 3), 10, np.uint8)


def bright_person(height: int = 90, width: int = 30) -> Bytes:
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[:, :, :3] = 220
    return pixels


def extent(image: Image, above: int = 150) -> Floats:
    bright = image.min(axis=2) > above
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def person(box: tuple[float, float, float, float], **changes: object) -> Annotated:
    given = {"box": np.array(box, np.float32), "polygons": (), "keypoints": None, "crowd": False, "full": True}
    return Annotated(**(given | changes))  # type: ignore[arg-type]


def photo_of(folder: Path, image: Image, *people: Annotated, complete: bool = True) -> Photo:
    path = folder / "photo.png"
    cv2.imwrite(str(path), image)
    return Photo("1", path, image.shape[1], image.shape[0], people, complete)


def test_a_scene_is_a_pure_function_of_its_random_numbers() -> None:
    scenes = Scene(dark(), np.array([[50, 40, 90, 160]], np.float32), NOBODY)
    sources = Sources([scenes], [scenes], [dark(), dark(90, 400) + 60], [bright_person()])
    differ = []
    for seed in range(30):
        first, again = (compose(sources, 128, np.random.default_rng(seed)) for _ in range(2))
        assert first.image.shape == (128, 128, 3)
        assert first.image.dtype == np.uint8
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.boxes, again.boxes)
        for boxes in (first.boxes, first.ignore):
            assert boxes.dtype == np.float32
            assert (boxes >= 0).all()
            assert (boxes <= 128).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
        differ.append(first.image.tobytes())
    assert len(set(differ)) == 30
    assert (scenes.image == 10).all()


def test_boxes_follow_the_pixels_of_a_photograph() -> None:
    image = dark()
    image[50:150, 120:160] = 220
    scene = Scene(image, np.array([[120, 50, 160, 150]], np.float32), NOBODY)
    sources = Sources([scene], [], [dark()], [bright_person()], shares=(1.0, 0.0))
    alone = 0
    for seed in range(60):
        made = compose(sources, 128, np.random.default_rng(seed), strength=0.0)
        if len(made.boxes) == 1 and (made.image.min(axis=2) > 150).any() and not len(made.ignore):
            found = extent(made.image)
            if (found > 1).all() and (found < 127).all():
                alone += 1
                np.testing.assert_allclose(made.boxes[0], found, atol=2.5)
    assert alone >= 20


def test_the_box_of_a_pasted_person_is_its_extent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.lab.synthesis.scenes._thing", lambda *_: None)
    monkeypatch.setattr("app.lab.synthesis.scenes._GROUPS", 0.0)  # in groups hardly anybody is alone
    sources = Sources([], [], [dark()], [bright_person()], shares=(0.0, 0.0))
    alone = 0
    for seed in range(600):
        made = compose(sources, 160, np.random.default_rng(seed), strength=0.0)
        if len(made.boxes) == 1 and not len(made.ignore):
            found = extent(made.image, above=100)
            single = (made.image.min(axis=2) > 100).sum() > 0.97 * (found[2:] - found[:2]).prod()
            if single and (found > 1).all() and (found < 159).all():
                alone += 1
                np.testing.assert_allclose(made.boxes[0], found, atol=1.5)
    assert alone >= 5


def test_a_hidden_person_gets_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    farther, nearer = np.array([30, 20, 60, 110], np.float32), np.array([31, 22, 61, 112], np.float32)
    monkeypatch.setattr("app.lab.synthesis.scenes._thing", lambda *_: None)
    sources = Sources([], [], [dark(200, 200)], [bright_person()], shares=(0.0, 0.0))
    crowded = 0
    for seed in range(20):
        places = []

        def place(*_: object, places: list[Floats] = places) -> Floats:
            places.append(farther if len(places) % 2 == 0 else nearer)
            return places[-1]

        monkeypatch.setattr("app.lab.synthesis.scenes._place", place)
        made = compose(sources, 128, np.random.default_rng(seed), strength=0.0)
        if len(places) >= 2:
            crowded += 1
            assert made.boxes.tolist() in ([nearer.tolist()], [[67, 22, 97, 112]])
            assert not len(made.ignore)
    assert crowded >= 10


def test_groups_and_missing_labels_are_ignored(tmp_path: Path) -> None:
    one, group = person((10, 10, 30, 80)), person((100, 20, 180, 60), crowd=True)
    whole = labelled_scene(photo_of(tmp_path, dark(), one, group), None)
    np.testing.assert_array_equal(whole.boxes, [one.box])
    np.testing.assert_array_equal(whole.ignore, [group.box])
    partial = photo_of(tmp_path, dark(), one, complete=False)
    np.testing.assert_array_equal(labelled_scene(partial, None).ignore, [[0, 0, 300, 200]])
    other = np.array([[200, 100, 240, 190]], np.float32)
    taught = labelled_scene(partial, lambda image: Detections(other, np.array([0.3], np.float32)))
    np.testing.assert_array_equal(taught.boxes, [one.box])
    np.testing.assert_array_equal(taught.ignore, other)


def test_detections_of_a_low_score_are_ignored() -> None:
    boxes = np.array([[1, 2, 30, 80], [50, 2, 80, 90]], np.float32)
    scene = taught_scene(dark(), Detections(boxes, np.array([0.9, 0.2], np.float32)))
    np.testing.assert_array_equal(scene.boxes, boxes[:1])
    np.testing.assert_array_equal(scene.ignore, boxes[1:])


def test_people_are_cut_out_along_their_polygons(tmp_path: Path) -> None:
    image = dark()
    outline = np.array([[40, 20], [80, 20], [80, 160], [40, 160]], np.float32)
    cv2.fillPoly(image, [outline.astype(np.int32)], (50, 100, 200))
    photo = photo_of(
        tmp_path,
        image,
        person((40, 20, 80, 160), polygons=(outline,)),
        person((40, 20, 80, 160), polygons=(outline,), full=False),
        person((40, 20, 80, 160)),
        person((40, 20, 80, 50), polygons=(outline[:, :] * [1, 0.2],)),
    )
    (cut,) = people_of(photo, tallest=70)
    assert cut.shape == (70, 20, 4)
    assert (cut[5:-5, 3:-3] == [50, 100, 200, 255]).all()


def test_real_photographs_give_scenes() -> None:
    folder = Path("../shared/train")
    if not (folder / "coco" / "labels.json").is_file():
        pytest.skip("needs ../shared/train")
    photos = read_photos(folder, held_out=None)[:8]
    assert json.loads((folder / "coco" / "labels.json").read_text())[photos[0].id]
    people = [cut for photo in photos for cut in people_of(photo)]
    sources = Sources([labelled_scene(photo, None) for photo in photos], [], [dark()], people or [bright_person()])
    made = [compose(sources, 96, np.random.default_rng(seed)) for seed in range(40)]
    assert sum(len(scene.boxes) for scene in made) >= 40
