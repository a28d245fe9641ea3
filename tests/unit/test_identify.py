"""Naming people after the gallery that is kept, and bringing walks into it, without a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.errors import GalleryError, NobodyFoundError
from app.gait.gei import GaitEnergyImage
from app.gallery.distances import Metric
from app.gallery.sqlite import SqliteGallery
from app.lab.evaluation.pairs import Pairs, fit_scores
from app.recognise import scores as scores_module
from app.recognise.judge import Decision, Judge, check_comparable
from app.recognise.pieces import split_switches
from app.results.report import video_report
from app.runs.enrol import enrol_walks, listed, surely_one_person
from app.runs.identify import name_walks
from app.settings import MatchSettings
from app.stages import Run, Stages
from app.types import Bytes, GaitSequence, Ints, Track, VideoInfo
from app.walks import archive
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.sequences import Walk
from tests.unit.test_compare import analysed, stages

MODEL = GaitEnergyImage()


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery.db") as opened:
        yield opened


def enrol(gallery: SqliteGallery, folder: Path, *people: tuple[str, int], video: str = "home") -> None:
    """Enrol people, as (name, seed), each from a walk of their own."""
    seen = analysed(folder, video, [(range(40), seed) for _, seed in people])
    for number, (name, _) in enumerate(people, 1):
        gallery.enrol(name, enrol_walks(seen, [number], thumbnails=False), consent="yes")


def named(video: AnalysedVideo, gallery: SqliteGallery, models: Stages) -> list[Decision]:
    (result,) = name_walks([video], gallery, Run(models))
    return list(result.decisions.values())


def test_people_are_named_and_strangers_are_not(tmp_path: Path, gallery: SqliteGallery) -> None:
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2), ("Carol", 3))
    probe = analysed(tmp_path, "street", [(range(5, 50), 3), (range(50), 9), (range(50), 1)], {})
    found = named(probe, gallery, stages())
    assert [one.identity for one in found] == ["Carol", None, "Anna"]
    for one in found:
        distances = [candidate.distance for candidate in one.candidates]
        assert len(distances) == 3
        assert one.distance == distances[0]
        assert one.margin == pytest.approx(distances[1] - distances[0])
        assert one.probability is None, "no scores for this model"
    assert "beyond the threshold" in (found[1].reason or "")


def test_people_seen_together_never_get_one_name(tmp_path: Path, gallery: SqliteGallery) -> None:
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2))
    twice = analysed(tmp_path, "street", [(range(50), 1), (range(30, 60), 1), (range(70, 99), 1)])
    given = stages(MatchSettings(threshold=5.0))
    assert sorted(str(one.identity) for one in named(twice, gallery, given)[:2]) == ["Anna", "Ben"]
    assert named(twice, gallery, given)[2].identity == "Anna"


def test_all_walks_of_a_person_count_up_to_k(tmp_path: Path, gallery: SqliteGallery) -> None:
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2))
    enrol(gallery, tmp_path, ("Anna", 9), video="wrong")  # one bad walk under her name
    probe = analysed(tmp_path, "street", [(range(50), 1), (range(50), 2)])
    distances = {}
    for k in (1, 2, 3):
        first, _ = named(probe, gallery, stages(MatchSettings(threshold=9.0, neighbours=k)))
        distances[k] = {candidate.identity: candidate.distance for candidate in first.candidates}
    assert distances[1]["Anna"] < distances[2]["Anna"] == distances[3]["Anna"]
    assert distances[1]["Ben"] == distances[3]["Ben"]


def test_a_gallery_that_is_of_no_use_is_told_at_once(tmp_path: Path, gallery: SqliteGallery) -> None:
    with pytest.raises(GalleryError, match="empty"):
        check_comparable(gallery, MODEL.card)
    enrol(gallery, tmp_path, ("Anna", 1))
    check_comparable(gallery, MODEL.card)
    with pytest.raises(GalleryError, match=r"gei.*re-embed"):
        check_comparable(gallery, replace(MODEL.card, name="other"))
    nobody = analysed(tmp_path, "short", [(range(3), 1)], {1: "too short"})
    assert named(nobody, gallery, stages()) == []


def learn_scores(folder: Path, gallery: SqliteGallery, metric: Metric = "euclidean") -> None:
    """Write scores for the gallery, as `calibrate` does."""
    people = [str(seed) for seed in range(12) for _ in range(2)]
    walks = analysed(folder, "many", [(range(15 + i), int(who)) for i, who in enumerate(people)]).usable()
    features = np.stack([walk.embedding.parts for walk in walks if walk.embedding])
    pairs = Pairs.of(features, people, [str(i) for i in range(len(people))], metric)
    scores = fit_scores(pairs, model_id="gei", metric=metric, data="noise")
    assert gallery.path is not None
    scores.write(scores_module.scores_path(gallery.path))


def test_scores_learnt_from_the_gallery_give_threshold_and_probability(tmp_path: Path, gallery: SqliteGallery) -> None:
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2), ("Carol", 3))
    probe = analysed(tmp_path, "street", [(range(50), 1), (range(50), 30), (range(50), 2)])
    learn_scores(tmp_path, gallery)
    judge = Judge.of(gallery, MODEL.card, MatchSettings(far=0.02), [probe])
    assert judge.scores is not None
    assert judge.threshold is not None
    assert judge.threshold.value == judge.scores.threshold(0.02)
    found = list(judge.decide_video(probe).values())
    assert [found[0].identity, found[2].identity] == ["Anna", "Ben"]
    sure, stranger, _ = (one.probability for one in found)
    assert sure is not None
    assert stranger is not None
    assert sure > 0.9 > 0.5 > stranger
    for number in range(4, 40):
        enrol(gallery, tmp_path, (f"P{number}", number + 100), video=f"more{number}")
    among_many = judge.decide_video(probe)[1].probability
    assert among_many is not None
    assert among_many < sure, "each further person takes a little"
    given = Judge.of(gallery, MODEL.card, MatchSettings(threshold=0.7), [probe])
    assert given.threshold is not None
    assert given.threshold.value == 0.7
    assert given.scores is not None, "a given threshold keeps the probability"
    assert scores_module.find_scores(MODEL.card, "euclidean") is None


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_recording_that_the_gallery_has_is_said_and_not_called_sure(
    tmp_path: Path, gallery: SqliteGallery, metric: Metric, caplog: pytest.LogCaptureFixture
) -> None:
    learn_scores(tmp_path, gallery, metric)
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2), ("Carol", 3))
    both = [(range(40), 1), (range(60), 2), (range(40), 3), (range(50), 9)]  # Ben walks once more, and a stranger
    video = analysed(tmp_path, "street", both)
    judge = Judge.of(gallery, MODEL.card, MatchSettings(metric=metric), [video])
    found = list(judge.decide_video(video).values())
    assert [one.recording_of for one in found] == ["Anna", None, "Carol", None]
    assert [one.identity for one in found] == ["Anna", "Ben", "Carol", None]
    assert [one.probability is None for one in found] == [True, False, True, False]
    assert [one.confidence is None for one in found] == [True, False, True, True]
    warnings = [message for message in caplog.messages if "the very recording" in message]
    assert [message.partition(" is the very")[0] for message in warnings] == ["street: track 1", "street: track 3"]
    tracks = video_report(video, dict(enumerate(found, 1))).tracks
    assert [track.same_recording for track in tracks] == [True, False, True, False]
    assert [track.sureness.text == "same recording" for track in tracks] == [True, False, True, False]


def silhouettes(seed: int, frames: Ints) -> Bytes:
    body = (np.random.default_rng(seed).random((64, 64)) > 0.5) * 255
    noise = np.random.default_rng((seed, 1)).random((len(frames), 64, 64)) > 0.05
    return np.where(noise, body, 0).astype(np.uint8)


def switched(folder: Path, *, crossing: bool = True) -> AnalysedVideo:
    """A video whose track 1 goes over from person 1 to person 2 at frame 100, where track 2 crosses its way."""
    frames = np.arange(200)
    both = np.concatenate([silhouettes(1, frames[:100]), silhouettes(2, frames[100:])])
    path = folder / "switch.zip"
    walks = []
    with archive.writing(path) as store:
        for number, left, pictures in ((1, 2 * frames, both), (2, 400 - 2 * frames, silhouettes(3, frames))):
            if number == 2 and not crossing:
                left = left + 1000
            boxes = np.stack([left, 0 * frames, left + 40, 0 * frames + 200], 1).astype(np.float32)
            track = Track(number, frames, boxes, np.full(200, 0.9, np.float32))
            sequence = GaitSequence(frames, pictures, 25.0)
            store.add(Walk(track, sequence, None))
            walks.append(AnalysedWalk(track, MODEL.embed([sequence])[0], None, path))
        store.end(archive.Ending(200, ()))
    info = VideoInfo(Path("switch.mp4"), 1920, 240, Fraction(25), 200)
    return AnalysedVideo("switch", info, 200, (), tuple(walks), path)


def test_a_track_that_goes_over_to_somebody_else_is_cut(tmp_path: Path, gallery: SqliteGallery) -> None:
    enrol(gallery, tmp_path, ("Anna", 1), ("Ben", 2), ("Carol", 3))
    video = split_switches(switched(tmp_path), stages())
    tracks = [(walk.track.track_id, walk.part_of, len(walk.track.frame_indices)) for walk in video.walks]
    (cut,) = {int(walk.track.frame_indices[0]) for walk in video.walks} - {0}
    assert abs(cut - 100) <= 8, "half a window"
    assert tracks == [(1, None, cut), (2, None, 200), (3, 1, 200 - cut)]
    (result,) = name_walks([video], gallery, Run(stages()))
    found = result.decisions
    assert {number: decision.identity for number, decision in found.items()} == {1: "Anna", 2: "Carol", 3: "Ben"}
    report = video_report(video, found)
    assert [(track.track_id, track.part_of) for track in report.tracks] == [(1, None), (2, None), (3, 1)]
    assert report.tracks[2].margin == found[3].margin
    (walk,) = enrol_walks(video, [3], keep_silhouettes=True, thumbnails=False)
    assert walk.silhouettes is not None
    assert walk.silhouettes.frame_indices.tolist() == list(range(cut, 200))
    assert walk.seconds == pytest.approx((200 - cut) / 25)


def test_nobody_is_cut_where_nobody_was_met(tmp_path: Path) -> None:
    video = switched(tmp_path, crossing=False)
    assert split_switches(video, stages()) == video


def test_walks_to_enrol_must_be_chosen_and_usable(tmp_path: Path, gallery: SqliteGallery) -> None:
    video = analysed(tmp_path, "home", [(range(40), 1), (range(30, 60), 2), (range(3), 3)], {3: "too short"})
    with pytest.raises(GalleryError, match=r"several walks: track 1 \(0.0 to 1.6 s\), track 2 .*--track"):
        enrol_walks(video)
    with pytest.raises(GalleryError, match=r"Track 3 .* cannot be used \(too short\)"):
        enrol_walks(video, [3])
    with pytest.raises(GalleryError, match=r"Track 7 .* does not exist"):
        enrol_walks(video, [1, 7])
    with pytest.raises(NobodyFoundError, match="track 1: too short"):
        enrol_walks(analysed(tmp_path, "short", [(range(3), 1)], {1: "too short"}))
    (walk,) = enrol_walks(video, [2, 2], view="front", thumbnails=False)
    assert (walk.source, walk.track_id, walk.view, walk.silhouettes) == ("home.mp4", 2, "front", None)
    assert "track 2 (1.2 to 2.4 s)" in listed(video)
    assert not surely_one_person(video.usable())
    assert surely_one_person(analysed(tmp_path, "alone", [(range(40), 1), (range(50, 90), 1)]).usable())
