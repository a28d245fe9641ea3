"""Walks that are drawn in colour and cut out again: right person, right shape, and a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("anny", reason="needs the extra [walkers]")
pytest.importorskip("numba", reason="needs the extra [walkers]")

from app.errors import CheckpointError, GalleryError, OutputError
from app.lab.data.opengait import DataSetError, read_silhouettes, walk_files
from app.lab.evaluation.casts import embed_casts
from app.lab.synthesis.cutouts import write_cutouts
from app.lab.synthesis.filmed import Studio, write_filmed
from app.lab.walkers.body import CACHE
from app.lab.walkers.dataset import Plan, write_dataset
from app.stages import GaitModel
from app.types import Embedding, GaitSequence, ModelCard
from app.weights.checkpoints import HOME
from tests.progress import Steps


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """One walker with two walks, a green meadow, and one bystander."""
    folder = tmp_path_factory.mktemp("studio")
    # The manifest of a data set with SMPL parameters holds a note beside the plan.
    plan = Plan(
        subjects=2, first=77, conditions=(("nm", 2),), frames=12, cameras=2, heights=(1.0, 1.5),
        modalities=("silhouette", "smpl"),
    )  # fmt: skip
    write_dataset(folder / "walkers", plan)
    write_cutouts(folder / "cutouts", 1, cache=CACHE)
    (folder / "photos" / "coco" / "backgrounds").mkdir(parents=True)
    meadow = np.full((300, 400, 3), (40, 160, 60), np.uint8)
    cv2.imwrite(str(folder / "photos" / "coco" / "backgrounds" / "1.jpg"), meadow)
    segmenter = HOME / "embedded" / "segmenter" / "gaitprint-segmenter.onnx"
    return Studio(folder / "walkers", folder / "photos", folder / "cutouts", (segmenter,), CACHE, None, walks=1)


def test_it_is_the_same_person_s_walk_as_the_segmenter_sees_it(studio: Studio, tmp_path: Path) -> None:
    write_filmed(tmp_path / "filmed", studio, people=1)
    (walk,) = walk_files(tmp_path / "filmed")
    (drawn,) = [
        one
        for one in walk_files(studio.data)
        if (one.identity, one.condition, one.view) == (walk.identity, walk.condition, walk.view)
    ]
    filmed, perfect = read_silhouettes(walk.path) > 127, read_silhouettes(drawn.path) > 127
    assert 8 <= len(filmed) <= 12
    # Frames may have been lost: each is like one of the perfect ones, though not the same.
    overlaps = [max((one & two).sum() / (one | two).sum() for two in perfect) for one in filmed]
    assert np.median(overlaps) > 0.7
    assert max(overlaps) < 1.0


def test_a_stopped_run_goes_on_and_another_is_refused(studio: Studio, tmp_path: Path) -> None:
    progress = Steps()
    write_filmed(tmp_path / "filmed", studio, people=1)
    (before,) = walk_files(tmp_path / "filmed")
    written = before.path.stat().st_mtime_ns
    write_filmed(tmp_path / "filmed", studio, progress=progress)
    assert progress.seen == [(1, 2), (2, 2)]
    assert before.path.stat().st_mtime_ns == written
    assert {walk.identity for walk in walk_files(tmp_path / "filmed")} == {"00077", "00078"}
    manifest = tmp_path / "filmed" / "filmed.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text(encoding="utf-8")), "walks": 3}), encoding="utf-8")
    with pytest.raises(OutputError, match="with other settings"):
        write_filmed(tmp_path / "filmed", studio)


def test_other_data_is_refused(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}x", encoding="utf-8")
    elsewhere = Studio(tmp_path, *[getattr(studio, name) for name in list(Studio.__dataclass_fields__)[1:]])
    with pytest.raises(DataSetError, match="no data set of virtual walkers"):
        write_filmed(tmp_path / "filmed", elsewhere)


def test_a_cast_shares_its_cameras(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.lab.synthesis import casts

    monkeypatch.setattr(casts, "CAST", 2)
    monkeypatch.setattr(casts, "KINDS", ("front", "side"))
    monkeypatch.setattr(casts, "SECONDS", 0.8)
    given = casts.Set(1, 77, studio.photos, studio.segmenters[0], HOME / "embedded" / "pose" / "gaitprint-pose.onnx")
    (path,) = casts.film_casts(tmp_path / "casts", given)
    walks = casts.read_cast(path)
    assert [(walk.cast, walk.person, walk.recording) for walk in walks] == [
        (77, 77, 0), (77, 78, 0), (77, 77, 1), (77, 78, 1)
    ]  # fmt: skip
    for one, other in ((walks[0], walks[1]), (walks[2], walks[3])):
        assert one.sequence.fps == other.sequence.fps, "a recording has one camera"
    for walk in walks:
        assert len(walk.sequence) == len(walk.track.boxes) >= casts.FEWEST
        assert walk.sequence.keypoints is not None
        middle = walk.sequence.keypoints[..., :2].mean(axis=1)
        inside = (middle > walk.track.boxes[:, :2]) & (middle < walk.track.boxes[:, 2:])
        assert inside.all(), "keypoints are in px of the camera's picture, as boxes are"
        assert (walk.track.frame_indices == walk.sequence.frame_indices).all()
        assert (walk.track.boxes[:, 3] > walk.track.boxes[:, 1]).all()
    fronts, sides = walks[:2], walks[2:]
    assert all(min(walk.view, 360 - walk.view) < 60 for walk in fronts)
    assert all(30 < walk.view % 180 < 150 for walk in sides)
    written = path.stat().st_mtime_ns
    casts.film_casts(tmp_path / "casts", given)
    assert path.stat().st_mtime_ns == written, "nobody is filmed twice"
    manifest = tmp_path / "casts" / "casts.json"
    about = json.loads(manifest.read_text(encoding="utf-8"))
    del about["parts"]  # as before casts could have them
    manifest.write_text(json.dumps(about), encoding="utf-8")
    casts.film_casts(tmp_path / "casts", given)
    for other in (replace(given, parts=True), replace(given, alike=True)):
        with pytest.raises(OutputError, match="with other settings"):
            casts.film_casts(tmp_path / "casts", other)
    with monkeypatch.context() as longer, pytest.raises(OutputError, match="with other settings"):
        longer.setattr(casts, "SECONDS", 0.9)
        casts.film_casts(tmp_path / "casts", given)
    with pytest.raises(GalleryError, match="has no body parts, which the gait model 'reads parts' needs"):
        embed_casts([path], ReadsParts(), tmp_path / "cache")

    (path,) = casts.film_casts(tmp_path / "parsed", replace(given, parts=True))
    for walk, before in zip(casts.read_cast(path), walks, strict=True):
        assert (walk.sequence.silhouettes == before.sequence.silhouettes).all(), "nothing else changes"
        assert walk.sequence.parts is not None
        assert not walk.sequence.parts[walk.sequence.silhouettes <= 127].any()
        assert (walk.sequence.parts > 0).sum() > 0.8 * (walk.sequence.silhouettes > 127).sum()
        assert len(np.unique(walk.sequence.parts)) > 6
    found = embed_casts([path], ReadsParts(), tmp_path / "cache")
    assert len(found.embeddings) == len(walks)
    matte = replace(given, pose=studio.segmenters[0], parts=True)
    with pytest.raises(CheckpointError, match="is not a parser checkpoint"):
        casts.film_casts(tmp_path / "none", matte)
    assert not (tmp_path / "none").exists()


class ReadsParts(GaitModel):
    """A gait model that needs maps of body parts: how much of the body each part is."""

    card = ModelCard("gait", "reads parts", "weight-free", "Apache-2.0", parts=True)

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        return [self._one(walk) for walk in walks]

    def _one(self, walk: GaitSequence) -> Embedding:
        assert walk.parts is not None
        shares = np.bincount(walk.parts.ravel(), minlength=12)[None] / walk.parts.size
        return Embedding(shares.astype(np.float32), self.card.model_id, len(walk))
