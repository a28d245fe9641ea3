"""Degraded pictures, labelled photographs and cut-outs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import OutputError, SettingsError
from app.lab.synthesis.cutouts import PICTURES, Cutouts, write_cutouts
from app.lab.synthesis.photos import HELD_OUT, frames_of, read_backgrounds, read_photos
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
    (photo,) = read_photos(tmp_path, held_out=False)
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
    assert [photo.id for photo in read_photos(tmp_path, held_out=True)] == [min(HELD_OUT)]


def test_missing_photos_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"labels\.json cannot be read"):
        read_photos(tmp_path, held_out=False)
    with pytest.raises(SettingsError, match="backgrounds"):
        read_backgrounds(tmp_path)
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "labels.json").write_text('{"a": {"w": 3}}')
    with pytest.raises(SettingsError, match="not understood"):
        read_photos(tmp_path, held_out=False)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_the_shared_pictures_are_held_out_by_id() -> None:
    folder = SHARED / "train"
    training, held = read_photos(folder, held_out=False), read_photos(folder, held_out=True)
    assert (len(training), len(held)) == (165, 40)
    assert not {photo.id for photo in training} & {photo.id for photo in held}
    assert len(read_backgrounds(folder)) == 76
    assert len(frames_of(folder / "intel" / "people-detection.gif", 10)) > 2


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
    with pytest.raises(OutputError, match="made with other settings"):
        write_cutouts(folder, 3, cache=CACHE, first=5)


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
