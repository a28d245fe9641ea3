"""What every gallery that remembers promises, whichever it is."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from app.errors import GalleryError, IncompatibleEmbeddingsError
from app.gallery.distances import Metric, distances_between, part_distances
from app.gallery.sql import GalleryStore
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding, GaitSequence, Measure, ModelCard
from tests.progress import Remembered

SHAPE = (3, 8)
MODEL = "gaitbase@01234567"
MEASURES = (
    Measure("cadence", "steps/min", 107.25, 2.5, 9),
    Measure("step length", "body heights", 0.31, None, 1, 0.3, 0.32),
    Measure("camera azimuth", "degrees", -93.0, None, 39),
)
Opener = Callable[[Path], GalleryStore]
Gallery = GalleryStore


def parts(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def walk(seed: int = 0, model: str = MODEL, silhouettes: bool = False, keypoints: bool = False) -> NewWalk:
    return NewWalk(
        Embedding(parts(seed), model, 30 + seed),
        f"walk{seed}.mp4",
        track_id=seed or None,
        view="front",
        seconds=1.5 + seed,
        silhouettes=sequence(seed, keypoints) if silhouettes else None,
        thumbnail=b"\xff\xd8\xff" + bytes([seed]) if silhouettes else None,
        measures=MEASURES if silhouettes else (),
    )


def sequence(seed: int, keypoints: bool = False) -> GaitSequence:
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 256, (5, 64, 64)).astype(np.uint8)
    joints = random.normal(100, 50, (5, 17, 3)).astype(np.float32) if keypoints else None
    return GaitSequence(np.array([0, 2, 3, 7, 900]), pictures, 29.97, joints)


class Means:
    """A gait model: the mean grey of each walk."""

    def __init__(self, name: str = "means", keypoints: bool = False) -> None:
        self.card = ModelCard("gait", name, "weight-free", "Apache-2.0", keypoints=keypoints)
        self.batches: list[int] = []

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        self.batches.append(len(walks))
        found = (np.full((2, 2), one.silhouettes.mean(), np.float32) for one in walks)
        return [Embedding(one, self.card.model_id, 5) for one in found]


def same_sequence(a: GaitSequence | None, b: GaitSequence | None) -> None:
    assert a is not None
    assert b is not None
    np.testing.assert_array_equal(a.silhouettes, b.silhouettes)
    np.testing.assert_array_equal(a.frame_indices, b.frame_indices)
    assert a.fps == b.fps
    assert (a.keypoints is None) == (b.keypoints is None)
    if a.keypoints is not None and b.keypoints is not None:
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def in_memory(path: Path) -> GalleryStore:
    return SqliteGallery(None)


def opener_of(kind: str, request: pytest.FixtureRequest) -> Opener:
    if kind != "postgres":
        return SqliteGallery if kind == "file" else in_memory
    server = request.getfixturevalue("postgres")
    from app.gallery.postgres import PostgresGallery

    request.addfinalizer(server.recycle)
    addresses: dict[Path, str] = defaultdict(server.new_database)
    return lambda path: PostgresGallery(addresses[path])


@pytest.fixture(params=["file", "memory", "postgres"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return opener_of(request.param, request)


@pytest.fixture(params=["file", "postgres"])
def lasting(request: pytest.FixtureRequest) -> Opener:
    """Opens a gallery that outlives the one who opened it."""
    return opener_of(request.param, request)


@pytest.fixture
def gallery(opener: Opener, tmp_path: Path) -> Iterator[GalleryStore]:
    with opener(tmp_path / "gallery") as opened:
        yield opened


def test_a_closed_gallery_says_so(gallery: GalleryStore) -> None:
    gallery.close()
    for use in (gallery.people, gallery.walks, lambda: gallery.forget("Anna"), lambda: gallery.rename("Anna", "Ann")):
        with pytest.raises(GalleryError, match=r"was closed\. Open it again"):
            use()
    gallery.close()


def names(gallery: Gallery) -> dict[str, int]:
    return {person.name: person.walks for person in gallery.people()}


class TestGallery:
    def test_is_a_store_and_starts_empty(self, gallery: Gallery) -> None:
        assert isinstance(gallery, GalleryStore)
        assert isinstance(gallery, AbstractContextManager)
        assert gallery.people() == []
        assert gallery.walks() == []
        assert gallery.log() == []
        assert gallery.model_ids() == {}
        assert gallery.expire() == []
        assert gallery.first_use() is None
        assert gallery.search([walk().embedding], 3) == [[]]

    def test_the_views_of_a_walk_are_kept_so_it_is_compared_as_it_was(self, gallery: Gallery) -> None:
        pieces = np.stack([parts(seed) for seed in range(10, 17)])
        long, short = Embedding(parts(1), MODEL, 99, pieces), Embedding(parts(2), MODEL, 9)
        gallery.enrol("Anna", [NewWalk(one, "yard.mp4") for one in (long, short)], consent="yes")
        ids = [walk.walk_id for walk in gallery.walks()]
        stored = gallery.embeddings(ids)
        assert [one.pieces is None for one in stored] == [False, True]
        for given, kept in zip((long, short), stored, strict=True):
            np.testing.assert_array_equal(kept.views, given.views)
        np.testing.assert_array_equal(gallery.walk(ids[0]).embedding.views, long.views)
        probe = Embedding(parts(3), MODEL, 30, pieces[2:5] + 1)
        np.testing.assert_allclose(distances_between([probe], stored), distances_between([probe], [long, short]))

    def test_what_was_enrolled_comes_back_exactly_also_tomorrow(self, lasting: Opener, tmp_path: Path) -> None:
        given = [walk(1, silhouettes=True, keypoints=True), walk(2)]
        before = datetime.now(timezone.utc)
        with lasting(tmp_path / "gallery") as gallery:
            person = gallery.enrol("Anna", given, consent=" signed form 7 ", retain_days=30)
        with lasting(tmp_path / "gallery") as gallery:
            assert gallery.people() == [person]
            assert gallery.person("Anna") == person
            assert (person.name, person.consent, person.walks) == ("Anna", "signed form 7", 2)
            assert before <= person.enrolled <= datetime.now(timezone.utc)
            assert person.expires == person.enrolled + timedelta(days=30)
            first, second = gallery.walks("Anna")
            assert gallery.walks() == [first, second]
            assert (first.source, first.track_id, first.view, first.seconds) == ("walk1.mp4", 1, "front", 2.5)
            assert (first.model_id, first.frames, first.person_id) == (MODEL, 31, person.person_id)
            assert first.added == person.enrolled
            assert (first.has_silhouettes, second.has_silhouettes) == (True, False)
            assert (first.measures, second.measures) == (MEASURES, ())
            assert (first.seen_from, second.seen_from) == ("the right", None)
            same_sequence(gallery.silhouettes(first.walk_id), given[0].silhouettes)
            assert gallery.silhouettes(second.walk_id) is None
            assert gallery.thumbnail("Anna") == given[0].thumbnail
            found = gallery.embeddings([second.walk_id, first.walk_id])
            for embedding, expected in zip(found, (given[1].embedding, given[0].embedding), strict=True):
                np.testing.assert_array_equal(embedding.parts, expected.parts)
                assert (embedding.model_id, embedding.frames) == (expected.model_id, expected.frames)

    def test_walks_are_chosen_by_person_source_and_model(self, gallery: Gallery) -> None:
        anna = gallery.enrol("Anna", [walk(1), walk(2), walk(3, "gei")], consent="yes")
        ben = gallery.enrol("Ben", [walk(4), walk(5)], consent="yes")
        every = [one for one in gallery.walks() if one.model_id == MODEL]
        assert gallery.walks_of([ben.person_id, anna.person_id], MODEL) == every
        assert gallery.walks_of([anna.person_id], "gei") == gallery.walks()[2:3]
        assert gallery.walks_of([], MODEL) == []
        assert gallery.newest_walks(MODEL, 3) == every[1:]
        assert gallery.newest_walks(MODEL, 3, ["walk1.mp4", "walk4.mp4"]) == [every[0], every[2]]
        assert gallery.newest_walks(MODEL, 1, ["walk1.mp4", "walk4.mp4"]) == [every[2]]
        assert gallery.newest_walks(MODEL, 3, []) == []
        assert [gallery.people_with(model) for model in (MODEL, "gei", "other")] == [2, 1, 0]

    def test_more_walks_go_to_the_same_person(self, gallery: Gallery) -> None:
        first = gallery.enrol("Anna", [walk(1)], consent="said yes", retain_days=10)
        again = gallery.enrol("Anna", [walk(2)], consent="signed")
        assert (again.person_id, again.enrolled, again.walks) == (first.person_id, first.enrolled, 2)
        assert again.consent == "signed"
        assert again.expires == first.expires
        later = gallery.enrol("Anna", [walk(3)], consent="signed", retain_days=20)
        assert first.expires is not None
        assert later.expires is not None
        assert later.expires > first.expires + timedelta(days=9)

    def test_people_are_listed_by_name(self, gallery: Gallery) -> None:
        for name in ("cleo", "Ben", "anna"):
            gallery.enrol(name, [walk(1)], consent="yes")
        assert [person.name for person in gallery.people()] == ["anna", "Ben", "cleo"]

    def test_names_are_compared_as_people_read_them(self, gallery: Gallery) -> None:
        gallery.enrol("  Zoe\u0308   Ober ", [walk(1)], consent="yes")
        assert gallery.person("Zo\u00eb Ober").name == "Zo\u00eb Ober"

    @pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 101, "a\u202eb"])
    def test_unusable_names_are_refused(self, gallery: Gallery, name: str) -> None:
        with pytest.raises(GalleryError, match="cannot be a name"):
            gallery.enrol(name, [walk(1)], consent="yes")
        gallery.enrol("Anna", [walk(1)], consent="yes")
        with pytest.raises(GalleryError, match="cannot be a name"):
            gallery.rename("Anna", name)

    def test_enrolment_needs_walks_consent_and_days_that_exist(self, gallery: Gallery) -> None:
        with pytest.raises(GalleryError, match="no walk"):
            gallery.enrol("Anna", [], consent="yes")
        with pytest.raises(GalleryError, match="consent"):
            gallery.enrol("Anna", [walk(1)], consent="  ")
        for days in (0, -1, 10**9):
            with pytest.raises(GalleryError, match="days"):
                gallery.enrol("Anna", [walk(1)], consent="yes", retain_days=days)
        assert gallery.people() == []

    def test_an_enrolment_is_done_whole_or_not_at_all(self, gallery: Gallery) -> None:
        odd = replace(walk(2), embedding=Embedding(parts(2, (3, 9)), MODEL, 9))
        with pytest.raises(GalleryError, match=r"\(3, 9\).*\(3, 8\)"):
            gallery.enrol("Anna", [walk(1), odd], consent="yes")
        assert gallery.people() == []
        assert gallery.walks() == []
        assert gallery.log() == []

    def test_nobody_of_that_name(self, gallery: Gallery) -> None:
        gallery.enrol("Anna Berg", [walk(1)], consent="yes")
        calls: list[Callable[[str], object]] = [
            gallery.person, gallery.walks, gallery.thumbnail, gallery.forget,
            lambda name: gallery.rename(name, "X"), lambda name: gallery.merge(name, "Anna Berg"),
            lambda name: gallery.merge("Anna Berg", name), lambda name: gallery.move_walk(1, name),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(GalleryError, match=r"no 'Ana Berg'.*Did you mean 'Anna Berg'"):
                call("Ana Berg")
        for missing in (gallery.silhouettes, gallery.forget_walk, lambda one: gallery.embeddings([one])):
            for walk_id in (99, 0, -1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30):
                with pytest.raises(GalleryError, match=f"no walk {walk_id}"):
                    missing(walk_id)
        assert names(gallery) == {"Anna Berg": 1}

    def test_rename(self, gallery: Gallery) -> None:
        before = gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.rename("Anna", "Anne")
        assert gallery.person("Anne") == replace(before, name="Anne")
        with pytest.raises(GalleryError, match="merge"):
            gallery.rename("Anne", "Ben")
        gallery.rename("Anne", "Anne")
        assert names(gallery) == {"Anne": 1, "Ben": 1}

    def test_merge_keeps_the_walks_and_the_earlier_times(self, gallery: Gallery) -> None:
        anna = gallery.enrol("Anna", [walk(1), walk(2)], consent="yes", retain_days=9)
        gallery.enrol("Ann", [walk(3)], consent="signed", retain_days=99)
        gallery.merge("Anna", "Ann")
        assert names(gallery) == {"Ann": 3}
        found = gallery.person("Ann")
        assert (found.consent, found.enrolled, found.expires) == ("signed", anna.enrolled, anna.expires)
        gallery.enrol("Ben", [walk(4)], consent="yes")
        gallery.merge("Ann", "Ben")
        assert gallery.person("Ben").expires == anna.expires
        with pytest.raises(GalleryError, match="cannot be merged"):
            gallery.merge("Ben", "Ben")

    def test_an_undone_merge_leaves_both_people_as_they_were(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes", retain_days=9)
        gallery.enrol("Ann", [walk(3)], consent="signed", retain_days=99)
        gallery.rename("Anna", "Annika")
        gallery.rename("Ann", "Nan")
        before = gallery.people(), gallery.walks(), gallery.former_names("Annika"), gallery.former_names("Nan")
        gallery.undo_merge(gallery.merge("Annika", "Nan"))
        assert before == (
            gallery.people(), gallery.walks(), gallery.former_names("Annika"), gallery.former_names("Nan")
        )  # fmt: skip
        assert gallery.enrol("Zoe", [walk(9)], consent="yes").person_id not in {one.person_id for one in before[0]}

    def test_undoing_a_merge_touches_nothing_that_changed_since(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes", retain_days=9)
        gallery.enrol("Ben", [walk(3)], consent="yes")
        gone, stays = (one.walk_id for one in gallery.walks("Anna"))
        merge = gallery.merge("Anna", "Ben")
        gallery.forget_walk(gone)
        later = gallery.enrol("Ben", [walk(4)], consent="yes", retain_days=5)
        gallery.undo_merge(merge)
        assert [one.walk_id for one in gallery.walks("Anna")] == [stays]
        assert (names(gallery)["Ben"], gallery.person("Ben").expires) == (2, later.expires)

    def test_a_merge_is_not_undone_where_somebody_is_gone_or_the_name_is_taken(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        merge = gallery.merge("Anna", "Ben")
        gallery.enrol("anna", [walk(3)], consent="yes")
        with pytest.raises(GalleryError, match="Somebody is called 'anna' again"):
            gallery.undo_merge(merge)
        gallery.forget("Ben")
        gallery.forget("anna")
        with pytest.raises(GalleryError, match=r"not in .* any more"):
            gallery.undo_merge(merge)
        assert gallery.people() == []

    def test_names_and_the_most_walks_are_read_without_everybody(self, gallery: Gallery) -> None:
        anna = gallery.enrol("Anna", [walk(1), walk(2)], consent="yes").person_id
        ben = gallery.enrol("Ben", [walk(3)], consent="yes").person_id
        gallery.enrol("Cleo", [walk(4), walk(5), walk(6)], consent="yes")
        assert gallery.names_of([ben, anna, 99]) == {anna: "Anna", ben: "Ben"}
        assert gallery.names_of([]) == {}
        assert [gallery.most_walks(count) for count in (0, 2, 9)] == [[], [3, 2], [3, 2, 1]]

    def test_consent_and_retention_change(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        until = datetime.now(timezone.utc) + timedelta(days=3)
        gallery.set_consent("anna", " signed ", until)
        assert (gallery.person("Anna").consent, gallery.person("Anna").expires) == ("signed", until)
        gallery.set_consent("Anna", "signed", None)
        assert gallery.person("Anna").expires is None
        assert gallery.log(1)[0].details == {"name": "Anna", "expires": None}
        for note, end in (("", None), ("x", until - timedelta(days=9)), ("x", until + timedelta(days=40000))):
            with pytest.raises(GalleryError, match=r"agreed|cannot be kept"):
                gallery.set_consent("Anna", note, end)
        assert gallery.person("Anna").consent == "signed"

    def test_whose_a_walk_is_not_is_remembered_for_that_recording(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        number = gallery.deny(walk(3), "anna")
        assert gallery.deny(replace(walk(3), source="again.mp4"), "Anna") == number, "the same is not said twice"
        gallery.deny(walk(3), "Ben")
        nearly = replace(walk(3).embedding, parts=walk(3).embedding.parts * np.float32(1 + 1e-6))
        other = replace(walk(3).embedding, parts=walk(3).embedding.parts * np.float32(1.01))
        foreign = replace(walk(3).embedding, model_id="other")
        found = gallery.denied([nearly, other, walk(4).embedding, foreign])
        assert [sorted(one) for one in found] == [["Anna", "Ben"], [], [], []]
        (denial,) = gallery.denials("Anna")
        assert (denial.denial_id, denial.source, denial.track_id) == (number, "walk3.mp4", 3)
        assert gallery.log(1)[0].details == {"name": "Ben", "source": "walk3.mp4", "track_id": 3}
        gallery.allow(number)
        assert (gallery.denials("Anna"), len(gallery.denials("Ben"))) == ([], 1)
        for gone in (number, 2**70):
            with pytest.raises(GalleryError, match="taken back"):
                gallery.allow(gone)
        with pytest.raises(GalleryError, match="no 'Zoe'"):
            gallery.deny(walk(3), "Zoe")

    @pytest.mark.parametrize("how", ["the person", "whose walk it is", "the walk"])
    def test_forgetting_reaches_what_a_walk_is_not(self, gallery: Gallery, how: str) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.deny(walk(2), "Anna")
        if how == "the person":
            gallery.forget("Anna")
            gallery.enrol("Anna", [walk(1)], consent="yes")
        elif how == "whose walk it is":
            gallery.forget("Ben")
        else:
            gallery.forget_walk(gallery.walks("Ben")[0].walk_id)
        assert gallery.denied([walk(2).embedding]) == [{}]
        assert gallery.denials("Anna") == []

    def test_names_in_the_sources_of_denials_are_forgotten(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.deny(replace(walk(3), source="ben and cleo.mp4"), "Anna")
        gallery.forget("Ben")
        assert gallery.denials("Anna")[0].source == "(forgotten) and cleo.mp4"

    def test_what_a_walk_is_not_follows_a_merge_and_its_undoing(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.deny(walk(3), "Anna")
        merge = gallery.merge("Anna", "Ben")
        assert list(gallery.denied([walk(3).embedding])[0]) == ["Ben"]
        gallery.undo_merge(merge)
        assert list(gallery.denied([walk(3).embedding])[0]) == ["Anna"]

    def test_one_walk_is_read_with_all_that_is_stored_of_it(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2, silhouettes=True)], consent="yes")
        (_, (_, stored), _) = next(gallery.records("Anna"))
        found = gallery.walk(gallery.walks("Anna")[1].walk_id)
        np.testing.assert_array_equal(found.embedding.parts, stored.embedding.parts)
        same_sequence(found.silhouettes, stored.silhouettes)
        assert (found.source, found.track_id, found.added, found.thumbnail) == (
            stored.source, stored.track_id, stored.added, stored.thumbnail
        )  # fmt: skip
        assert found.measures == stored.measures == MEASURES
        with pytest.raises(GalleryError, match="no walk"):
            gallery.walk(99)

    def test_what_was_measured_of_a_walk_can_be_noted_later(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2, silhouettes=True), walk(3, silhouettes=True)], consent="yes")
        first, second, _ = gallery.walks()
        gallery.set_measures(first.walk_id, MEASURES)
        gallery.set_measures(second.walk_id, MEASURES[:1])
        assert [one.measures for one in gallery.walks("Anna")] == [MEASURES, MEASURES[:1], MEASURES]
        assert gallery.walk(first.walk_id).measures == MEASURES
        told = gallery.log(1)[0]
        assert (told.event, told.details) == ("measure", {"name": "Anna", "walk_id": second.walk_id})
        with pytest.raises(GalleryError, match="no walk 99"):
            gallery.set_measures(99, MEASURES)

    def test_a_walk_moves_to_its_right_owner(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
        ben = gallery.enrol("Ben", [walk(3)], consent="yes")
        wrong = gallery.walks("Anna")[1]
        assert gallery.search([walk(2).embedding], 1)[0][0].person_id != ben.person_id
        gallery.move_walk(wrong.walk_id, "Ben")
        assert names(gallery) == {"Anna": 1, "Ben": 2}
        assert gallery.search([walk(2).embedding], 1)[0][0].person_id == ben.person_id

    def test_forget(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1, silhouettes=True), walk(2)], consent="yes")
        gallery.enrol("Ben", [walk(3)], consent="yes")
        gallery.record("match", name="Anna", candidates=[{"name": "Anna", "distance": 0.25}], note="Annabel, ANNA_2")
        gone = gallery.walks("Anna")[0].walk_id
        assert len(gallery.search([walk(1).embedding], 9)[0]) == 3
        assert gallery.forget("Anna") == 2
        assert names(gallery) == {"Ben": 1}
        assert [found.walk_id for found in gallery.search([walk(1).embedding], 9)[0]] == [gallery.walks()[0].walk_id]
        with pytest.raises(GalleryError, match="no walk"):
            gallery.silhouettes(gone)
        newest, match, *_ = gallery.log()
        assert newest.event == "forget"
        assert newest.details["walks"] == 2
        assert match.details["note"] == "Annabel, (forgotten)_2"
        assert match.details["candidates"] == [{"name": "(forgotten)", "distance": 0.25}]
        assert not any("'Anna'" in str(event) for event in gallery.log())
        assert any("Ben" in str(event) for event in gallery.log())
        new = gallery.enrol("Anna", [walk(9)], consent="yes")
        assert new.walks == 1

    def test_forgetting_reaches_former_names_and_sources(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        gallery.enrol("Ann", [walk(2)], consent="yes")
        gallery.enrol("Ben", [replace(walk(3), source="anna and ben.mp4")], consent="yes")
        gallery.rename("Anna", "Annika")
        gallery.merge("Annika", "Ann")
        gallery.rename("Ann", "Nina")
        gallery.forget("Nina")
        told = str(gallery.log()) + str(gallery.walks())
        assert not any(name in told for name in ("Ann", "anna", "Nina"))
        assert gallery.walks("Ben")[0].source == "(forgotten) and ben.mp4"

    def test_forget_one_walk(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
        gallery.search([walk(1).embedding], 9)
        gallery.forget_walk(gallery.walks()[0].walk_id)
        assert names(gallery) == {"Anna": 1}
        assert [found.distance for found in gallery.search([walk(2).embedding], 9)[0]] == [0]

    def test_those_whose_time_is_over_are_forgotten(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes", retain_days=1)
        gallery.enrol("Ben", [walk(2)], consent="yes", retain_days=5)
        gallery.enrol("Cleo", [walk(3)], consent="yes")
        assert gallery.expire() == []
        assert gallery.expire(datetime.now(timezone.utc) + timedelta(days=2)) == ["Anna"]
        assert names(gallery) == {"Ben": 1, "Cleo": 1}
        assert gallery.log()[0].event == "expire"
        assert "Anna" not in str(gallery.log())
        far = datetime.now(timezone(timedelta(hours=9))) + timedelta(days=9999)
        assert gallery.expire(far) == ["Ben"]

    def test_the_newest_picture_is_the_thumbnail(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        assert gallery.thumbnail("Anna") is None
        old = replace(walk(3, silhouettes=True), added=datetime(2020, 1, 1, tzinfo=timezone.utc))
        gallery.enrol("Anna", [walk(2, silhouettes=True), old], consent="yes")
        assert gallery.thumbnail("Anna") == walk(2, silhouettes=True).thumbnail

    def test_who_has_a_picture(self, gallery: Gallery) -> None:
        assert gallery.pictured() == set()
        gallery.enrol("Anna", [walk(1)], consent="yes")
        ben = gallery.enrol("Ben", [walk(number, silhouettes=True) for number in (2, 3)], consent="yes")
        assert gallery.pictured() == {ben.person_id}
        gallery.forget("Ben")
        assert gallery.pictured() == set()

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_searching_is_comparing_with_everybody(self, gallery: Gallery, metric: Metric) -> None:
        for person in range(6):
            gallery.enrol(f"P{person}", [walk(10 * person + n) for n in range(5)], consent="yes")
        stored = gallery.walks()
        everything = np.stack([found.parts for found in gallery.embeddings([one.walk_id for one in stored])])
        queries = [walk(seed).embedding for seed in (300, 11, 400)]
        expected = part_distances(np.stack([query.parts for query in queries]), everything, metric)
        for k in (1, 4, 30, 99):
            for found, row in zip(gallery.search(queries, k, metric), expected, strict=True):
                order = np.argsort(row)[:k]
                assert [one.walk_id for one in found] == [stored[i].walk_id for i in order]
                assert [one.person_id for one in found] == [stored[i].person_id for i in order]
                np.testing.assert_allclose([one.distance for one in found], row[order], atol=1e-5)
        assert gallery.search([], 3) == []

    def test_only_walks_of_one_model_are_compared(self, gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
        gallery.enrol("Anna", [walk(1), walk(2, "gei"), walk(3, "gei")], consent="yes")
        assert gallery.model_ids() == {MODEL: 1, "gei": 2}
        with caplog.at_level(logging.WARNING):
            assert len(gallery.search([walk(2).embedding], 9)[0]) == 1
            assert len(gallery.search([walk(2).embedding], 9)[0]) == 1
        assert len(caplog.messages) == 1
        assert "2 of the walks" in caplog.messages[0]
        assert len(gallery.search([walk(2, "gei").embedding], 9)[0]) == 2
        with pytest.raises(GalleryError, match=r"gei.*not with other@1.*gallery re-embed"):
            gallery.search([walk(1, "other@1").embedding], 1)
        with pytest.raises(IncompatibleEmbeddingsError, match="several models"):
            gallery.search([walk(1).embedding, walk(2, "gei").embedding], 1)
        with pytest.raises(IncompatibleEmbeddingsError, match=r"\(2, 2\).*\(3, 8\)"):
            gallery.search([Embedding(parts(1, (2, 2)), MODEL, 1)], 1)
        with pytest.raises(ValueError, match="at least 1"):
            gallery.search([walk(1).embedding], 0)

    def test_walks_are_embedded_anew(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(n, silhouettes=True) for n in range(1, 20)], consent="yes")
        gallery.enrol("Ben", [walk(30), walk(31, silhouettes=True, keypoints=True)], consent="yes")
        ids = [one.walk_id for one in gallery.walks()]
        model, progress = Means(), Remembered()
        assert gallery.re_embed(model, progress) == (20, [ids[19]])
        assert progress.stages == {"Embedding walks": (20, 20)}
        assert gallery.model_ids() == {MODEL: 1, "means": 20}
        assert gallery.search(model.embed([sequence(5)]), 1)[0][0].walk_id == ids[4]
        assert gallery.re_embed(model) == (0, [ids[19]])
        assert gallery.re_embed(Means("skeletons", keypoints=True)) == (1, [*ids[:20]])
        assert [event.event for event in gallery.log(2)] == ["re-embed", "re-embed"]

    def test_embedding_anew_goes_on_where_it_was_stopped(self, gallery: Gallery) -> None:
        class Stopped(Means):
            def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
                # The first batch may be followed by one walk, which shows whether the model tells walks apart.
                if self.batches and len(walks) > 1:
                    raise KeyboardInterrupt
                return super().embed(walks)

        gallery.enrol("Anna", [walk(n, silhouettes=True) for n in range(1, 41)], consent="yes")
        with pytest.raises(KeyboardInterrupt):
            gallery.re_embed(Stopped())
        some = gallery.model_ids()["means"]
        assert 0 < some < 40
        assert gallery.re_embed(Means()) == (40 - some, [])

    def test_the_log_tells_all(self, gallery: Gallery) -> None:
        gallery.enrol("Anna", [walk(1)], consent="secret reason")
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.record("match", name="Anna", distance=0.5, video="a.mp4", known=True)
        gallery.rename("Anna", "Anne")
        gallery.move_walk(gallery.walks()[0].walk_id, "Ben")
        gallery.merge("Anne", "Ben")
        events = gallery.log()
        assert [one.event for one in events] == ["merge", "move", "rename", "match", "enrol", "enrol"]
        assert events[3].details == {"name": "Anna", "distance": 0.5, "video": "a.mp4", "known": True}
        assert "secret" not in str(events)
        assert all(one.time.tzinfo is not None for one in events)
        assert len({one.event_id for one in events}) == 6
        assert gallery.log(2) == events[:2]
        assert gallery.log(None) == events
        assert gallery.log(None, ("enrol", "merge")) == [events[0], *events[4:]]
        assert gallery.log(1, ("enrol",)) == [events[4]]
        assert gallery.first_use() == events[-1].time

    def test_a_gallery_moves_into_another_one(self, gallery: Gallery, opener: Opener, tmp_path: Path) -> None:
        gallery.enrol("Anna", [walk(1, silhouettes=True, keypoints=True), walk(2)], consent="yes", retain_days=3)
        gallery.enrol("Ben", [walk(3)], consent="signed")
        gallery.deny(walk(4), "Anna")
        with opener(tmp_path / "other") as other:
            assert other.restore(gallery.records()) == (2, 3)
            assert [list(names) for names in other.denied([walk(4).embedding, walk(2).embedding])] == [["Anna"], []]
            for ours, theirs in zip(gallery.records(), other.records(), strict=True):
                assert replace(ours[0], person_id=0) == replace(theirs[0], person_id=0)
                for a, b in zip(ours[1], theirs[1], strict=True):
                    np.testing.assert_array_equal(a.embedding.parts, b.embedding.parts)
                    assert (a.source, a.track_id, a.view, a.seconds) == (b.source, b.track_id, b.view, b.seconds)
                    assert (a.added, a.thumbnail, a.measures) == (b.added, b.thumbnail, b.measures)
                    if a.silhouettes is not None:
                        same_sequence(a.silhouettes, b.silhouettes)
            (said,), (there,) = gallery.denials("Anna"), other.denials("Anna")
            assert (said.source, said.track_id, said.added) == (there.source, there.track_id, there.added)
            with pytest.raises(GalleryError, match=r"'Anna' already.*--merge"):
                other.restore(gallery.records())
            assert other.restore(gallery.records(), merge=True) == (0, 0)
            assert len(other.denials("Anna")) == 1

    def test_what_a_walk_is_not_comes_along_unless_it_is_known_to_be(
        self, gallery: Gallery, opener: Opener, tmp_path: Path
    ) -> None:
        gallery.enrol("Anna", [walk(1)], consent="yes")
        with opener(tmp_path / "other") as other:
            other.enrol("Anna", [walk(2)], consent="yes")
            other.deny(walk(1), "Anna")
            other.deny(walk(3), "Anna")
            assert gallery.restore(other.records(), merge=True) == (1, 1)
        assert [list(names) for names in gallery.denied([walk(1).embedding, walk(3).embedding])] == [[], ["Anna"]]

    def test_restoring_is_done_whole_or_not_at_all(self, gallery: Gallery, opener: Opener, tmp_path: Path) -> None:
        gallery.enrol("Ben", [walk(1)], consent="yes")
        with opener(tmp_path / "other") as other:
            other.enrol("Anna", [walk(2)], consent="yes")
            other.enrol("Ben", [walk(3)], consent="yes", retain_days=4)
            with pytest.raises(GalleryError, match="'Ben' already"):
                gallery.restore(other.records())
            assert names(gallery) == {"Ben": 1}
            assert gallery.restore(other.records(), merge=True) == (2, 2)
            assert gallery.person("Ben").expires == other.person("Ben").expires
        assert names(gallery) == {"Anna": 1, "Ben": 2}
        assert gallery.person("Ben").consent == "yes"

    def test_two_that_are_open_see_each_other(self, lasting: Opener, tmp_path: Path) -> None:
        with lasting(tmp_path / "gallery") as gallery, lasting(tmp_path / "gallery") as other:
            query = [walk(1).embedding]
            gallery.enrol("Anna", [walk(1), walk(2)], consent="yes")
            assert len(other.search(query, 9)[0]) == 2
            gallery.enrol("Ben", [walk(3)], consent="yes")
            assert len(other.search(query, 9)[0]) == 3
            gallery.forget("Anna")
            assert [one.person_id for one in other.search(query, 9)[0]] == [other.person("Ben").person_id]
            other.enrol("Cleo", [walk(4, silhouettes=True)], consent="yes")
            gallery.re_embed(Means())
            assert len(other.search(query, 9)[0]) == 1
            assert len(other.search(Means().embed([sequence(4)]), 9)[0]) == 1

    def test_records_are_those_of_one_moment(self, gallery: Gallery) -> None:
        for name in ("Anna", "Ben"):
            gallery.enrol(name, [walk(1)], consent="yes")
        records = gallery.records()
        first = next(records)
        gallery.enrol("Ben", [walk(2)], consent="yes")
        gallery.enrol("Cleo", [walk(3)], consent="yes")
        assert [(person.name, len(walks)) for person, walks, _ in (first, *records)] == [("Anna", 1), ("Ben", 1)]


def test_a_gallery_in_memory_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SqliteGallery(None) as gallery, SqliteGallery(None) as another:
        assert gallery.path is None
        gallery.enrol("Anna", [walk(1, silhouettes=True)], consent="yes")
        assert another.people() == []
        with pytest.raises(GalleryError, match="no 'Ann' in the gallery"):
            gallery.person("Ann")
    assert list(tmp_path.iterdir()) == []
