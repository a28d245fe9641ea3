"""The files of a run: painted videos, tables, the page, and the silhouettes and features of each walk.

Everything is written after the decisions, so that the files agree with `results.json`: there is a folder of silhouettes
and a file of features for each of its tracks. Those of a track that cannot be used hold what there is, and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import datetime
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from app.files import explained, need_replaceable, written_whole
from app.results.gait_table import write_gait_table
from app.results.page import page
from app.results.pictures import TrackPictures, pictures_of
from app.results.portraits import BestCrops, Poster
from app.results.render import regions_to_blur, render, skeletons_of
from app.results.report import VideoReport, to_csv, to_json
from app.results.view import ShownVideo
from app.settings import OutputSettings
from app.stages import BodyEstimator, Run
from app.types import GaitSequence, Image
from app.video.prefetch import alone_if_large
from app.video.summary import Excerpt, excerpts, write_summary
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.workspace import in_use

if TYPE_CHECKING:
    from app.results.result import NamedVideo, Result

# What the folders of a video hold: they replace those of an earlier run, and no others.
_SILHOUETTES = r"\d{3,}(/\d{6,}\.png)?"
_FEATURES = r"\d{3,}\.npz"


def painted_names(gallery: str | None, probes: Sequence[str]) -> list[str]:
    """Return the file names of the painted videos. The gallery video comes first; None means that there is none."""
    if gallery is None:
        return [f"{probe}.mp4" for probe in probes]
    return ["gallery.mp4", *(f"G-{gallery}_P-{probe}.mp4" for probe in probes)]


def write_run(result: Result) -> Path:
    """Write all files of a run, and return its folder.

    The folder ``OutputVideos/<time>`` appears whole or not at all. It holds the painted videos, `results.json`,
    `results.csv`, `summary.gif`, `report.html`, the best picture of each person (``crops/<video>/<track>.jpg``) and a
    painted one of each video (``crops/<video>/video.jpg``). With `body.show` there are also ``<track>-body.jpg`` and
    ``gait.csv``.
    ``GaitSilhouette/<video>`` and ``GaitFeatures/<video>`` replace the folders of an earlier run.

    Raises:
        VideoError: a video cannot be read any more.
        OutputError: something cannot be written, or a folder of that name holds what Gaitprint did not make.
    """
    run, output = result.run, result.run.settings.output
    target = free_name(output.folder / "OutputVideos" / datetime.now().strftime("%Y_%m_%d_%H_%M_%S"))
    names = painted_names(
        result.gallery.video.name if result.gallery else None, [named.video.name for named in result.probes]
    )
    for named in result.videos:  # before the work of painting
        for folder, replaces, wanted in _folders(named.video, output):
            if wanted:
                need_replaceable(folder, replaces)
    with in_use(output.folder), written_whole(target) as temporary:
        temporary.mkdir()
        parts = _excerpts(result) if output.summary and result.gallery else []
        with ThreadPoolExecutor(1, thread_name_prefix="summary") as pool:
            # The excerpts are short, so the GIF is made while the rest of the videos is painted.
            summary = pool.submit(_write_summary, parts, temporary / "summary.gif") if parts else None
            try:
                shown_videos = run.side_by_side(
                    lambda each, own: _write_video(each[0], result.identities, temporary, each[1], own, each[2]),
                    list(zip_longest(result.videos, names, parts)),
                )
            finally:
                for part in parts:
                    part.end()
            if summary is not None:
                with run.watch.measure("summary"):
                    summary.result()
        report = result.report()
        with explained(target):
            (temporary / "results.json").write_text(to_json(report), encoding="utf-8")
            (temporary / "results.csv").write_text(to_csv(report), encoding="utf-8")
            if output.report:
                html = page(
                    report,
                    shown_videos[0] if result.gallery else None,
                    shown_videos[1:] if result.gallery else shown_videos,
                    result.identities,
                    result.portraits,
                    embed_videos=output.embed_videos,
                )
                (temporary / "report.html").write_text(html, encoding="utf-8")
    return target


def _write_summary(parts: Sequence[Excerpt], out: Path) -> None:
    """Write the GIF as soon as its excerpts are complete, while other threads still paint."""
    for part in parts:
        part.wait()
    write_summary(parts, out)


def _excerpts(result: Result) -> list[Excerpt]:
    """Return what the GIF will show of the gallery and of the first probe."""
    reports = [named.report for named in result.videos[:2]]
    return excerpts(
        [(report.width, report.height) for report in reports],
        [report.frame_count / report.fps for report in reports],
        [_first_second(report) for report in reports],
    )


def paint(
    named: NamedVideo,
    identities: Sequence[str],
    out: Path,
    run: Run,
    crops: BestCrops | None = None,
    shows: Sequence[Callable[[Image, float], None]] = (),
) -> None:
    """Write the painted copy of a video to the MP4 file `out`, blurred as the settings say.

    The names of the gallery, `identities`, fix the colours. `crops` collects pictures of the people. Each of `shows` is
    called with every painted picture and its time in s; it must copy what it keeps.

    Raises:
        VideoError: the video cannot be read any more.
        OutputError: `out` cannot be written.
    """
    settings = run.settings
    with_joints = settings.pose.paint or settings.output.blur == "faces"
    skeletons = skeletons_of(named.video.sequences()) if with_joints else {}
    blurred = regions_to_blur(named.report, settings.output.blur, skeletons)
    look = crops.look if crops is not None else lambda frame: None
    painted = skeletons if settings.pose.paint else {}

    def show(image: Image, time: float) -> None:
        for one in shows:
            one(image, time)

    with alone_if_large(named.video.info):
        render(named.video.info.path, named.report, identities, out, run, painted, blurred, look, show)


def _write_video(
    named: NamedVideo, identities: Sequence[str], folder: Path, name: str, run: Run, excerpt: Excerpt | None
) -> ShownVideo:
    """Write the painted video, the crops and the files of each walk. Return what the page shows of the video."""
    output = run.settings.output
    crops = BestCrops(named.report) if output.report else None
    poster = Poster(named.report)
    shows = [*([excerpt.look] if excerpt is not None else []), *([poster.look] if output.report else [])]
    paint(named, identities, folder / name, run, crops, shows)
    crops_folder = folder / "crops" / named.video.name
    if crops is not None:
        with run.watch.measure("report"), explained(folder):
            crops_folder.mkdir(parents=True)
            for number, picture in crops.jpegs().items():
                (crops_folder / f"{number}.jpg").write_bytes(picture)
            if (picture_of_video := poster.jpeg()) is not None:
                (crops_folder / "video.jpg").write_bytes(picture_of_video)
            if run.settings.body.show and run.stages.body is not None:
                _write_bodies(named.video, run, run.stages.body, crops_folder)
    with run.watch.measure("write"):
        pictures = _write_walks(named.video, output, crops_folder)
    return ShownVideo(named.report, folder / name, pictures, poster.jpeg())


def _write_bodies(video: AnalysedVideo, run: Run, estimator: BodyEstimator, folder: Path) -> None:
    """Fit a body to every walk that can be used; write ``N-body.jpg`` for track N, and ``gait.csv``."""
    from app.body.measures import Gait, measures_of
    from app.results.bodies import body_picture  # SciPy is slow to import

    walks = {}
    with run.progress.stage(f"{video.name}: fit bodies", sum(walk.reason is None for walk in video.walks)) as advance:
        for walk, sequence in video.sequences():
            if walk.reason is not None:
                continue
            if sequence is not None and sequence.keypoints is not None:
                (motion,) = estimator.fit([sequence])
                walks[walk.track.track_id] = measures_of(motion)
                (folder / f"{walk.track.track_id}-body.jpg").write_bytes(body_picture(motion, Gait.of(motion)))
            advance(1)
    write_gait_table(walks, folder / "gait.csv")


def _write_walks(video: AnalysedVideo, output: OutputSettings, crops: Path) -> dict[int, TrackPictures]:
    """Write the silhouettes and features of each walk, if they are wanted. Return the pictures for the page."""
    pictures: dict[int, TrackPictures] = {}
    of_silhouettes, of_features = _folders(video, output)
    with _folder(*of_silhouettes) as silhouettes, _folder(*of_features) as features:
        for walk, sequence in video.sequences():
            number = walk.track.track_id
            if silhouettes is not None:
                _write_silhouettes(sequence, silhouettes / f"{number:03d}")
            if features is not None:
                _write_features(walk, sequence, features / f"{number:03d}.npz")
            if output.report:
                pictures |= pictures_of(crops, {number: sequence})
    return pictures


def _folders(video: AnalysedVideo, output: OutputSettings) -> list[tuple[Path, str, bool]]:
    """Return the folders of silhouettes and features of a video, each with what it may replace and if it is wanted."""
    return [
        (output.folder / "GaitSilhouette" / video.name, _SILHOUETTES, output.silhouettes),
        (output.folder / "GaitFeatures" / video.name, _FEATURES, output.features),
    ]


@contextmanager
def _folder(path: Path, replaces: str, wanted: bool) -> Iterator[Path | None]:
    """Yield a new folder that replaces `path` at the end; None where it is not wanted."""
    with written_whole(path, replaces) if wanted else nullcontext() as temporary:
        if temporary is not None:
            temporary.mkdir(parents=True)
        yield temporary


def _write_silhouettes(sequence: GaitSequence | None, folder: Path) -> None:
    """Write one PNG for each frame. The folder stays empty where no silhouette could be cut out."""
    folder.mkdir()
    if sequence is None:
        return
    for index, silhouette in zip(sequence.frame_indices.tolist(), sequence.silhouettes, strict=True):
        (folder / f"{index:06d}.png").write_bytes(cv2.imencode(".png", silhouette)[1].tobytes())


def _write_features(walk: AnalysedWalk, sequence: GaitSequence | None, file: Path) -> None:
    """Write the embedding of a walk; of one that cannot be used, no parts and the reason."""
    embedding = walk.embedding
    arrays: dict[str, Any] = {
        "parts": embedding.parts if embedding else np.zeros((0, 0), np.float32),
        "model_id": np.asarray(embedding.model_id if embedding else ""),
        "frames": np.asarray(embedding.frames if embedding else 0),
        "frame_indices": sequence.frame_indices if sequence else np.zeros(0, np.int64),
        "reason": np.asarray(walk.reason or ""),
    }
    if embedding is not None and embedding.pieces is not None:
        arrays["pieces"] = embedding.pieces
    if sequence is not None and sequence.keypoints is not None:
        arrays["keypoints"] = sequence.keypoints
    if sequence is not None and sequence.parts is not None:
        arrays["body_parts"] = sequence.parts
    np.savez(file, **arrays)


def _first_second(video: VideoReport) -> float:
    """Return the time, in s, at which the first usable walk begins."""
    frames = [track.frames[0] for track in video.tracks if track.status != "unusable"]
    return min(frames, default=0) / video.fps


def free_name(path: Path) -> Path:
    """Return `path`, or the first free one with ``_2``, ``_3`` and so on where a run of the same second has it."""
    others = (path.with_name(f"{path.name}_{number}") for number in count(2))
    return next(free for free in chain([path], others) if not free.exists())
