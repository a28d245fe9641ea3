"""Labels: a CSV file in which a person says who the tracks of videos are."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import nearest, reason_of
from app.files import need_file
from app.lab.data.opengait import DataSetError
from app.spreadsheets import text_of
from app.video.sources import plain_name

COLUMNS = ("video", "track", "identity", "condition", "view", "from_s", "to_s", "silhouettes", "note", "picture")
"""Columns of the file. Only the first three are needed."""


@dataclass(frozen=True)
class Label:
    """A line of the file. `span` is when the track was first and last visible when the file was made, in s."""

    video: str
    track: int
    identity: str
    condition: str
    view: str
    span: tuple[float, float] | None

    @property
    def walk(self) -> str:
        """``identity/condition/view``. All tracks of a video with the same name are joined."""
        return f"{self.identity}/{self.condition}/{self.view}"


def read_labels(path: Path, videos: Sequence[str]) -> dict[str, list[Label]]:
    """Read the labels of each video. Lines without identity are left out.

    Raises:
        DataSetError: the file cannot be read, a column is missing, or a line cannot be right; the message names it.
    """
    try:
        need_file(path, DataSetError)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(
            f"The labels {path} cannot be read: {reason_of(error)}. Save them as CSV in UTF-8."
        ) from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    missing = [column for column in COLUMNS[:3] if column not in (reader.fieldnames or ())]
    if missing:
        raise DataSetError(f"The labels {path} lack the column {missing[0]}. Needed are video, track and identity.")
    labels: dict[str, list[Label]] = defaultdict(list)
    video_of_walk: dict[str, str] = {}
    for line in reader:
        where = f"{path}, line {reader.line_num}"
        cells = {key: text_of((value or "").strip()) for key, value in line.items() if isinstance(key, str)}
        if not cells["identity"]:
            continue
        label = _label(cells, where)
        if label.video not in videos:
            raise DataSetError(f"{where}: there is no video '{label.video}'.{nearest(label.video, videos)}")
        if any(other.track == label.track for other in labels[label.video]):
            raise DataSetError(f"{where}: track {label.track} of {label.video} is labelled twice.")
        if video_of_walk.setdefault(label.walk, label.video) != label.video:
            raise DataSetError(
                f"{where}: {label.walk} is in {video_of_walk[label.walk]} too. Give another condition or view, because "
                "only tracks of one video are joined."
            )
        labels[label.video].append(label)
    if not labels:
        raise DataSetError(f"No line of {path} has an identity. Fill in who the tracks are.")
    return dict(labels)


def _label(cells: dict[str, str], where: str) -> Label:
    try:
        track = int(cells["track"])
        span = (float(cells["from_s"]), float(cells["to_s"])) if cells.get("from_s") and cells.get("to_s") else None
    except ValueError as error:
        raise DataSetError(
            f"{where}: track must be a whole number, and from_s and to_s must be seconds ({error})."
        ) from error
    video = cells["video"]
    condition = cells.get("condition") or plain_name(Path(video).with_suffix("").as_posix()).lstrip(".")
    label = Label(video, track, cells["identity"], condition, cells.get("view") or "seq0", span)
    for name in (label.identity, label.condition, label.view):
        if name.startswith(".") or name != plain_name(name):
            raise DataSetError(f"{where}: '{name}' cannot be the name of a folder. Use letters, digits, '-' and '_'.")
    return label
