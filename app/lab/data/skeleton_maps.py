"""Draw the skeleton maps of a data set from its keypoints: the input of SkeletonGait."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from app.files import written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data.conversion import Outcome, Report, convert
from app.lab.data.opengait import WALK_FILES, DataSetError, WalkFile, read_keypoints, walk_files, write_array
from app.progress import Progress
from app.types import Floats

# The places of COCO's 17 joints in OpenPose's 18, which have a neck and another order (Cao et al., TPAMI 2019).
_IN_OPENPOSE = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]


def coco17(keypoints: Floats) -> Floats:
    """Turn OpenPose's 18 joints (T, 18, 3) into COCO's 17 (T, 17, 3), which have no neck and another order."""
    return np.ascontiguousarray(keypoints[:, _IN_OPENPOSE])


def prepare_heatmaps(
    poses: Path, out: Path, *, openpose: bool = False, workers: int = 1, progress: Progress | None = None
) -> Report:
    """Write the skeleton maps of a data set: ``out/data/identity/condition/view/0_heatmap.pkl``, uint8 (T, 2, 64, 64).

    Args:
        poses: the data set of keypoints in OpenGait's layout. Its ``partition.json`` is copied.
        out: the new data set. A run that was stopped continues.
        openpose: whether the keypoints are OpenPose's 18 joints, as OUMVLP's are, and not COCO's 17.

    Raises:
        DataSetError: there are no walks, or none can be used.
        OutputError: `out` holds another data set, lies in the one that is read, or cannot be written.
    """
    left_out: dict[str, str] = {}
    walks = walk_files(poses, modality="pose", left_out=left_out)
    about = {"poses": str(poses.resolve()), "transfer_to_coco17": openpose}
    work = partial(_drawn, out=out, openpose=openpose)
    report = convert(walks, work, out, about, read=(poses,), left_out=left_out, workers=workers, progress=progress)
    copy_partition(poses, out)
    return report


def copy_partition(source: Path, out: Path) -> None:
    """Copy ``partition.json``, if the data set `source` has one."""
    partition = source / "partition.json"
    if partition.is_file():
        with written_whole(out / partition.name) as temporary:
            shutil.copyfile(partition, temporary)


def _drawn(walk: WalkFile, out: Path, openpose: bool) -> Outcome:
    try:
        keypoints = coco17(read_keypoints(walk.path, joints=18)) if openpose else read_keypoints(walk.path)
        maps = heatmaps(keypoints)
    except (DataSetError, ValueError) as error:
        return Outcome(walk.name, 0, reason=str(error))
    with written_whole(out / "data" / walk.name, WALK_FILES) as temporary:
        temporary.mkdir()
        write_array(maps, temporary / "0_heatmap.pkl")
    return Outcome(walk.name, len(maps))
