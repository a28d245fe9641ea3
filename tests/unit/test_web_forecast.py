"""How long a run will still take: honest before anything is known, then near the truth."""

from __future__ import annotations

import pytest

from app.web.forecast import Forecast, PlannedStep

SMALL, LARGE = 640 * 480, 1920 * 1080


def plan(frames: int | None = 300) -> list[PlannedStep]:
    """Two videos, the second with larger pictures."""
    return [
        PlannedStep("a: follow", frames),
        PlannedStep("b: follow", frames),
        PlannedStep("a: paint", frames, SMALL),
        PlannedStep("b: paint", frames, LARGE),
    ]


def work(forecast: Forecast, title: str, start: float, seconds: float, frames: int) -> float:
    """Do a step evenly; return when it ends."""
    forecast.begin(title, None)
    for done in range(1, frames + 1):
        forecast.advance(done, start + seconds * done / frames)
    forecast.end()
    return start + seconds


def test_nothing_is_said_before_anything_is_known() -> None:
    forecast = Forecast(plan())
    assert forecast.left() is None
    forecast.begin("a: follow", 300)
    assert forecast.left() is None
    forecast.advance(8, 20.0)
    assert forecast.left() is None, "the first frames take long"
    forecast.advance(16, 21.0)
    assert forecast.left() is None, "a second tells nothing"
    forecast.advance(40, 24.0)
    left = forecast.left()
    assert left is not None
    assert left == pytest.approx((300 - 40 + 300) / 8, rel=0.5)


def test_all_videos_and_both_passes_count() -> None:
    forecast = Forecast(plan())
    time = work(forecast, "a: follow", 0.0, 30.0, 300)
    followed = forecast.left()
    assert followed is not None
    assert 30 < followed < 120, "the second video, and a guess at painting"
    time = work(forecast, "b: follow", time, 30.0, 300)
    time = work(forecast, "a: paint", time, 10.0, 300)
    assert forecast.left() == pytest.approx(10.0 * LARGE / SMALL, rel=0.02), "painting goes by the size of pictures"
    work(forecast, "b: paint", time, 70.0, 300)
    assert forecast.left() == 0


def test_steps_that_are_skipped_are_over() -> None:
    forecast = Forecast(plan())
    forecast.begin("a: paint", 300)  # both videos were followed by an earlier run
    left = forecast.left()
    assert left is not None
    assert left < 60


def test_a_step_that_nobody_planned_has_a_speed_of_its_own() -> None:
    forecast = Forecast(plan())
    time = work(forecast, "a: follow", 0.0, 30.0, 300)
    time = work(forecast, "b: follow", time, 30.0, 300)
    time = work(forecast, "a: paint", time, 10.0, 300)
    planned = forecast.left()
    assert planned is not None
    forecast.begin("a: fit bodies", 20)
    assert forecast.left() is None, "how long a body takes is not known yet"
    for done in range(1, 11):
        forecast.advance(done, time + 2.0 * done)
    assert forecast.left() == pytest.approx(planned + 10 * 2.0, rel=0.02)
    forecast.end()
    assert forecast.left() == planned, "bodies tell nothing about painting"
    work(forecast, "b: paint", time, 70.0, 300)
    forecast.begin("b: fit bodies", 0)
    forecast.end()
    assert forecast.left() == 0


def test_a_change_of_pace_is_noticed() -> None:
    forecast = Forecast([PlannedStep("a: follow", 3000)])
    forecast.begin("a: follow", None)
    for second in range(1, 41):
        forecast.advance(10 * second, float(second))
    for second in range(1, 41):
        forecast.advance(400 + second, 40.0 + second)
    assert forecast.left() == pytest.approx(3000 - 440, rel=0.05)


def test_a_length_that_nobody_knows() -> None:
    forecast = Forecast(plan(None))
    work(forecast, "a: follow", 0.0, 30.0, 300)
    assert forecast.left() is None
