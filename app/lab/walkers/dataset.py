"""Gait data sets of virtual walkers in OpenGait's layout: ``identity/condition-number/view/*.pkl``.

Every person is made from the data set's seed and the person's number alone, so the files are the same for any
number of workers, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from app.errors import SettingsError
from app.files import written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data.bodies import calibrated
from app.lab.data.conversion import claim, write_json
from app.lab.data.opengait import WALK_FILES, write_array
from app.lab.walkers.body import CACHE, BodyModel
from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import CASIA_VIEWS, MODALITIES, MOTION, Condition, Modality, MotionVersion
from app.lab.walkers.jobs import body_model, make_missing, wardrobe_in
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Motion, Person
from app.lab.walkers.renderer import body_parts, compiled
from app.lab.walkers.smpl import NOTE, parameters
from app.lab.walkers.wardrobe import Wardrobe
from app.progress import Progress
from app.types import Floats
from app.walks.silhouette import normalise, normalise_parts

BEFORE: dict[str, Any] = {"rows": 64, "motion": 1, "alike": 0, "life": 0.0, "likeness": 0.0}
"""What data sets of earlier versions do not say about themselves."""

_POSED = 128
"""Height, in px, of the pictures in whose px the poses are."""


@dataclass(frozen=True)
class Plan:
    """What a data set holds.

    - `subjects` people are filmed; `first` is the number of the first one, and people of different data sets differ
      when their numbers do. The partition puts the first `training` of them into the training set.
    - `conditions` are conditions with their numbers of walks; a walk has `frames` frames, `fps` a second.
    - `views` are degrees, 0 from the front and 180 from behind; for each walk the camera's height in m is drawn from
      `heights`, and it is as far away as the middle of `distances` (m). With `cameras`, each walk is filmed by that
      many cameras at random places all around instead, and its frame rate is drawn from `rates`: for training, where no
      camera should be special.
    - Without `body` or without `gait` everybody has the same one, which shows what identifies people. `outfits` sets of
      clothes are worn in turn, and `change` scales how much people differ from day to day.
    - `motion` is how people walk: 2 as recorded people do, 1 as a textbook says. With `alike`, people come in groups of
      that many who look alike (`app.lab.walkers.person.Person.look_alike`); `likeness` from 0 to 1 draws the shapes of
      their bodies together.
    - `life` is the share of walks in everyday life, see `app.lab.walkers.person.Person.session`.
    - Silhouettes are `rows` high, 64 or 128. They are drawn twice as high, and OpenGait's pre-treatment reduces them.
    """

    subjects: int = 100
    seed: int = 1
    conditions: tuple[tuple[Condition, int], ...] = (("nm", 6), ("bg", 2), ("cl", 2))
    views: tuple[int, ...] = CASIA_VIEWS
    frames: int = 40
    fps: float = 25.0
    modalities: tuple[Modality, ...] = ("silhouette",)
    first: int = 1
    training: int = 0
    heights: tuple[float, float] = (1.2, 1.5)
    distances: tuple[float, float] = (6.5, 6.5)
    body: bool = True
    gait: bool = True
    outfits: int = 1
    change: float = 1.0
    cameras: int = 0
    rates: tuple[float, float] = (12.0, 30.0)
    rows: int = 64
    motion: MotionVersion = MOTION
    alike: int = 0
    life: float = 0.0
    likeness: float = 0.0

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.frames < 1 or not self.views or not self.conditions or not self.modalities:
            raise SettingsError("A data set needs at least one subject, condition, view, frame and modality.")
        if not 0 <= self.training <= self.subjects:
            raise SettingsError(f"{self.training} of {self.subjects} subjects cannot be in the training set.")
        if self.rows not in (64, 128):
            raise SettingsError(f"Silhouettes are 64 or 128 rows high, not {self.rows}.")
        if self.motion not in get_args(MotionVersion):
            raise SettingsError(f"There is no motion {self.motion}. People walk in motion 1 or 2.")
        if not 1.0 <= self.rates[0] <= self.rates[1]:
            raise SettingsError("The lowest frame rate must be at least 1 a second and not above the highest.")
        if self.alike < 0 or self.alike == 1:
            raise SettingsError("A group of look-alikes needs two people or more; 0 makes no groups.")

    def identity(self, index: int) -> str:
        """Return the name of person `index`, counted from 0, which is that of their folder."""
        return f"{self.first + index:05d}"

    @property
    def walks(self) -> Iterator[tuple[Condition, int]]:
        """Every walk of a person, as its condition and its number from 1."""
        return ((condition, number) for condition, count in self.conditions for number in range(1, count + 1))


def parse_conditions(text: str) -> tuple[tuple[Condition, int], ...]:
    """Read ``nm:6,bg:2,cl:2``; `SettingsError` says what is wrong."""
    pairs = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(nm|bg|cl)\s*:\s*([1-9]\d?)\s*", piece)
        if match is None:
            raise SettingsError(f"'{piece}' is not understood. Write conditions like nm:6,bg:2,cl:2.")
        pairs.append((cast(Condition, match[1]), int(match[2])))
    if len({condition for condition, _ in pairs}) != len(pairs):
        raise SettingsError(f"A condition appears twice in '{text}'. Give each one once.")
    return tuple(pairs)


def parse_modalities(text: str) -> tuple[Modality, ...]:
    """Read ``silhouette,pose``; `SettingsError` names the known ones."""
    names = tuple(piece.strip() for piece in text.split(","))
    for name in names:
        if name not in MODALITIES:
            raise SettingsError(f"There is no modality '{name}'. The modalities are: {', '.join(MODALITIES)}.")
    return cast("tuple[Modality, ...]", names)


def write_dataset(
    folder: Path,
    plan: Plan,
    *,
    cache: Path = CACHE,
    wardrobe: Path | None = None,
    workers: int = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Make the data set in `folder`: ``data/`` in OpenGait's layout, ``partition.json``, ``dataset.json``.

    A person's folder appears when all of their walks are done; people who are there already are kept. With the address
    of a `cluster` (`app.workers.on_cluster`) its machines make the people. They must see all three folders.

    Raises:
        OutputError: `folder` holds another data set, or cannot be written.
        MissingExtraError: a cluster is named, and Ray is not installed.
        GaitprintError: the cluster cannot be reached.
    """
    if cluster is not None:  # its workers have working folders of their own
        folder, cache = folder.absolute(), cache.absolute()
        wardrobe = None if wardrobe is None else wardrobe.absolute()
    about: dict[str, Any] = {**asdict(plan), "wardrobe": None if wardrobe is None else sorted(Wardrobe(wardrobe).suits)}
    if "smpl" in plan.modalities:
        about["note"] = NOTE
    claim(folder / "dataset.json", about, BEFORE)
    names = [plan.identity(index) for index in range(plan.subjects)]
    partition = {"TRAIN_SET": names[: plan.training], "TEST_SET": names[plan.training :]}
    write_json(folder / "partition.json", partition)
    jobs = {folder / "data" / name: (folder, plan, index, cache, wardrobe) for index, name in enumerate(names)}
    make_missing(write_subject, jobs, cache, workers, progress, cluster)


def write_subject(folder: Path, plan: Plan, index: int, cache: Path, wardrobe: Path | None = None) -> None:
    """Write all walks of person `index` of the plan, or nothing."""
    with written_whole(folder / "data" / plan.identity(index), rf"[^/]+(/[^/]+(/{WALK_FILES})?)?") as temporary:
        for condition, number, view, arrays in subject_walks(plan, index, body_model(cache), wardrobe):
            place = temporary / f"{condition}-{number:02d}" / f"{view:03d}"
            place.mkdir(parents=True)
            for order, (modality, array) in enumerate(arrays.items()):
                write_array(array, place / f"{order}_{modality}.pkl")


def subject_walks(
    plan: Plan, index: int, model: BodyModel, wardrobe: Path | None = None
) -> Iterator[tuple[Condition, int, int, dict[str, NDArray[Any]]]]:
    """Yield condition, number, view and the modalities' arrays of every walk of person `index`.

    ``silhouette`` uint8 (T, 64, 64) or (T, 128, 128); ``pose`` float32 (T, 17, 3): x, y px in a picture 128 px per body
    height with the silhouette's window, and 1; ``body`` float32 (T, 66): pelvis m and 21 rotation vectors; ``heatmap``
    uint8 (T, 2, 64, 64): limbs and joints as SkeletonGait reads them; ``smpl`` float32 (T, 85) in the layout of SMPL's
    parameters, which they are not: see `app.lab.walkers.smpl`; ``calibrated`` uint8 (T, 64, 64): silhouettes of bodies
    fitted to ``pose``; ``parsing`` uint8 of the silhouettes' size: labels of `app.types.BODY_PARTS`, 0 for bags.
    """
    for walk in walks_of(plan, index, model, wardrobe):
        cameras = walk.cameras
        filmed = [modality for modality in plan.modalities if modality != "calibrated"]
        if len(filmed) < len(plan.modalities) and "pose" not in filmed:
            filmed.append("pose")
        recorded = record(walk.motion, list(cameras.values()), filmed, plan.rows)
        for view, arrays in zip(cameras, recorded, strict=True):
            if "calibrated" in plan.modalities:
                arrays["calibrated"] = calibrated(arrays["pose"], walk.fps)
            yield walk.condition, walk.number, view, {modality: arrays[modality] for modality in plan.modalities}


@dataclass(frozen=True, eq=False)
class PlannedWalk:
    """One walk of a person of a plan, and the `cameras` that film it, by their views in degrees."""

    condition: Condition
    number: int
    motion: Motion
    fps: float
    cameras: dict[int, Camera]


def walks_of(
    plan: Plan, index: int, model: BodyModel, wardrobe: Path | None = None, only: Collection[int] | None = None
) -> Iterator[PlannedWalk]:
    """Yield the walks of person `index` of the plan: all, or those whose places in `Plan.walks` are in `only`."""
    clothes = wardrobe_in(wardrobe)
    own, same = _person(plan, index, model), Person.sample(0, plan.motion)
    person = replace(own, body=(own if plan.body else same).body, gait=(own if plan.gait else same).gait)
    for walk_number, (condition, number) in enumerate(plan.walks):
        if only is not None and walk_number not in only:
            continue
        session = person.session(walk_number + 1, condition, walk_number % plan.outfits, plan.change, plan.life)
        rng = np.random.default_rng([session.seed, 0xDA7A])
        dressed = Dressed.make(model, session, session.outfit(clothes), clothes)
        fps = float(rng.uniform(*plan.rates)) if plan.cameras else plan.fps
        length = session.gait.speed * plan.frames / fps
        heading = float(rng.normal(0.0, np.radians(1.5)))
        start = (-length / 2 * np.cos(heading), -length / 2 * np.sin(heading) + float(rng.normal(0, 0.1)))
        route = Route.line((float(start[0]), float(start[1])), heading, 20.0)
        motion = dressed.walk(session.gait, route, None, fps, plan.frames / fps, session.seed, float(rng.random()))
        if plan.cameras:
            views = [int(view) for view in rng.choice(360, plan.cameras, replace=False)]
            cameras = {view: _anywhere(view, plan, length, rng) for view in views}
        else:
            height = float(rng.uniform(*plan.heights))
            cameras = {view: camera_at(view, float(np.mean(plan.distances)), height) for view in plan.views}
        yield PlannedWalk(condition, number, motion, fps, cameras)


def _person(plan: Plan, index: int, model: BodyModel) -> Person:
    number = 1_000_003 * plan.seed + plan.first + index
    person = Person.sample(number, plan.motion)
    if not plan.alike:
        return person
    place = index % plan.alike
    first = person if place == 0 else Person.sample(number - place, plan.motion)
    return person.look_alike(first, model, plan.likeness) if place else replace(first, dressed_as=first.seed)


def _anywhere(view: int, plan: Plan, length: float, rng: np.random.Generator) -> Camera:
    """A camera at a random place, mostly low, and never so near that the walker reaches it."""
    low, high = plan.heights
    height = low + (high - low) * float(rng.random()) ** 2
    return camera_at(view, max(float(rng.uniform(*plan.distances)), length / 2 + 2.0), height)


def camera_at(view: float, distance: float, height: float) -> Camera:
    """Return the camera that sees somebody at the origin who walks along x from `view` degrees, 0 being the front."""
    angle = np.radians(view)
    position = (distance * float(np.cos(angle)), distance * float(np.sin(angle)), height)
    return Camera.look_at(position, (0.0, 0.0, 0.9), 320, 240)


def record(
    motion: Motion, cameras: Sequence[Camera], modalities: Sequence[Modality], rows: int
) -> list[dict[str, NDArray[Any]]]:
    """Film `motion` with all `cameras` at once, so that every frame is skinned only once; return what `subject_walks`
    yields of each.
    """
    frames, figure, height = len(motion), motion.dressed.figure, 2 * rows
    silhouettes = np.zeros((len(cameras), frames, rows, rows), np.uint8)
    parsing = np.zeros_like(silhouettes)
    windows = np.zeros((len(cameras), frames, 3), np.float32)
    screen = np.empty_like(figure.vertices)
    mask = np.empty((height, 2 * height), np.uint8)
    loops = compiled("_figure_loops")
    for frame in range(frames):
        vertices, _ = motion.skinned(frame)
        for index, camera in enumerate(cameras):
            eye = np.array(camera.position, np.float32)
            scale, left, top = loops.window(vertices, camera.rotation, eye, *mask.shape, screen)
            windows[index, frame] = scale, left, top
            if "silhouette" in modalities or "parsing" in modalities:
                mask[:] = 0
                loops.fill(screen, figure.faces, mask)
                small = normalise(mask, rows)
                if small is not None:
                    silhouettes[index, frame] = small
                if "parsing" in modalities:
                    labels = normalise_parts(body_parts(figure, screen, mask.shape[1], mask.shape[0]), mask, rows)
                    if labels is not None:
                        parsing[index, frame] = labels
    results: list[dict[str, NDArray[Any]]] = []
    for camera, silhouette, labels_of, window in zip(cameras, silhouettes, parsing, windows, strict=True):
        every: dict[str, NDArray[Any]] = {"silhouette": silhouette, "parsing": labels_of}
        if "pose" in modalities or "heatmap" in modalities:
            every["pose"] = _keypoints(motion, camera, window, height)
            if "heatmap" in modalities:
                every["heatmap"] = heatmaps(every["pose"])
        if "body" in modalities:
            turns = Rotation.from_matrix(motion.poses.rotations.reshape(-1, 3, 3)).as_rotvec()
            every["body"] = np.concatenate([motion.poses.root, turns.reshape(frames, -1)], axis=1).astype(np.float32)
        if "smpl" in modalities:
            skeleton, traits = motion.dressed.skeleton, motion.dressed.shape.traits
            every["smpl"] = parameters(motion.poses, skeleton, traits, camera, window, height)
        results.append({modality: every[modality] for modality in modalities})
    return results


def _keypoints(motion: Motion, camera: Camera, windows: Floats, height: int) -> Floats:
    """Return x, y px and 1 of the keypoints, (T, 17, 3), in the silhouettes' windows, `_POSED` px high."""
    local = (motion.keypoints - np.array(camera.position, np.float32)) @ camera.rotation.T
    scale, left, top = windows.T[..., None]
    scale = scale * np.float32(_POSED / height)
    x, y = (local[..., 0] / local[..., 2] - left) * scale, (local[..., 1] / local[..., 2] - top) * scale
    return np.stack([x, y, np.ones_like(x)], -1)
