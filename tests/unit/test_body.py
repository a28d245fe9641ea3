"""The body in space: its kinematics, what is measured on it, how it is drawn, and the files it goes into."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.body import load_body_estimator
from app.body.kinematics import at_frames, camera_of, motion_of, poses_of, soles_of
from app.body.lift import LiftingNetwork
from app.body.mannequin import COCO, SHAPES, Mannequin, bone_lengths
from app.body.measures import Gait, measures_of, usual_cycle
from app.body.observed import features, resampled, view_of
from app.body.render import Body, filled
from app.body.skeleton import JOINT, forward_kinematics
from app.body.smpl import SmplBody, parameters_of
from app.body.view import seen_from
from app.cli.prepare import app as prepare
from app.errors import CheckpointError, SettingsError
from app.lab.data.bodies import prepare_bodies, prepare_smpl_bodies
from app.lab.data.opengait import read_silhouettes, read_smpl, write_array
from app.stages import GaitModel
from app.types import SMPL, BodyMotion, Embedding, Floats, GaitSequence, ModelCard
from app.walks.calibrated import CalibratedGait, calibrated_silhouettes
from app.weights.checkpoints import CheckpointFile
from tests.contract.samples import lifting
from tests.walking import SMPL_PLACES, seen_walk, smpl_places

AZIMUTH = 0.9


@pytest.fixture(scope="module")
def walked() -> tuple[GaitSequence, Floats]:
    return seen_walk(frames=60, azimuth=AZIMUTH)


@pytest.fixture(scope="module")
def motion(walked: tuple[GaitSequence, Floats]) -> BodyMotion:
    """The body fitted to the true points."""
    walk, points = walked
    view = np.tile(view_of(AZIMUTH, 0.1), (len(walk), 1, 1))
    assert walk.keypoints is not None
    return motion_of(points, view, walk.keypoints, walk.frame_indices, walk.fps, Mannequin.load())


def test_the_view_has_the_cameras_axes() -> None:
    front = view_of(0.0, 0.0)  # the camera is in front and looks against the direction of walking
    np.testing.assert_allclose(front, [[0, 1, 0], [0, 0, -1], [-1, 0, 0]], atol=1e-6)
    from_above = view_of(0.3, np.pi / 2 - 1e-4)
    np.testing.assert_allclose(from_above[2], [0, 0, -1], atol=1e-3)


def test_smpl_parameters_of_a_body_are_its_joints_and_its_picture(motion: BodyMotion) -> None:
    mannequin = Mannequin.load()
    found = parameters_of(motion, mannequin)
    assert found.shape == (len(motion), SMPL)
    skeleton = mannequin.rest(motion.shape).skeleton
    joints, _ = forward_kinematics(skeleton, poses_of(motion))
    for frame in (0, len(motion) // 2):
        places = smpl_places(found[frame, 3:75].reshape(24, 3), skeleton)
        expected = (joints[frame] - joints[frame, 0])[[JOINT[name] for name in SMPL_PLACES]] @ motion.view[frame].T
        np.testing.assert_allclose(places, expected, atol=1e-3)
        scale, x, y = found[frame, :3]
        seen = Body(motion).vertices[frame] @ motion.view[frame].T
        down = scale * (seen[:, 1] + y)
        np.testing.assert_allclose([down.min(), down.max()], [-1, 1], atol=1e-3)
        across = scale * (seen[:, 0] + x)
        np.testing.assert_allclose(across.min(), -across.max(), atol=1e-3)
    assert (found[:, 75:] == 0).all(), "the shape is SMPL's mean"


def test_shapes_are_found_again_from_the_bones() -> None:
    mannequin = Mannequin.load()
    shape = np.array([1, -1, 0.5, 1, 0, 0, -0.5, 0, 1, 0], np.float32)
    lengths = bone_lengths(mannequin.rest(shape).skeleton.rest)
    found = bone_lengths(mannequin.rest(mannequin.shape_of(lengths)).skeleton.rest)
    usual = bone_lengths(mannequin.rest(np.zeros(SHAPES, np.float32)).skeleton.rest)
    assert np.abs(found - lengths).max() < 0.006
    assert np.abs(usual - lengths).max() > 0.01


def test_a_body_comes_as_near_to_the_points_as_bones_allow(
    motion: BodyMotion, walked: tuple[GaitSequence, Floats]
) -> None:
    away = np.linalg.norm(motion.joints - motion.root[:, None] - walked[1][:, COCO], axis=-1)
    assert away.mean() < 0.01
    assert motion.confidence.min() > 0.9


def test_somebody_who_walks_goes_forward_on_feet_that_stand(motion: BodyMotion) -> None:
    way = motion.root[-1, 0]
    assert 0.85 < way / (1.3 * 59 / 12.5) < 1.15  # the usual speed is 1.3 m/s
    soles = soles_of(Mannequin.load().rest(motion.shape), poses_of(motion))
    slowest = np.linalg.norm(np.diff(soles, axis=0), axis=-1).min(axis=1) * motion.fps
    assert np.median(slowest) < 0.25
    assert np.abs(soles[..., 2].min(axis=1)).max() < 0.02


def test_frames_between_are_interpolated(motion: BodyMotion) -> None:
    thin = replace(motion, frame_indices=2 * motion.frame_indices, fps=25.0)
    between = at_frames(thin, np.array([10, 11, 12]))
    np.testing.assert_allclose(between.root[1], (motion.root[5] + motion.root[6]) / 2, atol=1e-5)
    np.testing.assert_allclose(between.rotations[0], motion.rotations[5], atol=1e-5)
    np.testing.assert_allclose(between.view @ between.view.transpose(0, 2, 1), [np.eye(3)] * 3, atol=1e-5)


def test_the_camera_is_found_again() -> None:
    flat = np.random.default_rng(0).normal(0, 0.5, (5, 17, 2)).astype(np.float32)
    keypoints = np.concatenate([flat * 80 + (200, 90), np.ones((5, 17, 1))], -1).astype(np.float32)
    np.testing.assert_allclose(camera_of(flat, keypoints), np.tile([80, 200, 90], (5, 1)), rtol=1e-4)


def test_keypoints_in_a_gap_are_not_believed(walked: tuple[GaitSequence, Floats]) -> None:
    walk = walked[0].part(np.r_[0:20, 40:60])
    keypoints, times = resampled(walk)
    assert len(keypoints) == 60
    assert (keypoints[22:38, :, 2] == 0).all()
    assert (keypoints[:20, :, 2] == 1).all()
    assert times[-1] == pytest.approx(59 / 12.5, abs=1e-5)


def test_features_do_not_depend_on_the_place_in_the_picture(walked: tuple[GaitSequence, Floats]) -> None:
    keypoints = walked[0].keypoints
    assert keypoints is not None
    moved = keypoints * np.array([3, 3, 1], np.float32) + np.array([40, 7, 0], np.float32)
    np.testing.assert_allclose(features(moved), features(keypoints), atol=1e-3)
    assert not features(keypoints, moving=False)[..., -5:-2].any()


def test_steps_are_measured(motion: BodyMotion) -> None:
    gait = Gait.of(motion)
    found = {measure.name: measure for measure in gait.measures()}
    assert 105 < found["cadence"].value < 125
    assert 0.33 < found["step length"].value < 0.45
    assert 55 < found["stance share"].value < 68
    assert found["step length asymmetry"].value < 6
    cycles = gait.cycles()
    assert len(cycles) >= 4
    band = usual_cycle()
    inside = np.abs(cycles.mean(axis=0) - band[..., 0]) < 3 * band[..., 1] + 6
    assert inside.mean() > 0.9


def test_somebody_who_stands_has_no_steps(motion: BodyMotion) -> None:
    still = at_frames(motion, np.full(30, 7))
    still = replace(still, frame_indices=np.arange(30))
    gait = Gait.of(still)
    assert gait.measures() == []
    assert gait.cycles().shape == (0, 3, 101)


def test_a_body_is_drawn_where_its_keypoints_are(motion: BodyMotion, walked: tuple[GaitSequence, Floats]) -> None:
    picture = np.zeros((420, 700, 3), np.uint8)
    shown = Body(motion).paint(picture, 3, (255, 0, 0), opacity=1.0)
    assert not picture.any()
    rows, columns = np.nonzero(shown[..., 2])
    keypoints = walked[0].keypoints
    assert keypoints is not None
    low, high = keypoints[3, :, :2].min(axis=0), keypoints[3, :, :2].max(axis=0)
    assert columns.min() < low[0] + 5
    assert columns.max() > high[0] - 5
    assert rows.max() > high[1]
    outside = Body(motion).paint(picture[:4, :4], 3, (255, 0, 0))
    assert not outside.any()


def test_a_body_is_broader_from_the_front_than_from_the_side(motion: BodyMotion) -> None:
    body = Body(motion)
    front, side = (filled(body.vertices[20], Mannequin.load().faces, azimuth) for azimuth in (0.0, np.pi / 2))
    shoulders = slice(22, 40)
    assert (front[shoulders] > 0).sum() > 1.2 * (side[shoulders] > 0).sum()
    picture = body.seen(20, 0.5, 0.2, 96, (0, 120, 255))
    assert picture.shape == (96, 96, 3)
    assert (picture.max(axis=2) < 240).mean() > 0.05


class _Sees(GaitModel):
    """A gait model that keeps what it saw."""

    card = ModelCard("gait", "plain", "weight-free", "MIT", sha256="ab" * 32)
    walks: list[GaitSequence]

    def embed(self, walks: list[GaitSequence]) -> list[Embedding]:  # type: ignore[override]
        self.walks = walks
        return [Embedding(np.ones((1, 2), np.float32), self.card.model_id, len(walk)) for walk in walks]


def test_a_gait_model_sees_calibrated_silhouettes(walked: tuple[GaitSequence, Floats]) -> None:
    plain = _Sees()
    gait = CalibratedGait(plain, load_body_estimator(name="lift"))
    assert gait.card.keypoints
    (embedding,) = gait.embed([walked[0]])
    assert embedding.model_id == gait.card.model_id != plain.card.model_id
    (seen,) = plain.walks
    assert (seen.silhouettes.max(axis=(1, 2)) > 200).all()
    assert (np.flatnonzero(seen.silhouettes[0].any(axis=1))[[0, -1]] == [0, 63]).all()


def test_other_sides_are_other_silhouettes(motion: BodyMotion) -> None:
    few = at_frames(motion, np.array([5, 6]))
    assert not np.array_equal(calibrated_silhouettes(few, 0.0), calibrated_silhouettes(few, 90.0))


def write_poses(walk: GaitSequence, folder: Path) -> Floats:
    """Write a data set of one walk of 20 frames into ``folder/poses``, and return its keypoints."""
    place = folder / "poses" / "001" / "nm-01" / "090"
    place.mkdir(parents=True)
    assert walk.keypoints is not None
    write_array(walk.keypoints[:20], place / "0_pose.pkl")
    return walk.keypoints[:20]


def test_a_data_set_of_keypoints_becomes_one_of_silhouettes(
    tmp_path: Path, walked: tuple[GaitSequence, Floats]
) -> None:
    write_poses(walked[0], tmp_path)
    report = prepare_bodies(tmp_path / "poses", tmp_path / "out", name="lift", fps=12.5)
    assert (report.walks, report.frames) == (1, 20)
    silhouettes = read_silhouettes(tmp_path / "out" / "data" / "001" / "nm-01" / "090" / "0_silhouette.pkl")
    assert silhouettes.shape == (20, 64, 44)
    assert (silhouettes.max(axis=(1, 2)) > 200).all()


def test_a_data_set_of_keypoints_becomes_one_of_smpl_parameters(
    tmp_path: Path, walked: tuple[GaitSequence, Floats]
) -> None:
    keypoints = write_poses(walked[0], tmp_path)
    given = ["body", str(tmp_path / "poses"), str(tmp_path / "out"), "--body", "lift", "--fps", "12.5", "--parameters"]
    assert CliRunner().invoke(prepare, given, catch_exceptions=False).exit_code == 0
    found = read_smpl(tmp_path / "out" / "data" / "001" / "nm-01" / "090" / "1_smpl.pkl")
    (motion,) = load_body_estimator(name="lift").fit(
        [GaitSequence(np.arange(20), np.zeros((20, 64, 64), np.uint8), 12.5, keypoints)]
    )
    assert np.array_equal(found, parameters_of(motion, Mannequin.load()))
    both = CliRunner().invoke(prepare, [*given, "--smpl", "body.npz"])
    assert isinstance(both.exception, SettingsError)


def test_a_network_of_other_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not \(1, 3, 81\)"):
        LiftingNetwork(CheckpointFile(lifting(tmp_path / "n.onnx", outputs=80), "given"))


def test_the_embedded_network_finds_the_walk(walked: tuple[GaitSequence, Floats]) -> None:
    walk, points = walked
    for name, most in (("lift", 0.06), ("fit", 0.05)):
        (motion,) = load_body_estimator(name=name, steps=20).fit([walk])
        away = np.linalg.norm(motion.joints - motion.root[:, None] - points[:, COCO], axis=-1)
        assert away.mean() < most, name
        assert np.degrees(np.arccos((motion.view[30] * view_of(AZIMUTH, 0.1)).sum() / 2 - 0.5)) < 12
    knees = motion.rotations[:, [JOINT["knee_l"], JOINT["knee_r"]]]
    assert np.degrees(np.linalg.norm(knees, axis=-1)).max() > 35


def test_the_table_has_a_row_for_each_measure(tmp_path: Path, motion: BodyMotion) -> None:
    from app.results.gait_table import read_gait_table, write_gait_table

    measures = measures_of(motion)
    write_gait_table({4: measures, 7: []}, tmp_path / "gait.csv")
    rows = list(csv.DictReader((tmp_path / "gait.csv").open(encoding="utf-8")))
    assert {row["track"] for row in rows} == {"4"}
    assert {"cadence", "step length", "stance share", "arm swing"} <= {row["measure"] for row in rows}
    assert float(rows[0]["standard error"]) < float(rows[0]["value"])
    (found,) = read_gait_table(tmp_path / "gait.csv").values()
    assert [(one.name, one.unit, one.count) for one in found] == [(one.name, one.unit, one.count) for one in measures]
    assert found[0].value == pytest.approx(measures[0].value, rel=1e-3)
    assert read_gait_table(tmp_path / "none.csv") == {}
    for damaged in ("track,measure\n4,cadence\n", (tmp_path / "gait.csv").read_text().replace("4,", "four,")):
        (tmp_path / "gait.csv").write_text(damaged)
        with pytest.raises(ValueError, match=r"row|four"):
            read_gait_table(tmp_path / "gait.csv")


@pytest.mark.parametrize(
    ("azimuth", "elevation", "words"),
    [(0.2, 0.1, "the front"), (1.5, 0.2, "the left"), (3.0, 0, "behind"), (-3.0, 0, "behind"), (-1.2, 0.3, "the right"),
     (1.5, 1.2, "above")],
)  # fmt: skip
def test_where_the_camera_is_has_a_word(azimuth: float, elevation: float, words: str, motion: BodyMotion) -> None:
    seen = replace(motion, view=np.broadcast_to(view_of(azimuth, elevation), motion.view.shape).astype(np.float32))
    measures = {one.name: one.value for one in measures_of(seen)}
    assert measures["camera azimuth"] == pytest.approx(np.degrees(azimuth), abs=0.1)
    assert measures["camera elevation"] == pytest.approx(np.degrees(elevation), abs=0.1)
    assert seen_from(measures_of(seen)) == words


def test_who_turns_is_seen_from_nowhere_in_particular(motion: BodyMotion) -> None:
    round_ = view_of(np.linspace(0, 3.1, len(motion)), np.zeros(len(motion)))
    assert seen_from(measures_of(replace(motion, view=round_.astype(np.float32)))) is None
    assert seen_from(()) is None


@pytest.mark.slow
def test_the_command_writes_everything(tmp_path: Path) -> None:
    from app.cli.main import main

    out = tmp_path / "bodies"
    options = ["--output", str(tmp_path / "cache"), "--from", "2", "--to", "4.5", "--body", "lift", "--out", str(out)]
    assert main(["body", "gallery.mp4", *options, "--track", "1"]) == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    walk = [f"001/{name}" for name in ("body.npz", "curves.png", "turntable.gif", "turntable.mp4", "views.png")]
    assert files == [*walk, "gait.csv", "overlay.mp4"]
    assert main(["body", "gallery.mp4", *options, "--track", "99"]) == 2
    assert sorted(path.name for path in out.iterdir()) == ["001", "gait.csv", "overlay.mp4"]


@pytest.mark.slow
def test_the_network_is_trained_without_pictures(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from app.cli.main import main

    settings = [f"out={tmp_path}", "steps=2", "walks=3", "batch=2", "width=8", "warmup=1"]
    assert main(["train", "body", *(part for setting in settings for part in ("--set", setting))]) == 0
    estimator = load_body_estimator(tmp_path / "body.onnx", "lift")
    (motion,) = estimator.fit([seen_walk(frames=20)[0]])
    assert len(motion) == 20


def _smpl_like(path: Path, **changes: np.ndarray) -> Path:
    """Write a body of SMPL's format: our mannequin with 24 joints of its skin, standing in SMPL's axes."""
    rest = Mannequin.load().rest(np.zeros(SHAPES, np.float32))
    vertices = (rest.vertices - rest.skeleton.rest[0])[:, [1, 2, 0]]
    parents = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21])
    regressor = np.zeros((24, len(vertices)), np.float32)
    regressor[np.arange(24), np.arange(24) * 7] = 1
    # The pelvis lies in the origin.
    regressor[0] = np.linalg.pinv(np.vstack([vertices.T, np.ones(len(vertices))])) @ [0, 0, 0, 1]
    weights = np.zeros((len(vertices), 24), np.float32)
    weights[:, 0] = 1
    weights[vertices[:, 1] > 0.5] = np.eye(24)[15]
    arrays = {
        "v_template": vertices, "shapedirs": np.zeros((len(vertices), 3, 10), np.float32), "weights": weights,
        "J_regressor": regressor, "kintree_table": np.stack([parents, np.arange(24)]), "f": Mannequin.load().faces,
    }  # fmt: skip
    np.savez(path, **(arrays | changes))  # type: ignore[arg-type]
    return path


def test_smpl_parameters_become_silhouettes(tmp_path: Path) -> None:
    place = tmp_path / "smpl" / "001" / "nm-01" / "090"
    place.mkdir(parents=True)
    parameters = np.zeros((3, 85), np.float32)
    parameters[1, 3:6] = (0.1, 2.0, 0.0)  # where the camera is does not matter
    parameters[2, 3 + 45 : 3 + 48] = (1.2, 0, 0)  # the head bends
    write_array(parameters, place / "0_smpl.pkl")
    report = prepare_smpl_bodies(tmp_path / "smpl", _smpl_like(tmp_path / "body.npz"), tmp_path / "out")
    assert (report.walks, report.frames) == (1, 3)
    silhouettes = read_silhouettes(tmp_path / "out" / "data" / "001" / "nm-01" / "090" / "0_silhouette.pkl")
    np.testing.assert_array_equal(silhouettes[0], silhouettes[1])
    assert (silhouettes[0] != silhouettes[2]).mean() > 0.02
    mine = calibrated_silhouettes(_standing(1))[0][:, 10:54]
    assert (silhouettes[0] == mine).mean() > 0.97


def _standing(frames: int) -> BodyMotion:
    nothing = np.zeros((frames, 21, 3), np.float32)
    return BodyMotion(
        np.arange(frames), 25.0, np.zeros(SHAPES, np.float32), nothing, nothing[:, 0], nothing[:, :17],
        np.tile(view_of(0.0, 0.0), (frames, 1, 1)), np.ones((frames, 3), np.float32), np.ones(frames, np.float32),
    )  # fmt: skip


def test_a_body_that_is_not_smpl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must be an \.npz file with the arrays v_template"):
        SmplBody.read(tmp_path / "none.npz")
    np.savez(tmp_path / "evil.npz", v_template=np.array([print], object))
    with pytest.raises(CheckpointError, match="none of them a pickled object"):
        SmplBody.read(tmp_path / "evil.npz")
    with pytest.raises(CheckpointError, match=r"weights \(3, 24\)"):
        SmplBody.read(_smpl_like(tmp_path / "odd.npz", weights=np.zeros((3, 24), np.float32)))


def test_a_run_can_see_calibrated_silhouettes() -> None:
    from app.runs.build import build
    from app.settings import Settings

    stages = build(Settings.load(None, ["gait.input=calibrated", "gait.name=gei"]))
    assert list(stages.cards()) == ["detector", "segmenter", "pose", "body", "gait"]
    assert stages.gait.card.name == "gei-calibrated"
    assert build(Settings.load(None, ["gait.name=gei"])).body is None


def test_the_report_shows_the_body_and_how_it_walks(motion: BodyMotion, tmp_path: Path) -> None:
    from app.results.bodies import body_picture
    from app.results.gait_table import write_gait_table
    from app.results.pictures import pictures_of

    (tmp_path / "4-body.jpg").write_bytes(body_picture(motion, Gait.of(motion)))
    write_gait_table({4: measures_of(motion)}, tmp_path / "gait.csv")
    found = pictures_of(tmp_path, {4: None, 5: None})
    assert found[4].body is not None
    assert found[4].body.startswith(b"\xff\xd8")
    assert len(found[4].body) < 100_000
    named = dict(found[4].gait)
    assert re.fullmatch(r"1\d\d ± [\d.]+ steps/min", named["cadence"])
    assert re.fullmatch(r"0\.\d+ ± [\d.]+ body heights, left 0\.\d+, right 0\.\d+", named["step length"])
    assert found[5].body is None
    assert not found[5].gait
