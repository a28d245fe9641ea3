"""Keypoints of a whole data set become skeleton maps, SkeletonGait's input."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from app.errors import SettingsError
from app.files import written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data.conversion import Outcome, Progress, Report, convert
from app.lab.data.opengait import DataSetError, WalkFile, read_keypoints, walk_files, write_array
from app.types import Floats

# Where COCO's 17 joints stand in OpenPose's 18, which have a neck and other places (Cao et al., TPAMI 2019).
_IN_OPENPOSE = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]


@dataclass(frozen=True)
class HeatmapSettings:
    """What may be chosen of skeleton maps; sizes and widths are those of the published ones.

    `transfer_to_coco17` is for keypoints in OpenPose's 18 joints, OUMVLP's for example.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    transfer_to_coco17: bool = False


def read_heatmap_settings(path: Path) -> HeatmapSettings:
    """Read a YAML file.

    Raises:
        SettingsError: it cannot be read, a key is unknown or a value does not fit.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(HeatmapSettings).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The heatmap settings {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{path}: '{place}' is not understood ({first['msg']}). Known: transfer_to_coco17: true or false; "
            "all else is as in the published maps."
        ) from error


def coco17(keypoints: Floats) -> Floats:
    """Turn OpenPose's COCO joints, (T, 18, 3), into COCO's 17, (T, 17, 3): the neck goes, the others change places."""
    return np.ascontiguousarray(keypoints[:, _IN_OPENPOSE])


def prepare_heatmaps(
    poses: Path,
    out: Path,
    settings: HeatmapSettings,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Write the skeleton maps of a data set: ``out/data/identity/condition/view/0_heatmap.pkl``, uint8 (T, 2, 64, 64).

    Args:
        poses: data set of keypoints in OpenGait's layout; its ``partition.json`` is taken along.
        out: a run that was stopped goes on.
        settings: how they are drawn.
        workers: processes.
        progress: gets the walks done and all of them.

    Raises:
        DataSetError: there are no walks, or none can be used.
        OutputError: `out` holds another data set or cannot be written.
    """
    walks = walk_files(poses, modality="pose")
    about = {"poses": str(poses.resolve()), **asdict(settings)}
    report = convert(
        walks, partial(_drawn, out=out, settings=settings), out, about, workers=workers, progress=progress
    )  # fmt: skip
    copy_partition(poses, out)
    return report


def copy_partition(source: Path, out: Path) -> None:
    """Copy ``partition.json``, where the data set `source` has one."""
    partition = source / "partition.json"
    if partition.is_file():
        with written_whole(out / partition.name) as temporary:
            shutil.copyfile(partition, temporary)


def _drawn(walk: WalkFile, out: Path, settings: HeatmapSettings) -> Outcome:
    try:
        if settings.transfer_to_coco17:
            keypoints = coco17(read_keypoints(walk.path, joints=18))
        else:
            keypoints = read_keypoints(walk.path)
        maps = heatmaps(keypoints)
    except (DataSetError, ValueError) as error:
        return Outcome(walk.name, 0, reason=str(error))
    with written_whole(out / "data" / walk.name) as temporary:
        temporary.mkdir()
        write_array(maps, temporary / "0_heatmap.pkl")
    return Outcome(walk.name, len(maps))
