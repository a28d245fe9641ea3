"""The result of a run: who each walk is, and what is needed to show it, write it or use it in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import app
from app.errors import VideoError, needing
from app.files import as_text, write_text
from app.gallery.distances import Distances
from app.recognise.judge import Decision
from app.results.outputs import paint, write_run
from app.results.report import FailureReport, ModelReport, Report, VideoReport, rows, to_json, video_report
from app.stages import Run
from app.video.sources import refuse_videos
from app.walks.analysed import AnalysedVideo, AnalysedWalk

if TYPE_CHECKING:
    import pandas


DATAFRAME_COLUMNS = [
    *("video", "track_id", "status", "name", "distance", "threshold", "probability", "margin", "confidence"),
    *("start", "end", "frames", "reason"),
]


@dataclass(frozen=True)
class NamedVideo:
    """A video with the decision about each of its usable walks, by track number."""

    video: AnalysedVideo
    decisions: Mapping[int, Decision]

    @cached_property
    def report(self) -> VideoReport:
        """What `results.json` says about the video."""
        return video_report(self.video, self.decisions)


@dataclass(frozen=True, repr=False)
class NamedWalk:
    """One walk of a result, with its video and the decision about it, which is None for a walk that cannot be used."""

    video: NamedVideo
    walk: AnalysedWalk
    decision: Decision | None

    def __repr__(self) -> str:
        """Say who it is, in a line: all that is in it would fill screens."""
        what = f"{self.name or 'unknown'}, {self.distance}" if self.decision else self.reason
        return f"<NamedWalk of track {self.track_id} in {self.video.video.name}: {what}>"

    @property
    def track_id(self) -> int:
        """The number of the walk's track, unique within its video."""
        return self.walk.track.track_id

    @property
    def name(self) -> str | None:
        """Who it is; None for an unknown or unusable walk."""
        return self.decision.identity if self.decision else None

    @property
    def distance(self) -> float | None:
        """The distance to `name`, or to the nearest person for an unknown walk."""
        return self.decision.distance if self.decision else None

    @property
    def probability(self) -> float | None:
        """The calibrated probability of the name; None where it is not known what distances mean here."""
        return self.decision.probability if self.decision else None

    @property
    def reason(self) -> str | None:
        """Why there is no name."""
        return self.walk.reason or (self.decision.reason if self.decision else None)

    @property
    def start(self) -> float:
        """When the walk begins, in s from the start of the video."""
        return float(self.walk.track.frame_indices[0] / self.video.video.info.fps)

    @property
    def end(self) -> float:
        """When the walk ends, in s from the start of the video."""
        return float((self.walk.track.frame_indices[-1] + 1) / self.video.video.info.fps)


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a run.

    `gallery` is the gallery video, None where the gallery is a file. `probes` are the videos whose walkers were named.
    `identities` are the names of the gallery's people, in the order that fixes their colours. `failures` are the probes
    that could not be used. `portraits` are pictures (JPEG) by name, of people in a gallery file.
    """

    run: Run
    gallery: NamedVideo | None
    probes: Sequence[NamedVideo]
    identities: Sequence[str]
    failures: Sequence[FailureReport] = ()
    portraits: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say who was named in which video, in a line: all that is in it would fill screens."""
        said = []
        for probe in self.probes:
            names = [walk.name or "unknown" for walk in self.walks if walk.video is probe]
            said.append(f"{probe.video.name}: {', '.join(names)}")
        return f"<Result of {'; '.join(said)}>"

    @property
    def videos(self) -> list[NamedVideo]:
        """All videos of the run, the gallery first."""
        return [*([self.gallery] if self.gallery else []), *self.probes]

    @cached_property
    def walks(self) -> list[NamedWalk]:
        """Every walk of the probes, including those that cannot be used."""
        return [
            NamedWalk(named, walk, named.decisions.get(walk.track.track_id))
            for named in self.probes
            for walk in named.video.walks
        ]

    @property
    def people(self) -> list[str]:
        """The names of everybody whom a walk was compared with or who was recognised, in alphabetical order."""
        decisions = [walk.decision for walk in self.walks if walk.decision is not None]
        compared = {candidate.identity for decision in decisions for candidate in decision.candidates}
        return sorted(compared | set(self.identities))

    @property
    def distances(self) -> Distances:
        """The distance of each of `walks` to each of `people` (W, P); NaN where they were not compared."""
        column = {name: place for place, name in enumerate(self.people)}
        table = np.full((len(self.walks), len(column)), np.nan)
        for row, walk in enumerate(self.walks):
            for candidate in walk.decision.candidates if walk.decision else ():
                table[row, column[candidate.identity]] = candidate.distance
        return table

    @property
    def probabilities(self) -> Distances:
        """The probability of the name or nearest person of each walk (W,); NaN where it is not known."""
        return np.array([np.nan if w.probability is None else w.probability for w in self.walks], np.float64)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by step, and `total`, up to now."""
        return {step: round(seconds, 3) for step, seconds in self.run.watch.timings().items()}

    def report(self) -> Report:
        """Return the content of `results.json`."""
        return Report(
            gaitprint=app.__version__,
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            models={stage: ModelReport.of(card) for stage, card in self.run.stages.cards().items()},
            settings=_plain(asdict(self.run.settings)),
            timings=self.timings,
            gallery=self.gallery.report if self.gallery else None,
            probes=[named.report for named in self.probes],
            failures=list(self.failures),
        )

    def write(self) -> Path:
        """Write all files of the run under the output folder, and return the run's folder (`write_run`)."""
        return write_run(self)

    def paint(self, out: str | Path, video: str | None = None) -> Path:
        """Write a painted copy of a probe.

        Args:
            out: the MP4 file to be written.
            video: the name of the probe, where there are several.

        Raises:
            VideoError: there is no such probe, there are several and none is chosen, or the video cannot be read any
                more.
            OutputError: `out` cannot be written.
        """
        names = [named.video.name for named in self.probes]
        if video is None and len(names) != 1:
            raise VideoError(f"This result has {len(names)} videos: {', '.join(names)}. Choose one with video='NAME'.")
        if video is not None and video not in names:
            raise VideoError(f"There is no video '{video}' in this result. Its videos are: {', '.join(names)}.")
        probe = self.probes[names.index(video) if video is not None else 0]
        paint(probe, self.identities, Path(out), self.run)
        return Path(out)

    def to_json(self, out: str | Path) -> Path:
        """Write `results.json` to the file `out`, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(Path(out), to_json(self.report()))
        return Path(out)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row for each walk of the probes, as a pandas DataFrame.

        The columns are `DATAFRAME_COLUMNS`, of which ``start`` and ``end`` are in s.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needing("A DataFrame needs pandas, which is not installed. Install it with: pip install pandas."):
            import pandas
        frame = pandas.DataFrame([row for named in self.probes for row in rows("probe", named.report)])
        names = {"identity": "name", "start_s": "start", "end_s": "end"}
        return frame.rename(columns=names).reindex(columns=DATAFRAME_COLUMNS)

    def refuse_failures(self) -> None:
        """Report the probes that could not be used, when everything else is done.

        Raises:
            VideoError: there is such a probe.
        """
        refuse_videos([failure.reason for failure in self.failures])


def _plain(value: Any) -> Any:
    """Return settings in a form that JSON can hold: paths become strings."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return as_text(value) if isinstance(value, str | Path) else value
