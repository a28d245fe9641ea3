"""How good the embedded networks are, beside reference networks: ``python -m tests.benchmarks.accuracy [PART ...]``.

The parts are `detector`, `raised`, `segmenter`, `pose`, `parser`, `gait`, `demo` and `tracking`; without any, all.
Judged are the files in ``checkpoints/embedded`` (or ``--checkpoint STAGE=FILE``), through the product's own stages, on
a CPU. The references, the real clips and the labelled pictures lie in ``--shared``. The embedded networks were trained
on none of these clips and pictures; the references may have seen the pictures, which are COCO's. "COCO" are the 40
pictures that were held out from the beginning, "COCO val" those of val2017 (`app.lab.synthesis.photos`).

In brackets stand 95 % bootstrap intervals: over pictures, people, or ten consecutive pieces of a clip. A clip of seven
seconds has hardly ten independent pieces, so there the true interval is wider. Times are medians of rounds in which
all take turns, so on a busy machine only their ratios mean something.

Walkers need the extra `walkers`, tracking the extra `benchmark`; MoveNet Lightning is measured where its runtime is
installed (``pip install ai-edge-litert``). The first run of `gait` lets 200 walkers walk, about twelve minutes of one
core, and that of `raised` draws its scenes, about nine; they are kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box as borders
from rich.console import Console
from rich.table import Table as RichTable

from app.crops.network import CropNetwork
from app.errors import MissingExtraError, SettingsError
from app.files import written_whole
from app.gallery.distances import distances_between
from app.lab.evaluation.metrics import Matches, keypoint_hits, mask_ious, match, matched
from app.lab.synthesis.photos import HeldOut, read_photos
from app.lab.walkers.benchmark import ALIKE, TRAIN_FIRST, Discriminant, embedded_people, energy_images, film, judge
from app.lab.walkers.choices import MotionVersion
from app.results.report import TrackReport, VideoReport
from app.runs.build import build
from app.runs.compare import compare_walks
from app.runs.videos import walks_of
from app.settings import (
    PROFILES,
    DetectorSettings,
    GaitSettings,
    PoseSettings,
    SegmenterSettings,
    Settings,
    TrackSettings,
)
from app.stages import Detector, GaitModel, PoseEstimator, Run, Segmenter, Stages
from app.types import (
    BODY_PARTS,
    Bools,
    Detections,
    Embedding,
    Floats,
    Frame,
    GaitSequence,
    Image,
    Ints,
    ModelCard,
    VideoInfo,
)
from app.video.reader import VideoReader
from app.walks.analysed import AnalysedVideo
from app.walks.archive import read_walks
from app.weights.checkpoints import CheckpointFile, find_checkpoints
from app.weights.registry import Registry, detectors, gait_models, pose_models, segmenters
from tests.benchmarks import raised as scenes
from tests.benchmarks import tracking as trackers
from tests.benchmarks.bootstrap import bootstrap
from tests.benchmarks.detectors import race
from tests.benchmarks.references import Hog, MoveNetLightning, MoveNetThunder, NanoDet
from tests.truth import boxes_of, person_of

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
ROUNDS = 9
SLOW = 10
"""HOG sees every so many frames of a clip."""
PIECES = 10
"""Of a clip, for the bootstrap."""
LEAST_HEIGHT = 60
"""Smallest person, in px, whose mask or pose counts."""
HELD_OUT: dict[str, HeldOut] = {"COCO": "forty", "COCO val": "val"}
"""The two sets of labelled pictures that no training has seen."""
SCENES, SCENE_SEED = 12, 7001
"""Rendered scenes of four walkers each, of which three frames count."""
PARSED, FIRST_PARSED = 25, 7_600_001
"""How many walkers the parser is judged on, and the number of the first: nobody of a training."""
PEOPLE = 100
"""Of the Walkers benchmark: ``walkers-100``."""
WINDOW, WINDOWS = 1.5, 100
"""Length in s and number of the random pieces of the real walks."""
NOBODY = np.zeros((0, 4), np.float32)

Stage = TypeVar("Stage")


@dataclass(frozen=True)
class Figure:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @classmethod
    def of(cls, units: Sequence[Any], statistic: Callable[[Sequence[Any]], float]) -> Figure:
        return cls(statistic(units), *bootstrap(units, statistic))


Cell: TypeAlias = Figure | float | int | str | None


@dataclass(frozen=True)
class Table:
    """What a part has measured; each row names its columns."""

    title: str
    rows: list[dict[str, Cell]]


@dataclass(frozen=True)
class Given:
    """What the command line says: the folder beside the project, the folder for what is kept, the files to judge."""

    shared: Path
    cache: Path
    checkpoints: dict[str, Path]

    def file(self, registry: Registry[Any, Any]) -> CheckpointFile | None:
        """The checkpoint of a stage that is judged: the given, else the embedded one."""
        if registry.stage in self.checkpoints:
            return CheckpointFile.given(self.checkpoints[registry.stage])
        found = find_checkpoints((ROOT / "checkpoints",), (f"embedded/{registry.stage}",))
        return next((candidate.file for candidate in found), None)

    def models(
        self, registry: Registry[Stage, Any], settings: Any, reference: str | None = None
    ) -> list[tuple[str, Stage]]:
        """The network that is judged, if there is one, and the reference of that name in ``shared/models``."""
        file = self.file(registry)
        if file is None:
            print(f"There is no embedded {registry.stage} yet: only the references are measured.")
        files = [file] if file is not None else []
        if reference is not None:
            files.append(CheckpointFile(self.shared / "models" / reference, "given"))
        return [(one.path.stem, registry.recognise(one.path).build(one, settings)) for one in files]

    def settings(self, folder: Path, **named: Any) -> Settings:
        """The settings of a run without any option, except that a file in ``checkpoints`` cannot come in between."""
        files = {r.stage: self.file(r) for r in (detectors, segmenters, gait_models)}
        own = {f"{stage}.checkpoint": file.path for stage, file in files.items() if file is not None}
        own |= {key.replace("__", "."): value for key, value in named.items()}
        chosen = {key: value for key, value in own.items() if value is not None}
        return Settings.load(named={"output.folder": folder, **chosen})


def speeds(title: str, cases: Mapping[str, Callable[[], object]], items: int) -> Table:
    """Milliseconds for each of `items`, and how many times as fast as the first."""
    seconds = race(cases, ROUNDS)
    first = next(iter(seconds.values()))
    rows: list[dict[str, Cell]] = [
        {"model": name, "ms": value / items * 1000, "times as fast": first / value} for name, value in seconds.items()
    ]
    return Table(f"{title}, {THREADS} threads", rows)


# Detector


def detector(given: Given) -> Iterator[Table]:
    references: list[tuple[str, Detector]] = [
        ("NanoDet-g", NanoDet(given.shared / "models" / "nanodet_g.onnx", THREADS)),
        ("OpenCV HOG", Hog()),
    ]
    models = [*given.models(detectors, DetectorSettings(threads=THREADS), "yolox_nano.onnx"), *references]
    rows = []
    for clip in ("vtest", "TUD-Stadtmitte"):
        rows += [detection_row(clip, name, clip_matches(given, clip, model)) for name, model in models]
    for data, held_out in HELD_OUT.items():
        rows += [
            detection_row(f"{data}, full-body", name, photo_matches(given, model, held_out)) for name, model in models
        ]
    yield Table("Detector: IoU 0.5; R@P.8 is the recall where the precision is still 0.8", rows)
    frame = Frame(0, 0.0, noise(384, 640))
    cases = {name: partial(model.detect, [frame]) for name, model in [*at_size(given, (384, 640)), *references]}
    yield speeds("Detector: ms a frame of 640x384, from pixels to boxes", cases, 1)


def at_size(given: Given, size: tuple[int, int]) -> list[tuple[str, Detector]]:
    """The network that is judged and YOLOX-nano, looking at frames within `size`, or their own where it is fixed."""
    models: list[tuple[str, Detector]] = []
    files = [given.file(detectors), CheckpointFile(given.shared / "models" / "yolox_nano.onnx", "given")]
    for file in [file for file in files if file is not None]:
        spec = detectors.recognise(file.path)
        try:
            model = spec.build(file, DetectorSettings(threads=THREADS, input_size=size))
            models.append((f"{file.path.stem} within {size[1]}x{size[0]}", model))
        except SettingsError:
            models.append((f"{file.path.stem} at its own size", spec.build(file, DetectorSettings(threads=THREADS))))
    return models


def clip_matches(given: Given, clip: str, model: Detector) -> list[Matches]:
    """What the detections of a clip's frames with ground truth are, in `PIECES` pieces."""
    truth = boxes_of(given.shared / "videos" / f"{clip}.gt.txt")
    step = SLOW if isinstance(model, Hog) else 1
    matches = []
    with VideoReader(given.shared / "videos" / trackers.CLIPS[clip]) as video:
        model.start(video.info)
        for frame in video:
            if frame.index in truth and frame.index % step == 0:
                found: Detections = model.detect([frame])[0]
                people = np.stack(list(truth[frame.index].values()))
                matches.append(match((found.boxes, found.scores), people, NOBODY))
    cuts = [len(matches) * piece // PIECES for piece in range(PIECES + 1)]
    return [Matches.joined(matches[first:last]) for first, last in pairwise(cuts)]


def photo_matches(given: Given, model: Detector, held_out: HeldOut) -> list[Matches]:
    """The held-out pictures: people shown from head to foot count, all others are ignored."""
    photos = read_photos(given.shared / "train", held_out)
    found, truth, ignore = [], [], []
    for photo in photos:
        image = photo.read()
        model.start(VideoInfo(photo.path, photo.width, photo.height, Fraction(1), 1))
        people: Detections = model.detect([Frame(0, 0.0, image)])[0]
        found.append((people.boxes, people.scores))
        whole = [person.box for person in photo.people if person.full and not person.crowd]
        rest = [person.box for person in photo.people if not person.full or person.crowd]
        if not photo.complete:
            rest.append(np.array([0, 0, photo.width, photo.height], np.float32))
        truth.append(np.array(whole, np.float32).reshape(-1, 4))
        ignore.append(np.array(rest, np.float32).reshape(-1, 4))
    return matched(found, truth, ignore)


def detection_row(data: str, name: str, units: list[Matches]) -> dict[str, Cell]:
    every = Matches.joined(units)
    recall = Figure.of(units, lambda sample: Matches.joined(sample).best_recall()[0])
    precision_at, recall_at = (None, None) if name == Hog.card.name else every.at(0.5)
    return {
        "data": data,
        "people": every.people,
        "model": name,
        "R@P.8": recall,
        "from score": every.best_recall()[1],
        "P at 0.5": precision_at,
        "R at 0.5": recall_at,
        "AP": every.average_precision(),
    }


# Small people before a raised camera


def raised(given: Given) -> Iterator[Table]:
    """Twenty drawn scenes (`tests.benchmarks.raised`); true boxes in place of a detector show the tracker's limit."""
    from app.lab.walkers.body import CACHE

    models: list[tuple[str, Detector]] = given.models(detectors, DetectorSettings(threads=THREADS), "yolox_nano.onnx")
    try:
        videos = scenes.videos(given.cache / "raised", given.shared / "wardrobe", CACHE)
    except MissingExtraError as error:
        print(f"No scenes: {error}")
        return

    def tracks(model: Detector, video: Path) -> list[tuple[Ints, Floats]]:
        found, fps, _ = trackers.detected(model, video)
        looks: float = PROFILES["balanced"]["video.looks"]
        return trackers.followed(found, fps, looks, TrackSettings(new_score=model.card.sure))

    runs: dict[str, Callable[[Path], list[tuple[Ints, Floats]]]] = {
        name: partial(tracks, model) for name, model in models
    } | {"(true boxes)": scenes.tracked_truth}
    rows: list[dict[str, Cell]] = []
    for name, run in runs.items():
        results = [scenes.follow(run, video) for video in videos]
        identities = [np.array([trackers.scores(one.rows, one.tracks)["idf1"]]) for one in results]
        rows.append(
            {
                "detector": name,
                "scenes": len(results),
                "people": sum(one.people for one in results),
                "tracked": Figure.of(results, lambda some: sum(x.tracked for x in some) / sum(x.people for x in some)),
                "recall": Figure.of(results, lambda some: 1 - sum(x.missed for x in some) / sum(x.seen for x in some)),
                "IDF1": Figure.of(identities, mean),
                "switches": sum(one.switches for one in results),
            }
        )
    yield Table("Raised: people 50 to 80 px high, tracked without a switch in 80 % of the frames that show them", rows)


# Segmenter and pose: people with their masks and keypoints


@dataclass(frozen=True, eq=False)
class Person:
    """`box` (4,) px; `mask` (H, W); `keypoints` (17, 3) x, y, and v above 0 where labelled; `whole` head to foot."""

    box: Floats
    mask: Bools | None
    keypoints: Floats | None
    whole: bool


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and those of its people who count."""

    image: Image
    people: list[Person]

    def frames(self) -> tuple[list[Frame], list[Floats]]:
        """As the stages take it."""
        return [Frame(0, 0.0, self.image)], [np.stack([person.box for person in self.people])]


def labelled(given: Given, held_out: HeldOut, wanted: Callable[[Person], bool]) -> list[Picture]:
    """The held-out pictures with the people who are `wanted`, at least `LEAST_HEIGHT` high and no crowd."""
    pictures = []
    for photo in read_photos(given.shared / "train", held_out):
        image = photo.read()
        people = [
            Person(one.box, one.mask(*image.shape[:2]), one.keypoints, one.full)
            for one in photo.people
            if not one.crowd and one.box[3] - one.box[1] >= LEAST_HEIGHT
        ]
        pictures.append(Picture(image, [person for person in people if wanted(person)]))
    return [picture for picture in pictures if picture.people]


@lru_cache(maxsize=1)
def walkers(shared: Path) -> list[Picture]:
    """Rendered scenes that no training has seen; people of whom less than half is seen do not count."""
    from app.lab.walkers.body import BodyModel
    from app.lab.walkers.choices import CONDITIONS, VIEWS
    from app.lab.walkers.demo import make_scene
    from app.lab.walkers.wardrobe import Wardrobe

    model, wardrobe = BodyModel.load(), Wardrobe(shared / "wardrobe")
    pictures = []
    for number in range(SCENES):
        view, condition = VIEWS[number % len(VIEWS)], CONDITIONS[number % 3]
        scene = make_scene(
            model, seed=SCENE_SEED + number, view=view, condition=condition, seconds=4, fps=10, wardrobe=wardrobe
        )
        for frame in (8, 20, 32):
            image, seen = scene.render(frame)
            people = [
                Person(np.array(one.visible, np.float32), one.mask, one.keypoints.astype(np.float32), not one.cut)
                for one in seen
                if one.visible and one.shown >= 0.5 and one.visible[3] - one.visible[1] >= LEAST_HEIGHT
            ]
            if people:
                pictures.append(Picture(image, people))
    return pictures


def data_sets(given: Given, wanted: Callable[[Person], bool]) -> Iterator[tuple[str, list[Picture]]]:
    """The labelled pictures, those of them with whole people, the walkers."""
    for data, held_out in HELD_OUT.items():
        yield data, labelled(given, held_out, wanted)
        yield f"{data}, full-body", labelled(given, held_out, lambda person: person.whole and wanted(person))
    try:
        yield "walkers", walkers(given.shared)
    except MissingExtraError as error:
        print(f"No walkers: {error}")


def segmenter(given: Given) -> Iterator[Table]:
    models: list[tuple[str, Segmenter]] = given.models(
        segmenters, SegmenterSettings(threads=THREADS), "selfie_segmentation.onnx"
    )
    rows: list[dict[str, Cell]] = []
    for data, pictures in data_sets(given, lambda person: person.mask is not None):
        for name, model in models:
            masks = [masks_of(model, picture) for picture in pictures]
            truths = [[one.mask for one in picture.people if one.mask is not None] for picture in pictures]
            shares = [mask_ious(found, truth) for found, truth in zip(masks, truths, strict=True)]
            kept = [gaps_kept(found, truth) for found, truth in zip(masks, truths, strict=True)]
            rows.append(
                {
                    "data": data,
                    "people": sum(map(len, shares)),
                    "model": name,
                    "mean IoU": Figure.of(shares, mean),
                    "below 0.5": mean([share < 0.5 for share in shares]),
                    "legs": sum(map(len, kept)),
                    "gap kept": Figure.of(kept, mean) if any(map(len, kept)) else None,
                }
            )
    title = "Segmenter: boxes from the truth; gap kept is how much of the ground between the legs stays free"
    yield Table(title, rows)
    frames, boxes = crowd(32)
    cases = {name: partial(model.segment, frames, boxes) for name, model in models}
    yield speeds("Segmenter: ms a crop, from the frame to the matte", cases, 32)


def masks_of(model: Segmenter, picture: Picture) -> list[Bools]:
    """The masks of a picture's people, (H, W)."""
    masks = []
    for matte in model.segment(*picture.frames())[0]:
        mask = np.zeros(picture.image.shape[:2], np.bool_)
        rows, columns = matte.alpha.shape
        inside = matte.alpha >= np.ceil(model.threshold * 255)
        mask[matte.top : matte.top + rows, matte.left : matte.left + columns] = inside
        masks.append(mask)
    return masks


def gaps_kept(masks: Sequence[Bools], truths: Sequence[Bools]) -> NDArray[np.float64]:
    """How much of what is free between the outermost pixels of the lowest 40 % of each person stays free in the mask.

    Only people who have such a gap, of at least a hundredth of their height squared, count.
    """
    shares = []
    for mask, truth in zip(masks, truths, strict=True):
        rows = np.flatnonzero(truth.any(axis=1))
        height = int(rows[-1] - rows[0] + 1)
        legs = slice(int(rows[-1] + 1 - 0.4 * height), int(rows[-1]) + 1)
        below, above = np.maximum.accumulate(truth[legs], 1), np.maximum.accumulate(truth[legs, ::-1], 1)[:, ::-1]
        gap = below & above & ~truth[legs]
        if np.count_nonzero(gap) >= 0.01 * height**2:
            shares.append(float(np.mean(~mask[legs][gap])))
    return np.array(shares)


def pose(given: Given) -> Iterator[Table]:
    references = given.shared / "models"
    models: list[tuple[str, PoseEstimator]] = given.models(pose_models, PoseSettings(threads=THREADS))
    models.append(("MoveNet Thunder", MoveNetThunder(references / "movenet_thunder.onnx", THREADS)))
    try:
        lightning = MoveNetLightning(references / "movenet_lightning_int8.tflite", THREADS)
        models.append(("MoveNet Lightning", lightning))
    except ImportError:
        print("MoveNet Lightning is not measured: no TFLite runtime (pip install ai-edge-litert).")

    def wanted(person: Person) -> bool:
        return person.keypoints is not None and bool((person.keypoints[:, 2] > 0).any())

    rows: list[dict[str, Cell]] = []
    for data, pictures in data_sets(given, wanted):
        for name, model in models:
            answers = [hits_of(model, picture) for picture in pictures]
            hits, seen = [every for every, _ in answers], [seen for _, seen in answers]
            of_part = {part: [of_picture[:, columns] for of_picture in hits] for part, columns in _PARTS.items()}
            of_seen = {"seen": seen, "seen ankles": [of_picture[:, _PARTS["ankles"]] for of_picture in seen]}
            rows.append(
                {
                    "data": data,
                    "people": sum(map(len, hits)),
                    "model": name,
                    "PCK@0.1": Figure.of(hits, mean),
                    **{part: Figure.of(values, mean) for part, values in (of_part | of_seen).items()},
                }
            )
    title = "Pose: labelled keypoints, and those seen, within a tenth of the box's height, boxes from the truth"
    yield Table(title, rows)
    frames, boxes = crowd(32)
    cases = {name: partial(model.estimate, frames, boxes) for name, model in models}
    yield speeds("Pose: ms a crop, from the frame to the keypoints", cases, 32)


def parser(given: Given) -> Iterator[Table]:
    """Body parts of walkers nobody was trained on, pasted into photographs: IoU over all of their pictures."""
    from app.lab.synthesis.cutouts import PICTURES, write_cutouts
    from app.lab.training.crops import CropBatches
    from app.lab.training.segmenter import labels_of, part_ious
    from app.lab.walkers.body import CACHE

    bank = given.cache / "parts"
    try:
        write_cutouts(bank, PARSED, cache=CACHE, wardrobe=given.shared / "wardrobe", first=FIRST_PARSED)
    except MissingExtraError as error:
        print(f"No walkers: {error}")
        return
    file = given.file(pose_models)
    assert file is not None
    network = CropNetwork(file, threads=THREADS, output="parts")
    batches = CropBatches(given.shared / "train", bank, 1, 0)
    crops = [batches.walker(np.random.default_rng([7, number]), 0.0) for number in range(PARSED * PICTURES)]
    found = labels_of(np.stack([network.run(crop.image) for crop in crops]))
    truth = np.stack([crop.parts for crop in crops])
    sides = np.arange(len(BODY_PARTS) + 1)
    sides[4:11:2] -= 1

    def iou_of(rows: Sequence[Any], merged: bool = False) -> float:
        some, true = found[list(rows)], truth[list(rows)]
        return float(
            np.nanmean(part_ious(sides[some], sides[true].astype(np.uint8)) if merged else part_ious(some, true))
        )

    every = list(range(len(crops)))
    each = part_ious(found, truth)
    rows: dict[str, Cell] = {
        "model": file.path.stem,
        "crops": len(crops),
        "mean IoU": Figure.of(every, iou_of),
        "left and right as one": Figure.of(every, partial(iou_of, merged=True)),
        **{name: float(value) for name, value in zip(BODY_PARTS, each, strict=True)},
    }
    yield Table("Parser: body parts of unseen walkers in photographs", [rows])


_PARTS = {"shoulders": slice(5, 7), "wrists": slice(9, 11), "hips": slice(11, 13), "ankles": slice(15, 17)}


def hits_of(model: PoseEstimator, picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which keypoints are found (N, 17), NaN where there is no label; and the same, NaN too for what is hidden."""
    frames, boxes = picture.frames()
    truth = np.stack([person.keypoints for person in picture.people if person.keypoints is not None])
    hits = keypoint_hits(model.estimate(frames, boxes)[0][..., :2], truth, boxes[0][:, 3] - boxes[0][:, 1])
    return hits, np.where(truth[..., 2] > 1, hits, np.nan)


def mean(units: Sequence[NDArray[Any]]) -> float:
    """The mean of all known values of all units."""
    values = np.concatenate([np.ravel(unit) for unit in units]).astype(float)
    return float(np.nanmean(values))


def crowd(count: int) -> tuple[list[Frame], list[Floats]]:
    """A frame of noise with people everywhere, to be timed on."""
    corners = np.random.default_rng(0).uniform(20, 260, (count, 2))
    return [Frame(0, 0.0, noise(480, 640))], [np.hstack([corners, corners + np.array([60, 160])]).astype(np.float32)]


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


# Gait, and the whole pipeline


@dataclass(frozen=True, eq=False)
class Followed:
    """Videos through the pipeline, the gallery first, with the truth about each, and the stages that did it."""

    videos: list[AnalysedVideo]
    reports: list[VideoReport]
    truths: list[dict[int, dict[int, Floats]]]
    stages: Stages

    @classmethod
    def through(cls, settings: Settings, gallery: Path, probes: Sequence[Path]) -> Followed:
        """Run the pipeline, without painting."""
        stages = build(settings)
        print("\n".join(stages.lines()))
        run = Run(stages)
        videos = [walks_of(path, path.stem, run) for path in (gallery, *probes)]
        reports = [named.report for named in compare_walks(videos[0], videos[1:], run).videos]
        truths = [boxes_of(path.with_suffix(".gt.txt")) for path in (gallery, *probes)]
        return cls(videos, reports, truths, stages)

    def known(self) -> dict[str, int | None]:
        """Whom each identity of the gallery stands for: the person of its longest track."""
        tracks = sorted(self.reports[0].tracks, key=lambda track: len(track.frames))
        return {track.identity: person_of(track, self.truths[0]) for track in tracks if track.identity}

    def judged(self, number: int) -> list[tuple[int | None, str, TrackReport]]:
        """Person, verdict and track of each track of a probe (from 1)."""
        known = self.known()
        judged = []
        for track in self.reports[number].tracks:
            person = person_of(track, self.truths[number])
            if track.status == "unusable":
                verdict = "unusable"
            elif track.identity is not None:
                verdict = "right" if person is not None and known[track.identity] == person else "wrong"
            elif person in known.values():
                verdict = "unknown"
            else:
                verdict = "stranger unknown"
            judged.append((person, verdict, track))
        return judged

    def margins(self, number: int) -> list[float]:
        """How much nearer each known person of a probe is to themselves than to the nearest other, in thresholds."""
        known = self.known()
        margins = []
        for person, _, track in self.judged(number):
            own = [c.distance for c in track.candidates if person is not None and known[c.identity] == person]
            others = [c.distance for c in track.candidates if known[c.identity] != person]
            if own and others and track.threshold:
                margins.append((min(others) - min(own)) / track.threshold)
        return margins

    def walks(self, number: int) -> dict[int, GaitSequence]:
        """The longest usable walk of each person of a video."""
        usable = {walk.track.track_id for walk in self.videos[number].usable()}
        people = {track.track_id: person_of(track, self.truths[number]) for track in self.reports[number].tracks}
        walks = [
            (person, walk.sequence)
            for walk in read_walks(self.videos[number].archive)
            if walk.track.track_id in usable and walk.sequence is not None
            if (person := people[walk.track.track_id]) is not None
        ]
        return dict(sorted(walks, key=lambda pair: len(pair[1])))


class EnergyDiscriminant:
    """The benchmark's best simple means, as a gait model: the energy image through PCA and LDA."""

    card = ModelCard("gait", "GEI + PCA + LDA", "weight-free", "Apache-2.0")

    def __init__(self, discriminant: Discriminant) -> None:
        self._discriminant = discriminant

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        features = self._discriminant(np.concatenate([energy_images(walk.silhouettes[None]) for walk in walks]))
        return [Embedding(one[None], self.card.name, len(walk)) for one, walk in zip(features, walks, strict=True)]


def gait(given: Given) -> Iterator[Table]:
    models: list[tuple[str, GaitModel]] = given.models(gait_models, GaitSettings())
    models.append(("gei", gait_models.get("gei").build(None, GaitSettings())))
    try:
        for version, alike in WALKERS:
            yield virtual_walks(given, models, version, alike)
    except MissingExtraError as error:
        print(f"No walkers: {error}")
    walk = GaitSequence(np.arange(30), np.random.default_rng(0).integers(0, 256, (30, 64, 64), np.uint8), 25.0)
    torch.set_num_threads(THREADS)
    yield speeds("Gait: ms a walk of 30 frames", {name: partial(model.embed, [walk]) for name, model in models}, 1)
    yield from real_walks(given)


WALKERS: tuple[tuple[MotionVersion, int], ...] = ((1, 0), (2, 0), (2, ALIKE))
"""The Walkers benchmarks: the motion, and how many people of a group look alike."""


def virtual_walks(given: Given, models: Sequence[tuple[str, GaitModel]], motion: MotionVersion, alike: int) -> Table:
    """A Walkers benchmark (`app.lab.walkers.benchmark`); its walks are made once and kept in the cache."""
    folder, workers = given.cache / "walkers-100", os.cpu_count() or 1
    train, energies = embedded_people(film(folder, TRAIN_FIRST, PEOPLE, motion=motion, workers=workers), energy_images)
    linear = EnergyDiscriminant(Discriminant.fit(energies, train.subjects))
    rows: list[dict[str, Cell]] = []
    for name, model in (*models, (linear.card.name, linear)):
        shares = judge(model, folder, PEOPLE, workers, motion=motion, alike=alike)
        figures = {code.upper(): Figure.of(list(of_people), mean) for code, of_people in shares.items()}
        rows.append({"model": name, "people": PEOPLE, **figures})
    name = f"walkers-100 version {motion}" + (f", look-alikes in groups of {alike}" if alike else "")
    return Table(f"Gait: {name}, cross-view rank-1", rows)


def real_walks(given: Given) -> Iterator[Table]:
    """The four real people, named by the whole pipeline."""
    videos = given.shared / "videos"
    reference = {
        "detector__checkpoint": given.shared / "models" / "yolox_nano.onnx",
        "segmenter__checkpoint": given.shared / "models" / "selfie_segmentation.onnx",
    }
    gei = {"gait__checkpoint": None, "gait__name": "gei"}
    ways: dict[str, dict[str, Any]] = {
        "no option": {},
        "gei instead of the gait network": gei,
        "reference detector and segmenter": reference,
        "reference detector and segmenter, gei": reference | gei,
    }
    rows: list[dict[str, Cell]] = []
    windows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        for way, named in ways.items():
            print(f"\n{way}:")
            settings = given.settings(Path(folder), **named)
            run = Followed.through(settings, videos / "aio_gallery.mp4", [videos / "aio_probe3.mp4"])
            verdicts, margins = Counter(verdict for _, verdict, _ in run.judged(1)), run.margins(1)
            rows.append(
                {
                    "run": way,
                    **{name: verdicts[name] for name in VERDICTS},
                    "smallest margin": min(margins, default=None),
                    "median margin": float(np.median(margins)) if margins else None,
                    "threshold": next((t.threshold for t in run.reports[1].tracks if t.threshold is not None), None),
                }
            )
            windows.append({"run": way, **in_windows(run)})
    yield Table("Gait: tracks of aio_probe3 (four people) named after aio_gallery; margins in thresholds", rows)
    title = f"Gait: {WINDOWS} random pieces of {WINDOW} s of each of these walks against each other"
    yield Table(title, windows)


VERDICTS = ("right", "wrong", "unknown", "stranger unknown", "unusable")


def in_windows(run: Followed) -> dict[str, Cell]:
    """Rank-1 and margins of random pieces of the probe's walks against random pieces of the gallery's."""
    gallery, probe = run.walks(0), run.walks(1)
    people = sorted(set(gallery) & set(probe))
    if len(people) < 2:
        return {"people": len(people)}
    thresholds = [track.threshold for track in run.reports[1].tracks if track.threshold]
    rng = np.random.default_rng(0)
    margins = np.empty((WINDOWS, len(people)))
    for draw in margins:
        known, seen = (
            run.stages.gait.embed([piece(walks[person], rng) for person in people]) for walks in (gallery, probe)
        )
        distances = distances_between(seen, known, run.stages.settings.match.metric)
        own = np.diagonal(distances).copy()
        np.fill_diagonal(distances, np.inf)
        draw[:] = (distances.min(axis=1) - own) / thresholds[0]
    return {
        "people": len(people),
        "rank-1": float((margins > 0).mean()),
        "of the worst person": float((margins > 0).mean(axis=0).min()),
        "draws with all right": float((margins > 0).all(axis=1).mean()),
        "median margin": float(np.median(margins)),
        "5 % margin": float(np.quantile(margins, 0.05)),
    }


def piece(walk: GaitSequence, rng: np.random.Generator) -> GaitSequence:
    """`WINDOW` seconds of a walk, from anywhere in it."""
    last = np.searchsorted(walk.frame_indices, walk.frame_indices[-1] - WINDOW * walk.fps, "right")
    first = int(rng.integers(0, max(int(last), 1)))
    end = int(np.searchsorted(walk.frame_indices, walk.frame_indices[first] + WINDOW * walk.fps))
    return walk.part(slice(first, end))


def demo(given: Given) -> Iterator[Table]:
    """The clips a fresh clone has, as ``run_demo.py`` without an option judges them."""
    clips = sorted(ROOT.joinpath("input_videos").glob("probe*.mp4"))
    rows: list[dict[str, Cell]] = []
    ways: dict[str, dict[str, Any]] = {
        "no option": {},
        "gei instead of the gait network": {"gait__checkpoint": None, "gait__name": "gei"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for way, named in ways.items():
            print(f"\n{way}:")
            run = Followed.through(given.settings(Path(folder), **named), clips[0].with_name("gallery.mp4"), clips)
            strangers = {person for truth in run.truths[1:] for people in truth.values() for person in people}
            strangers -= set(run.known().values())
            for number, clip in enumerate(clips, 1):
                judged = run.judged(number)
                verdicts, margins = Counter(verdict for _, verdict, _ in judged), run.margins(number)
                named_strangers = sum(person in strangers and verdict == "wrong" for person, verdict, _ in judged)
                rows.append(
                    {
                        "run": way,
                        "clip": clip.stem,
                        "people": len({person for people in run.truths[number].values() for person in people}),
                        **{name: verdicts[name] for name in VERDICTS},
                        "strangers named": named_strangers,
                        "smallest margin": min(margins, default=None),
                    }
                )
    yield Table("Demo: tracks of input_videos/probe*.mp4 named after gallery.mp4", rows)


def tracking(given: Given) -> Iterator[Table]:
    """The tracker on each detector's boxes, at the looks of each speed."""
    models: list[tuple[str, Detector]] = given.models(detectors, DetectorSettings(threads=THREADS), "yolox_nano.onnx")
    rows: list[dict[str, Cell]] = []
    for clip, file in trackers.CLIPS.items():
        truth = np.loadtxt(
            given.shared / "videos" / f"{clip}.gt.txt", delimiter=",", usecols=range(6), dtype=np.float32
        )
        for name, model in models:
            found, fps, _ = trackers.detected(model, given.shared / "videos" / file)
            settings = TrackSettings(new_score=model.card.sure)
            for speed, profile in PROFILES.items():
                tracks = trackers.followed(found, fps, profile["video.looks"], settings)
                scores = trackers.scores(truth, tracks)
                rows.append(
                    {
                        "clip": clip,
                        "detector": name,
                        "speed": speed,
                        "IDF1": scores["idf1"],
                        "MOTA": scores["mota"],
                        "switches": int(scores["num_switches"]),
                        "FP": int(scores["num_false_positives"]),
                        "FN": int(scores["num_misses"]),
                        "IoU of hits": 1 - scores["motp"],
                    }
                )
    yield Table("Tracking: ByteTrack on the boxes of each detector, IoU 0.5", rows)


# The command


PARTS: dict[str, Callable[[Given], Iterator[Table]]] = {
    "detector": detector,
    "raised": raised,
    "segmenter": segmenter,
    "pose": pose,
    "parser": parser,
    "gait": gait,
    "demo": demo,
    "tracking": tracking,
}


def shown(cell: Cell, column: str) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.1f}" if column == "ms" else f"{cell:.3f}"
    return str(cell)


def show(console: Console, table: Table) -> None:
    columns = list(dict.fromkeys(column for row in table.rows for column in row))
    drawn = RichTable(title=table.title, title_justify="left", box=borders.SIMPLE_HEAD)
    for column in columns:
        text = any(isinstance(row.get(column), str) for row in table.rows)
        drawn.add_column(column, justify="left" if text else "right", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(shown(row.get(column), column) for column in columns))
    console.print(drawn)


def plain(table: Table) -> dict[str, Any]:
    """As JSON holds it: a value that is not finite, such as the score of a precision never reached, is null."""

    def value(cell: Cell) -> Any:
        if isinstance(cell, Figure):
            return asdict(cell)
        return None if isinstance(cell, float) and not np.isfinite(cell) else cell

    return {"title": table.title, "rows": [{name: value(cell) for name, cell in row.items()} for row in table.rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument(
        "--cache", type=Path, default=Path("output/accuracy"), help="where the benchmark's walks are kept"
    )
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="STAGE=FILE", help="judge this file instead"
    )
    parser.add_argument("--out", type=Path, help="a JSON file of all figures")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}. Known: {', '.join(PARTS)}.")
    if not options.shared.is_dir():
        parser.error(f"{options.shared} is missing: the references and the data to judge on lie there.")
    checkpoints = {stage: Path(file) for stage, _, file in (one.partition("=") for one in options.checkpoint) if file}
    stages = ("detector", "segmenter", "pose", "gait")
    if len(checkpoints) < len(options.checkpoint) or not set(checkpoints) <= set(stages):
        parser.error(f"--checkpoint takes STAGE=FILE, each stage once: {', '.join(stages)}.")
    given = Given(options.shared, options.cache, checkpoints)
    warnings.simplefilter("ignore")
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    began = datetime.now().astimezone().isoformat(timespec="seconds")
    tables = []
    for part in options.parts or PARTS:
        for table in PARTS[part](given):
            show(console, table)
            tables.append(plain(table))
    load = os.getloadavg()[0]
    print(f"{began}, {os.cpu_count()} cores, load {load:.1f} at the end.")
    if options.out:
        content = {"began": began, "cores": os.cpu_count(), "load": load, "tables": tables}
        with written_whole(options.out) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
