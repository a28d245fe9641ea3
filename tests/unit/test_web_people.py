"""The gallery looked after from results: enrolling, correcting, merging, forgetting with every trace."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from app.cli.main import main
from app.errors import GaitprintError, GalleryError
from app.gallery.candidates import Candidates
from app.gallery.redaction import Redaction
from app.gallery.sql import GalleryStore
from app.gallery.sqlite import SqliteGallery
from app.recognise.judge import Learnt
from app.results.gait_table import write_gait_table
from app.settings import MatchSettings
from app.types import Measure
from app.web.jobs import Job, JobStore
from app.web.naming import name_again
from app.web.options import ConflictError, NotThereError, WebError
from app.web.outcome import KnownIdentity, StoredWalks
from app.web.people import People
from app.web.results import RunResult
from app.web.videos import VideoLibrary
from app.workspace import in_use
from tests.benchmarks.page import fill
from tests.studio import FPS, Studio, compare_run, new_studio, portrait_of, write_features


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return new_studio(tmp_path)


def enrol(studio: Studio, result: RunResult, place: int, track_id: int, name: str, consent: str = "said yes") -> int:
    return studio.people.name_track(result, place, track_id, name, consent, None, True)


def test_a_track_is_enrolled_with_all_that_was_kept_of_it(studio: Studio) -> None:
    video = studio.video("walk.mp4")
    result = studio.result({video: {1: None, 2: "unusable"}})
    person_id = enrol(studio, result, 0, 1, "Anna")
    with studio.people.gallery() as gallery:
        (person,), (walk,) = gallery.people(), gallery.walks("Anna")
        kept, silhouettes = StoredWalks(result.folder, "walk"), gallery.silhouettes(walk.walk_id)
        stored = gallery.embeddings([walk.walk_id])[0]
        embedding = kept.embedding(1)
        assert embedding is not None
        np.testing.assert_array_equal(stored.parts, embedding.parts)
        assert silhouettes is not None
        np.testing.assert_array_equal(silhouettes.silhouettes, kept.sequence(1, FPS).silhouettes)
        assert gallery.thumbnail("Anna") == b"\xff\xd8 picture"
    assert (person.consent, walk.source, walk.track_id, walk.seconds) == ("said yes", "walk.mp4", 1, 1.2)
    again = JobStore(studio.options.folder)  # the label survives a restart
    seen = RunResult(again.get(result.job.job_id), result.folder).view(studio.people.known())["videos"][0]["tracks"]
    assert [track["person"] for track in seen] == [{"person_id": person_id, "name": "Anna"}, None]
    with pytest.raises(WebError, match="too short"):
        enrol(studio, result, 0, 2, "Ben")
    with pytest.raises(NotThereError):
        enrol(studio, result, 0, 3, "Ben")
    assert studio.names() == ["Anna"]


def test_a_walk_comes_with_what_the_run_has_measured(studio: Studio) -> None:
    result = studio.result({studio.video("walk.mp4"): {1: None, 2: None, 3: None}})
    file = result.folder / "run" / "results.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    report["probes"][0]["tracks"][1]["stature"] = {"percent": 4.0, "error": 2.5, "others": 2}
    file.write_text(json.dumps(report), encoding="utf-8")
    table = result.crop(0, 1).with_name("gait.csv")
    cadence = Measure("cadence", "steps/min", 107.0, 2.5, 9)
    write_gait_table({1: [cadence, Measure("camera azimuth", "degrees", 170.0, None, 30)]}, table)
    for track_id, name in ((1, "Anna"), (2, "Ben")):
        enrol(studio, result, 0, track_id, name)
    with studio.people.gallery() as gallery:
        (hers,), (his,) = gallery.walks("Anna"), gallery.walks("Ben")
    assert his.measures[0].value == 20.0
    assert his.measures[1:] == (Measure("height beside others", "%", 4.0, 2.5, 2),)
    assert hers.measures[1] == cadence
    assert (hers.seen_from, his.seen_from) == ("behind", None)
    table.write_text("track,measure\n3,cadence\n")
    with pytest.raises(WebError, match=r"gait\.csv"):
        enrol(studio, result, 0, 3, "Cleo")


def test_colours_of_clothes_come_from_pictures_that_exist(studio: Studio) -> None:
    result = studio.result({studio.video("walk.mp4"): {1: None, 2: None}})
    result.crop(0, 1).write_bytes(portrait_of((190, 30, 36), (20, 28, 90)))
    for track_id in (1, 2):
        anna = enrol(studio, result, 0, track_id, "Anna")
    found = studio.people.clothes(anna)
    assert list(found) == ["1", f"{result.job.job_id}/0/1"]
    assert [[colour.name for colour in worn] for worn in found.values()] == [["red", "dark blue"]] * 2
    with pytest.raises(NotThereError):
        studio.people.clothes(99)


def test_nobody_new_without_consent(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}, studio.video("b.mp4"): {1: None}})
    with pytest.raises(GalleryError, match="agreed"):
        enrol(studio, result, 0, 1, "Anna", "  ")
    assert studio.names() == []
    enrol(studio, result, 0, 1, "Anna", "signed a form")
    enrol(studio, result, 1, 1, "Anna", "")
    with studio.people.gallery() as gallery:
        assert (gallery.person("Anna").walks, gallery.person("Anna").consent) == (2, "signed a form")


def test_a_corrected_name_moves_the_walk(studio: Studio) -> None:
    video = studio.video("walk.mp4")
    result, second = studio.result({video: {1: None}}), studio.result({video: {1: None}})
    other = studio.result({studio.video("other.mp4"): {1: None}})
    enrol(studio, other, 0, 1, "Ben")
    enrol(studio, result, 0, 1, "Anna")
    enrol(studio, result, 0, 1, "Anna")
    with studio.people.gallery() as gallery:
        assert gallery.person("Anna").walks == 1, "the same walk is stored once"
    enrol(studio, result, 0, 1, "Ben")
    with studio.people.gallery() as gallery:
        assert gallery.person("Ben").walks == 2
    assert studio.names() == ["Ben"], "a mistyped name leaves nobody without walks"
    enrol(studio, second, 0, 1, "Cleo")  # the same walk, seen in another run; somebody new
    with studio.people.gallery() as gallery:
        assert (gallery.person("Ben").walks, gallery.person("Cleo").walks) == (1, 1)
    studio.people.unname_track(second, 0, 1)
    assert studio.names() == ["Ben"], "who was only enrolled for this walk is gone with it"
    assert second.job.labels == {}


def test_a_person_is_seen_in_results(studio: Studio) -> None:
    other = studio.result({studio.video("other.mp4"): {1: None, 2: None}})
    anna = enrol(studio, other, 0, 2, "Anna")
    named = studio.result({studio.video("walk.mp4"): {1: None, 3: "Anna"}}, {"Anna": anna})
    seen = [(one["job_id"], one["video"], one["track_id"], one["labelled"]) for one in studio.people.sightings(anna)]
    assert sorted(seen) == sorted([(named.job.job_id, "walk.mp4", 3, False), (other.job.job_id, "other.mp4", 2, True)])
    assert [(one["begin"], one["end"]) for one in studio.people.sightings(anna)] == [(0.4, 1.6)] * 2
    assert studio.people.sightings(anna + 1) == []


def test_who_asks_gets_everything_from_the_gallery_and_all_results(studio: Studio) -> None:
    enrolled = studio.result({studio.video("a.mp4"): {1: None}})
    anna = enrol(studio, enrolled, 0, 1, "Anna")
    ben = enrol(studio, studio.result({studio.video("b.mp4"): {1: None}}), 0, 1, "Ben")
    both = studio.video("both.mp4")
    for _ in range(70):  # more than a page shows
        named = studio.result({both: {3: "Anna", 4: "Ben"}}, {"Anna": anna, "Ben": ben})
    out = BytesIO()
    assert studio.people.access(anna, out) == "Anna"
    with ZipFile(out) as archive:
        names = archive.namelist()
        place = f"runs/{named.job.job_id[:8]}-0-3"
        assert archive.read(f"{place}.jpg") == named.crop(0, 3).read_bytes()
        assert json.loads(archive.read(f"{place}.json"))["video"] == "both.mp4"
        assert json.loads(archive.read("videos.json")) == {"only": ["a.mp4"], "shared": ["both.mp4"], "files": []}
        assert "where runs have seen this person" in archive.read("README.txt").decode()
    assert sum(name.startswith("runs/") and name.endswith("-3.json") for name in names) == 70
    assert not any(name.endswith(("-4.json", "-4.jpg")) for name in names), "others are left out"


def test_the_gallery_is_opened_once_for_all_sightings(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = enrol(studio, studio.result({studio.video("a.mp4"): {1: None}}), 0, 1, "Anna")
    opened: list[int] = []
    gallery = People.gallery

    def counted(people: People) -> GalleryStore:
        opened.append(1)
        return gallery(people)

    monkeypatch.setattr(People, "gallery", counted)
    for number in range(4):
        studio.result({studio.video(f"{number}.mp4"): {1: "Anna"}}, {"Anna": anna})
        opened.clear()
        assert len(studio.people.sightings(anna)) == number + 2
        assert len(opened) == 1


def test_walks_are_read_once_for_all_searches(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [studio.video(f"{number}.mp4") for number in range(6)]
    for number, video in enumerate(videos[:5]):
        enrol(studio, studio.result({video: {1: None}}), 0, 1, f"Person {number}")
    read: list[int] = []
    newer = Candidates._newer

    def counted(*arguments: Any) -> Iterator[Any]:
        for ids, vectors in newer(*arguments):
            read.append(len(ids))
            yield ids, vectors

    monkeypatch.setattr(Candidates, "_newer", counted)
    seen = studio.result({videos[5]: {1: None}})
    for _ in range(3):
        assert studio.people.owner_of(seen, 0, 1) is None
    assert sum(read) <= 1, "the last walk may be new to the copy in memory, the others are not"
    on_the_command_line(studio, "forget", "Person 0", "--yes")
    enrol(studio, seen, 0, 1, "Person 5")
    assert studio.people.owner_of(seen, 0, 1) == "Person 5"
    with studio.people.gallery() as gallery:
        (near,) = gallery.search([StoredWalks(seen.folder, "5").embedding(1)], 99)  # type: ignore[list-item]
    assert len(near) == 5, "who is forgotten is not found"
    assert sum(read) <= 3


def test_merged_people_stay_one_in_results(studio: Studio) -> None:
    first = studio.result({studio.video("a.mp4"): {1: None}})
    anna = enrol(studio, first, 0, 1, "Anna")
    ann = enrol(studio, studio.result({studio.video("b.mp4"): {1: None}}), 0, 1, "Ann")
    named = studio.result({studio.video("c.mp4"): {1: "Ann"}}, {"Ann": ann})
    studio.people.merge(ann, anna)
    (track,) = RunResult(named.job, named.folder).view(studio.people.known())["videos"][0]["tracks"]
    assert track["person"] == {"person_id": anna, "name": "Anna"}
    assert named.job.job_id in [job.job_id for job in studio.people.traces(anna).results]


def test_a_walk_that_is_put_back_names_its_track_again(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    anna = enrol(studio, result, 0, 1, "Anna")
    enrol(studio, studio.result({studio.video("b.mp4"): {1: None}}), 0, 1, "Anna")
    key = studio.people.forget_walk(result.job.labels["0/1"])
    assert [one["video"] for one in studio.people.sightings(anna)] == ["b.mp4"]
    studio.people.restore(key)
    assert sorted(one["video"] for one in studio.people.sightings(anna)) == ["a.mp4", "b.mp4"]
    with studio.people.gallery() as gallery:
        assert [gallery.walk(walk.walk_id).thumbnail for walk in gallery.walks("Anna")] == [b"\xff\xd8 picture"] * 2


def test_forgetting_leaves_nothing_of_the_person(studio: Studio) -> None:
    alone, both, input_free = (studio.video(name) for name in ("alone.mp4", "both.mp4", "others.mp4"))
    start = studio.result({alone: {1: None, 2: "unusable"}})
    anna = enrol(studio, start, 0, 1, "Anna Karenina")
    ben = enrol(studio, studio.result({studio.video("ben.mp4"): {1: None}}), 0, 1, "Ben")
    known = {"Anna Karenina": anna, "Ben": ben}
    named = studio.result({both: {1: "Anna Karenina", 2: "Ben"}}, known)
    candidate = studio.result({input_free: {1: "Ben"}}, known)  # her name stands among the candidates
    unrelated = studio.result({input_free: {1: "Ben"}}, {"Ben": ben})
    cache = studio.options.folder / "work" / "cache" / "0123.zip"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"silhouettes")
    traces = studio.people.traces(anna)
    assert {job.job_id for job in traces.results} == {r.job.job_id for r in (start, named, candidate)}
    assert [video.name for video in traces.only] == ["alone.mp4"]
    assert [video.name for video in traces.shared] == ["both.mp4"]

    assert studio.people.forget(anna) == 1
    assert studio.names() == ["Ben"]
    assert [job.job_id for job in studio.jobs.all() if job.job_id == unrelated.job.job_id]
    assert not cache.exists()
    for path in studio.options.gallery.parent.rglob("*"):
        assert "alone" not in path.name
        if path.is_file():
            assert b"Karenina" not in path.read_bytes(), path
    studio.videos.get(both)
    with pytest.raises(NotThereError):
        studio.videos.get(alone)
    with pytest.raises(NotThereError):
        studio.people.forget(anna)


@pytest.mark.parametrize(
    ("person", "file", "after"),
    [
        ("Zarq Vexley", "zarq-vexley and Ben.mp4", "forgotten_ and Ben.mp4"),
        ("Zarq Vexley", "2026 ZarqVexley.mov", "2026 _forgotten.mov"),
        ("Zo\u00eb", "ben_ZOE\u0308.mp4", "ben__forgotten.mp4"),
        ("Wei\u00df", "WEISS.mp4", "forgotten.mp4"),
        ("Zarq Vexley", "Old Name 3.mp4", "forgotten_ 3.mp4"),
    ],
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_no_upload_or_run_is_called_after_somebody_forgotten(
    person: str, file: str, after: str, interrupted: bool, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads that stay, because they show others too or nobody has looked for people in them."""
    both, new, other = studio.video(file), studio.video(f"new {file}"), studio.video("Zarqo.mp4")
    zarq = enrol(studio, studio.result({both: {1: None, 2: None}}), 0, 1, "Old Name", "Old Name agreed")
    with studio.people.service() as gallery:
        gallery.rename("Old Name", person)
    ben = enrol(studio, studio.result({studio.video("b.mp4"): {1: None}}), 0, 1, "Ben")
    unseen = studio.result({both: {1: "Ben", 2: None}}, {"Ben": ben})  # shows both, names Ben alone
    elsewhere = studio.result({other: {1: "Ben"}}, {"Ben": ben})
    failed = Job(kind="survey", probes=[new], names={new: f"new {file}"}, state="failed", message=f"{file} is damaged.")
    failed.warnings = [f"new {file}: it is dark."]
    studio.jobs.save(failed)
    assert unseen.job.job_id in [job.job_id for job in studio.people.traces(zarq).results]
    if interrupted:
        with monkeypatch.context() as patch:
            patch.setattr(JobStore, "save", _killed)
            with pytest.raises(KeyboardInterrupt):
                studio.people.forget(zarq)
    studio.people.forget(zarq)
    assert studio.videos.get(both).name == after
    assert studio.videos.path(studio.videos.get(both)).read_bytes() == b"film of " + file.encode()
    names = {video.name for video in studio.videos.uploads()}
    assert names == {after, "b.mp4", f"new {after.replace('forgotten', '_forgotten', after[0] == 'f')}", "Zarqo.mp4"}
    left = JobStore(studio.options.folder)
    assert elsewhere.job.job_id in [job.job_id for job in left.all()]
    assert not left.find(unseen.job.job_id), "its files are called after the video"
    again = left.get(failed.job_id)
    assert again.names[new] == studio.videos.get(new).name
    assert again.message == f"{Redaction([person, 'Old Name']).text(file)} is damaged."
    for path in studio.options.folder.rglob("*"):
        own = path.read_bytes() if path.is_file() and path.suffix == ".json" else b""
        for text in (path.name, own.decode()):
            assert Redaction([person, "Old Name"]).text(text) == text, path


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_who_is_over_is_forgotten_with_results(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    studio.people.name_track(result, 0, 1, "Anna", "for a day", 1, False)
    other = studio.result({studio.video("b.mp4"): {1: None}})
    enrol(studio, other, 0, 1, "Ben")
    studio.people.expire()
    assert studio.names() == ["Anna", "Ben"]
    with sqlite3.connect(studio.options.gallery) as database:
        database.execute("UPDATE person SET expires = '2020-01-01T00:00:00+00:00' WHERE name = 'Anna'")
    database.close()
    studio.people.expire()
    assert studio.names() == ["Ben"]
    assert [job.job_id for job in studio.jobs.all()] == [other.job.job_id]


def on_the_command_line(studio: Studio, *words: str) -> None:
    assert main(["gallery", *words, "--gallery-db", str(studio.options.gallery)]) == 0


def started_anew(studio: Studio) -> People:
    jobs, videos = JobStore(studio.options.folder), VideoLibrary(studio.options)
    return People(studio.options, jobs, videos)


def search_every_byte(folder: Path, words: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]


@pytest.mark.parametrize("restarted", [False, True])
def test_who_is_forgotten_on_the_command_line_is_gone_here_too(studio: Studio, restarted: bool) -> None:
    alone, both = studio.video("alone.mp4"), studio.video("both.mp4")
    enrolled_from = studio.result({alone: {1: None}})
    anna = enrol(studio, enrolled_from, 0, 1, "Anna Karenina")
    ben_from = studio.result({studio.video("ben.mp4"): {1: None}})
    ben = enrol(studio, ben_from, 0, 1, "Ben")
    named = studio.result({both: {1: "Anna Karenina", 2: "Ben"}}, {"Anna Karenina": anna, "Ben": ben})
    (named.folder / "run" / "report.html").write_text("<h1>Anna Karenina</h1>")
    unrelated = studio.result({both: {1: "Ben"}}, {"Ben": ben})
    cache = studio.options.folder / "work" / "cache" / "0123.zip"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"silhouettes of Anna Karenina")
    people = studio.people
    people.follow_gallery()
    assert not people.names_forgotten()
    assert len(studio.jobs.all()) == 4, "nobody is forgotten yet"
    pictures = [
        named.folder / "run" / "crops" / "both" / "1.jpg",
        enrolled_from.folder / "features" / "alone" / "001.npz",
    ]
    assert all(picture.is_file() for picture in pictures)

    on_the_command_line(studio, "forget", "Anna Karenina", "--yes")
    if restarted:
        people = started_anew(studio)
    assert people.names_forgotten([named])
    assert not people.names_forgotten([unrelated])
    people.follow_gallery()
    assert {job.job_id for job in JobStore(studio.options.folder).all()} == {
        ben_from.job.job_id,
        unrelated.job.job_id,
    }
    assert search_every_byte(studio.options.gallery.parent, b"Karenina") == []
    assert not [path for path in studio.options.folder.rglob("*") if "alone" in path.name]
    assert not any(path.exists() for path in [cache, *pictures])
    studio.videos.get(both)
    assert not people.names_forgotten()


def test_who_is_merged_on_the_command_line_stays_and_can_be_forgotten(studio: Studio) -> None:
    first = studio.result({studio.video("a.mp4"): {1: None}})
    anna = enrol(studio, first, 0, 1, "Anna")
    ann = enrol(studio, studio.result({studio.video("b.mp4"): {1: None}}), 0, 1, "Ann")
    named = studio.result({studio.video("c.mp4"): {1: "Ann"}}, {"Ann": ann})
    on_the_command_line(studio, "merge", "Ann", "Anna")
    studio.people.follow_gallery()
    view = named.view(studio.people.known())
    assert view["videos"][0]["tracks"][0]["person"] == {"person_id": anna, "name": "Anna"}
    assert view["identities"][0]["name"] == "Anna"
    on_the_command_line(studio, "forget", "Anna", "--yes")
    studio.people.follow_gallery()
    assert studio.jobs.all() == []


def test_names_are_those_of_today(studio: Studio) -> None:
    anna = enrol(studio, studio.result({studio.video("a.mp4"): {1: None}}), 0, 1, "Anna")
    named = studio.result({studio.video("b.mp4"): {1: "Anna"}}, {"Anna": anna})
    on_the_command_line(studio, "rename", "Anna", "Anne")
    view = named.view(studio.people.known())
    (track,) = view["videos"][0]["tracks"]
    assert (track["identity"], track["person"]["name"], view["identities"][0]["name"]) == ("Anne", "Anne", "Anne")


def test_a_walk_removed_on_the_command_line_takes_no_result_along(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    enrol(studio, result, 0, 1, "Anna")
    on_the_command_line(studio, "forget-walk", "1", "--yes")
    studio.people.follow_gallery()
    (track,) = result.view(studio.people.known())["videos"][0]["tracks"]
    assert (track["labelled"], track["person"]) == (False, None)
    on_the_command_line(studio, "forget", "Anna", "--yes")
    studio.people.follow_gallery()
    assert [job.job_id for job in studio.jobs.all()] == [result.job.job_id]


def test_results_belong_to_one_gallery(studio: Studio, tmp_path: Path) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    started_anew(studio).check_gallery()
    enrol(studio, result, 0, 1, "Anna")
    studio.people.known()
    started_anew(studio).check_gallery()
    studio.options = replace(studio.options, gallery=tmp_path / "other.db")
    with pytest.raises(ConflictError, match=r"other.db does not exist. Nothing was deleted"):
        started_anew(studio).check_gallery()
    assert not (tmp_path / "other.db").exists(), "a mistyped name makes no gallery"
    with SqliteGallery(tmp_path / "other.db") as other:
        other.record("identify", video="x.mp4")
    with pytest.raises(ConflictError, match="--gallery-db"):
        started_anew(studio).check_gallery()


def test_a_missing_gallery_is_not_an_empty_one(studio: Studio, tmp_path: Path) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    enrol(studio, result, 0, 1, "Anna")
    studio.options = replace(studio.options, gallery=tmp_path / "gone.db")
    (studio.options.folder / "gallery").unlink(missing_ok=True)  # results that were copied without it
    with pytest.raises(ConflictError, match="does not exist"):
        started_anew(studio).check_gallery()
    assert [job.job_id for job in studio.jobs.all()] == [result.job.job_id]


LOST = ("missing", "empty", "new", "other", "older", "older and used since", "no folder", "a folder")


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_gallery_that_is_not_the_known_one_deletes_nothing(how: str, restarted: bool, studio: Studio) -> None:
    studio.options = replace(studio.options, gallery=studio.options.folder.parent / "disk" / "gallery.db")
    studio.people = People(studio.options, studio.jobs, studio.videos)
    path = studio.options.gallery
    alone, both = studio.video("alone.mp4"), studio.video("both.mp4")
    anna = enrol(studio, studio.result({alone: {1: None}}), 0, 1, "Anna")
    older = path.with_name("older.db")
    shutil.copyfile(path, older)
    ben = enrol(studio, studio.result({studio.video("ben.mp4"): {1: None}}), 0, 1, "Ben")
    studio.result({both: {1: "Anna", 2: "Ben"}}, {"Anna": anna, "Ben": ben})
    studio.people.follow_gallery()
    kept = path.rename(path.with_name("kept.db"))
    if how == "no folder":
        path.parent.rename(path.parent.with_name("unmounted"))
        kept = path.parent.with_name("unmounted") / kept.name
    elif how == "empty":
        path.touch()
    elif how == "a folder":
        path.mkdir()
    elif how in ("new", "other"):
        with SqliteGallery(path) as other:
            if how == "other":
                other.record("identify", video="x.mp4")
    elif how != "missing":
        shutil.copyfile(older, path)
        if how == "older and used since":
            with SqliteGallery(path) as other:
                for _ in range(20):
                    other.record("identify", video="x.mp4")
    before = _files(studio.options.folder)

    people = started_anew(studio) if restarted else studio.people
    steps: list[Callable[[], object]] = [people.check_gallery, people.follow_gallery, people.expire, people.known]
    steps += [people.names_forgotten, lambda: people.forget(anna), lambda: people.traces(anna)]
    for step in steps:
        with pytest.raises(GaitprintError):
            step()
    assert _files(studio.options.folder) == before
    if how in ("missing", "no folder"):
        assert not path.exists(), "no new gallery is made in its place"

    if how == "a folder":
        path.rmdir()
    path.parent.mkdir(exist_ok=True)
    kept.replace(path)
    people = started_anew(studio) if restarted else studio.people
    people.check_gallery()
    people.follow_gallery()
    assert _files(studio.options.folder) == before
    people.forget(ben)
    people.follow_gallery()
    assert len(JobStore(studio.options.folder).all()) == 1


def test_results_without_note_of_their_gallery_are_not_taken_for_those_of_another(studio: Studio) -> None:
    anna = enrol(studio, studio.result({studio.video("a.mp4"): {1: None}}), 0, 1, "Anna")
    studio.result({studio.video("b.mp4"): {1: "Anna"}}, {"Anna": anna})
    (studio.options.folder / "gallery").unlink()
    before = _files(studio.options.folder)
    started_anew(studio).check_gallery()
    (studio.options.folder / "gallery").unlink()
    studio.options = replace(studio.options, gallery=studio.options.gallery.with_name("other.db"))
    with SqliteGallery(studio.options.gallery) as other:
        other.record("identify", video="x.mp4")
    for _ in range(2):
        with pytest.raises(ConflictError, match="not forgotten there"):
            started_anew(studio).check_gallery()
    assert _files(studio.options.folder) == before - {Path("gallery")}


def test_the_note_of_version_0_1_0_is_understood(studio: Studio) -> None:
    enrol(studio, studio.result({studio.video("a.mp4"): {1: None}}), 0, 1, "Anna")
    mark = studio.options.folder / "gallery"
    with SqliteGallery(studio.options.gallery) as gallery:
        first_use = gallery.first_use()
    assert first_use is not None
    mark.write_text(first_use.isoformat())
    started_anew(studio).check_gallery()
    assert len(mark.read_text().split()) == 3
    mark.write_text("2020-01-01T00:00:00+00:00")
    with pytest.raises(ConflictError, match="another gallery than"):
        started_anew(studio).check_gallery()


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_walk_deleted_elsewhere_is_no_label_any_more(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    enrol(studio, result, 0, 1, "Anna")
    with studio.people.gallery() as gallery:
        gallery.forget_walk(gallery.walks("Anna")[0].walk_id)
    (track,) = result.view(studio.people.known())["videos"][0]["tracks"]
    assert (track["labelled"], track["person"]) == (False, None)


def test_a_piece_of_a_track_is_enrolled_with_its_own_silhouettes(studio: Studio) -> None:
    result = studio.result({studio.video("walk.mp4"): {1: None, 2: None}})
    file = result.folder / "run" / "results.json"
    report = json.loads(file.read_text())
    report["probes"][0]["tracks"][1]["part_of"] = 1
    file.write_text(json.dumps(report))
    enrol(studio, RunResult(result.job, result.folder), 0, 2, "Anna")
    with studio.people.gallery() as gallery:
        stored = gallery.silhouettes(gallery.walks("Anna")[0].walk_id)
    assert stored is not None
    expected = StoredWalks(result.folder, "walk").sequence(2, FPS)
    np.testing.assert_array_equal(stored.silhouettes, expected.silhouettes)


def followed(*folders: Path) -> list[Path]:
    """What output folders keep of a video."""
    files = [folder / "cache" / f"{'0a' * 16}.zip" for folder in folders]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"silhouettes")
    return files


def caches_of(studio: Studio) -> list[Path]:
    return followed(studio.options.folder / "work", studio.options.gallery.parent)


@pytest.mark.parametrize("how", ["forget_walk", "unname_track"])
def test_forgetting_a_walk_clears_the_caches(studio: Studio, how: str) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    enrol(studio, result, 0, 1, "Anna")
    caches = caches_of(studio)
    if how == "forget_walk":
        studio.people.forget_walk(1)
    else:
        studio.people.unname_track(result, 0, 1)
    assert not any(cache.exists() for cache in caches)
    with studio.people.gallery() as gallery:
        assert gallery.walks() == []


def test_a_walk_forgotten_on_the_command_line_clears_the_cache_here(studio: Studio) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    enrol(studio, result, 0, 1, "Anna")
    (cache,) = followed(studio.options.folder / "work")
    studio.people.follow_gallery()
    assert cache.exists()
    on_the_command_line(studio, "forget-walk", "1", "--yes")
    started_anew(studio).follow_gallery()
    assert not cache.exists()
    (cache,) = followed(studio.options.folder / "work")
    os.utime(cache, (time.time() + 9, time.time() + 9))
    started_anew(studio).follow_gallery()
    assert cache.exists(), "a video that was analysed later has nothing of that walk"


@pytest.mark.parametrize("place", ["beside the gallery", "in the web folder"])
def test_nobody_is_forgotten_by_halves(studio: Studio, place: str) -> None:
    result = studio.result({studio.video("a.mp4"): {1: None}})
    anna = enrol(studio, result, 0, 1, "Anna")
    folder = studio.options.gallery.parent if place == "beside the gallery" else studio.options.folder / "work"
    with in_use(folder):
        with pytest.raises(GalleryError, match="Another program is at work"):
            studio.people.forget(anna)
        with pytest.raises(GalleryError, match="Another program is at work"):
            studio.people.forget_walk(1)
        with pytest.raises(GalleryError, match="Another program is at work"):
            studio.people.unname_track(result, 0, 1)
    assert studio.names() == ["Anna"]
    assert result.job.labels == {"0/1": 1}
    assert result.folder.is_dir()


def test_whether_a_walk_is_known_is_decided_by_the_metric_of_the_settings(studio: Studio) -> None:
    studio.options = replace(studio.options, assignments=("match.metric=cosine",))
    people = started_anew(studio)
    first, second = (studio.result({studio.video(f"{name}.mp4"): {1: None}}) for name in "ab")
    embedding = StoredWalks(first.folder, "a").embedding(1)
    assert embedding is not None
    longer = replace(embedding, parts=2 * embedding.parts)  # as near as can be, but only by the cosine
    sequence = StoredWalks(second.folder, "b").sequence(1, FPS)
    write_features(second.folder / "features" / "b", 1, longer, sequence)
    people.name_track(first, 0, 1, "Anna", "said yes", None, False)
    people.name_track(second, 0, 1, "Anna", "", None, False)
    with people.gallery() as gallery:
        assert gallery.person("Anna").walks == 1


def test_runs_that_follow_a_change_learn_from_the_gallery_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = new_studio(tmp_path).options
    person_id, _ = fill(options, people=6, runs=4)
    people = People(options, jobs := JobStore(options.folder), VideoLibrary(options))
    with people.service() as gallery:
        gallery.rename(people.get(gallery, person_id).name, "Somebody else")
    learnt = []
    of = Learnt.of
    monkeypatch.setattr(Learnt, "of", lambda *place: learnt.append(place) or of(*place))
    people.sightings(person_id)
    assert len(learnt) == 1
    for job in jobs.all():
        result = RunResult(job, jobs.result(job))
        report = result.report()
        people.name_again(result)
        with people.gallery() as store:
            assert report is not None
            assert result.again == name_again(report, result.folder, result.outcome, store, MatchSettings())


def test_files_follow_who_was_renamed(tmp_path: Path) -> None:
    options = new_studio(tmp_path).options
    person_id, job_id = fill(options, people=6, runs=4)
    people = People(options, jobs := JobStore(options.folder), VideoLibrary(options))
    before = people.known().names[person_id]
    with people.service() as gallery:
        gallery.rename(before, "Somebody else")
    for name in ("results.json", "results.csv", "report.html"):
        text = people.file_again(RunResult(jobs.get(job_id), jobs.result(jobs.get(job_id))), name)
        assert text is not None
        assert before not in text.replace(f"{before}.mp4", ""), name


@pytest.mark.parametrize(("threshold", "then"), [(99.0, "gallery-001"), (None, "gallery-001"), (1.0, None)])
def test_who_is_not_somebody_of_the_gallery_video_gets_another_name(
    studio: Studio, threshold: float | None, then: str | None
) -> None:
    run = compare_run(studio, threshold)
    job = run.job

    def names() -> list[str | None]:
        again = RunResult(JobStore(studio.options.folder).get(job.job_id), run.folder)
        studio.people.name_again(again)
        told = studio.people.file_again(again, "results.json")
        shown = again.view(studio.people.known())
        (track,) = shown["videos"][1]["tracks"]
        assert track["painted"] == "gallery-002"
        assert track["threshold"] == threshold
        if told is not None:
            assert json.loads(told)["probes"][0]["tracks"][0]["identity"] == track["identity"]
        assert [other["identity"] for other in shown["videos"][0]["tracks"]] == [names_of[1], names_of[2]]
        return [track["identity"]]

    names_of = {1: "gallery-001", 2: "gallery-002"}
    for place, track_id, name in ((1, 6, "gallery-002"), (0, 1, "gallery-001"), (1, 5, "gallery-003"), (1, 5, "Ben")):
        with pytest.raises(NotThereError):
            studio.people.deny_in_run(run, place, track_id, name, denied=True)
    assert names() == ["gallery-002"]
    for _ in range(2):
        studio.people.deny_in_run(run, 1, 5, "gallery-002", denied=True)
    assert names() == [then]
    studio.people.deny_in_run(run, 1, 5, "gallery-002", denied=False)
    assert job.denied == {}
    assert names() == ["gallery-002"]
    # Who has a name by now is denied in the gallery too, so that other runs follow.
    anna = enrol(studio, run, 0, 2, "Anna")
    names_of[2] = "Anna"
    studio.people.deny_in_run(run, 1, 5, "Anna", denied=True)
    assert names() == [then]
    with studio.people.gallery() as store:
        (said,) = store.denials("Anna")
    assert (said.person_id, said.track_id) == (anna, 5)
    studio.people.deny_in_run(run, 1, 5, "Anna", denied=False)
    with studio.people.gallery() as store:
        assert store.denials("Anna") == []
    assert names() == ["Anna"]


def test_who_is_named_in_a_gallery_video_has_the_name_in_the_others(studio: Studio) -> None:
    gallery, probe = studio.video("gallery.mp4"), studio.video("yard.mp4")
    numbers = {1: "gallery-001", 2: "gallery-002"}
    result = studio.result({gallery: dict(numbers), probe: {1: "gallery-002", 2: "gallery-001", 3: None}})
    path = result.folder / "run" / "results.json"
    report = json.loads(path.read_text())
    report |= {"gaitprint": "0", "created": "2026-01-01T00:00:00+00:00", "settings": {}, "timings": {"total": 1.0}}
    for video, name in zip(report["probes"], ("gallery", "yard"), strict=True):
        video["name"] = name
    for track in report["probes"][1]["tracks"]:  # of the two numbers, the own one is near
        far = sorted((0.2 if name == track["identity"] else 0.5, name) for name in numbers.values())
        track["candidates"] = [{"identity": name, "distance": distance} for distance, name in far]
        track |= {"distance": far[0][0], "probability": 0.9, "reason": None if track["identity"] else "too far"}
    report["gallery"] = report["probes"].pop(0)
    path.write_text(json.dumps(report))
    identities = [KnownIdentity(name=name, colour="#000000") for name in numbers.values()]
    outcome = result.outcome.model_copy(update={"identities": identities})
    (result.folder / "outcome.json").write_text(outcome.model_dump_json())
    job = result.job.model_copy(update={"kind": "compare", "gallery": gallery, "probes": [probe]})
    studio.jobs.save(job)
    assert studio.people.file_again(RunResult(job, result.folder), "results.json") is None, "nobody has a name yet"
    enrol(studio, RunResult(job, result.folder), 0, 1, "Anna")
    known, after = studio.people.known(), RunResult(job, result.folder)
    shown = after.view(known)["videos"]
    assert [track["person"] and track["person"]["name"] for track in shown[1]["tracks"]] == [None, "Anna", None]
    assert [track["identity"] for track in shown[1]["tracks"]] == ["gallery-002", "Anna", None]
    assert [(seen["video"], seen["track_id"]) for seen in studio.people.sightings(1)] == [
        ("gallery.mp4", 1),
        ("yard.mp4", 2),
    ]
    assert [job.job_id for job in studio.people.traces(1).results] == [job.job_id]

    def files() -> tuple[list[tuple[str, str, float | None, bool]], str, str]:
        """The rows of the table (video, name, probability, whether it is the very recording), it, and the report."""
        named = RunResult(job, result.folder)
        everything, table, page = (
            studio.people.file_again(named, name) or "" for name in ("results.json", "results.csv", "report.html")
        )
        content = json.loads(everything)
        rows = [
            (video["name"], track["identity"], track["probability"], track["same_recording"])
            for video in (content["gallery"], *content["probes"])
            for track in video["tracks"]
        ]
        return rows, table, page

    rows, table, page = files()
    assert rows == [
        ("gallery", "Anna", None, False),
        ("gallery", "gallery-002", None, False),
        ("yard", "gallery-002", 0.9, False),
        ("yard", "Anna", 0.9, False),
        ("yard", None, 0.9, False),
    ]
    for text in (table, page):
        assert [name in text for name in ("Anna", "gallery-002", "gallery-001")] == [True, True, False]
    assert "the 2 people in the gallery video" in page
    # Somebody says whose walks the others are: one person who had two numbers, and somebody who is in no gallery video.
    enrol(studio, RunResult(job, result.folder), 0, 2, "Anna")
    enrol(studio, RunResult(job, result.folder), 1, 3, "Ben")
    with studio.people.service() as service:
        service.rename("Anna", "Anne")
    rows, table, page = files()
    assert rows == [
        ("gallery", "Anne", None, False),
        ("gallery", "Anne", None, False),
        ("yard", "Anne", 0.9, False),
        ("yard", "Anne", 0.9, False),
        ("yard", "Ben", None, True),
    ]
    for text in (table, page):
        assert [name in text for name in ("Anne", "Ben", "Anna", "gallery-00")] == [True, True, False, False]
    assert "the 1 person in the gallery video" in page
    assert "more people" not in page
    assert "gallery-001" in path.read_text(), "what the run has written stays"
