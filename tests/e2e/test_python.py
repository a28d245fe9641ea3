"""The interface that people import, used as in a notebook."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app
from app import Gallery, Result, analyse, identify, load_network, open_gallery
from app.errors import GaitprintError, GalleryError, SettingsError, VideoError
from app.video.live import LiveSource
from app.video.reader import VideoReader

WEIGHT_FREE: dict[str, Any] = {
    "detector.name": "motion",
    "segmenter.name": "motion",
    "gait.name": "gei",
    "match.threshold": 0.9,
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The weight-free stages, which drawn people are made for, in the folder with `input_videos/`."""
    monkeypatch.chdir(studio)
    return WEIGHT_FREE | {"output.folder": tmp_path / "output"}


@pytest.fixture(scope="module")
def people(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gallery of Anna and Ben, and with the output of enrolling them; nobody may change it."""
    folder = tmp_path_factory.mktemp("people")
    with open_gallery(folder / "people.db", WEIGHT_FREE | {"output.folder": folder / "output"}) as opened:
        for name, track in (("Anna", 1), ("Ben", 2)):
            opened.enrol(name, studio / "input_videos" / "gallery.mp4", consent="form 7", track=track)
    return folder


@pytest.fixture
def gallery(people: Path, settings: dict[str, Any], tmp_path: Path) -> Gallery:
    shutil.copytree(people, tmp_path, dirs_exist_ok=True)
    return open_gallery(tmp_path / "people.db", settings)


def test_a_gallery_an_answer_and_its_files(gallery: Gallery, tmp_path: Path) -> None:
    result = identify("probe1.mp4", gallery)
    assert isinstance(result, Result)
    assert sorted(walk.name for walk in result.walks if walk.name) == ["Anna", "Ben"]
    assert result.people == ["Anna", "Ben"]
    assert repr(result) == f"<Result of probe1: {', '.join(walk.name or 'unknown' for walk in result.walks)}>"
    assert repr(result.walks).startswith("[<NamedWalk of track 1 in probe1: ")
    assert repr(result.walks[0].walk).startswith("<AnalysedWalk of track 1: ")
    assert len(repr(result.walks)) < 100 * len(result.walks)
    assert result.distances.shape == (len(result.walks), 2)
    assert result.probabilities.shape == (len(result.walks),)
    assert result.timings["total"] > 0
    painted = result.paint(tmp_path / "named.mp4")
    with VideoReader(painted) as video:
        assert (video.info.width, video.info.height) == (320, 240)
    content = json.loads(result.to_json(tmp_path / "results.json").read_text())
    assert content["gallery"] is None
    assert {track["identity"] for track in content["probes"][0]["tracks"]} >= {"Anna", "Ben"}
    pytest.importorskip("pandas")
    assert set(result.to_dataframe()["name"].dropna()) == {"Anna", "Ben"}
    folder = result.write()
    assert {path.name for path in folder.iterdir()} >= {"probe1.mp4", "results.json", "report.html"}


def test_a_gallery_video_and_the_gallery_give_the_same_answer(gallery: Gallery, settings: dict[str, Any]) -> None:
    probes = ["probe1.mp4", "probe2.mp4"]
    by_gallery = identify(probes, gallery)
    by_video = identify(probes, "gallery.mp4", settings)
    assert gallery.store.path is not None
    by_file = identify(probes, gallery.store.path, settings)
    names = {"gallery-001": "Anna", "gallery-002": "Ben", None: None}
    assert [names[walk.name] for walk in by_video.walks] == [walk.name for walk in by_gallery.walks]
    assert [walk.name for walk in by_file.walks] == [walk.name for walk in by_gallery.walks]
    np.testing.assert_array_equal(by_video.distances, by_gallery.distances)
    np.testing.assert_array_equal(by_file.distances, by_gallery.distances)


def test_walks_have_all_that_was_found(settings: dict[str, Any]) -> None:
    walks = analyse("gallery.mp4", settings, keypoints=False)
    assert len(walks) == 2
    for walk in walks:
        assert walk.silhouettes is not None
        assert walk.silhouettes.shape[1:] == (64, 64)
        assert walk.keypoints is None
        assert walk.embedding is not None
        assert len(walk.track.boxes) == len(walk.track.frame_indices)


def test_walks_have_keypoints_unless_they_are_not_wanted(settings: dict[str, Any]) -> None:
    (walk, *_) = analyse("gallery.mp4", settings)
    assert walk.silhouettes is not None
    assert walk.keypoints is not None
    assert walk.keypoints.shape == (len(walk.silhouettes), 17, 3)


def test_the_gallery_forgets_with_all_consequences(gallery: Gallery, tmp_path: Path) -> None:
    assert list((tmp_path / "output" / "cache").glob("*.zip"))
    assert gallery.forget("Anna") == 1
    assert [person.name for person in gallery.people()] == ["Ben"]
    assert not list((tmp_path / "output").rglob("*.zip"))
    gallery.rename("Ben", "Benjamin")
    assert [walk.track_id for walk in gallery.walks("Benjamin")] == [2]


def test_mistakes_are_explained(gallery: Gallery, settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="several walks"):
        gallery.enrol("Carol", "gallery.mp4", consent="form 8")
    with pytest.raises(VideoError, match="Did you mean 'probe1"):
        identify("prob1.mp4", gallery)
    with pytest.raises(VideoError, match="at least one"):
        identify([], gallery)
    with pytest.raises(SettingsError, match=r"match\.far"):
        identify("probe1.mp4", gallery, settings | {"match.fra": 0.1})
    result = identify(["probe1.mp4", "probe2.mp4"], gallery)
    with pytest.raises(VideoError, match="2 videos: probe1, probe2"):
        result.paint(tmp_path / "x.mp4")
    with pytest.raises(VideoError, match="no video 'gallery'"):
        result.paint(tmp_path / "x.mp4", video="gallery")


def test_the_interface_is_there_without_anything_heavy() -> None:
    code = "import app, sys; print(sorted(set(sys.modules) & {'torch', 'cv2', 'numpy', 'onnxruntime', 'scipy', 'av'}))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
    assert {"open_gallery", "analyse", "identify", "load_network"} <= set(dir(app))
    assert callable(load_network)
    with pytest.raises(AttributeError):
        app.nothing  # noqa: B018


def test_nobody_is_recognised_after_their_time(gallery: Gallery, tmp_path: Path) -> None:
    over = sqlite3.connect(tmp_path / "people.db")
    with over:
        over.execute("UPDATE person SET expires = '2020-01-01T00:00:00+00:00' WHERE name = 'Anna'")
    over.close()
    result = identify("probe1.mp4", tmp_path / "people.db", gallery.settings)
    assert result.people == ["Ben"]
    assert [person.name for person in open_gallery(tmp_path / "people.db").people()] == ["Ben"]
    assert "expire" in {event.event for event in gallery.store.log()}


def test_a_home_that_does_not_exist(settings: dict[str, Any], gallery: Gallery, tmp_path: Path) -> None:
    nobody = "~nobody-here/x"
    calls: list[Callable[[], object]] = [
        lambda: open_gallery(nobody, settings),
        lambda: analyse(nobody, settings),
        lambda: identify(nobody, gallery),
        lambda: identify("probe1.mp4", nobody, settings),
        lambda: gallery.enrol("Cleo", nobody, consent="form 7"),
        lambda: load_network(nobody),
        lambda: analyse("probe1.mp4", settings | {"gait.name": "auto", "gait.checkpoint": nobody}),
        lambda: LiveSource(nobody),
    ]
    for call in calls:
        with pytest.raises(GaitprintError, match="no user of this machine") as caught:
            call()
        assert nobody in str(caught.value)


def test_the_own_home(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    open_gallery("~/own.db", settings).close()
    assert (tmp_path / "own.db").is_file()
    assert not Path("~").exists()
