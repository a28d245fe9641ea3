"""The interface that people import: a gallery, walks and results in a few lines of Python, as `app` shows them.

It runs what the command line runs, with the same settings, so it gives the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from app.errors import GalleryError, VideoError
from app.files import expanded
from app.gallery.opening import Place, is_address, open_store, open_strangers
from app.gallery.service import Enrolment, GalleryService
from app.gallery.sql import GalleryStore
from app.progress import Progress, Silent
from app.results.result import Result
from app.runs.build import built
from app.runs.compare import compare
from app.runs.enrol import EnrolOptions, enrol_video
from app.runs.identify import identify as identify_videos
from app.runs.videos import walks_of
from app.settings import Settings
from app.stages import Run
from app.video.sources import check_headers, distinct_names, find_video, find_videos
from app.walks.analysed import AnalysedWalk

_SQLITE = b"SQLite format 3\0"
SettingsLike: TypeAlias = "Settings | Mapping[str, Any] | None"
"""Settings, or only those that differ from the defaults, such as ``{"match.far": 0.01}``. None means the defaults."""


class Gallery(GalleryService):
    """People who agreed to be recognised, kept in one file or in PostgreSQL. Made by `open_gallery`; a context manager.

    Forgetting somebody also clears the caches of the output folder, because those may hold silhouettes of the person.
    Every method raises `GalleryError` for a name or walk that does not exist and for a file that cannot be used.
    """

    def __init__(self, store: GalleryStore, settings: Settings, strangers: GalleryStore | None = None) -> None:
        super().__init__(store, [settings.output.folder], settings.match.metric, strangers=strangers)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.people())

    def enrol(
        self,
        name: str,
        video: str | Path,
        *,
        consent: str,
        track: int | Sequence[int] | None = None,
        view: str = "",
        retain_days: int | None = None,
        keep_silhouettes: bool = False,
        thumbnail: bool = True,
        progress: Progress | None = None,
    ) -> Enrolment:
        """Add the walk of a person in a video.

        Args:
            name: the person. A new name makes a new person.
            video: a path, or a name in ``input_videos/``.
            consent: what the person agreed to, and how.
            track: the person's walk, where the video shows several. Without it, the error lists the walks.
            view: a note about the camera, for people to read.
            retain_days: after how many days the person is forgotten; None for no limit.
            keep_silhouettes: whether silhouettes are kept, so that other gait models can embed the walk later.
            thumbnail: whether the best picture of the person is kept.
            progress: where progress is shown.

        Raises:
            VideoError: the video cannot be read.
            NobodyFoundError: no walk in it can be used.
            GalleryError: the video shows several walks and none is chosen, there is no consent, or the walk belongs to
                somebody else.
        """
        tracks = [track] if isinstance(track, int) else track
        options = EnrolOptions(consent, tracks, view, retain_days, keep_silhouettes, thumbnail)
        run = Run(built(self.settings), progress or Silent())
        return enrol_video(name, find_video(str(video)), self, run, options)


def open_gallery(place: Place, settings: SettingsLike = None) -> Gallery:
    """Open a gallery of named people, or make a new one. People whose time is over are forgotten.

    Args:
        place: its file, or the address of a PostgreSQL database: ``postgresql://user@host/database``.
        settings: how videos are analysed and walks compared.

    Raises:
        GalleryError: it is not a gallery or cannot be used.
        SettingsError: a setting is unknown, or its value cannot be used.
    """
    gallery = Gallery(open_store(place), _settings(settings), open_strangers(place))
    gallery.expire()
    return gallery


def analyse(
    video: str | Path,
    settings: SettingsLike = None,
    *,
    keypoints: bool = True,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[AnalysedWalk]:
    """Find everybody who walks in a video.

    Args:
        video: a path, or a name in ``input_videos/``.
        settings: how the video is analysed.
        keypoints: whether the pose network finds everybody's joints too.
        fresh: whether to ignore what an earlier run found in the same video.
        progress: where progress is shown.

    Returns:
        Each walk with its ``track``, its ``silhouettes`` uint8 (T, 64, 64), its ``keypoints`` float32 (T, 17, 3) px and
        score, and its ``embedding``. A walk that cannot be used has a ``reason`` instead of an embedding.

    Raises:
        VideoError: the video cannot be read.
        NobodyFoundError: no pedestrian was found in it.
        SettingsError: a setting is unknown, or its value cannot be used.
    """
    changed = _settings(settings, {"pose.when": "always"} if keypoints else {})
    path = find_video(str(video))
    run = Run(built(changed), progress or Silent())
    return list(walks_of(path, distinct_names([path])[0], run, fresh=fresh).walks)


def identify(
    videos: str | Path | Sequence[str | Path],
    gallery: Gallery | str | Path,
    settings: SettingsLike = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Name the people in videos.

    Args:
        videos: one or several paths, or names in ``input_videos/``.
        gallery: the people to know: an open gallery, the path of one, or a video that shows the people. The people of
            a video are called ``<video>-001`` and so on.
        settings: how the videos are analysed and walks compared; None for the settings of an open gallery.
        fresh: whether to ignore what an earlier run found in the same videos.
        progress: where progress is shown.

    Returns:
        Who each walk is. Only the cache of the output folder is written. `Result.write` writes all files.

    Raises:
        VideoError: a video is missing, or none can be read.
        NobodyFoundError: the gallery video has no walk that can be used.
        GalleryError: nobody in the gallery can be compared.
        SettingsError: a setting is unknown, or its value cannot be used.
    """
    sources = [videos] if isinstance(videos, (str, Path)) else videos
    if not sources:
        raise VideoError("There is no video to look at. Give at least one.")
    paths = find_videos([str(video) for video in sources])
    chosen = gallery.settings if isinstance(gallery, Gallery) and settings is None else _settings(settings)
    run = Run(built(chosen), progress or Silent())
    if isinstance(gallery, Gallery):
        check_headers(paths)
        return identify_videos(paths, gallery.store, run, fresh=fresh)
    if is_address(gallery) or _is_gallery_file(expanded(gallery, GalleryError)):
        check_headers(paths)
        with open_gallery(gallery, chosen) as opened:
            return identify_videos(paths, opened.store, run, fresh=fresh)
    gallery_video = find_video(str(gallery))
    check_headers(paths, gallery_video)
    return compare(gallery_video, paths, run, fresh=fresh)


def _is_gallery_file(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _settings(settings: SettingsLike, more: Mapping[str, Any] | None = None) -> Settings:
    if isinstance(settings, Settings):
        return settings.changed(more or {})
    return Settings().changed({**(settings or {}), **(more or {})})
