"""Twenty drawn scenes before a raised camera: four people 50 to 80 px high who walk close together.

They walk as a group, in two pairs that meet, in two pairs that cross, or in a row that pulls apart, and pass in front
of each other, but nobody is hidden for long: no tracker could follow them then. Camera, place, clothes, light, noise,
sharpness and compression differ from scene to scene. Number `FIRST_PERSON` and the following people are in no training.
A scene is made once and kept: ``NAME.mp4`` and, in the MOT challenge's format, ``NAME.gt.txt`` with the share of each
person that is seen.

Somebody is tracked if one track, which follows nobody else, covers `COVERED` of the frames in which at least half of
them is seen, and no other track ever does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from app.files import written_whole
from app.lab.walkers.background import Background
from app.lab.walkers.camera import Camera
from app.lab.walkers.choices import CONDITIONS, Place
from app.lab.walkers.jobs import body_model, wardrobe_in
from app.lab.walkers.path import Path as Route
from app.lab.walkers.person import Dressed, Person, Session
from app.lab.walkers.scene import Actor, Scene
from app.track.bytetrack import ByteTracker, iou
from app.types import Detections, Doubles, Floats, Image, Ints
from app.video.writer import VideoWriter

SCENES = 20
PEOPLE = 4
FIRST_PERSON = 7_000_001
WIDTH, HEIGHT = 854, 480
FPS, SECONDS = 25, 5.0
LEAST, MOST = 50, 80
"""How high people are, px."""
APART = 0.5
"""Smallest distance between two people, m: nobody walks through anybody."""
SEEN = 0.5
"""Share of a person that must be visible for a frame to count."""
HIDDEN = 0.8
"""Seconds, about, for which somebody may be less visible than that, all together."""
COVERED = 0.8
"""Share of those frames that the track must cover."""
HIT = 0.5
"""Smallest IoU of a track's box with the box of the whole person."""

KINDS = ("group", "meeting", "crossing", "row")
_PLACES: tuple[Place, ...] = ("street", "square", "park", "hall")


@dataclass(frozen=True, eq=False)
class _Walk:
    """Somebody's straight way: `middle` (2,) m is where they are half-way through the scene."""

    session: Session
    middle: Doubles
    heading: float
    speed: float

    def at(self, seconds: float) -> Doubles:
        ahead = np.array([np.cos(self.heading), np.sin(self.heading)])
        return np.asarray(self.middle + ahead * self.speed * (seconds - SECONDS / 2), np.float64)


def draw(number: int) -> tuple[Place, Camera, list[_Walk]]:
    """Draw a scene until everybody is `LEAST` to `MOST` px high and in the picture, and nobody in another's way."""
    rng = np.random.default_rng([number, 0x5EED])
    place, kind = _PLACES[number // len(KINDS) % len(_PLACES)], KINDS[number % len(KINDS)]
    sessions = [
        Person.sample(FIRST_PERSON + number * PEOPLE + index).session(number, CONDITIONS[int(rng.integers(3))])
        for index in range(PEOPLE)
    ]
    while True:
        camera = _camera(place, rng)
        people = _ways(kind, sessions, rng)
        if _fits(camera, people):
            return place, camera, people


def _camera(place: Place, rng: np.random.Generator) -> Camera:
    up = float(rng.uniform(4.0, 4.4 if place == "hall" else 8.0))  # the hall is 4.6 m high
    away, tall = float(rng.uniform(13, 26)), float(rng.uniform(60, 68))
    # In a square the camera may stand anywhere, elsewhere it looks along the way.
    angle = float(rng.uniform(0, 2 * np.pi) if place == "square" else rng.normal(0, 0.15))
    position = (-away * float(np.cos(angle)), -away * float(np.sin(angle)), up)
    x, y = rng.uniform(-1.5, 1.5, 2).tolist()
    camera = Camera.look_at(position, (x, y, 0.9), WIDTH, HEIGHT)
    focal = tall * float(np.hypot(away, up - 0.9)) / (1.7 * float(np.cos(np.arctan2(up - 0.9, away))))
    return replace(camera, focal=focal)


def _ways(kind: str, sessions: Sequence[Session], rng: np.random.Generator) -> list[_Walk]:
    """Where everybody is half-way, `across` and `along` their heading in m, and how fast they walk."""
    heading = float(rng.uniform(0, 2 * np.pi))
    headings, speeds = np.full(PEOPLE, heading), np.array([session.gait.speed for session in sessions])
    if kind == "group":
        abreast = rng.random() < 0.5
        across = np.array([-1.05, -0.35, 0.35, 1.05]) if abreast else np.array([-0.4, 0.4, -0.4, 0.4])
        along = np.zeros(PEOPLE) if abreast else np.array([-0.5, -0.5, 0.5, 0.5])
        speeds[:] = speeds.mean()  # who walks together walks equally fast
    elif kind == "row":
        across, along = np.array([-0.3, 0.3, -0.3, 0.3]), np.array([-1.2, -0.4, 0.4, 1.2])
    else:
        across, along = np.array([-0.35, 0.35, -0.35, 0.35]), np.zeros(PEOPLE)
        speeds[:2], speeds[2:] = speeds[:2].mean(), speeds[2:].mean()
        if kind == "meeting":
            headings[2:] += np.pi
            across += np.array([-0.7, -0.7, -0.7, -0.7])
        else:
            headings[2:] += rng.uniform(0.3, 0.7) * np.pi
            along += np.array([0.9, 0.9, -0.9, -0.9]) * rng.uniform(0.8, 1.4)
    across, along = across + rng.normal(0, 0.08, PEOPLE), along + rng.normal(0, 0.15, PEOPLE)
    headings += rng.normal(0, 0.02, PEOPLE)
    order = rng.permutation(PEOPLE)
    ahead = np.stack([np.cos(headings), np.sin(headings)], 1)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    middles = ahead * along[:, None] + left * across[:, None]
    return [
        _Walk(sessions[who], middle, float(heading), float(speed))
        for who, middle, heading, speed in zip(order, middles, headings, speeds, strict=True)
    ]


def _fits(camera: Camera, people: Sequence[_Walk]) -> bool:
    """Whether nobody is too near to another or to the picture's edge, too small or too tall, or hidden for long."""
    hidden, times = np.zeros(PEOPLE), np.linspace(0, SECONDS, 26)
    for seconds in times:
        feet = np.stack([one.at(float(seconds)) for one in people])
        distances = np.linalg.norm(feet[:, None] - feet[None], axis=2)
        if distances[np.triu_indices(PEOPLE, 1)].min() < APART:
            return False
        heads = np.array([one.session.body.stature for one in people])[:, None]
        low = camera.project(np.hstack([feet, np.zeros((PEOPLE, 1))]))
        high = camera.project(np.hstack([feet, heads]))
        tall = low[:, 1] - high[:, 1]
        if not ((tall >= LEAST) & (tall <= MOST)).all():
            return False
        if not ((low[:, 0] > 30) & (low[:, 0] < WIDTH - 30) & (high[:, 1] > 10) & (low[:, 1] < HEIGHT - 15)).all():
            return False
        hidden += _shown(low, tall) < SEEN
    return bool((hidden * (times[1] - times[0]) <= HIDDEN).all())


def _shown(feet: Floats, tall: Floats) -> Floats:
    """Return which share of each person is seen, (N,), taking everybody for a box a sixth as wide as high.

    `feet` (N, 3) x, y px and depth m; `tall` (N,) px.
    """
    shares = np.ones(len(feet), np.float32)
    for number, ((x, y, depth), height) in enumerate(zip(feet, tall, strict=True)):
        columns = np.linspace(x - height / 12, x + height / 12, 17)
        rows = np.linspace(y - height, y, 33)[:, None]
        covered = np.zeros((33, 17), bool)
        for (other_x, other_y, other_depth), other in zip(feet, tall, strict=True):
            if other_depth < depth:
                covered |= (abs(columns - other_x) <= other / 12) & (rows <= other_y) & (rows >= other_y - other)
        shares[number] = 1 - covered.mean()
    return shares


@dataclass(frozen=True, eq=False)
class Lens:
    """What a camera makes of the light: gamma, contrast and colour as a `table` (256, 3), and what it adds."""

    table: Image
    blur: float
    noise: float
    quality: int
    seed: int

    @classmethod
    def sample(cls, number: int) -> Lens:
        rng = np.random.default_rng([number, 0x1E45])
        levels = np.arange(256, dtype=np.float64)[:, None] / 255
        gamma, gain, lift = np.exp(rng.normal(0, 0.3)), np.exp(rng.normal(-0.1, 0.2)), rng.normal(0, 0.05)
        table = (levels**gamma - 0.5) * gain * np.exp(rng.normal(0, 0.06, 3)) + 0.5 + lift
        return cls(
            np.clip(table * 255, 0, 255).astype(np.uint8),
            blur=float(rng.uniform(0.3, 1.0)),
            noise=float(rng.uniform(1, 8)),
            quality=int(rng.integers(30, 85)),
            seed=number,
        )

    def __call__(self, image: Image, frame: int) -> Image:
        changed = cv2.GaussianBlur(cv2.LUT(image, self.table[None]), (0, 0), self.blur)
        rng = np.random.default_rng([self.seed, frame, 0x1E45])
        noise = (rng.standard_normal(image.shape, np.float32) * self.noise).astype(np.int16)
        noisy = cv2.add(changed, noise, dtype=cv2.CV_8U)
        encoded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def film(video: Path, number: int, wardrobe: Path, cache: Path) -> None:
    """Draw scene `number` into `video`, with the truth beside it."""
    clothes = wardrobe_in(wardrobe)
    place, camera, people = draw(number)
    rng = np.random.default_rng([number, 0xF11A])
    actors = []
    for identity, one in enumerate(people, 1):
        session = one.session
        dressed = Dressed.make(body_model(cache), session, session.outfit(clothes), clothes)
        x, y = one.at(0).tolist()
        route = Route.line((x, y), one.heading, 30.0)
        motion = dressed.walk(session.gait, route, one.speed, FPS, SECONDS, session.seed, float(rng.random()))
        actors.append(Actor(identity, f"person{identity}", session, motion))
    scene = Scene(camera, Background.sample(rng, place, 1.6), actors, Fraction(FPS), number)
    shoot(scene, Lens.sample(number), video)


def shoot(scene: Scene, lens: Lens, video: Path) -> None:
    """Draw a scene into `video` as a camera with such a lens shows it, and write the truth beside it."""
    rows = list[str]()
    video.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(video, WIDTH, HEIGHT, Fraction(FPS)) as writer:
        for frame in range(scene.frames):
            image, seen = scene.render(frame)
            writer.write(lens(image, frame), frame / FPS)
            for person in seen:
                x1, y1, x2, y2 = person.full
                rows.append(
                    f"{frame + 1},{person.actor.identity},{x1},{y1},{x2 - x1},{y2 - y1},1,1,{person.shown:.2f}\n"
                )
    with written_whole(video.with_suffix(".gt.txt")) as temporary:
        temporary.write_text("".join(rows), encoding="utf-8")


def videos(folder: Path, wardrobe: Path, cache: Path) -> list[Path]:
    """Return the scenes' videos in `folder`; those that are missing are made."""
    paths = [folder / f"scene{number:02}.mp4" for number in range(SCENES)]
    for number, path in enumerate(paths):
        if not path.with_suffix(".gt.txt").is_file():
            film(path, number, wardrobe, cache)
    return paths


@dataclass(frozen=True, eq=False)
class Followed:
    """What became of the people of one scene.

    `tracked` is how many of `people` are, `seen` counts their visible frames and `missed` those without a track, and
    `rows` and `tracks` are what IDF1 is computed from: truth as `tests.benchmarks.tracking.scores` takes it, and
    the boxes of each frame without those on people who are mostly hidden.
    """

    people: int
    tracked: int
    switches: int
    seen: int
    missed: int
    rows: Floats
    tracks: list[tuple[Ints, Floats]]


def judge(truth: Floats, tracks: Sequence[tuple[Ints, Floats]]) -> Followed:
    """Compare tracks with the truth of a scene.

    Args:
        truth: (N, 9) rows of frame (from 1), person, left, top, width, height, 1, 1, share that is seen.
        tracks: ids (n,) and boxes (n, 4) of each frame.
    """
    seen: dict[int, list[int | None]] = {int(person): [] for person in np.unique(truth[:, 1])}
    owners: dict[int, Counter[int]] = {}
    last: dict[int, int] = {}
    counted = []
    for index, (ids, boxes) in enumerate(tracks):
        rows = truth[truth[:, 0] == index + 1]
        people, visible = rows[:, 1].astype(int).tolist(), rows[:, 8] >= SEEN
        pairs = _pairs(rows, ids, boxes, last)
        hidden = {pairs[person] for person, shows in zip(people, visible, strict=True) if person in pairs and not shows}
        for person, shows in zip(people, visible, strict=True):
            track = pairs.get(person)
            if track is not None:
                last[person] = track
                owners.setdefault(track, Counter())[person] += 1
            if shows:
                seen[person].append(track)
        kept = np.array([track not in hidden for track in ids.tolist()], bool)
        counted.append((ids[kept], boxes[kept]))
    switches, tracked = 0, 0
    for person, of_person in seen.items():
        known = [track for track in of_person if track is not None]
        changes = sum(before != after for before, after in pairwise(known))
        switches += changes
        alone = known and all(set(owners[track]) == {person} for track in set(known))
        tracked += bool(alone and not changes and len(known) >= COVERED * len(of_person))
    return Followed(
        len(seen),
        tracked,
        switches,
        sum(map(len, seen.values())),
        sum(track is None for of_person in seen.values() for track in of_person),
        truth[truth[:, 8] >= SEEN, :6].astype(np.float32),
        counted,
    )


def _pairs(rows: Floats, ids: Ints, boxes: Floats, last: dict[int, int]) -> dict[int, int]:
    """Return which track covers which person: whoever a track followed before, if it still does, else the best."""
    people = rows[:, 1].astype(int).tolist()
    if not people or not len(ids):
        return {}
    overlap = iou(np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1).astype(np.float32), boxes)
    worth = np.where(overlap >= HIT, overlap, 0.0)
    for row, person in enumerate(people):
        worth[row] += (worth[row] > 0) & (ids == last.get(person, -1))
    chosen = zip(*linear_sum_assignment(-worth), strict=True)
    return {people[row]: int(ids[column]) for row, column in chosen if worth[row, column] > 0}


def tracked_truth(video: Path) -> list[tuple[Ints, Floats]]:
    """The tracks of a scene that a perfect detector would give: whoever counts as seen has a box, with the score 1."""
    truth = _truth(video)
    tracker = ByteTracker(float(FPS))
    tracks = []
    for frame in range(1, int(truth[:, 0].max()) + 1):
        rows = truth[(truth[:, 0] == frame) & (truth[:, 8] >= SEEN)]
        boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
        followed = tracker.update(Detections(boxes, np.ones(len(boxes), np.float32)))
        tracks.append((followed.track_ids, followed.boxes))
    return tracks


def _truth(video: Path) -> Floats:
    return np.loadtxt(video.with_suffix(".gt.txt"), delimiter=",", dtype=np.float32)


def follow(run: Callable[[Path], list[tuple[Ints, Floats]]], video: Path) -> Followed:
    """Judge what `run` makes of a scene's video."""
    return judge(_truth(video), run(video))
