"""Bodies fitted to the keypoints of a data set: their silhouettes, all from the same side, or their parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from app.body import load_body_estimator
from app.body.mannequin import Mannequin
from app.body.smpl import SmplBody, parameters_of
from app.files import written_whole
from app.lab.data.conversion import Outcome, Report, convert
from app.lab.data.opengait import WALK_FILES, DataSetError, WalkFile, read_keypoints, read_smpl, walk_files, write_array
from app.lab.data.skeleton_maps import coco17, copy_partition
from app.progress import Progress
from app.stages import BodyEstimator
from app.types import BodyMotion, Bytes, Floats, GaitSequence
from app.walks.calibrated import SIDE, calibrated_silhouettes, silhouettes_of


def prepare_bodies(
    poses: Path,
    out: Path,
    *,
    name: str = "auto",
    view: float = SIDE,
    fps: float = 25.0,
    openpose: bool = False,
    parameters: bool = False,
    estimate: Callable[[str, Floats], Floats] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Write calibrated silhouettes: ``out/data/identity/condition/view/0_silhouette.pkl``, uint8 (T, 64, 64).

    With `parameters` they are ``1_smpl.pkl``, float32 (T, 85), which SMPLGait takes beside silhouettes: see
    `app.body.smpl.parameters_of`.

    Args:
        poses: the data set of keypoints in OpenGait's layout. Its ``partition.json`` is copied.
        out: the new data set. A run that was stopped continues.
        view: from which side bodies are drawn, degrees; 0 is the front.
        openpose: whether the keypoints are OpenPose's 18 joints, as OUMVLP's are, and not COCO's 17.
        parameters: write how the bodies stand and turn, in the layout of SMPL's parameters, and no silhouettes.
        estimate: adds the errors of a pose estimator to the keypoints of the walk with that name.

    Raises:
        CheckpointError: the network that lifts keypoints cannot be read.
        DataSetError: there are no walks, or none can be used.
        OutputError: `out` holds another data set, lies in the one that is read, or cannot be written.
        SettingsError: there is no body estimator of that name.
    """
    model = _estimator(name).card.model_id
    about = {"poses": str(poses.resolve()), "body": [name, model], "view": view, "fps": fps, "openpose": openpose}
    if parameters:
        about["parameters"] = True
    work = partial(
        _drawn, out=out, name=name, view=view, fps=fps, openpose=openpose, parameters=parameters, estimate=estimate
    )
    left_out: dict[str, str] = {}
    walks = walk_files(poses, modality="pose", left_out=left_out)
    report = convert(walks, work, out, about, read=(poses,), left_out=left_out, workers=workers, progress=progress)
    copy_partition(poses, out)
    return report


def prepare_smpl_bodies(
    parameters: Path,
    body: Path,
    out: Path,
    *,
    view: float = SIDE,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Write calibrated silhouettes of SMPL parameters (T, 85), as Gait3D has them.

    Args:
        parameters: the data set of SMPL parameters in OpenGait's layout. Its ``partition.json`` is copied.
        body: a user's own ``SMPL_NEUTRAL.npz``: see `app.body.smpl.SmplBody`.
        out: the new data set. A run that was stopped continues.
        view: from which side bodies are drawn, degrees; 0 is the front.

    Raises:
        CheckpointError: `body` is no body of SMPL's format.
        DataSetError: there are no walks, or none can be used.
        OutputError: `out` holds another data set, lies in the one that is read, or cannot be written.
    """
    _smpl_body(body)
    about = {"smpl": str(parameters.resolve()), "body": str(body.resolve()), "view": view}
    work = partial(_drawn_smpl, out=out, body=body, view=view)
    left_out: dict[str, str] = {}
    walks = walk_files(parameters, modality="smpl", left_out=left_out)
    report = convert(walks, work, out, about, read=(parameters,), left_out=left_out, workers=workers, progress=progress)
    copy_partition(parameters, out)
    return report


def calibrated(keypoints: Floats, fps: float, name: str = "auto", view: float = SIDE) -> Bytes:
    """Return the calibrated silhouettes (T, 64, 64) of a walk with keypoints (T, 17, 3)."""
    return calibrated_silhouettes(_motion(keypoints, fps, name), view)


def _motion(keypoints: Floats, fps: float, name: str) -> BodyMotion:
    empty = np.zeros((len(keypoints), 64, 64), np.uint8)
    (motion,) = _estimator(name).fit([GaitSequence(np.arange(len(keypoints)), empty, fps, keypoints)])
    return motion


@lru_cache(maxsize=2)
def _estimator(name: str) -> BodyEstimator:
    return load_body_estimator(name=name)


def _drawn(
    walk: WalkFile,
    out: Path,
    name: str,
    view: float,
    fps: float,
    openpose: bool,
    parameters: bool,
    estimate: Callable[[str, Floats], Floats] | None,
) -> Outcome:
    try:
        keypoints = coco17(read_keypoints(walk.path, joints=18)) if openpose else read_keypoints(walk.path)
    except DataSetError as error:
        return Outcome(walk.name, 0, reason=str(error))
    keypoints = keypoints.astype(np.float32)
    if estimate is not None:
        keypoints = estimate(walk.name, keypoints)
    if parameters:
        return _written(walk, out, parameters_of(_motion(keypoints, fps, name), Mannequin.load()), "1_smpl.pkl")
    return _written(walk, out, calibrated(keypoints, fps, name, view))


@lru_cache(maxsize=1)
def _smpl_body(path: Path) -> SmplBody:
    return SmplBody.read(path)


def _drawn_smpl(walk: WalkFile, out: Path, body: Path, view: float) -> Outcome:
    try:
        parameters = read_smpl(walk.path)
    except DataSetError as error:
        return Outcome(walk.name, 0, reason=str(error))
    model = _smpl_body(body)
    return _written(
        walk, out, silhouettes_of(model.upright(parameters[:, 3:75], parameters[:, 75:]), model.faces, view)
    )


def _written(walk: WalkFile, out: Path, frames: Bytes | Floats, name: str = "0_silhouette.pkl") -> Outcome:
    with written_whole(out / "data" / walk.name, WALK_FILES) as temporary:
        temporary.mkdir()
        write_array(frames, temporary / name)
    return Outcome(walk.name, len(frames))
