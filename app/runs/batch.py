"""Naming the people of many videos by several processes: one `results.json` for each video, nothing painted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import GaitprintError, OutputError, SettingsError
from app.files import as_text, need_writable
from app.gallery.opening import Place, open_store
from app.gallery.sql import GalleryStore
from app.progress import Silent
from app.results.report import to_json
from app.runs.build import built
from app.runs.identify import identify
from app.runs.storage import need_storage, storage_at
from app.settings import Settings
from app.stages import Run, Stages
from app.video.sources import distinct_names
from app.workers import spread

_KEY = ".made-of"
"""The name of the file beside `results.json` which says what the results were made of."""


_DOUBTFUL = 3
"""So many videos one after the other that fail let the storage of the results be tried again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a video: the place of its results, whether they were there already, and why there are none.

    `folder` is a folder, or the address of one in a shared storage.
    """

    video: Path
    folder: Path | str
    was_there: bool = False
    reason: str | None = None


def name_batch(
    videos: Sequence[Path],
    gallery: Place,
    settings: Settings,
    *,
    workers: int = 1,
    cluster: str | None = None,
    results: str | None = None,
    fresh: bool = False,
) -> Iterator[Outcome]:
    """Name the walkers of each video after the people of a gallery, and yield what became of each.

    Results lie in ``<output folder>/batch/<video>/results.json``; those of the same video, settings, models and people
    are not made again. What was found in a video is in the output folder's cache, as for every run.

    Args:
        videos: the videos; each is named by itself.
        gallery: the gallery's file or address, which every worker opens.
        results: where results go in place of ``<output folder>/batch``: another folder, or an address that fsspec
            knows, such as ``s3://bucket/folder``. What was found in a video stays in the output folder's cache.
        cluster: the address of a cluster that does the work instead, see `app.workers.on_cluster`. Its machines must
            see the videos, the gallery and the output folder under the same paths.

    Raises:
        MissingExtraError: a cluster or an address is named, and its package is not installed.
        OutputError: results cannot go to this folder or address, or not any more.
        SettingsError: `results` is neither.
        GaitprintError: a worker was killed, or the cluster cannot be reached. Done work is kept; call it again.
    """
    names = distinct_names(videos)
    is_address = results is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", results) is not None  # not C:
    if results is not None and (not results or (is_address and not re.search("://.", results))):
        raise SettingsError(
            f"Results cannot go to '{results}'. Give a folder, or an address such as s3://BUCKET/FOLDER."
        )
    folder = Path(results) if results is not None else settings.output.folder / "batch"
    if cluster is not None:  # its workers have working folders of their own
        videos, folder = [video.absolute() for video in videos], folder.absolute()
        gallery = gallery.absolute() if isinstance(gallery, Path) else gallery
        settings = settings.anchored()
    if is_address:  # before the long work
        need_storage(str(results))
    else:
        need_writable(folder / _KEY)
    places = [f"{str(results).rstrip('/')}/{name}" if is_address else folder / name for name in names]
    todo = [(video, place, gallery, settings, fresh) for video, place in zip(videos, places, strict=True)]
    failed = 0
    for outcome in spread(_name, todo, workers, cluster):
        yield outcome
        failed = failed + 1 if outcome.reason is not None else 0
        if is_address and failed >= _DOUBTFUL:
            failed = 0
            try:
                need_storage(str(results))
            except OutputError as error:
                raise OutputError(
                    f"{error} No more videos are looked at. What is done is kept: run the command again to go on."
                ) from error


def _name(video: Path, folder: Path | str, gallery: Place, settings: Settings, fresh: bool) -> Outcome:
    storage = storage_at(folder)
    try:
        stages = built(settings)
        with open_store(gallery, create=False) as store:
            key = _key(video, store, stages)
            if not fresh and storage.read(_KEY) == key and storage.read("results.json") is not None:
                return Outcome(video, folder, was_there=True)
            storage.remove(_KEY)  # until the new results are there, they are of something else
            report = identify([video], store, Run(stages, Silent()), fresh=fresh).report()
        for name, text in (("results.json", to_json(report)), (_KEY, key)):
            storage.write(name, text)
    except GaitprintError as error:
        return Outcome(video, folder, reason=as_text(error))
    return Outcome(video, folder)


def _key(video: Path, store: GalleryStore, stages: Stages) -> str:
    """Return a text that is the same as long as the results would be."""
    file = video.stat() if video.exists() else None
    cards = (stages.detector.card, stages.segmenter.card, stages.gait.card)
    made_of = {
        "video": [as_text(video.absolute()), *([file.st_size, file.st_mtime_ns] if file is not None else [])],
        "settings": asdict(stages.settings.anchored()),
        "models": [card.model_id for card in cards],
        "people": [(person.person_id, person.name) for person in store.people()],
        "walks": [(walk.walk_id, walk.person_id, walk.model_id) for walk in store.walks()],
    }
    return hashlib.sha256(json.dumps(made_of, default=str, sort_keys=True).encode()).hexdigest()
