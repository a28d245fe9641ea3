"""Names of people who were forgotten, however they are written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from app.gallery.redaction import Redaction
from app.gallery.sqlite import SqliteGallery
from app.gallery.store import NewWalk
from app.types import Embedding

NAMES = [
    "Zarq Vexley",
    "Wei\u00df",
    "Zo\u00eb M\u00fcller",
    "Jean-Luc d'Arc",
    "O'Neil",
    "P 12",
    "\u6b65\u6001",
    "\u0130pek",
]


def spellings(name: str) -> list[str]:
    """The same name as others may write it."""
    words = name.replace("-", " ").replace("'", " ").split()
    written = [name, *(sign.join(words) for sign in (" ", "-", "_", ".", "  ", "\u2013", "\u00a0"))]
    if not any(word.isdigit() for word in words[1:]):
        written.append("".join(word[0].upper() + word[1:] for word in words))
    cases = [form for text in written for form in (text, text.upper(), text.lower(), text.casefold(), text.title())]
    return [unicodedata.normalize(form, text) for text in cases for form in ("NFC", "NFD")]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    redaction = Redaction([name])
    for written in spellings(name):
        for frame in ("{}", "with {} and Ben", "{}_2.mp4", "ben-{}.mov", "({})", "{}'s mother", "my/{}/walk.mp4"):
            assert redaction.text(frame.format(written)) == frame.format("(forgotten)"), (frame, written)
        details = redaction.details({"a": [written, {written: 1.5}], "b": None})
        assert details == {"a": ["(forgotten)", {"(forgotten)": 1.5}], "b": None}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Anna", "Hannah, Annabel, ANNABEL and Joanna"),
        ("P 1", "P 12, P-12, P12, XP 1"),
        ("P12", "P1, P 123, P 1 2"),
        ("1 2", "12"),
        ("Zoe", "Zo\u00eb and Zoe\u0308"),
        ("Weis", "Wei\u00df"),
        ("Ben", "a benefit of the bench"),
        ("!!", "fine!"),
    ],
)
def test_other_words_stay(name: str, text: str) -> None:
    assert Redaction([name]).text(text) == text


def test_several_names_and_words_within_words() -> None:
    redaction = Redaction(["Anna", "Anna Karenina", "!!"])
    assert redaction.text("Anna Karenina, anna_2, AnnaWalks, myAnna !!") == (
        "(forgotten), (forgotten)_2, (forgotten)Walks, my(forgotten) (forgotten)"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("over", [False, True])
def test_a_forgotten_name_is_nowhere_in_the_file(name: str, over: bool, tmp_path: Path) -> None:
    def walk(seed: int, source: str) -> NewWalk:
        parts = np.random.default_rng(seed).normal(size=(2, 8)).astype(np.float32)
        return NewWalk(Embedding(parts, "gei", 30), source, view=f"{source} left", seconds=2.0)

    path = tmp_path / "gallery.db"
    forms = spellings(name)
    with SqliteGallery(path) as gallery:
        gallery.enrol(name, [walk(0, "x.mp4")], consent="yes", retain_days=1)
        for number, form in enumerate(forms):
            consent = f"with {form}, who agreed too"
            gallery.enrol(f"Cleo{number}", [walk(1 + number, f"{form}_street.mp4")], consent=consent)
        if over:
            expires = gallery.person(name).expires
            assert expires is not None
            gallery.expire(expires)
        else:
            gallery.forget(name)
        assert {person.consent for person in gallery.people()} == {"with (forgotten), who agreed too"}
        assert {walk.source for walk in gallery.walks()} == {"(forgotten)_street.mp4"}
        assert {walk.view for walk in gallery.walks()} == {"(forgotten)_street.mp4 left"}
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for form in forms:
        assert form.encode() not in content
