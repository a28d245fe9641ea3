"""Which walks of a person help to recognise them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import GalleryError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.recognise.judge import Judge, Learnt
from app.recognise.standing import standings
from app.settings import MatchSettings
from app.types import Embedding, Track
from tests.unit.test_adaptation import CENTRE, filmed, gei_scores


def at(place: float, model: str = "gei") -> NewWalk:
    """A walk at a place of a line; distances are those on the line."""
    return NewWalk(Embedding(np.array([[place, 0.0]], np.float32), model, 9), f"{place}.mp4")


def test_each_walk_is_left_out_once_and_compared() -> None:
    with SqliteGallery(None) as gallery:
        gallery.enrol("Anna", [at(0), at(1), at(9), at(0, "other")], consent="yes")
        gallery.enrol("Ben", [at(8), at(8.5)], consent="yes")
        gallery.enrol("Cleo", [at(-20)], consent="yes")
        found = standings(gallery, "anna", MatchSettings(neighbours=2))
    told = [(one.own, one.other, one.nearest, one.harms) for one in found]
    assert told == [
        (pytest.approx(5.0), pytest.approx(8.25), "Ben", False),
        (pytest.approx(4.5), pytest.approx(7.25), "Ben", False),
        (pytest.approx(8.5), pytest.approx(0.75), "Ben", True),
        (None, None, None, False),  # nothing can be compared with the walk of the other network
    ]


def test_alone_in_the_gallery_nothing_stands_between() -> None:
    with SqliteGallery(None) as gallery:
        gallery.enrol("Anna", [at(0), at(1)], consent="yes")
        assert [(one.own, one.other, one.harms) for one in standings(gallery, "Anna", MatchSettings())] == [
            (pytest.approx(1.0), None, False)
        ] * 2
        gallery.forget_walk(1)
        assert [(one.own, one.other) for one in standings(gallery, "Anna", MatchSettings())] == [(None, None)]
        gallery.forget_walk(2)
        assert standings(gallery, "Anna", MatchSettings()) == []
        with pytest.raises(GalleryError, match="no 'Zoe'"):
            standings(gallery, "Zoe", MatchSettings())


def test_walks_are_compared_as_those_that_are_to_be_named(tmp_path: Path) -> None:
    """Two cameras that move everybody far: as they are, all walks of one camera look more alike than one person's."""
    scores = gei_scores(tmp_path)
    fitting = replace(scores, model_id="m", centre=tuple(map(tuple, CENTRE.tolist())))
    videos = [[Embedding(parts.astype(np.float32), "m", 9) for parts in filmed(range(4), n, 0.3, 2.0)] for n in (1, 2)]
    match = MatchSettings()
    with SqliteGallery(None) as gallery:
        for name, person in zip("ABCD", range(4), strict=True):
            walks = [NewWalk(video[person], f"{n}.mp4", track_id=person) for n, video in enumerate(videos)]
            gallery.enrol(name, walks, consent="yes")
        assert all(one.harms for name in "ABCD" for one in standings(gallery, name, match))
        found = [one for name in "ABCD" for one in standings(gallery, name, match, lambda _: fitting)]
    assert not any(one.harms for one in found)

    with SqliteGallery(None) as gallery:  # what the judge says of the second camera's walks, which nobody has enrolled
        for name, embedding in zip("ABCD", videos[0], strict=True):
            gallery.enrol(name, [NewWalk(embedding, "0.mp4")], consent="yes")
        space = Learnt.of_model(gallery, "m", match, fitting).space
        judge = Judge(gallery, match, None, fitting, space)
        tracks = [Track(n, np.arange(3), np.zeros((3, 4), np.float32), np.ones(3, np.float32)) for n in range(1, 5)]
        decisions = judge.decide(videos[1], tracks)
    said = [decision.match.distance for decision in decisions if decision.match]
    assert said == pytest.approx([one.own for one in found[1::2]], rel=0.2)


def test_the_views_of_walks_are_compared_as_those_that_are_to_be_named(tmp_path: Path) -> None:
    scores = replace(gei_scores(tmp_path), model_id="m", centre=tuple(map(tuple, CENTRE.tolist())))
    match, rng = MatchSettings(), np.random.default_rng(0)
    with SqliteGallery(None) as gallery:
        for name, parts in zip("AB", filmed(range(2), 1, 0.3, 2.0), strict=True):
            pieces = [(parts + rng.normal(0, 1, (3, *parts.shape))).astype(np.float32) for _ in range(2)]
            walks = [NewWalk(Embedding(each.mean(0), "m", 9, each), f"{n}.mp4") for n, each in enumerate(pieces)]
            gallery.enrol(name, walks, consent="yes")
        walks_of_both = gallery.walks()
        embeddings = gallery.embeddings([walk.walk_id for walk in walks_of_both])
        space = Learnt.of_model(gallery, "m", match, scores).space
        views, whole = (
            space.gallery_distances(walks_of_both, embeddings, match.metric, whole=is_whole)[0, 1]
            for is_whole in (False, True)
        )
        assert views != pytest.approx(whole, rel=0.02)
        assert standings(gallery, "A", match, lambda _: scores)[0].own == pytest.approx(views)
