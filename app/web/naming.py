"""The walks of a finished run, named after the gallery as it is now, from what the run has kept. No video is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from app.gallery.sql import GalleryStore
from app.gallery.store import NewWalk
from app.recognise.identities import gallery_of
from app.recognise.judge import Judge, Learnt, Scene
from app.recognise.stature import statures_of
from app.results.report import CandidateReport, ModelReport, Report, TrackReport, VideoReport, video_report
from app.settings import MatchSettings
from app.types import ModelCard, Track, VideoInfo
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.web.outcome import Outcome, StoredWalks


def name_again(
    report: Report,
    folder: Path,
    outcome: Outcome,
    gallery: GalleryStore,
    match: MatchSettings,
    learnt: Callable[[ModelCard], Learnt] | None = None,
) -> Report:
    """Return what `results.json` would say if the run had been made with the gallery as it is now.

    `report` is what it says, and `folder` the result folder. `learnt` returns what a judge learns from this gallery for
    a gait model, where others need it too.

    Raises:
        GalleryError: nobody in the gallery can be compared with these walks.
        WebError: what the run has kept is damaged.
    """
    videos = [
        _kept(video, StoredWalks(folder, seen.name)) for video, seen in zip(report.probes, outcome.videos, strict=True)
    ]
    card = _card(report.models["gait"])
    judge = Judge.of(gallery, card, match, videos, learnt=learnt(card) if learnt is not None else None)
    probes = []
    for before, video in zip(report.probes, videos, strict=True):
        scene = Scene.of(video)
        # Without the warnings, which the run has given.
        decisions = judge.decide(scene.embeddings, scene.tracks, statures=statures_of(video))
        named = {track.track_id: decision for track, decision in zip(scene.tracks, decisions, strict=True)}
        probes.append(before.model_copy(update={"tracks": video_report(video, named).tracks}))
    return report.model_copy(update={"probes": probes})


def compare_again(
    report: Report, folder: Path, outcome: Outcome, denied: Mapping[str, Sequence[str]], match: MatchSettings
) -> Report:
    """Return what `results.json` would say if it had been known who of the run's gallery video some tracks are not.

    `denied` are names in the gallery video, by ``video/track`` (`app.web.jobs.Job`). The threshold is that of the run.

    Raises:
        WebError: what the run has kept is damaged.
    """
    assert report.gallery is not None
    compared = next((track for video in report.probes for track in video.tracks if track.candidates), None)
    if compared is not None:
        match = replace(match, threshold=compared.threshold, closed=compared.threshold is None)
    home = _kept(report.gallery, StoredWalks(folder, outcome.videos[0].name))
    names = {track.track_id: track.identity for track in report.gallery.tracks if track.identity is not None}
    with closing(gallery_of(home, names)) as people:
        for key, others in denied.items():
            place, track_id = map(int, key.split("/"))
            embedding = StoredWalks(folder, outcome.videos[place].name).embedding(track_id)
            for other in set(others) & set(names.values()):
                if embedding is not None:
                    people.deny(NewWalk(embedding, report.probes[place - 1].name, track_id), other)
        return name_again(report, folder, outcome.model_copy(update={"videos": outcome.videos[1:]}), people, match)


def name_as_said(report: Report, names: Mapping[str, str], said: Mapping[tuple[int, int], str]) -> Report:
    """Return what `results.json` would say if the people of the run's gallery video had had their names.

    The people have numbers in `report`; `names` are by what the run calls them, and `said` is whose walk a track is, by
    the place of its video, where 0 is the gallery video, and by its id. The distances, and what follows from them, stay
    those of the run, but for walks of which somebody said whose they are: there is nothing to recognise in these.
    """
    probes = [_as_said(video, place, names, said) for place, video in enumerate(report.probes, 1)]
    gallery = report.gallery and _as_said(report.gallery, 0, names, said)
    return report.model_copy(update={"gallery": gallery, "probes": probes})


def _as_said(
    video: VideoReport, place: int, names: Mapping[str, str], said: Mapping[tuple[int, int], str]
) -> VideoReport:
    tracks = [_track_as_said(track, place, names, said.get((place, track.track_id))) for track in video.tracks]
    return video.model_copy(update={"tracks": tracks})


def _track_as_said(track: TrackReport, place: int, names: Mapping[str, str], owner: str | None) -> TrackReport:
    near: dict[str, CandidateReport] = {}
    for candidate in track.candidates:  # one person may have several numbers, of which the nearest counts
        name = names.get(candidate.identity, candidate.identity)
        near.setdefault(name, CandidateReport(identity=name, distance=candidate.distance))
    changes: dict[str, object] = {"candidates": list(near.values())}
    if track.identity is not None:
        changes["identity"] = names.get(track.identity, track.identity)
    if owner is not None:
        changes |= {"identity": owner, "status": "identified", "reason": None}
    if owner is not None and place:
        figures = ("confidence", "probability", "margin", "pieces", "agreeing")
        distance = near[owner].distance if owner in near else None
        changes |= dict.fromkeys(figures) | {"distance": distance, "same_recording": True}
    return track.model_copy(update=changes)


def page_again(report: Report, folder: Path, outcome: Outcome, gallery: GalleryStore, names: Mapping[str, str]) -> str:
    """Return `report.html` of a run that was named again (`name_again`, `name_as_said`), with portraits from the
    gallery.

    `names` are those of people, by what the run calls them.
    """
    from app.results.page import page  # late, as naming needs no page
    from app.results.pictures import pictures_of
    from app.results.view import ShownVideo

    videos = [*([report.gallery] if report.gallery else []), *report.probes]
    shown = []
    for video, seen in zip(videos, outcome.videos, strict=True):
        stored, crops = StoredWalks(folder, seen.name), folder / "run" / "crops" / seen.name
        tracks = {track.track_id: stored.sequence(track.track_id, video.fps) for track in video.tracks}
        pictures = pictures_of(crops, tracks)
        poster = crops / "video.jpg"  # an earlier version made none
        shown.append(
            ShownVideo(
                video, folder / "run" / seen.painted, pictures, poster.read_bytes() if poster.is_file() else None
            )
        )
    named = {track.identity for video in videos for track in video.tracks if track.identity is not None}
    before = [names.get(each.name, each.name) for each in outcome.identities if each.colour is not None]
    identities = [*before, *sorted(named - set(before))]
    enrolled = {person.name for person in gallery.people()}
    portraits = {
        name: picture for name in identities if name in enrolled and (picture := gallery.thumbnail(name)) is not None
    }
    return page(report, shown.pop(0) if report.gallery else None, shown, identities, portraits)


def _kept(video: VideoReport, stored: StoredWalks) -> AnalysedVideo:
    """Return a video with the walks that a run has kept of it."""
    info = VideoInfo(Path(video.video), video.width, video.height, Fraction(video.fps).limit_denominator(1001))
    walks = tuple(_walk(track, stored) for track in video.tracks)
    return AnalysedVideo(video.name, info, video.frame_count, tuple(video.warnings), walks, Path())


def _walk(track: TrackReport, stored: StoredWalks) -> AnalysedWalk:
    usable = track.status != "unusable"
    seen = Track(
        track.track_id,
        np.array(track.frames),
        np.array(track.boxes, np.float32),
        np.ones(len(track.frames), np.float32),  # results do not have the scores of detections, and none is needed here
    )
    embedding = stored.embedding(track.track_id) if usable else None
    reason = None if usable else track.reason
    return AnalysedWalk(seen, embedding, reason, Path(), track.part_of)


def _card(model: ModelReport) -> ModelCard:
    file = Path(model.file) if model.file else None
    return ModelCard("gait", model.name, model.origin, model.licence, file, model.sha256, model.runtime, model.note)
