"""Recorded motion: files read, gait cycles cut, the model of how people walk fitted and drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.errors import SettingsError
from app.lab.walkers import normative, population
from app.lab.walkers.curves import Recorded
from app.lab.walkers.mocap.acclaim import MotionFileError, Recording, read_motion, read_skeleton
from app.lab.walkers.mocap.cycles import LATE, Cycle, cycles
from app.lab.walkers.mocap.fit import (
    HELD_OUT,
    Strides,
    coefficients,
    fit,
    fit_speed,
    fit_step,
    normative_vectors,
    read_steps,
    recorded_cycles,
    strides_of,
    write,
)
from app.lab.walkers.population import SIZE, Population, fourier, log_step, mirrored, rows
from app.lab.walkers.recorded import VIEWS, FilmedWalk, judge, walks_in
from app.types import Embedding, GaitSequence, ModelCard

GAIT = Path(__file__).parents[2].parent / "shared" / "train" / "gait"
RATE = 120.0
INCH = 0.0254

_PARTS = ("hipjoint", "femur", "tibia", "foot", "clavicle", "humerus", "radius")
_PARENT = {"hipjoint": "root", "femur": "hipjoint", "tibia": "femur", "foot": "tibia"}
_ARM = {"clavicle": "thorax", "humerus": "clavicle", "radius": "humerus"}
_WAY = {
    "hipjoint": (4, 0, 0), "femur": (0, -16, 0), "tibia": (0, -16, 0), "foot": (0, -2, 6), "clavicle": (6, 8, 0),
    "humerus": (0, -11, 0), "radius": (0, -10, 0),
}  # fmt: skip


_FREEDOMS: dict[str, tuple[str, ...]] = {"hipjoint": (), "clavicle": (), "femur": ("rx", "ry", "rz")}


def _asf() -> str:
    """A skeleton of few bones, in inches; y up, facing z, left at positive x."""
    bones = [("thorax", (0, 12, 0), ("rx", "ry", "rz"))]
    for side, sign in (("l", 1), ("r", -1)):
        for part in _PARTS:
            x, y, z = _WAY[part]
            bones.append((side + part, (sign * x, y, z), _FREEDOMS.get(part, ("rx", "rz"))))
    text = [
        ":version 1.10",
        ":units",
        "  mass 1.0",
        "  length 1.0",
        "  angle deg",
        ":root",
        "  order TX TY TZ RX RY RZ",
    ]
    text += ["  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]
    for number, (name, way, freedoms) in enumerate(bones):
        length = float(np.linalg.norm(way))
        direction = " ".join(str(value / length) for value in way)
        text += ["  begin", f"    id {number + 1}", f"    name {name}", f"    direction {direction}"]
        text += [f"    length {length}", "    axis 0 0 20 XYZ"]
        text += [f"    dof {' '.join(freedoms)}", "    limits (-180 180)", "           (-180 180)"] if freedoms else []
        text += ["  end"]
    text += [":hierarchy", "  begin", "    root lhipjoint rhipjoint thorax", "    thorax lclavicle rclavicle"]
    for side in "lr":
        chain = {**_PARENT, **_ARM}
        text += [f"    {side}{chain[part]} {side}{part}" for part in _PARTS if chain[part] not in ("root", "thorax")]
    return "\n".join([*text, "  end"]) + "\n"


def _amc(frames: int, swing: float = 30.0, seconds: float = 1.1, speed: float = 1.2) -> str:
    """Somebody who walks along z and swings straight legs; turns are given about the bones' own turned axes."""
    lines = ["# made by a test", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(frames):
        phase = 2 * np.pi * frame / RATE / seconds
        lines += [str(frame + 1), f"root 0 36 {speed * frame / RATE / INCH} 0 0 0", "thorax 0 0 0"]
        for side, turn in (("l", swing * np.cos(phase)), ("r", -swing * np.cos(phase))):
            # Forward is a turn by minus `turn` about x, seen from the bone's axes that are turned by 20 about z.
            axis = Rotation.from_euler("z", 20, degrees=True)
            own = axis.inv() * Rotation.from_euler("x", -turn, degrees=True) * axis
            a, b, c = own.as_euler("xyz", degrees=True)
            lines += [f"{side}femur {a} {b} {c}", f"{side}tibia 0 0", f"{side}foot 0 0"]
            lines += [f"{side}humerus 0 0", f"{side}radius 0 0"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A skeleton and a motion of 5 s."""
    skeleton, motion = tmp_path / "a.asf", tmp_path / "a.amc"
    skeleton.write_text(_asf(), encoding="utf-8")
    motion.write_text(_amc(600), encoding="utf-8")
    return skeleton, motion


def _read(files: tuple[Path, Path]) -> Recording:
    return read_motion(files[1], read_skeleton(files[0]))


def test_bones_are_put_together_in_metres_with_z_up(files: tuple[Path, Path]) -> None:
    recording = _read(files)
    assert len(recording) == 600
    assert np.allclose(recording.ends["root"][0], (0, 0, 36 * INCH))
    assert recording.ends["root"][-1, 0] == pytest.approx(1.2 * 599 / RATE), "forward is x"
    assert np.allclose(recording.ends["lclavicle"][0], (0, 6 * INCH, 56 * INCH)), "left is y"
    hip, ankle = recording.ends["lhipjoint"], recording.ends["ltibia"]
    assert np.linalg.norm(ankle - hip, axis=1) == pytest.approx(32 * INCH)
    # At the first frame the left leg is 30 degrees in front.
    forward = np.degrees(np.arctan2(*(ankle - hip)[0, [0, 2]] * (1, -1)))
    assert forward == pytest.approx(30, abs=0.1)


def test_cycles_begin_at_the_foremost_ankle(files: tuple[Path, Path]) -> None:
    found = list(cycles(_read(files), RATE, late=0.0))
    lefts = [cycle for cycle in found if cycle.side == 0]
    assert len(lefts) >= 3
    assert {cycle.side for cycle in found} == {0, 1}
    for cycle in lefts:
        assert cycle.start % 132 == pytest.approx(0, abs=1) or cycle.start % 132 == 131
        assert cycle.cadence == pytest.approx(120 / 1.1, rel=0.01)
        assert cycle.speed == pytest.approx(1.2, rel=0.01)
        assert cycle.stance == pytest.approx(0.5, abs=0.01)
        assert cycle.curves["thigh"][[0, 50, 100]] == pytest.approx([30, -30, 30], abs=0.5)
        assert np.abs(cycle.curves["knee"]).max() < 0.5
        assert cycle.leg == pytest.approx(32 * INCH, rel=0.01)
    delayed = next(cycles(_read(files), RATE))
    assert delayed.start - found[0].start == round(LATE * RATE)


def test_slow_and_turning_cycles_are_left_out(files: tuple[Path, Path]) -> None:
    files[1].write_text(_amc(600, speed=0.3), encoding="utf-8")
    assert not list(cycles(_read(files), RATE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("lfemur", "lfemor"), "lfemur"),
        (("\nltibia 0 0\n", "\nltibia 0\n"), "ltibia"),
    ],
)
def test_motions_that_do_not_fit_are_refused(files: tuple[Path, Path], change: tuple[str, str], message: str) -> None:
    files[1].write_text(_amc(3).replace(*change), encoding="utf-8")
    with pytest.raises(MotionFileError, match=message):
        _read(files)


def test_bad_skeletons_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.asf"
    with pytest.raises(MotionFileError, match="cannot be read"):
        read_skeleton(path)
    path.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(MotionFileError, match="no skeleton"):
        read_skeleton(path)
    path.write_text(_asf().replace("length", "len", 3), encoding="utf-8")
    with pytest.raises(MotionFileError):
        read_skeleton(path)


def test_fourier_coefficients_give_the_curve_back() -> None:
    phase = np.linspace(0, 1, 101)
    curve = 10 + 20 * np.cos(2 * np.pi * phase) - 5 * np.sin(6 * np.pi * phase)
    found = coefficients(curve, None)
    assert np.allclose(fourier(phase) @ found, curve, atol=0.05)
    assert np.sum(found**2) == pytest.approx(np.mean(curve[:-1] ** 2), rel=0.01), "the length is the RMS"
    early = coefficients(np.interp(phase, [0, 0.5, 1], [0, 30, 0]), 0.5)
    assert (fourier(phase) @ early).argmax() == pytest.approx(100 * normative.TOE_OFF, abs=1)


def test_a_mirrored_walk_is_half_a_cycle_later() -> None:
    vector = np.random.default_rng(0).normal(size=SIZE)
    assert np.allclose(mirrored(mirrored(vector)), vector)
    assert np.array_equal(mirrored(vector)[rows("knee_l")], vector[rows("knee_r")])
    phase = np.linspace(0, 1, 30)
    turned = fourier(phase) @ mirrored(vector)[rows("pelvis_rotation")]
    assert np.allclose(turned, -fourier(phase + 0.5) @ vector[rows("pelvis_rotation")])


def _table(people: int = 40) -> list[dict[str, str]]:
    """People whose steps are 0.6 m at 1 m/s with a leg of 1 m, longer by the square root of the speed."""
    rng = np.random.default_rng(3)
    table = []
    for person in range(people):
        leg, own = float(rng.uniform(0.75, 1.0)), float(rng.normal(0, 0.05))
        for speed in (0.6, 0.9, 1.2, 1.5):
            step = 0.6 * speed**0.5 * leg**0.7 * np.exp(own)
            row = {"Subject": person, "Gender": "MF"[person % 2], "Age": 30, "Height": leg / 0.53, "LegLength": leg}
            row |= {"SpeedComf": 1.2 + 0.1 * (person % 2), "Speed": speed, "StepLength": step}
            table.append({name: str(value) for name, value in row.items()})
    return table


def test_steps_and_speeds_are_regressed() -> None:
    step, spread = fit_step(_table())
    assert float(np.exp(log_step(step, 1.44, 1.0, 0.5, 40))) == pytest.approx(0.6 * 1.2, rel=0.06)
    assert step[1] == pytest.approx(0.5, abs=1e-6)
    assert spread == pytest.approx(0.05, rel=0.3)
    speed, left = fit_speed(_table())
    assert speed[2] == pytest.approx(0.1, abs=1e-6)
    assert left < 1e-6


def _strides(people: int, spreads: tuple[float, float, float], seed: int = 1) -> Strides:
    """Strides whose knees differ by a constant wave between people, walks and strides."""
    rng = np.random.default_rng(seed)
    mean, _ = normative_vectors()
    vectors, subjects, walks, speeds = [], [], [], []
    place = rows("knee_l").start + 1
    for person in range(people):
        of_person = rng.normal(0, spreads[0])
        for walk in range(4):
            of_walk = rng.normal(0, spreads[1])
            for _ in range(4):
                vector = mean.copy()
                vector[place] += of_person + of_walk + rng.normal(0, spreads[2])
                vectors.append(vector)
                subjects.append(person)
                walks.append(10 * person + walk)
                speeds.append(1.3 + 0.05 * person % 0.3)
    return Strides(np.array(vectors), np.array(subjects), np.array(walks), np.array(speeds))


def test_people_walks_and_strides_are_told_apart() -> None:
    found = fit(_strides(60, (4.0, 2.0, 1.0)), _table())
    knee = rows("knee_l")

    def spread(modes: np.ndarray) -> float:
        return float(np.sqrt(np.sum(modes[:, knee] ** 2)))

    # Left and right are alike in the long run, so each gets half of the left knee's variance.
    assert spread(found.person) == pytest.approx(4.0 / np.sqrt(2), rel=0.3)
    assert spread(found.walk) == pytest.approx(2.0 / np.sqrt(2), rel=0.3)
    assert spread(found.stride) == pytest.approx(1.0 / np.sqrt(2), rel=0.2)


def test_few_people_are_pulled_towards_the_spreads_of_before() -> None:
    """Directions in which three people happen not to differ stay in the model."""
    found = fit(_strides(3, (4.0, 2.0, 1.0)), _table())
    waves = np.sqrt(np.sum(found.person[:, rows("knee_l")] ** 2, axis=0))
    assert np.count_nonzero(waves > 0.1) > 5


def test_the_model_is_kept_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit(_strides(5, (4.0, 2.0, 1.0)), _table())
    write(model, tmp_path / "population.npz")
    monkeypatch.setattr(population, "__file__", str(tmp_path / "population.py"))
    population._load.cache_clear()
    try:
        read = Population.load()
        assert np.allclose(read.person, model.person, atol=1e-4)
        assert read.step_spread == pytest.approx(model.step_spread, rel=1e-5)
    finally:
        population._load.cache_clear()


def test_the_model_of_the_program_walks_as_people_do() -> None:
    model = Population.load()
    phase = np.arange(100) / 100
    knee, thigh = (fourier(phase) @ model.mean[rows(f"{name}_l")] for name in ("knee", "thigh"))
    assert 55 < knee.max() < 66
    assert 0.69 < phase[knee.argmax()] < 0.79
    assert 0.48 < phase[thigh.argmin()] < 0.6
    assert np.allclose(mirrored(model.mean), model.mean, atol=0.05), "nobody limps on average"
    for name, people in (("thigh_l", 2.0), ("knee_l", 3.4), ("foot_l", 3.0), ("shoulder_l", 5.0), ("elbow_l", 6.4)):
        spreads = [np.sqrt(np.sum(modes[:, rows(name)] ** 2)) for modes in (model.person, model.walk, model.stride)]
        assert spreads[0] == pytest.approx(people, rel=0.3), name
        assert spreads[1] < spreads[0], name


class ByKnee:
    """Recognises people by a number that is painted into their silhouettes."""

    card = ModelCard(stage="gait", name="painted", origin="weight-free", licence="Apache-2.0")

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        parts = [np.full((1, 1), walk.silhouettes.mean(), np.float32) for walk in walks]
        return [Embedding(part, "painted", len(walk)) for part, walk in zip(parts, walks, strict=True)]


def _filmed(greys: dict[int, list[int]]) -> list[FilmedWalk]:
    numbers = count()
    return [
        FilmedWalk(subject, number, view, np.full((3, 64, 64), grey, np.uint8))
        for subject, own in greys.items()
        for grey, number in zip(own, numbers, strict=False)
        for view in VIEWS
    ]


def test_recorded_people_are_judged_with_one_walk_each_in_the_gallery() -> None:
    assert judge(ByKnee(), _filmed({7: [10, 12], 8: [50, 52, 54], 9: [90]})) == {
        "any view to any other": 1.0,
        "front to side": 1.0,
        "chance": 0.5,
    }
    # 8 walks first between the two walks of 7: then both are taken for 8, and this walk for 7.
    assert judge(ByKnee(), _filmed({7: [10, 12], 8: [11, 52, 54]}))["front to side"] == pytest.approx((0 + 2 / 3) / 2)
    with pytest.raises(SettingsError, match="two or more"):
        judge(ByKnee(), _filmed({7: [10, 12], 8: [11]}))


def test_recorded_curves_are_walked_as_they_are() -> None:
    strides = _strides(2, (4.0, 2.0, 1.0))
    strides.vectors[:, -len(population.MEASURES) :] = 0.0
    walks = list(walks_in(strides))
    assert [walk.subject for walk in walks] == [0] * 4 + [1] * 4
    for number, walk in enumerate(walks):
        own = np.flatnonzero(strides.walks == np.unique(strides.walks)[number])
        assert walk.gait.manner is not None
        curves, phase = Recorded(walk.gait.manner), np.linspace(0, 1, 20)
        wanted = fourier(phase) @ strides.vectors[own].mean(axis=0)[rows("knee_l")]
        assert np.allclose(curves.angle("knee", phase, walk.gait.speed), wanted, atol=1e-6)
        assert walk.gait.lateral_sway == pytest.approx(0.0, abs=1e-9), "what was recorded, not what is usual"


@pytest.fixture(scope="module")
def recorded() -> dict[tuple[str, str], list[Cycle]]:
    """All cycles, by subject and trial."""
    if not (GAIT / "cmu").is_dir():
        pytest.skip("the recordings in ../shared are not here")
    return recorded_cycles(GAIT / "cmu")


@pytest.mark.slow
def test_the_recordings_are_what_they_are_known_to_be(recorded: dict[tuple[str, str], list[Cycle]]) -> None:
    """222 cycles; knees bend most at 77 % of a cycle that begins at the foremost ankle, feet leave at 61 %."""
    found = [cycle for walk in recorded.values() for cycle in walk]
    assert len(found) == 222
    knee = np.mean([cycle.curves["knee"] for cycle in found], axis=0)
    assert 66 < knee.max() < 75
    assert knee.argmax() + 100 * LATE / 1.1 == pytest.approx(77, abs=1.5)
    assert np.mean([cycle.stance for cycle in found]) == pytest.approx(0.615, abs=0.015)
    held_out = {
        number for number in HELD_OUT if sum(bool(walk) for (own, _), walk in recorded.items() if own == number) > 1
    }
    assert held_out == set(HELD_OUT), "each of them walks twice or more"


@pytest.mark.slow
def test_the_file_of_the_program_is_computed_from_the_recordings(
    recorded: dict[tuple[str, str], list[Cycle]],
) -> None:
    table = read_steps(GAIT / "h2a.csv")
    strides = strides_of(recorded, fit_step(table)[0])
    kept = ~np.isin(strides.subjects, [int(number) for number in HELD_OUT])
    found, known = fit(strides.of(kept), table), Population.load()
    assert np.allclose(found.mean, known.mean, atol=1e-3)
    assert np.allclose(found.person.T @ found.person, known.person.T @ known.person, atol=0.02)
    assert np.allclose(found.step, known.step, atol=1e-4)
