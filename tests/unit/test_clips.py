from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import Scene, Walk, Walker, background, crossing, render, write_clip


def test_the_same_seed_gives_the_same_clip() -> None:
    scene = crossing([Walker(1), Walker(2)], gap=0.3, width=160, height=120, seconds=0.4)
    for (a, truth_a), (b, truth_b) in zip(render(scene), render(scene), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(truth_a.labels, truth_b.labels)


def test_the_body_follows_the_seed_and_the_colours_the_clothes() -> None:
    assert Walker(3).traits == Walker(3, clothes=9).traits
    assert Walker(3).colours["shirt"] != Walker(3, clothes=9).colours["shirt"]
    assert Walker(3).colours["skin"] == Walker(3, clothes=9).colours["skin"]
    assert Walker(3).traits != Walker(4).traits
    for seed in range(30):
        assert 0.6 < Walker(seed).speed < 1.8


@pytest.mark.parametrize("view", ["side", "oblique", "front"])
def test_the_truth_fits_the_picture(view: str) -> None:
    scene = crossing([Walker(1), Walker(2)], view, gap=0.8, width=320, height=180, seconds=4)  # type: ignore[arg-type]
    still = background(scene)
    seen = set()
    for image, truth in render(scene):
        seen |= set(truth.ids.tolist())
        different = np.abs(image.astype(int) - still).max(axis=2) > 40
        assert np.count_nonzero(different & (truth.labels == 0)) < 0.02 * different.size  # shadows, noise
        for person, (x1, y1, x2, y2), share in zip(truth.ids, truth.boxes, truth.visible, strict=True):
            assert 0 <= x1 < x2 <= 320
            assert 0 <= y1 < y2 <= 180
            rows, columns = np.nonzero(truth.mask(person))
            if share > 0.99 and len(rows):
                np.testing.assert_allclose(
                    (columns.min(), rows.min(), columns.max(), rows.max()), (x1, y1, x2, y2), atol=2
                )
    assert seen == {1, 2}


def test_who_is_nearer_hides_who_is_farther() -> None:
    walks = (Walk(Walker(1), (-1.0, 5.0), 0.0), Walk(Walker(2), (1.0, 7.0), 180.0))
    truths = [truth for _, truth in render(Scene(walks, width=320, height=180, seconds=2.0))]
    assert min(truth.visible[1] for truth in truths) < 0.5
    assert all(truth.visible[0] > 0.99 for truth in truths)


def test_legs_swing_once_a_step() -> None:
    walker = Walker(5)
    scene = Scene((Walk(walker, (-1.5, 6.0), 0.0),), width=640, height=360, seconds=2.0)
    widths = np.array([float(t.boxes[0, 2] - t.boxes[0, 0]) for _, t in render(scene)])
    spectrum = np.abs(np.fft.rfft(widths - widths.mean(), 500))
    steps = float(np.argmax(spectrum) * 25 / 500)
    assert steps == pytest.approx(2 * walker.traits["cadence"], abs=0.3)


def test_the_standing_foot_does_not_slide() -> None:
    walker = Walker(6)
    lowest = []
    for phase in np.linspace(0.1, 0.4, 7):  # the left leg stands
        ankle = walker._leg(float(phase))[0][2, 0]
        lowest.append(walker.speed * phase / walker.traits["cadence"] + ankle)
    assert np.ptp(lowest) < 0.12


def test_mot_rows(tmp_path: Path) -> None:
    truth = write_clip(tmp_path / "c.mp4", crossing([Walker(1)], gap=1, width=160, height=120, seconds=2))
    rows = np.loadtxt(truth.mot().splitlines(), delimiter=",", ndmin=2)
    assert rows.shape[1] == 9
    assert rows[:, 0].min() >= 1
    assert set(rows[:, 1]) == {1}
    assert len(truth.times) == 50


def test_background_subtraction_finds_the_people() -> None:
    scene = crossing([Walker(1)], gap=1, width=320, height=180, seconds=4)
    frames = list(render(scene))
    still = np.median([cv2.GaussianBlur(image, (3, 3), 0) for image, _ in frames[::4]], axis=0)
    image, truth = frames[60]
    found = np.abs(cv2.GaussianBlur(image, (3, 3), 0) - still).max(axis=2) > 20
    body = truth.labels > 0
    assert np.count_nonzero(found & body) / np.count_nonzero(found | body) > 0.7
