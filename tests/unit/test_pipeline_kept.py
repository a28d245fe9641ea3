"""Bodies and embeddings that are kept on disk: when they count, and what the names of their files depend on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.settings import BodySettings, GaitSettings
from app.stages import BodyEstimator
from app.types import BodyMotion, Embedding, GaitSequence, ModelCard
from app.walks import kept as keeping
from app.walks.kept import KeptBodies, KeptEmbeddings
from app.workspace import clear_cache, in_use
from tests.unit.test_pipeline_archive import parsed_by_one_at_a_time
from tests.walking import seen_walk

CARD = ModelCard("body", "b", "given", "none", Path("b.onnx"), "1" * 64, "onnxruntime")
FIELDS = tuple(BodyMotion.__dataclass_fields__)


class Counted(BodyEstimator):
    """Counts the walks that it fits; its bodies say how many there were."""

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card, self.fits = card, 0

    def fit(self, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        return [self._body(walk) for walk in walks]

    def _body(self, walk: GaitSequence) -> BodyMotion:
        self.fits += 1
        frames = len(walk)
        arrays = [np.full((frames, *shape), self.fits, np.float32) for shape in ((21, 3), (3,), (17, 3), (3, 3), (3,))]
        shape, confidence = np.zeros(10, np.float32), np.ones(frames, np.float32)
        return BodyMotion(walk.frame_indices, walk.fps, shape, *arrays, confidence)


@pytest.fixture(scope="module")
def walk() -> GaitSequence:
    return seen_walk(frames=12, fps=30000 / 1001)[0]


def kept(estimator: BodyEstimator, folder: Path, *, fresh: bool = False, steps: int = 60) -> KeptBodies:
    found = KeptBodies(estimator, BodySettings(steps=steps))
    found.keep(folder, fresh=fresh)
    return found


def test_threads_that_read_what_is_kept_do_not_parse_at_once(
    walk: GaitSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = Counted()
    first = kept(estimator, tmp_path)
    first.fit([walk])
    with parsed_by_one_at_a_time(monkeypatch), ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: first.fit([walk]), range(8)))) == 8
    assert estimator.fits == 1


def test_each_walk_is_fitted_once(walk: GaitSequence, tmp_path: Path) -> None:
    estimator = Counted()
    part = walk.part(slice(3, 9))
    first, second = kept(estimator, tmp_path).fit([walk, part])
    again = kept(estimator, tmp_path).fit([part, walk, replace(walk, silhouettes=255 - walk.silhouettes)])
    assert estimator.fits == 2
    for found, expected in zip(again, [second, first, first], strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert kept(estimator, tmp_path).fit([]) == []


def test_nothing_is_kept_before_a_folder_is_named(
    walk: GaitSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    estimator = Counted()
    live = KeptBodies(estimator, BodySettings())
    live.fit([walk])
    live.fit([walk])
    assert estimator.fits == 2
    assert not list(tmp_path.rglob("*"))


def test_fresh_ignores_earlier_runs_and_still_fits_once(walk: GaitSequence, tmp_path: Path) -> None:
    estimator = Counted()
    kept(estimator, tmp_path).fit([walk])
    fresh = kept(estimator, tmp_path, fresh=True)
    (renewed,), (again,) = fresh.fit([walk]), fresh.fit([walk])
    assert estimator.fits == 2
    assert renewed.root[0, 0] == again.root[0, 0] == 2
    assert kept(estimator, tmp_path).fit([walk])[0].root[0, 0] == 2


def test_whatever_shapes_a_body_makes_it_another_one(
    walk: GaitSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walk.keypoints is not None
    other = type("Other", (Counted,), {})
    kept(Counted(), tmp_path).fit([walk])
    kept(Counted(), tmp_path, steps=59).fit([walk])
    kept(other(), tmp_path).fit([walk])
    for card in (replace(CARD, name="c"), replace(CARD, sha256="2" * 64), replace(CARD, runtime="torch")):
        kept(Counted(card), tmp_path).fit([walk])
    moved = walk.keypoints.copy()
    moved[3, 5, 1] += 0.01
    for changed in (
        replace(walk, keypoints=moved),
        replace(walk, fps=30.0),
        replace(walk, frame_indices=walk.frame_indices + 1),
    ):
        kept(Counted(), tmp_path).fit([changed])
    for name, value in (("code_digest", "other code"), ("library_versions", {"scipy": "0"})):
        with monkeypatch.context() as changed_program:
            changed_program.setattr(keeping, name, lambda *_, value=value: value)
            kept(Counted(), tmp_path).fit([walk])
    assert len(list(tmp_path.iterdir())) == 11


def test_a_damaged_file_is_not_used_and_replaced(walk: GaitSequence, tmp_path: Path) -> None:
    kept(Counted(), tmp_path).fit([walk])
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    with np.load(path) as loaded:
        arrays = dict(loaded)

    def wrong(**changes: np.ndarray) -> bytes:
        np.savez_compressed(tmp_path / "wrong.npz", **{**arrays, **changes})
        return (tmp_path / "wrong.npz").read_bytes()

    spoilt = bytearray(content)
    spoilt[len(content) // 2] ^= 0x5A
    for damaged in (
        b"",
        content[:-1],
        bytes(spoilt),
        wrong(root=arrays["root"][:-1]),
        wrong(view=arrays["view"] * np.float32(np.nan)),
        wrong(frame_indices=arrays["frame_indices"] + 1),
        wrong(joints=np.array([{}], object)),
        wrong(joints=np.zeros((400_000, 17, 3), np.float32)),
    ):
        path.write_bytes(damaged)
        estimator = Counted()
        kept(estimator, tmp_path).fit([walk])
        assert estimator.fits == 1
        kept(estimator, tmp_path).fit([walk])
        assert estimator.fits == 1


def test_clearing_the_cache_deletes_the_bodies(walk: GaitSequence, tmp_path: Path) -> None:
    with in_use(tmp_path):
        kept(Counted(), tmp_path / "cache").fit([walk])
        assert len(list((tmp_path / "cache").glob("*.npz"))) == 1
    assert clear_cache(tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


class Slow:
    """A gait model that counts the walks it embeds."""

    card = ModelCard("gait", "slow", "given", "none", Path("slow.pt"), "1" * 64, "torch", pictures=True)

    def __init__(self, pieces: bool = False) -> None:
        self.count, self.pieces = 0, pieces

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        self.count += len(walks)
        parts = np.full((2, 3), self.count, np.float32)
        return [Embedding(parts, self.card.model_id, 7, np.stack([parts] * 4) if self.pieces else None) for _ in walks]


def in_colour(walk: GaitSequence) -> GaitSequence:
    pictures = np.random.default_rng(0).integers(0, 256, (len(walk), 256, 128, 4)).astype(np.uint8)
    return replace(walk, pictures=pictures, ratios=np.full(len(walk), 0.4, np.float32))


@pytest.mark.parametrize("pieces", [False, True])
def test_each_walk_is_embedded_once(walk: GaitSequence, tmp_path: Path, pieces: bool) -> None:
    model, walks = Slow(pieces), [in_colour(walk), in_colour(walk.part(slice(3, 9)))]
    found = []
    for _ in range(2):
        keeping = KeptEmbeddings(model, GaitSettings())
        keeping.keep(tmp_path, fresh=False)
        found.append(keeping.embed(walks))
    assert model.count == 2
    for first, again in zip(*found, strict=True):
        np.testing.assert_array_equal(first.parts, again.parts)
        assert (first.model_id, first.frames) == (again.model_id, again.frames) == (Slow.card.model_id, 7)
        assert (again.pieces is not None) is pieces


def test_other_pictures_or_more_frames_are_another_embedding(walk: GaitSequence, tmp_path: Path) -> None:
    model, seen = Slow(), in_colour(walk)
    assert seen.pictures is not None
    pictures = seen.pictures.copy()
    pictures[2, 100, 50, 1] ^= 1
    changed = replace(seen, pictures=pictures)
    for settings, each in (
        (GaitSettings(), seen), (GaitSettings(), changed), (GaitSettings(max_frames=20), seen), (GaitSettings(), seen),
    ):  # fmt: skip
        keeping = KeptEmbeddings(model, settings)
        keeping.keep(tmp_path, fresh=False)
        keeping.embed([each])
    assert model.count == 3
