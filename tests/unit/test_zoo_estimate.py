"""Keypoints with an estimator's errors, and the walks that are packed with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from app.errors import SettingsError
from app.gait.heatmaps import heatmaps
from app.lab.data.opengait import Modality, write_array
from app.lab.training.gait.walks import PackedWalks
from app.lab.zoo.estimate import with_errors
from app.types import Floats

NOSE, WRISTS, ANKLES = 0, [9, 10], [15, 16]


def standing(frames: int, height: float = 128.0) -> Floats:
    """Somebody `height` px high whose sides are 30 px apart."""
    keypoints = np.ones((frames, 17, 3), np.float32)
    rows = np.array([0, 0, 0, 0, 0, 20, 20, 35, 35, 50, 50, 50, 50, 80, 80, 100, 100]) / 100
    keypoints[..., 1] = 5 + 0.853 * height * rows
    keypoints[..., 0] = 128 + 15 * np.array([0, *([1, -1] * 8)])
    return keypoints


def test_the_errors_of_a_walk_are_always_the_same() -> None:
    exact = standing(10)
    before = exact.copy()
    found = with_errors("001/nm-01/090", exact)
    assert found.shape == (10, 17, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(exact, before)
    np.testing.assert_array_equal(found, with_errors("001/nm-01/090", exact))
    assert not np.array_equal(found, with_errors("001/nm-01/108", exact))


def test_they_are_as_large_as_measured() -> None:
    exact = standing(20)
    found = np.stack([with_errors(str(walk), exact) for walk in range(500)])
    right = np.isclose(found[..., 2], 0.84)
    errors = (found - exact)[..., :2] / 128
    lasting = errors.mean(axis=1)
    changing = errors - lasting[:, None]
    assert lasting[:, NOSE].std(axis=0) == pytest.approx((0.0084, 0.0131), rel=0.15)
    assert changing[:, :, NOSE].std(axis=(0, 1)) == pytest.approx((0.0037, 0.0018), rel=0.2)
    ankles = errors[:, :, 15, 1][right[:, :, 15]]
    assert ankles.std() == pytest.approx(np.hypot(0.024, 0.018), rel=0.1)
    steps = (changing[:, 1:, NOSE, 0] * changing[:, :-1, NOSE, 0]).mean() / changing[:, :, NOSE, 0].var()
    assert 0.55 < steps < 0.75, "less than 0.75, as the mean of few frames is taken away"


def test_ankles_are_mistaken_for_each_other_for_some_frames() -> None:
    exact = standing(4000)
    found = with_errors("long", exact)
    wrong = found[..., 2] < 0.7
    assert not wrong[:, :7].any(), "nobody mistakes heads and shoulders"
    assert wrong[:, ANKLES].mean() == pytest.approx(0.131, abs=0.03)
    assert wrong[:, WRISTS].mean() == pytest.approx(0.022, abs=0.015)
    left = wrong[:, 15]
    begun = int((left[1:] & ~left[:-1]).sum())
    assert left.sum() / begun == pytest.approx(3.8, abs=0.7)
    assert (found[left, 15, 0] < 128).mean() > 0.95, "a left ankle that is wrong is where the right one is"


def test_the_size_in_px_does_not_matter() -> None:
    small, large = (with_errors("a", standing(6, height)) - standing(6, height) for height in (64.0, 128.0))
    still = np.isclose(small[..., 2], small[0, 0, 2])
    np.testing.assert_allclose(2 * small[still][:, :2], large[still][:, :2], atol=1e-3)


@pytest.fixture
def apart(tmp_path: Path) -> dict[Modality, Path]:
    """One walk: its silhouettes in a data set, its poses in another."""
    folders: dict[Modality, Path] = {"silhouette": tmp_path / "silhouettes", "pose": tmp_path / "poses"}
    for modality, walk in (("silhouette", np.full((6, 64, 44), 255, np.uint8)), ("pose", standing(6))):
        view = tmp_path / f"{modality}s" / "001" / "nm-01" / "090"
        view.mkdir(parents=True)
        write_array(walk, view / f"0_{modality}.pkl")
    return folders


def test_modalities_from_data_sets_of_their_own(apart: dict[Modality, Path], tmp_path: Path) -> None:
    names = []

    def noted(name: str, keypoints: Floats) -> Floats:
        names.append(name)
        return with_errors(name, keypoints)

    walks = PackedWalks.pack(apart, None, "heatmaps with silhouettes", tmp_path / "pack", estimate=noted)
    assert names == ["001/nm-01/090"]
    assert walks[0].shape == (6, 3, 64, 44)
    np.testing.assert_array_equal(walks[0][:, :2], heatmaps(with_errors(names[0], standing(6)))[..., 10:54])
    assert (walks[0][:, 2] == 255).all()

    maps = PackedWalks(tmp_path / "pack", "heatmaps")
    assert maps.form == "heatmaps"
    np.testing.assert_array_equal(maps[0], walks[0][:, :2])
    sent = pickle.loads(pickle.dumps(maps))
    assert sent[0].shape == (6, 2, 64, 44)
    with pytest.raises(SettingsError, match="holds heatmaps with silhouettes, and silhouettes are needed"):
        PackedWalks(tmp_path / "pack", "silhouettes")


def test_keypoints_with_errors(apart: dict[Modality, Path], tmp_path: Path) -> None:
    walks = PackedWalks.pack(apart["pose"], None, "keypoints", tmp_path / "pack", estimate=with_errors)
    np.testing.assert_array_equal(walks[0], with_errors("001/nm-01/090", standing(6)))
