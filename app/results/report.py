"""`results.json`: the public contract of a run, as data models from which its JSON schema is made.

`app/results/results.schema.json` is that schema as a file, and a test keeps the two the same. A change that breaks
readers raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.files import as_text
from app.recognise.judge import Decision
from app.recognise.matching import Agreement
from app.recognise.stature import Stature, statures_of
from app.spreadsheets import cell
from app.types import ModelCard, Status, Sureness
from app.walks.analysed import AnalysedVideo, AnalysedWalk

SCHEMA_VERSION: Literal[1] = 1

Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in px")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CandidateReport(_Model):
    """A gallery identity and its distance to the walk."""

    identity: str
    distance: float


class StatureReport(_Model):
    """How tall somebody is beside the others of the video (`app.recognise.stature`)."""

    percent: float = Field(description="by how much the person is taller than an average adult, in %")
    error: float = Field(ge=0, description="the standard error of `percent`")
    others: int = Field(ge=1, description="how many other people of the video it was measured by")


class TrackReport(_Model):
    """One person followed through one video."""

    track_id: int = Field(ge=1)
    frames: list[int] = Field(
        description="frames in which the track was seen, of those that were looked at, numbered by time: number / fps "
        "is the time in s; between them, the painted boxes move on a straight line"
    )
    boxes: list[Box] = Field(description="one for each of `frames`")
    status: Status
    identity: str | None
    confidence: float | None = Field(
        default=None, ge=0, le=1, description="how clear the decision is; not a calibrated probability"
    )
    distance: float | None = Field(description="to `identity`, or to the nearest candidate of an unknown walk")
    threshold: float | None = Field(
        description="largest distance that counts as the same person; null in a closed set and where nothing was "
        "compared"
    )
    probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="calibrated probability that the walk is that of `identity`, or of the nearest candidate of "
        "an unknown walk; null where it is not known what distances mean here",
    )
    margin: float | None = Field(
        default=None,
        description="how much further the next candidate is than `distance`; negative if that one is nearer",
    )
    pieces: int | None = Field(
        default=None,
        ge=2,
        description="number of pieces in which the gait model saw the walk; null where it saw the whole walk at once "
        "or there is only one candidate",
    )
    agreeing: int | None = Field(
        default=None,
        ge=0,
        description="number of `pieces` that are by themselves nearest to `identity`, or to the nearest candidate of "
        "an unknown walk",
    )
    part_of: int | None = Field(
        default=None,
        ge=1,
        description="the track that this one was cut from, because it shows another person; null for whole tracks",
    )
    stature: StatureReport | None = Field(
        default=None, description="null where the others of the video do not tell how tall the person is"
    )
    same_recording: bool = Field(
        default=False,
        description="whether the gallery has this very recording, so that nothing was recognised and there is no "
        "probability",
    )
    reason: str | None = Field(description="why there is no identity")
    candidates: list[CandidateReport] = Field(description="by rising distance")

    @property
    def agreement(self) -> Agreement | None:
        """How many of the pieces agree; None where there are no pieces."""
        return None if self.pieces is None or self.agreeing is None else Agreement(self.agreeing, self.pieces)

    @property
    def sureness(self) -> Sureness:
        """How sure `identity` is. For an unknown walk it says how probable the nearest candidate is."""
        if self.same_recording:
            return Sureness("same recording", False)
        return Sureness.of(self.probability, self.confidence)


class VideoReport(_Model):
    """What a run found in one video."""

    video: str = Field(description="path as given")
    name: str = Field(description="name of the video in this run, which no other video has; file names begin with it")
    width: int = Field(description="px, after rotation")
    height: int = Field(description="px, after rotation")
    fps: float
    frame_count: int = Field(description="length in frames at this rate; fewer were decoded if some are missing")
    warnings: list[str] = []
    tracks: list[TrackReport]


class FailureReport(_Model):
    """A video that could not be used."""

    video: str = Field(description="path as given")
    reason: str


class ModelReport(_Model):
    """Which model a stage used."""

    name: str
    model_id: str
    origin: Literal["given", "found", "embedded", "weight-free"]
    file: str | None
    sha256: str | None
    licence: str
    runtime: str
    note: str

    @classmethod
    def of(cls, card: ModelCard) -> ModelReport:
        """Return the report about a stage with this card."""
        return cls(
            name=card.name,
            model_id=card.model_id,
            origin=card.origin,
            file=as_text(card.file) if card.file else None,
            sha256=card.sha256,
            licence=card.licence,
            runtime=card.runtime,
            note="; ".join(filter(None, (card.note, card.reason and f"used because {card.reason}"))),
        )


class Report(_Model):
    """The content of `results.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    gaitprint: str = Field(description="version of the program")
    created: str = Field(description="local time, ISO 8601")
    models: dict[str, ModelReport]
    settings: dict[str, Any]
    timings: dict[str, float] = Field(description="seconds by step, and `total`")
    gallery: VideoReport | None = Field(
        description="the gallery video; null where people were named after a gallery file"
    )
    probes: list[VideoReport]
    failures: list[FailureReport] = Field(default=[], description="probes that could not be used, and why")

    @property
    def rule(self) -> str:
        """When a walk gets a name, for people to read; empty where nobody was compared."""
        compared = [track for probe in self.probes for track in probe.tracks if track.candidates]
        if not compared:
            return ""
        if compared[0].threshold is None:
            return (
                "Closed set: everybody in the probe is taken to be in the gallery. There is no threshold. Each walk "
                "has the best name; two people in view at the same time have the same one only where nobody else is "
                "left for one of them."
            )
        return f"Threshold: {compared[0].threshold:#.3g}. A walk that is further than this from everybody is unknown."


def video_report(video: AnalysedVideo, decisions: Mapping[int, Decision]) -> VideoReport:
    """Return what `results.json` says about a video, given the decision about each usable walk, by track number."""
    statures = statures_of(video)
    doubts = {decision.match.unproven: None for decision in decisions.values() if decision.match}
    return VideoReport(
        video=as_text(video.info.path),
        name=video.name,
        width=video.info.width,
        height=video.info.height,
        fps=float(video.info.fps),
        frame_count=video.frame_count,
        warnings=[as_text(warning) for warning in (*video.warnings, *filter(None, doubts))],
        tracks=[
            _track_report(walk, decisions.get(walk.track.track_id), statures.get(walk.track.track_id))
            for walk in video.walks
        ],
    )


def _track_report(walk: AnalysedWalk, decision: Decision | None, stature: Stature | None) -> TrackReport:
    found = decision or Decision(None)
    votes = found.agreement
    return TrackReport(
        track_id=walk.track.track_id,
        frames=walk.track.frame_indices.tolist(),
        boxes=walk.track.boxes.astype(np.float64).round(2).tolist(),
        status="unusable" if decision is None else "identified" if found.identity else "unknown",
        identity=found.identity,
        confidence=_rounded(found.confidence),
        distance=found.distance,
        threshold=found.threshold,
        probability=_rounded(found.probability),
        margin=found.margin,
        pieces=votes.pieces if votes else None,
        agreeing=votes.agreeing if votes else None,
        part_of=walk.part_of,
        stature=StatureReport(percent=round(stature.percent, 2), error=round(stature.error, 2), others=stature.others)
        if stature
        else None,
        same_recording=found.recording_of is not None,
        reason=walk.reason or found.reason,
        candidates=[CandidateReport(identity=c.identity, distance=c.distance) for c in found.candidates],
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `results.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Report.model_json_schema(mode="serialization")


def to_json(report: Report) -> str:
    """Return the report as JSON, on one line."""
    return json.dumps(report.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")) + "\n"


CSV_COLUMNS = (
    *("video", "role", "track_id", "status", "identity", "confidence", "distance", "threshold"),
    *("first_frame", "last_frame", "start_s", "end_s", "frames", "reason", "probability", "margin"),
    *("pieces", "agreeing", "path", "same_recording", "stature_percent", "stature_error"),
)


def rows(role: Literal["gallery", "probe"], video: VideoReport) -> Iterator[dict[str, Any]]:
    """Yield a row with `CSV_COLUMNS` for each track of a video, which is of the gallery or a probe."""
    for track in video.tracks:
        first, last = track.frames[0], track.frames[-1]
        yield {
            **track.model_dump(exclude={"boxes", "candidates", "part_of", "stature"}),
            "stature_percent": track.stature and track.stature.percent,
            "stature_error": track.stature and track.stature.error,
            "video": video.name,
            "role": role,
            "path": video.video,
            "first_frame": first,
            "last_frame": last,
            "start_s": first / video.fps,
            "end_s": (last + 1) / video.fps,
            "frames": len(track.frames),
        }


def to_csv(report: Report) -> str:
    """Return the content of `results.csv`: one row for each track of each video, with four decimals.

    A text that spreadsheets would take for a formula, such as the name ``=1+1``, gets a ``'`` in front.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    gallery = rows("gallery", report.gallery) if report.gallery else ()
    for row in (*gallery, *(row for probe in report.probes for row in rows("probe", probe))):
        writer.writerow(
            {name: f"{value:.4f}" if isinstance(value, float) else cell(value) for name, value in row.items()}
        )
    return buffer.getvalue()
