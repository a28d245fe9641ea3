"""Strangers keep a number across cameras and restarts, and get a name with all that was seen of them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app import open_gallery
from app.cli.main import app as cli
from app.errors import GalleryError
from app.gallery.opening import open_store, open_strangers
from app.gallery.service import GalleryService
from app.gallery.store import NewWalk
from app.gallery.strangers import sightings
from app.recognise.strangers import MOST_WALKS, Met, StrangerJudge, StrangerOptions
from app.settings import MatchSettings
from app.types import Embedding, ModelCard, Track

CARD = ModelCard("gait", "means", "weight-free", "Apache-2.0")


def walk(who: int, take: int = 0, camera: str = "yard") -> NewWalk:
    middle = np.random.default_rng(who).normal(size=(2, 8))
    own = np.random.default_rng([who, take]).normal(size=(2, 8))
    return NewWalk(Embedding((middle + 0.02 * own).astype(np.float32), CARD.model_id, 9), camera, 1)


def track(first: int = 0) -> Track:
    frames = np.arange(first, first + 9)
    return Track(1, frames, np.zeros((9, 4), np.float32), np.ones(9, np.float32))


def opened(folder: Path) -> GalleryService:
    place = folder / "gallery.db"
    return GalleryService(open_store(place), strangers=open_strangers(place, create=True))


def meet(gallery: GalleryService, who: int, take: int = 0, camera: str = "yard", since: float = 0.0) -> Met:
    assert gallery.strangers is not None
    options = StrangerOptions(threshold=0.5, retain_days=3)
    judge = StrangerJudge(gallery.strangers.store, CARD, MatchSettings(), options)
    met = judge.meet(walk(who, take, camera), track(), since, since + 5)
    seen = {"source": camera, "name": None, "stranger": met.name}
    gallery.store.record("left", **seen)
    return met


def test_a_number_lasts_across_cameras_and_restarts(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        first, other = meet(gallery, 1), meet(gallery, 2)
        assert (first.name, first.is_new) == ("stranger-0001", True)
        assert (other.name, other.is_new) == ("stranger-0002", True)
    with opened(tmp_path) as gallery:
        again = meet(gallery, 1, take=1, camera="hall")
        assert (again.name, again.is_new) == ("stranger-0001", False)
        assert gallery.people() == []
        assert gallery.strangers is not None
        for take in range(2, 2 + MOST_WALKS):
            meet(gallery, 1, take)
        assert gallery.strangers.store.person("stranger-0001").walks == MOST_WALKS
        gallery.strangers.drop("stranger-0002")
        assert meet(gallery, 3).name == "stranger-0003", "a number is never given twice"


def test_two_in_view_at_once_are_two_strangers(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        assert gallery.strangers is not None
        judge = StrangerJudge(gallery.strangers.store, CARD, MatchSettings(), StrangerOptions(threshold=0.5))
        assert judge.meet(walk(1), track(), 0.0, 9.0).name == "stranger-0001"
        assert judge.meet(walk(1, 1), track(), 3.0, 11.0).name == "stranger-0002"


def test_those_who_left_long_ago_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.recognise.strangers._REMEMBERED", 3)
    with opened(tmp_path) as gallery:
        assert gallery.strangers is not None
        judge = StrangerJudge(gallery.strangers.store, CARD, MatchSettings(), StrangerOptions(threshold=0.5))
        for who in range(1, 6):
            judge.meet(walk(who), track(), 10.0 * who, 10.0 * who + 9)
        assert len(judge._last) == 3
        assert judge.meet(walk(5, 1), track(), 53.0, 61.0).is_new, "the fifth was in view meanwhile"
        assert not judge.meet(walk(1, 1), track(), 100.0, 109.0).is_new, "the store still knows the first"


def test_naming_a_stranger_names_all_sightings_and_forgetting_reaches_them(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        meet(gallery, 1)
        meet(gallery, 1, 1, camera="hall")
        meet(gallery, 2)
        strangers = gallery.strangers
        assert strangers is not None
        strangers.merge("stranger-0002", "stranger-0001")
        with pytest.raises(GalleryError, match="agreed to"):
            strangers.name("stranger-0001", "Anna")
        anna = strangers.name("stranger-0001", "Anna", consent="form 7")
        assert (anna.walks, anna.consent, anna.expires) == (3, "form 7", None)
        assert strangers.store.people() == []
        names = ["Anna", *gallery.store.former_names("Anna")]
        assert [event.details["source"] for event in sightings(gallery.store, names)] == ["yard", "hall", "yard"]
        meet(gallery, 3)
        assert strangers.name("stranger-0003", "anna").walks == 4
        gallery.forget("Anna")
        assert "stranger-0" not in str(gallery.store.log(None))


def test_strangers_go_when_their_time_is_over(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        meet(gallery, 1)
        assert gallery.expire() == []
        assert gallery.expire(datetime.now(timezone.utc) + timedelta(days=4)) == ["stranger-0001"]
        assert "stranger-0" not in str(gallery.store.log(None))


def test_the_command_line_looks_after_strangers(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        for who in (1, 2, 3):
            meet(gallery, who)
    place = ["--gallery-db", str(tmp_path / "gallery.db")]

    def run(*words: str) -> str:
        answer = CliRunner().invoke(cli, ["gallery", *words, *place])
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "stranger-0003" in run("strangers", "list")
    assert "2 walks" in run("strangers", "merge", "stranger-0002", "stranger-0001")
    assert "Anna" in run("strangers", "name", "stranger-0001", "Anna", "--consent", "yes")
    run("strangers", "drop", "stranger-0003")
    assert "no strangers" in run("strangers", "list")
    assert run("sightings", "Anna").count("yard") == 2
    with open_gallery(tmp_path / "gallery.db") as gallery:
        assert gallery.people()[0].walks == 2


def test_strangers_live_beside_people_in_postgres(postgres: object) -> None:
    from tests.postgres import Server

    assert isinstance(postgres, Server)
    address = postgres.new_database()
    assert open_strangers(address) is None
    with GalleryService(open_store(address), strangers=open_strangers(address, create=True)) as gallery:
        meet(gallery, 1)
        assert meet(gallery, 1, 1).name == "stranger-0001"
        assert gallery.strangers is not None
        gallery.strangers.name("stranger-0001", "Anna", consent="yes")
        assert gallery.people()[0].walks == 2
    postgres.recycle()
