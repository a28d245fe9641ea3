"""What the pieces of a walk say by themselves, in both jobs: with a gallery video and with the gallery that is kept."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.gait.gei import GaitEnergyImage
from app.gallery.sqlite import SqliteGallery
from app.recognise.matching import Agreement
from app.runs.compare import compare_walks
from app.runs.enrol import enrol_walks
from app.runs.identify import name_walks
from app.settings import MatchSettings
from app.stages import Run
from app.types import GaitSequence
from app.walks.analysed import AnalysedVideo
from tests.unit.test_compare import analysed, stages


def in_pieces(video: AnalysedVideo, *bodies: list[int]) -> AnalysedVideo:
    """The video, its walks seen in pieces: of each, the seeds of the bodies that they show."""
    model, walks = GaitEnergyImage(), []
    for walk, seeds in zip(video.walks, bodies, strict=True):
        assert walk.embedding is not None
        pictures = [(np.random.default_rng(seed).random((1, 64, 64)) > 0.5).astype(np.uint8) * 255 for seed in seeds]
        pieces = model.embed([GaitSequence(np.arange(1), picture, 25.0) for picture in pictures])
        embedding = replace(walk.embedding, pieces=np.stack([piece.parts for piece in pieces]))
        walks.append(replace(walk, embedding=embedding))
    return replace(video, walks=tuple(walks))


def test_pieces_are_compared_with_the_gallery_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)])
    street = analysed(tmp_path, "street", [(range(50), 1), (range(50), 2), (range(60, 99), 9), (range(100, 150), 1)])
    probe = in_pieces(street, [1, 1, 1, 2], [2, 1, 2], [9, 9], [1])
    with caplog.at_level(logging.WARNING, "app.recognise.judge"):
        (seen,) = compare_walks(known, [probe], Run(stages())).probes
    assert [decision.agreement for decision in seen.decisions.values()][:2] == [Agreement(3, 4), Agreement(2, 3)]
    report = seen.report
    assert [(track.agreeing, track.pieces) for track in report.tracks] == [(3, 4), (2, 3), (2, 2), (None, None)]
    assert report.tracks[2].identity is None
    (message,) = [message for message in caplog.messages if "pieces" in message]
    assert message == (
        "street: track 2 is named home-002, but only 2 of the 3 pieces of the walk are nearest to home-002."
    )
    (whole,) = compare_walks(known, [street], Run(stages())).probes
    assert {decision.agreement for decision in whole.decisions.values()} == {None}


def test_pieces_are_compared_with_the_gallery_that_is_kept(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        home = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)])
        for number, name in ((1, "Anna"), (2, "Ben")):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        street = analysed(tmp_path, "street", [(range(50), 1), (range(60, 99), 2)])
        probe = in_pieces(street, [1, 1, 2], [2, 2])
        (seen,) = name_walks([probe], gallery, Run(stages(MatchSettings(threshold=9.0))))
        assert [(one.identity, one.agreement) for one in seen.decisions.values()] == [
            ("Anna", Agreement(2, 3)),
            ("Ben", Agreement(2, 2)),
        ]
        assert [(track.agreeing, track.pieces) for track in seen.report.tracks] == [(2, 3), (2, 2)]
        (whole,) = name_walks([street], gallery, Run(stages()))
        assert [one.agreement for one in whole.decisions.values()] == [None, None]
