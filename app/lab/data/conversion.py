"""Make a data set walk by walk, in several processes; a run that was stopped continues where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from app.errors import OutputError
from app.files import explained, write_text
from app.lab.data.opengait import DataSetError
from app.progress import Progress, Silent
from app.workers import side_by_side

DONE = ".done.jsonl"
"""The file that has a line for each walk that is done, from which a stopped run continues."""

_AT_ONCE = 16


class Source(Protocol):
    """Whatever a walk is made from."""

    @property
    def name(self) -> str:
        """``identity/condition/view`` of the walk."""


SourceT = TypeVar("SourceT", bound=Source)


@dataclass(frozen=True)
class Outcome:
    """What became of a walk: frames written, frames dropped by reason, and the `reason` if nothing was written."""

    walk: str
    frames: int
    dropped: dict[str, int] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Report:
    """What a data set holds and what was dropped, as in its ``report.json``.

    `frames_dropped` counts, by reason, the frames that were dropped from the walks that were kept, and
    `walks_with_gaps` has these walks. `walks_dropped` has the reasons for whole walks, and `left_out` the reasons for
    whatever was not taken for a walk at all.
    """

    people: int
    walks: int
    frames: int
    frames_dropped: dict[str, int]
    walks_with_gaps: dict[str, dict[str, int]]
    walks_dropped: dict[str, str]
    left_out: dict[str, str]

    def lines(self) -> list[str]:
        """Return the report as text for the user."""
        lines = [f"{self.people} people, {self.walks} walks, {self.frames} frames"]
        lines += [f"Frames dropped because they are {reason}: {count}" for reason, count in self.frames_dropped.items()]
        for what, reasons in (("Walks dropped", self.walks_dropped), ("Left out", self.left_out)):
            if reasons:
                common = "; ".join(f"{count} x {reason}" for reason, count in Counter(reasons.values()).most_common(3))
                lines.append(f"{what}: {len(reasons)} ({common})")
        return lines


def convert(
    sources: Sequence[SourceT],
    work: Callable[[SourceT], Outcome],
    out: Path,
    about: dict[str, Any],
    *,
    read: Sequence[Path],
    left_out: dict[str, str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Make a walk of every source; write ``dataset.json`` and ``report.json`` too.

    Args:
        sources: with different names.
        work: makes ``data/<name of the source>`` in `out`, whole or not at all. It must be possible to pickle it.
        out: the folder of the data set. Walks that an earlier run has made are not made again. Those it has dropped
            are tried again, because the user may have mended them.
        about: whatever shapes the data set, as JSON. A folder that was made from something else is refused.
        read: the folders that the walks are made from. Nothing is written into them.
        left_out: what was found and is not a source, with the reason.

    Raises:
        DataSetError: all walks were dropped, or a process was killed.
        OutputError: `out` holds another data set, is one that is read or lies in one, or cannot be written.
    """
    need_outside(out, read)
    claim_data_set(out, about)
    outcomes = _earlier(out)
    todo = [source for source in sources if source.name not in outcomes]
    stage = (progress or Silent()).stage("Walks", len(sources))
    with stage as advance, explained(out), (out / DONE).open("a", encoding="utf-8") as journal:
        advance(len(sources) - len(todo))
        groups = [todo[start : start + _AT_ONCE] for start in range(0, len(todo), _AT_ONCE)]
        for group in side_by_side(_group, [(group, work) for group in groups], workers):
            for outcome in group:
                outcomes[outcome.walk] = outcome
                journal.write(json.dumps(asdict(outcome)) + "\n")
            journal.flush()
            advance(len(group))
    report = report_of([outcomes[source.name] for source in sources], left_out or {})
    write_json(out / "report.json", asdict(report))
    return report


def need_outside(out: Path, read: Sequence[Path]) -> None:
    """Make sure that a new data set is not written into one that it is made from.

    Raises:
        OutputError: `out` is one of the folders `read`, or lies in one.
    """
    for folder in read:
        if out.resolve().is_relative_to(folder.resolve()):
            raise OutputError(
                f"{out} lies in {folder}, which is read. Give a folder outside of it for the new data set."
            )


def claim_data_set(out: Path, about: Mapping[str, Any]) -> None:
    """`claim` the folder of a data set, which must have no walks before.

    Raises:
        OutputError: it was made from something else or by something else, or cannot be written.
    """
    manifest, data = out / "dataset.json", out / "data"
    if not manifest.is_file() and data.is_dir() and any(data.iterdir()):
        raise OutputError(f"{data} exists already, and it cannot be told what it was made from. Give another folder.")
    claim(manifest, about)


def claim(manifest: Path, about: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> None:
    """Write into `manifest` what its folder is made of, or make sure that the folder was made like that before.

    `earlier` is what manifests of earlier versions do not say.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    about = json.loads(json.dumps(about))
    if not manifest.is_file():
        write_json(manifest, about)
        return
    try:
        same = {**(earlier or {}), **json.loads(manifest.read_text(encoding="utf-8"))} == about
    except (ValueError, TypeError):
        same = False
    if not same:
        raise OutputError(
            f"{manifest.parent} was made from something else, or with other settings: see {manifest}. Give another "
            "folder."
        )


def report_of(outcomes: Sequence[Outcome], left_out: dict[str, str]) -> Report:
    """Summarise what became of all walks; `DataSetError` where none of them was kept."""
    kept = [outcome for outcome in outcomes if outcome.reason is None]
    dropped = {outcome.walk: outcome.reason for outcome in outcomes if outcome.reason is not None}
    if not kept:
        reasons = list((dropped or left_out).items())[:3]
        listed = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in reasons) or "there was none"
        raise DataSetError(f"None of {len(outcomes)} walks could be used. {listed}.")
    frames_dropped: Counter[str] = Counter()
    for outcome in kept:
        frames_dropped.update(outcome.dropped)
    return Report(
        people=len({outcome.walk.partition("/")[0] for outcome in kept}),
        walks=len(kept),
        frames=sum(outcome.frames for outcome in kept),
        frames_dropped=dict(frames_dropped.most_common()),
        walks_with_gaps={outcome.walk: outcome.dropped for outcome in kept if outcome.dropped},
        walks_dropped=dropped,
        left_out=left_out,
    )


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def _earlier(out: Path) -> dict[str, Outcome]:
    """Return what an earlier run has made and is still there."""
    found: dict[str, Outcome] = {}
    journal = out / DONE
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else ():
        try:
            outcome = Outcome(**json.loads(line))
        except ValueError:  # the run was killed while it wrote this line
            continue
        if outcome.reason is None and (out / "data" / outcome.walk).is_dir():
            found[outcome.walk] = outcome
    return found


def _group(group: Sequence[SourceT], work: Callable[[SourceT], Outcome]) -> list[Outcome]:
    return [work(source) for source in group]
