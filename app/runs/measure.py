"""Measures of gait for walks that are in the gallery already: from what is still kept of them, or from their videos."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.body.measures import measures_of
from app.body.view import ELEVATION
from app.errors import GaitprintError, GalleryError
from app.gait.embeddings import embed
from app.gallery.distances import distances_between, is_same_recording
from app.gallery.service import GalleryService
from app.gallery.store import EnrolledWalk
from app.recognise.stature import STATURE, Stature, statures_of
from app.runs.videos import walks_of
from app.stages import Run
from app.types import Embedding, GaitSequence, Track
from app.walks import archive
from app.walks.kept import KeptBodies
from app.walks.quality import picture_height
from app.walks.sequences import batched
from app.workspace import in_use

logger = logging.getLogger(__name__)

_ARCHIVES = f"{'?' * 32}.zip"
_AT_ONCE = 8  # walks of an archive that are embedded together


@dataclass(frozen=True)
class Measured:
    """The ids of the walks that were measured, and for each other walk without measures why it was not."""

    done: tuple[int, ...]
    lacking: Mapping[int, str]


def measure_walks(
    gallery: GalleryService, run: Run, videos: Iterable[Path], name: str | None = None, *, fresh: bool = False
) -> Measured:
    """Fit bodies to walks of the gallery that have no measures of gait, and note the measures with them.

    What is needed of a walk is looked for in the gallery itself (silhouettes with keypoints), then in what earlier runs
    have left in the caches of the gallery's folders, then in the videos. A walk there is the one in the gallery only if
    the gait network gives it the same embedding, whatever it is called.

    Args:
        run: the models, with a body estimator (`body.show`), and where progress is shown.
        videos: where walks may come from. A video is looked at only if a walk comes from one of that name.
        name: whose walks; None: everybody's.

    Raises:
        GalleryError: nobody has that name.
        OutputError: the cache cannot be written.
    """
    work = _Measuring(gallery, run, gallery.walks(name))
    cache = run.settings.output.folder / "cache"
    with in_use(run.settings.output.folder):
        if isinstance(run.stages.body, KeptBodies):
            run.stages.body.keep(cache, fresh=fresh)
        work.from_gallery()
        if not fresh:
            work.from_archives([cache, *(folder / "cache" for folder in gallery.folders)])
        work.from_videos(videos, fresh)
    return Measured(tuple(work.done), {walk.walk_id: work.reason(walk) for walk in work.open.values()})


class _Measuring:
    """The walks of a gallery that have to be measured, `open`, and those that were, `done`."""

    def __init__(self, gallery: GalleryService, run: Run, walks: Sequence[EnrolledWalk]) -> None:
        self._gallery, self._run = gallery, run
        self.open = {walk.walk_id: walk for walk in walks if all(one.name != ELEVATION for one in walk.measures)}
        self.done: list[int] = []
        self._failures: dict[str, str] = {}
        self._model_id = run.stages.gait.card.model_id

    def from_gallery(self) -> None:
        """Measure the walks whose silhouettes were kept with keypoints."""
        kept = [walk for walk in self.open.values() if walk.has_silhouettes]
        with self._run.progress.stage("walks with silhouettes", len(kept)) as advance:
            for walk in kept:
                sequence = self._gallery.store.silhouettes(walk.walk_id)
                if sequence is not None and sequence.keypoints is not None:
                    self._measure(walk, sequence)
                advance(1)

    def from_archives(self, caches: Iterable[Path]) -> None:
        """Measure walks that earlier runs have left in archives, with keypoints."""
        if not any(walk.model_id == self._model_id for walk in self.open.values()):
            return
        places = dict.fromkeys(cache.absolute() for cache in caches)
        paths = [path for place in places for path in sorted(place.glob(_ARCHIVES))]
        with self._run.progress.stage("walks of earlier runs", len(paths)) as advance:
            for path in paths:
                if archive.read_ending(path) is not None:
                    for group in batched(self._archived(path), _AT_ONCE):
                        embeddings = embed(self._run.stages.gait, [sequence for _, sequence in group])
                        for (track, sequence), embedding in zip(group, embeddings, strict=True):
                            self._measure_same(embedding, track, sequence)
                advance(1)

    def _archived(self, path: Path) -> Iterator[tuple[Track, GaitSequence]]:
        """Yield the walks of an archive that have what the gait model and the body estimator need."""
        card = self._run.stages.gait.card
        for walk in archive.read_walks(path):
            found = walk.sequence
            if walk.reason is not None or found is None or found.keypoints is None:
                continue
            if (found.parts is not None or not card.parts) and (found.pictures is not None or not card.pictures):
                yield walk.track, found

    def from_videos(self, videos: Iterable[Path], fresh: bool) -> None:
        """Measure walks of videos that are still there."""
        for path in videos:
            if not any(walk.source == path.name and walk.model_id == self._model_id for walk in self.open.values()):
                continue
            try:
                analysed = walks_of(path, path.name, self._run, fresh=fresh)
            except GaitprintError as error:
                self._failures[path.name] = str(error)
                continue
            statures = statures_of(analysed)
            for walk, sequence in analysed.sequences():
                if walk.embedding is not None and sequence is not None:
                    stature = statures.get(walk.track.track_id)
                    self._measure_same(walk.embedding, walk.track, sequence, stature)
            self._failures.setdefault(path.name, f"no walk in {path} is the one that was enrolled")

    def _measure_same(
        self, embedding: Embedding, track: Track, sequence: GaitSequence, stature: Stature | None = None
    ) -> None:
        """Measure the walk of the gallery that has this embedding, if there is one.

        How tall the person is beside others stays as it is where nothing new is known of it.
        """
        ids = [walk.walk_id for walk in self.open.values() if walk.model_id == embedding.model_id]
        if not ids:
            return
        distances = distances_between([embedding], self._gallery.store.embeddings(ids))[0]
        nearest = int(np.argmin(distances))
        if is_same_recording(float(distances[nearest]), embedding, "euclidean"):
            walk = self.open[ids[nearest]]
            known = stature.measure() if stature else next((m for m in walk.measures if m.name == STATURE), None)
            heights = (picture_height(track.boxes), *([known] if known else []))
            self._measure(replace(walk, measures=heights), sequence)

    def _measure(self, walk: EnrolledWalk, sequence: GaitSequence) -> None:
        assert self._run.stages.body is not None
        (motion,) = self._run.stages.body.fit([sequence])
        try:
            self._gallery.set_measures(walk.walk_id, [*walk.measures, *measures_of(motion)])
            self.done.append(walk.walk_id)
        except GalleryError as error:  # another program has removed it
            logger.info("%s", error)
        del self.open[walk.walk_id]

    def reason(self, walk: EnrolledWalk) -> str:
        """Return why a walk could not be measured."""
        if walk.model_id != self._model_id:
            return (
                f"it was embedded with {walk.model_id}, and the gait model of this run is {self._model_id}, so nobody "
                "can tell which walk of its video it is"
            )
        missing = f"nothing kept of it has keypoints, and no video that was given is called {walk.source}"
        return self._failures.get(walk.source, missing)
