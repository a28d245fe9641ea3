"""Degraded pictures, labelled photographs and cut-outs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import OutputError, SettingsError
from app.lab.synthesis.cutouts import PICTURES, Cutouts, write_cutouts
from app.lab.synthesis.photos import HELD_OUT, Annotated, frames_of, held_out_part, read_backgrounds, read_photos
from app.lab.synthesis.pictures import degrade, overlaid
from app.types import Image
from tests.conftest import SHARED


@pytest.fixture
def picture() -> Image:
    rows, columns = np.mgrid[:96, :64]
    return np.stack([rows * 2, columns * 3, np.full_like(rows, 120)], axis=-1).astype(np.uint8)


def test_degrading_keeps_shape_and_follows_the_seed(picture: Image) -> None:
    before = picture.copy()
    for seed in range(40):
        changed = degrade(picture, np.random.default_rng(seed))
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(changed, degrade(picture, np.random.default_rng(seed)))
    assert np.array_equal(picture, before)


def test_most_pictures_are_degraded_and_without_strength_none(picture: Image) -> None:
    changed = [np.abs(degrade(picture, np.random.default_rng(s)).astype(int) - picture).mean() for s in range(60)]
    assert np.mean(np.array(changed) > 1) > 0.8
    assert np.median(changed) < 60  # still the same picture
    assert np.array_equal(degrade(picture, np.random.default_rng(0), strength=0), picture)


def _labels(folder: Path) -> None:
    (folder / "coco" / "images").mkdir(parents=True)
    held = min(HELD_OUT)
    person = {"bbox": [10, 20, 30, 40], "seg": [[10, 20, 40, 20, 40, 60, 10, 60]], "kp": [12, 30, 2] * 17, "full": 1}
    entry = {"w": 64, "h": 96, "complete": False, "persons": [person, {"bbox": [0, 0, 5, 5], "crowd": 1}]}
    for name in (held, "999999999999"):
        cv2.imwrite(str(folder / "coco" / "images" / f"{name}.jpg"), np.full((96, 64, 3), 90, np.uint8))
    (folder / "coco" / "labels.json").write_text(json.dumps({held: entry, "999999999999": entry}))


def test_photos_are_read_with_what_is_known_of_the_people(tmp_path: Path) -> None:
    _labels(tmp_path)
    (photo,) = read_photos(tmp_path, held_out=None)
    assert photo.id == "999999999999"
    assert not photo.complete
    assert photo.read().shape == (96, 64, 3)
    person, crowd = photo.people
    assert person.box.tolist() == [10, 20, 40, 60]
    mask = person.mask(96, 64)
    assert mask is not None
    assert mask.sum() == pytest.approx(30 * 40, rel=0.1)
    assert person.keypoints is not None
    assert person.keypoints.shape == (17, 3)
    assert person.full
    assert crowd.crowd
    assert crowd.mask(96, 64) is None
    assert [photo.id for photo in read_photos(tmp_path, held_out="forty")] == [min(HELD_OUT)]
    with pytest.raises(SettingsError, match="no labelled pictures of the held-out set 'val'"):
        read_photos(tmp_path, held_out="val")


def test_missing_photos_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"labels\.json cannot be read"):
        read_photos(tmp_path, held_out=None)
    with pytest.raises(SettingsError, match="backgrounds"):
        read_backgrounds(tmp_path)
    (tmp_path / "coco").mkdir()
    for content in ('{"a": {"w": 3}}', "[]", "[" * 100_000, '{"a": {"w": Infinity, "h": 1, "persons": []}}'):
        (tmp_path / "coco" / "labels.json").write_text(content)
        with pytest.raises(SettingsError, match="not understood"):
            read_photos(tmp_path, held_out=None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_the_shared_pictures_are_held_out_by_id() -> None:
    folder = SHARED / "train"
    training, forty, val = (read_photos(folder, held_out) for held_out in (None, "forty", "val"))
    assert (len(training), len(forty), len(val)) == (1525, 40, 145)
    assert len({photo.id for photo in training + forty + val}) == 205 + 1505
    assert len(read_backgrounds(folder)) == 76
    assert len(frames_of(folder / "intel" / "people-detection.gif", 10)) > 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_what_is_not_marked_follows_from_the_other_labels_as_it_is_marked_elsewhere(tmp_path: Path) -> None:
    marked = json.loads((SHARED / "train" / "coco" / "labels.json").read_text())
    for entry in marked.values():
        for person in entry["persons"]:
            person.pop("full", None), person.pop("crowd", None)
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "labels.json").write_text(json.dumps(marked))
    for held_out in (None, "forty"):
        with_marks = read_photos(SHARED / "train", held_out)
        for photo, bare in zip(with_marks, read_photos(tmp_path, held_out), strict=False):
            assert photo.id == bare.id
            assert [person.full for person in photo.people] == [person.full for person in bare.people]
            for person, other in zip(photo.people, bare.people, strict=True):
                assert person.crowd or not other.crowd


def test_several_folders_are_read_alike_and_one_in_some_pictures_is_held_out(tmp_path: Path) -> None:
    names = [f"{number:012}" for number in range(700_000, 700_120)]
    for source, ids in (("coco", ["999999999999", min(HELD_OUT)]), ("coco_val", names)):
        (tmp_path / source).mkdir()
        entry = {"w": 640, "h": 480, "complete": True, "persons": [{"bbox": [10, 20, 30, 40]}]}
        (tmp_path / source / "labels.json").write_text(json.dumps(dict.fromkeys(ids, entry)))
    training, forty, val = (read_photos(tmp_path, held_out) for held_out in (None, "forty", "val"))
    assert [photo.id for photo in forty] == [min(HELD_OUT)]
    assert 2 <= len(val) <= 25
    assert all(photo.path.parts[-3] == "coco_val" for photo in val)
    assert sorted(photo.id for photo in training + val) == sorted(["999999999999", *names])
    assert all(held_out_part("coco_val", photo.id) == "val" for photo in val)
    assert held_out_part("coco", val[0].id) is None


def _only(tmp_path: Path, persons: list[dict[str, object]]) -> Sequence[Annotated]:
    (tmp_path / "coco_val").mkdir()
    entry = {"w": 640, "h": 480, "complete": True, "persons": persons}
    (tmp_path / "coco_val" / "labels.json").write_text(json.dumps({"000000000001": entry}))
    (photo,) = read_photos(tmp_path, held_out=held_out_part("coco_val", "000000000001"))
    return photo.people


def test_a_box_that_holds_three_others_is_a_crowd_unless_it_has_an_outline(tmp_path: Path) -> None:
    few: list[dict[str, object]] = [{"bbox": [20 + 60 * number, 50, 30, 80]} for number in range(3)]
    around = {"bbox": [0, 40, 300, 100]}
    outlined = around | {"seg": [[0, 40, 300, 40, 300, 140]]}
    people = _only(tmp_path, [*few, outlined, around])
    assert [person.crowd for person in people] == [False] * 4 + [True]


def test_the_fourteenth_box_is_a_crowd_unless_it_has_keypoints(tmp_path: Path) -> None:
    apart: list[dict[str, object]] = [{"bbox": [40 * number, 50, 30, 80]} for number in range(14)]
    people = _only(tmp_path, apart)
    assert [person.crowd for person in people] == [False] * 13 + [True]


@pytest.mark.parametrize(
    ("width", "height", "missing", "full"),
    [(40, 120, 0, True), (40, 79, 0, False), (100, 120, 0, False), (40, 120, 5, False), (40, 120, 16, False)],
)
def test_people_are_seen_in_full_whose_head_shoulders_hips_and_ankles_are(
    tmp_path: Path, width: int, height: int, missing: int, full: bool
) -> None:
    points = [value for number in range(17) for value in (20, 60, 2 * (number != missing))]
    (person,) = _only(tmp_path, [{"bbox": [10, 20, width, height], "kp": points}])
    assert person.full is full


def test_cutouts_are_written_resumed_and_read(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    pytest.importorskip("numba")
    from app.lab.walkers.body import CACHE

    folder = tmp_path / "bank"
    write_cutouts(folder, 2, cache=CACHE)
    bank = Cutouts(folder)
    assert len(bank) == 2 * PICTURES
    for index in (0, PICTURES, 2 * PICTURES - 1):
        one = bank[index]
        height, width = one.pixels.shape[:2]
        assert 110 < height < 330
        solid = one.pixels[..., 3] > 127
        assert solid.any(axis=1).mean() > 0.95  # cut to the body
        inside = (one.keypoints[:, 0] > -8) & (one.keypoints[:, 0] < width + 8)
        assert inside.all()
        x, y = one.keypoints[5:13, :2].astype(int).T  # shoulders to hips lie on the body
        assert solid[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].mean() > 0.7
    assert bank[0].identity != bank[PICTURES].identity
    first = bank[0].pixels.copy()
    kept = (folder / "people" / "900001.npz").stat().st_mtime_ns
    write_cutouts(folder, 3, cache=CACHE)
    assert (folder / "people" / "900001.npz").stat().st_mtime_ns == kept
    assert len(Cutouts(folder)) == 3 * PICTURES
    assert np.array_equal(Cutouts(folder)[0].pixels, first)
    with pytest.raises(OutputError, match="with other settings"):
        write_cutouts(folder, 3, cache=CACHE, first=5)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    del about["labels"]  # as before the parts of suits ended where garments end
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(OutputError, match="with other settings"):
        write_cutouts(folder, 4, cache=CACHE)


def test_a_folder_without_cutouts_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="app train cutouts"):
        Cutouts(tmp_path)


def test_what_programs_draw_lies_on_the_picture_and_leaves_the_original_alone() -> None:
    image = np.full((192, 96, 3), 90, np.uint8)
    box = np.array([20, 20, 70, 170], np.float32)
    shares = []
    for seed in range(30):
        drawn = overlaid(image, box, np.random.default_rng(seed))
        assert drawn.shape == image.shape
        assert (image == 90).all()
        shares.append((drawn != 90).any(axis=2).mean())
    assert np.mean(np.array(shares) > 0) > 0.8
    assert max(shares) < 0.4  # the person is still to be seen
