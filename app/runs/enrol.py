"""From videos to walks that a gallery takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.errors import GalleryError, NobodyFoundError
from app.gallery.distances import Metric
from app.gallery.store import GalleryStore, NewWalk
from app.recognise.covisible import covisible
from app.results.portraits import jpeg, portraits
from app.types import GaitSequence, Track
from app.walks.analyse import AnalysedVideo, AnalysedWalk
from app.walks.archive import read_walks

_SAME_WALK = 1e-4
"""Distance, relative to the size of the embedding, below which two walks are one and the same recording."""


def enrol_walks(
    analysed: AnalysedVideo,
    track_ids: Sequence[int] | None = None,
    keep_silhouettes: bool = False,
    *,
    view: str = "",
    thumbnails: bool = True,
) -> list[NewWalk]:
    """Return walks of a video as a gallery takes them, the video best passed through `split_switches` before.

    Args:
        analysed: the video.
        track_ids: which; None for the only usable one.
        keep_silhouettes: whether the silhouettes are kept too, which other gait models would need.
        view: what is known of the camera, for people to read.
        thumbnails: whether the best picture of the person is kept.

    Raises:
        NobodyFoundError: no walk can be used.
        GalleryError: none is chosen though there are several, or one that is chosen is not there or cannot be used.
    """
    usable = {walk.track.track_id: walk for walk in analysed.usable()}
    video = analysed.info.path.name
    if not usable:
        reasons = "; ".join(f"track {walk.track.track_id}: {walk.reason}" for walk in analysed.walks[:8])
        raise NobodyFoundError(f"No walk in {video} can be used. {reasons}.")
    if track_ids is None:
        if len(usable) > 1:
            raise GalleryError(f"{video} shows several walks: {listed(analysed)}. Choose with --track NUMBER.")
        track_ids = list(usable)
    for track_id in track_ids:
        if track_id not in usable:
            unusable = {walk.track.track_id: walk.reason for walk in analysed.walks}
            why = f"cannot be used ({unusable[track_id]})" if track_id in unusable else "is not there"
            raise GalleryError(f"Track {track_id} of {video} {why}. Its usable walks: {listed(analysed)}.")
    chosen = [usable[track_id] for track_id in dict.fromkeys(track_ids)]
    pictures = portraits(analysed, [walk.track for walk in chosen]) if thumbnails else {}
    sequences = _sequences(analysed, chosen) if keep_silhouettes else {}
    return [
        NewWalk(
            walk.embedding,
            source=video,
            track_id=walk.track.track_id,
            view=view,
            seconds=seconds_of(walk.track, analysed),
            silhouettes=sequences.get(walk.track.track_id),
            thumbnail=jpeg(pictures[walk.track.track_id]) if thumbnails else None,
        )
        for walk in chosen
        if walk.embedding is not None
    ]


def seconds_of(track: Track, video: AnalysedVideo) -> float:
    """How long a track lasts, s."""
    return float((track.frame_indices[-1] - track.frame_indices[0] + 1) / video.info.fps)


def listed(analysed: AnalysedVideo) -> str:
    """Say which usable walks a video has, and when."""
    fps = float(analysed.info.fps)
    return ", ".join(
        f"track {walk.track.track_id} ({walk.track.frame_indices[0] / fps:.1f} to "
        f"{(walk.track.frame_indices[-1] + 1) / fps:.1f} s)"
        for walk in analysed.usable()
    )


def _sequences(analysed: AnalysedVideo, chosen: Sequence[AnalysedWalk]) -> dict[int, GaitSequence]:
    """The silhouettes of walks, from the archive, by track id."""
    wanted: dict[int, list[Track]] = {}
    for walk in chosen:
        wanted.setdefault(walk.part_of or walk.track.track_id, []).append(walk.track)
    found = {}
    for archived in read_walks(analysed.archive):
        for track in wanted.get(archived.track.track_id, []):
            assert archived.sequence is not None
            indices = archived.sequence.frame_indices
            inside = (indices >= track.frame_indices[0]) & (indices <= track.frame_indices[-1])
            found[track.track_id] = archived.sequence.part(inside)
    return found


def already_enrolled(walk: NewWalk, gallery: GalleryStore, metric: Metric = "euclidean") -> tuple[str, int] | None:
    """Return who has this very walk already, and its number there; None for a new one."""
    if walk.embedding.model_id not in gallery.model_ids():
        return None
    ((nearest, *_),) = gallery.search([walk.embedding], 1, metric)
    size = float(np.linalg.norm(walk.embedding.parts, axis=1).mean()) if metric == "euclidean" else 1.0
    if nearest.distance > _SAME_WALK * size:
        return None
    return next(person.name for person in gallery.people() if person.person_id == nearest.person_id), nearest.walk_id


def surely_one_person(walks: Sequence[AnalysedWalk]) -> bool:
    """Whether nobody is seen together with anybody, so that all walks may be those of one person."""
    return not covisible([walk.track.frame_indices for walk in walks]).any()
