"""Which walks of a person help to recognise them."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import GalleryError
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.recognise.standing import standings
from app.settings import MatchSettings
from app.types import Embedding


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
