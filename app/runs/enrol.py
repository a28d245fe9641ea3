"""Enrolment: from videos to the walks of people in a gallery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from app.errors import GaitprintError, GalleryError, NobodyFoundError, VideoError
from app.files import written_whole
from app.gallery.service import Enrolment, GalleryService
from app.gallery.store import NewWalk
from app.recognise.covisible import covisible, own_frames
from app.recognise.stature import Stature, statures_of
from app.results.portraits import contact_sheet, jpeg, portraits
from app.runs.videos import reasons_against, walks_of
from app.stages import BodyEstimator, Run
from app.types import GaitSequence, Measure, Track
from app.video.sources import distinct_names, is_clutter, videos_below
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.quality import picture_height
from app.workspace import SHEET, in_use

logger = logging.getLogger(__name__)

Choice: TypeAlias = Callable[[AnalysedVideo, Path], Sequence[int]]
"""Takes a video with several usable walks and the file with pictures of them. Returns the tracks of the person."""


@dataclass(frozen=True)
class EnrolOptions:
    """How people are enrolled.

    Args:
        consent: what the people agreed to, and how.
        tracks: which walks of a video to take; None for the only one.
        view: a note about the camera, for people to read.
        retain_days: after how many days the person is forgotten; None for no limit.
        keep_silhouettes: whether silhouettes are kept, so that other gait models can embed the walks later.
        thumbnails: whether the best picture of each walk is kept.
        alone: whether all walks of a video may be one person's, if no two of them are in view together.
    """

    consent: str
    tracks: Sequence[int] | None = None
    view: str = ""
    retain_days: int | None = None
    keep_silhouettes: bool = False
    thumbnails: bool = True
    alone: bool = False


def enrol_video(
    name: str,
    video: Path,
    gallery: GalleryService,
    run: Run,
    options: EnrolOptions,
) -> Enrolment:
    """Add the walk of a person in a video to the gallery; a new name makes a new person.

    Raises:
        VideoError: the video cannot be read.
        NobodyFoundError: no walk in it can be used.
        GalleryError: the video shows several walks and none is chosen, or see `GalleryService.add_walks`.
    """
    output = run.settings.output.folder
    gallery.store.need_writable()
    with in_use(output):
        analysed, failures = analyse_people({name: [video]}, run)
        enrolment, more = enrol_person(name, analysed[name], gallery, run, options)
    for failure in (*failures, *more):
        raise failure
    assert enrolment is not None  # because one video gives either an enrolment or an error
    return enrolment


def people_in(folder: Path) -> dict[str, list[Path]]:
    """Return the videos in and below each sub-folder by its name, which is the name of a person.

    Everything that is passed over is named in a warning.

    Raises:
        VideoError: `folder` is not a folder, or it has no sub-folder with videos.
    """
    if not folder.is_dir():
        raise VideoError(f"{folder} is not a folder.")
    people: dict[str, list[Path]] = {}
    for inner in sorted(folder.iterdir()):
        if is_clutter(inner):
            continue
        videos, others = videos_below(inner) if inner.is_dir() else ([], [inner])
        if videos:
            people[inner.name] = videos
        elif inner.is_dir():
            logger.warning("%s is left out: there is no video in it.", inner)
        for other in others:
            logger.warning("%s is passed over: its name is not that of a video.", other)
    if not people:
        raise VideoError(f"{folder} has no sub-folder with videos. Make one for each person: {folder}/NAME/VIDEO.")
    return people


def analyse_people(
    people: Mapping[str, Sequence[Path]], run: Run, *, fresh: bool = False
) -> tuple[dict[str, list[AnalysedVideo]], list[GaitprintError]]:
    """Analyse the videos of each person. Return them, and the errors of the videos that cannot be used."""
    owners = [(name, path) for name, paths in people.items() for path in paths]
    analysed: dict[str, list[AnalysedVideo]] = {name: [] for name in people}
    failures: list[GaitprintError] = []
    for (name, path), file_name in zip(owners, distinct_names([path for _, path in owners]), strict=True):
        try:
            analysed[name].append(walks_of(path, file_name, run, fresh=fresh))
        except (VideoError, NobodyFoundError) as error:
            failures.append(error)
    return analysed, failures


def enrol_person(
    name: str,
    videos: Sequence[AnalysedVideo],
    gallery: GalleryService,
    run: Run,
    options: EnrolOptions,
    choose: Choice | None = None,
) -> tuple[Enrolment | None, list[GaitprintError]]:
    """Enrol a person with the walks of the videos that `analyse_people` returned for them.

    Where a video shows several walks and `options` do not choose, `choose` does; without it, that is an error. Pictures
    of the walks to choose from are written into the cache of the run's output folder. Returns what was enrolled, if
    anything, and the errors of the videos and walks that could not be enrolled.
    """
    walks: list[NewWalk] = []
    failures: list[GaitprintError] = []
    for video in videos:
        try:
            tracks = options.tracks or _chosen(video, run.settings.output.folder, choose, options.alone)
            keep, view, thumbnails = options.keep_silhouettes, options.view, options.thumbnails
            walks += enrol_walks(video, tracks, keep, view=view, thumbnails=thumbnails, body=run.stages.body)
        except GaitprintError as error:
            failures.append(error)
    try:
        if walks:
            enrolment = gallery.add_walks(name, walks, consent=options.consent, retain_days=options.retain_days)
            return enrolment, failures
    except GalleryError as error:
        failures.append(error)
    return None, failures


def enrol_walks(
    analysed: AnalysedVideo,
    track_ids: Sequence[int] | None = None,
    keep_silhouettes: bool = False,
    *,
    view: str = "",
    thumbnails: bool = True,
    body: BodyEstimator | None = None,
) -> list[NewWalk]:
    """Return walks of a video in the form that a gallery takes; the other arguments are as in `EnrolOptions`.

    Args:
        analysed: the video, whose tracks were cut at identity switches (`split_switches`).
        track_ids: which walks to take; None for the only usable one.
        body: measures how the person walks, where the walk has keypoints; None for whoever fits no bodies.

    Raises:
        NobodyFoundError: no walk can be used.
        GalleryError: there are several walks and none is chosen, or a chosen one does not exist or cannot be used.
    """
    usable = {walk.track.track_id: walk for walk in analysed.usable()}
    video = analysed.info.path.name
    if not usable:
        raise NobodyFoundError(f"No walk in {video} can be used. {reasons_against(analysed)}.")
    if track_ids is None:
        if len(usable) > 1:
            raise GalleryError(f"{video} shows several walks: {listed(analysed)}. Choose with --track NUMBER.")
        track_ids = list(usable)
    for track_id in track_ids:
        if track_id not in usable:
            unusable = {walk.track.track_id: walk.reason for walk in analysed.walks}
            why = f"cannot be used ({unusable[track_id]})" if track_id in unusable else "does not exist"
            raise GalleryError(f"Track {track_id} of {video} {why}. Choose one of these: {listed(analysed)}.")
    walks = [usable[track_id] for track_id in dict.fromkeys(track_ids)]
    pictures = portraits(analysed, [walk.track for walk in walks]) if thumbnails else {}
    numbers = {walk.track.track_id for walk in walks} if keep_silhouettes or body is not None else set()
    statures = statures_of(analysed)
    kept = analysed.sequences() if numbers else ()  # only what is needed is read
    sequences = {walk.track.track_id: sequence for walk, sequence in kept if walk.track.track_id in numbers}
    return [
        NewWalk(
            walk.embedding,
            source=video,
            track_id=walk.track.track_id,
            view=view,
            seconds=seconds_of(walk.track, analysed),
            silhouettes=sequences.get(walk.track.track_id) if keep_silhouettes else None,
            thumbnail=jpeg(pictures[walk.track.track_id]) if thumbnails else None,
            measures=_measures(walk.track, statures.get(walk.track.track_id), sequences.get(walk.track.track_id), body),
        )
        for walk in walks
        if walk.embedding is not None
    ]


def _measures(
    track: Track, stature: Stature | None, sequence: GaitSequence | None, body: BodyEstimator | None
) -> tuple[Measure, ...]:
    """Return how tall the person is in the picture and beside others, and where a body can be fitted, how they walk."""
    heights = (picture_height(track.boxes), *([stature.measure()] if stature else []))
    if body is None or sequence is None or sequence.keypoints is None:
        return heights
    from app.body.measures import measures_of  # SciPy is slow to import

    (motion,) = body.fit([sequence])
    return (*heights, *measures_of(motion))


def seconds_of(track: Track, video: AnalysedVideo) -> float:
    """Return how long a track lasts, in s."""
    return float((track.frame_indices[-1] - track.frame_indices[0] + 1) / video.info.fps)


def span_of(track: Track, video: AnalysedVideo) -> str:
    """Return when a track begins and ends, for people to read."""
    fps = float(video.info.fps)
    return f"{track.frame_indices[0] / fps:.1f} to {(track.frame_indices[-1] + 1) / fps:.1f} s"


def listed(analysed: AnalysedVideo) -> str:
    """Return the usable walks of a video and when they are in view, for people to read."""
    tracks = [walk.track for walk in analysed.usable()]
    return ", ".join(f"track {track.track_id} ({span_of(track, analysed)})" for track in tracks)


def surely_one_person(walks: Sequence[AnalysedWalk]) -> bool:
    """Return whether no two walks are in view at the same time, so that all may be of one person."""
    return not covisible(own_frames([walk.track for walk in walks])).any()


def _chosen(video: AnalysedVideo, output: Path, choose: Choice | None, alone: bool) -> Sequence[int] | None:
    """Choose the walks of the person; None where the video has at most one usable walk.

    Raises:
        GalleryError: there are several walks and `choose` is None.
    """
    tracks = {walk.track.track_id: walk.track for walk in video.usable()}
    if len(tracks) < 2:
        return None
    if alone and surely_one_person(video.usable()):
        return list(tracks)
    sheet = output / "cache" / f"{video.name}{SHEET}"
    with written_whole(sheet) as temporary:
        captions = {number: [f"track {number}", span_of(track, video)] for number, track in tracks.items()}
        temporary.write_bytes(contact_sheet(portraits(video, list(tracks.values())), captions))
    if choose is not None:
        return choose(video, sheet)
    how = "enrol it without --folder, with --name NAME --track NUMBER" if alone else "choose with --track NUMBER"
    raise GalleryError(f"{video.info.path.name} shows several walks: {listed(video)}. Look at {sheet} and {how}.")
