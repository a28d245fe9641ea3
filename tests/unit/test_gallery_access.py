"""Requests for access: the zip has all that is stored of a person, and nothing of others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image as Picture

from app.cli.main import main
from app.errors import GalleryError
from app.gallery.service import GalleryService
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, GaitSequence, Measure


def walk(seed: int, keypoints: bool = False) -> NewWalk:
    random = np.random.default_rng(seed)
    joints = random.normal(100, 50, (3, 17, 3)).astype(np.float32) if keypoints else None
    pictures = random.integers(0, 256, (3, 64, 64)).astype(np.uint8)
    parts, pieces = random.normal(size=(2, 8)).astype(np.float32), random.normal(size=(3, 2, 8)).astype(np.float32)
    return NewWalk(
        Embedding(parts, "gei", 30, pieces),
        f"yard{seed}.mp4",
        track_id=seed,
        seconds=1.5,
        silhouettes=GaitSequence(np.array([4, 7, 900]), pictures, 25.0, joints),
        thumbnail=b"\xff\xd8\xff" + bytes([seed]),
        measures=(Measure("cadence", "1/min", 100.0 + seed, None, 1), Measure("camera azimuth", "degrees", 4, None, 9)),
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[GalleryService]:
    with GalleryService(SqliteGallery(tmp_path / "gallery.db")) as service:
        service.add_walks("Ann", [walk(1, keypoints=True), replace(walk(2), silhouettes=None)], consent="form 7")
        service.add_walks("Ben Vexley", [walk(3)], consent="signed by Ben")
        service.rename("Ann", "Anna")
        yield service


def read(content: bytes) -> dict[str, bytes]:
    with ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def access(service: GalleryService, name: str) -> dict[str, bytes]:
    out = io.BytesIO()
    files = service.access(name, out)
    found = read(out.getvalue())
    assert list(found) == files
    return found


def test_everything_is_in_the_zip(service: GalleryService) -> None:
    service.store.deny(walk(4), "Anna")
    service.store.deny(walk(2), "Ben Vexley")
    files = access(service, "anna")
    person = json.loads(files["person.json"])
    assert (person["name"], person["former_names"], person["consent"]) == ("Anna", ["Ann"], "form 7")
    whole = walk(1, keypoints=True)
    assert whole.silhouettes is not None
    assert whole.silhouettes.keypoints is not None
    rows = list(csv.reader(files["walks/1/embedding.csv"].decode().splitlines()))
    np.testing.assert_array_equal(np.array(rows, np.float32), whole.embedding.parts)
    rows = list(csv.reader(files["walks/1/views.csv"].decode().splitlines()))
    np.testing.assert_array_equal(np.array(rows, np.float32).reshape(3, 2, 8), whole.embedding.pieces)
    for index, silhouette in zip((4, 7, 900), whole.silhouettes.silhouettes, strict=True):
        picture = Picture.open(io.BytesIO(files[f"walks/1/silhouettes/{index:06d}.png"]))
        np.testing.assert_array_equal(np.asarray(picture), silhouette)
    joints = list(csv.reader(files["walks/1/keypoints.csv"].decode().splitlines()))
    assert len(joints) == 3 * 17
    np.testing.assert_allclose(np.array(joints[17], float)[2:], whole.silhouettes.keypoints[1, 0], atol=1e-3)
    assert files["walks/1/picture.jpg"] == whole.thumbnail
    told = [json.loads(files[f"walks/{number}/walk.json"]) for number in (1, 2)]
    assert [(one["source"], one["said_not_to_be_of"]) for one in told] == [("yard1.mp4", 0), ("yard2.mp4", 1)]
    assert [one["measures"][0]["value"] for one in told] == [101.0, 102.0]
    assert told[0]["seen_from"] == "the front"
    assert not any(name.startswith("walks/2/silhouettes") for name in files)
    (denial,) = json.loads(files["denials.json"])
    assert (denial["source"], denial["track_id"]) == ("yard4.mp4", 4)
    readme = files["README.txt"].decode()
    assert all(name.split("/")[-1] in readme or "silhouettes/" in name or name == "README.txt" for name in files)
    assert service.store.log(1)[0].event == "access"


def test_nothing_of_others_is_in_it(service: GalleryService) -> None:
    store = service.store
    store.record("named", name="Anna", source="gate", candidates=[{"name": "Ben Vexley", "distance": 0.4}])
    store.record("renamed", name="Anna", before="Ben Vexley", reason="Ben Vexley is nearer", probability=0.9)
    store.record("left", name="Ben Vexley", source="gate")
    service.move(3, "Anna")
    service.move(3, "Ben Vexley")
    files = access(service, "Anna")
    assert b"Vexley" not in b"".join(files.values())
    assert not any(name.startswith("walks/3") for name in files)
    told = json.loads(files["log.json"])
    assert [entry["event"] for entry in told] == ["move", "move", "renamed", "named", "rename", "enrol"]
    assert (told[2]["before"], told[2]["probability"]) == ("(somebody else)", 0.9)
    assert (told[0]["name"], told[0]["to"]) == ("Anna", "(somebody else)")


def test_the_command_writes_it_for_its_owner_alone(service: GalleryService, tmp_path: Path) -> None:
    database, out = str(tmp_path / "gallery.db"), tmp_path / "anna.zip"
    arguments = ["gallery", "access", "Anna", "--out", str(out), "--gallery-db", database]
    assert main(arguments) == 0
    assert "walks/1/picture.jpg" in read(out.read_bytes())
    assert out.stat().st_mode & 0o077 == 0
    before = out.read_bytes()
    assert main(arguments) == 2
    assert main([*arguments[:2], "Zoe", "--overwrite", *arguments[3:]]) == 2
    assert out.read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0


def test_the_command_changes_consent_and_retention(
    service: GalleryService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def consent(*words: str) -> int:
        return main(["gallery", "consent", "Anna", *words, "--gallery-db", str(tmp_path / "gallery.db")])

    assert consent("form 8", "--retain-days", "30") == 0
    person = service.store.person("Anna")
    assert person.expires is not None
    assert (person.consent, round((person.expires - person.enrolled).days, -1)) == ("form 8", 30)
    assert consent("--no-limit") == 0
    assert (service.store.person("Anna").consent, service.store.person("Anna").expires) == ("form 8", None)
    for wrong in ((), ("--no-limit", "--retain-days", "3"), ("  ",), ("--retain-days", "99999")):
        capsys.readouterr()
        assert consent(*wrong) == 2, capsys.readouterr()
    assert service.store.person("Anna").consent == "form 8"
    with pytest.raises(GalleryError, match="cannot be kept until"):
        service.set_consent("Anna", "form 9", person.enrolled)
