"""One judgement: a gallery video and a gallery that is kept give the same answer, and files agree with results."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import OutputError, SettingsError
from app.gallery.sqlite import SqliteGallery
from app.results.outputs import _write_walks, write_run
from app.results.render import labels_by_frame
from app.results.report import to_csv
from app.results.result import NamedVideo, Result
from app.runs.compare import compare, compare_walks
from app.runs.enrol import enrol_walks
from app.runs.identify import identify, name_walks
from app.settings import MatchSettings, OutputSettings
from app.stages import Run
from app.walks.analysed import AnalysedVideo
from tests.unit.test_compare import analysed, stages
from tests.unit.test_identify import switched

SETTINGS = {
    "derived threshold": MatchSettings(),
    "given threshold": MatchSettings(threshold=0.9),
    "one neighbour": MatchSettings(neighbours=1),
    "cosine": MatchSettings(metric="cosine"),
    "closed": MatchSettings(closed=True),
}


def answers(named: list[NamedVideo], names: dict[str, str] | None = None) -> list[list[tuple[object, ...]]]:
    """What is decided of each walk; `names` translates the identities."""
    names = names or {}
    return [
        [
            (
                number,
                names.get(decision.identity or "", decision.identity),
                decision.distance,
                decision.threshold,
                decision.probability,
                [(names.get(c.identity, c.identity), c.distance) for c in decision.candidates],
            )
            for number, decision in video.decisions.items()
        ]
        for video in named
    ]


@pytest.fixture
def home(tmp_path: Path) -> AnalysedVideo:
    """Four people, of whom the third and the fourth are never seen together with all others."""
    return analysed(tmp_path, "home", [(range(40), 1), (range(10, 60), 2), (range(50, 90), 3), (range(95, 140), 4)])


@pytest.fixture
def streets(tmp_path: Path) -> list[AnalysedVideo]:
    """Two probes: known people in other orders, and a stranger."""
    return [
        analysed(tmp_path, "street", [(range(50), 3), (range(50), 9), (range(50), 1)]),
        analysed(tmp_path, "yard", [(range(50), 2), (range(60, 99), 4)]),
    ]


@pytest.mark.parametrize("match", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_gallery_video_and_the_same_people_enrolled_give_the_same_answer(
    home: AnalysedVideo, streets: list[AnalysedVideo], match: MatchSettings, tmp_path: Path
) -> None:
    run = Run(stages(match))
    by_video = compare_walks(home, streets, run)
    people = ["Anna", "Ben", "Carol", "Dan"]
    with SqliteGallery(tmp_path / "gallery.db") as gallery:
        for number, name in enumerate(people, 1):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        by_gallery = name_walks(streets, gallery, run)
    names = {f"home-{number:03d}": name for number, name in enumerate(people, 1)}
    assert answers(list(by_video.probes), names) == answers(by_gallery)
    assert any(decision.identity for video in by_gallery for decision in video.decisions.values())


@pytest.mark.parametrize("people", [1, 2])
def test_small_galleries_give_the_same_answer_too(people: int, streets: list[AnalysedVideo], tmp_path: Path) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(50, 90), 3)][:people])
    run = Run(stages())
    for seen in (streets, streets[1:]):
        by_video = compare_walks(home, seen, run)
        with SqliteGallery(None) as gallery:
            for number, name in enumerate(("Anna", "Carol")[:people], 1):
                gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
            by_gallery = name_walks(seen, gallery, run)
        assert answers(list(by_video.probes), {"home-001": "Anna", "home-002": "Carol"}) == answers(by_gallery)


def test_in_a_closed_set_everybody_gets_the_best_name_the_video_allows(tmp_path: Path) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)])
    # A stranger, and Anna twice: two of the three are seen together, the third later.
    street = analysed(tmp_path, "street", [(range(50), 9), (range(50), 1), (range(60, 99), 1)])
    (seen,) = compare_walks(home, [street], Run(stages(MatchSettings(closed=True)))).probes
    assert [decision.identity for decision in seen.decisions.values()] == ["home-002", "home-001", "home-001"]
    for decision in seen.decisions.values():
        assert decision.threshold is None
        assert decision.reason is None
        assert decision.confidence is not None
        assert 0 < decision.confidence <= 1
    assert seen.decisions[2].confidence > seen.decisions[1].confidence, "the stranger is less clear"


def test_in_a_closed_set_more_walks_at_once_than_people_are_somebody_followed_twice(tmp_path: Path) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)])
    # Two tracks follow the first person.
    street = analysed(tmp_path, "street", [(range(50), 1), (range(50), 2), (range(45), 1)])
    (seen,) = compare_walks(home, [street], Run(stages(MatchSettings(closed=True)))).probes
    assert [decision.identity for decision in seen.decisions.values()] == ["home-001", "home-002", "home-001"]
    assert [decision.reason for decision in seen.decisions.values()] == [None] * 3


def test_a_closed_set_finds_names_for_tracks_that_meet_each_other_at_different_times(tmp_path: Path) -> None:
    """Three tracks with gaps: never more than two in a frame, but each meets both others, so three names are needed."""
    home = analysed(tmp_path, "home", [(range(40), seed) for seed in range(1, 9)])
    street = analysed(tmp_path, "street", [(range(50), 1), (range(50), 1), (range(50), 1)])
    gaps = [np.r_[0:20, 60:80], np.r_[10:20, 30:50], np.r_[40:50, 70:80]]
    walks = [
        replace(
            walk,
            track=replace(
                walk.track,
                frame_indices=frames,
                boxes=np.tile(walk.track.boxes[:1], (len(frames), 1)),
                scores=np.full(len(frames), 0.9, np.float32),
            ),
        )
        for walk, frames in zip(street.walks, gaps, strict=True)
    ]
    closed = Run(stages(MatchSettings(closed=True, neighbours=1)))
    (seen,) = compare_walks(home, [replace(street, walks=tuple(walks))], closed).probes
    found = [decision.identity for decision in seen.decisions.values()]
    assert "home-001" in found
    assert len(set(found)) == 3


def test_a_closed_set_is_assigned_as_a_whole(tmp_path: Path) -> None:
    """The nearest name of each would name one person twice; the best assignment is better than taking turns."""
    from app.recognise.matching import match

    distances = np.array([[1.0, 2.0], [1.1, 9.0]])
    frames = [np.arange(5), np.arange(5)]
    assert [found.identity for found in match(distances, frames, ["a", "b"], None)] == ["b", "a"]
    apart = [np.arange(5), np.arange(9, 12)]
    assert [found.identity for found in match(distances, apart, ["a", "b"], None)] == ["a", "a"]


def test_a_closed_set_has_results_without_a_threshold(tmp_path: Path) -> None:
    home = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2)])
    street = analysed(tmp_path, "street", [(range(50), 1), (range(50), 2), (range(50), 9)])
    result = compare_walks(home, [street], Run(stages(MatchSettings(closed=True))))
    report = result.report()
    assert report.rule.startswith("Closed set")
    (probe,) = report.probes
    assert [track.threshold for track in probe.tracks] == [None] * 3
    third = probe.tracks[2].identity
    assert third in ("home-001", "home-002"), "in a closed set everybody gets a name"
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))[2:]
    assert [(row["identity"], row["threshold"]) for row in rows] == [("home-001", ""), ("home-002", ""), (third, "")]
    assert all(float(row["distance"]) >= 0 for row in rows)
    assert rows[2]["reason"] == ""
    labels = [label.text for label in labels_by_frame(probe)[0]]
    assert labels[:2] == ["home-001  clear", "home-002  clear"]
    assert labels[2].startswith(third)


def test_a_closed_set_with_a_threshold_is_refused_before_the_long_work(tmp_path: Path) -> None:
    run = Run(stages(MatchSettings(closed=True, threshold=0.5)))
    with pytest.raises(SettingsError, match=r"A closed set has no threshold.*Leave out either"):
        compare(tmp_path / "home.mp4", [tmp_path / "street.mp4"], run)
    home = analysed(tmp_path, "home", [(range(40), 1)])
    with SqliteGallery(None) as gallery, pytest.raises(SettingsError, match="A closed set has no threshold"):
        gallery.enrol("Anna", enrol_walks(home, [1], thumbnails=False), consent="yes")
        identify([tmp_path / "street.mp4"], gallery, run)


def test_files_on_disk_are_exactly_the_tracks_of_the_results(tmp_path: Path) -> None:
    """For a video with an identity switch, a track of which nobody could be cut out, and one that cannot be used."""
    from app.recognise.pieces import split_switches

    output = OutputSettings(folder=tmp_path / "output")
    run = Run(stages())
    video = split_switches(switched(tmp_path), run.stages)
    home = analysed(tmp_path, "home", [(range(40), 1), (range(40), 2), (range(3), 3)], {3: "too short"})
    result = compare_walks(home, [video], run)
    assert len(video.walks) == 3, "the switch is found"
    for named in result.videos:
        _write_walks(named.video, output, tmp_path / "crops")
        tracks = {f"{track.track_id:03d}": track for track in named.report.tracks}
        silhouettes = output.folder / "GaitSilhouette" / named.video.name
        features = output.folder / "GaitFeatures" / named.video.name
        assert {path.name for path in silhouettes.iterdir()} == set(tracks)
        assert {path.stem for path in features.iterdir()} == set(tracks)
        for number, track in tracks.items():
            if track.status == "unusable":
                with np.load(features / f"{number}.npz") as arrays:
                    assert arrays["parts"].size == 0
                    assert str(arrays["reason"]) == track.reason
                continue
            with np.load(features / f"{number}.npz") as arrays:
                frames = arrays["frame_indices"].tolist()
                parts = arrays["parts"]
            assert set(frames) <= set(tracks[number].frames)
            assert sorted(int(path.stem) for path in (silhouettes / number).iterdir()) == frames
            (walk,) = [walk for walk in named.video.walks if f"{walk.track.track_id:03d}" == number]
            assert walk.embedding is not None
            np.testing.assert_array_equal(parts, walk.embedding.parts)


def test_a_result_speaks_python(home: AnalysedVideo, streets: list[AnalysedVideo], tmp_path: Path) -> None:
    result: Result = compare_walks(home, streets, Run(stages()))
    assert [walk.name for walk in result.walks] == ["home-003", None, "home-001", "home-002", "home-004"]
    assert result.people == [f"home-{number:03d}" for number in range(1, 5)]
    assert result.distances.shape == (5, 4)
    assert result.distances[0].argmin() == 2
    assert np.isnan(result.probabilities).all(), "nothing is known of what distances mean"
    assert result.walks[0].start == 0.0
    assert result.walks[0].end == 2.0
    result.to_json(tmp_path / "results.json")
    content = json.loads((tmp_path / "results.json").read_text())
    assert [len(probe["tracks"]) for probe in content["probes"]] == [3, 2]
    pandas = pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["name"].tolist()[0] == "home-003"
    assert frame["video"].tolist() == ["street"] * 3 + ["yard"] * 2


def test_a_walk_reads_its_silhouettes_from_the_archive(tmp_path: Path) -> None:
    video = switched(tmp_path)
    whole = video.walks[0].silhouettes
    assert whole is not None
    assert whole.shape == (200, 64, 64)
    cut = replace(video.walks[0], track=replace(video.walks[0].track, track_id=9), part_of=1)
    np.testing.assert_array_equal(cut.silhouettes, whole)
    assert cut.keypoints is None


@pytest.mark.parametrize("place", ["GaitSilhouette", "GaitFeatures"])
@pytest.mark.parametrize("foreign", ["gallery.db", "001/notes.txt", "holiday.mp4"])
def test_a_folder_of_a_video_that_holds_something_else_stays(place: str, foreign: str, tmp_path: Path) -> None:
    output = OutputSettings(folder=tmp_path / "output")
    home = analysed(tmp_path, "home", [(range(40), 1)])
    for _ in range(2):  # the second run replaces the folders of the first
        _write_walks(home, output, tmp_path / "crops")
    precious = output.folder / place / "home" / foreign
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    result = compare_walks(
        home,
        [analysed(tmp_path, "street", [(range(40), 1)])],
        Run(replace(stages(), settings=replace(stages().settings, output=output))),
    )
    with pytest.raises(OutputError, match=r"holds .*which Gaitprint did not make"):
        write_run(result)
    assert precious.read_text() == "precious"
    assert not (output.folder / "OutputVideos").exists()


@pytest.mark.parametrize("closed", [False, True])
def test_a_walk_is_never_given_a_name_that_somebody_denied(
    closed: bool, home: AnalysedVideo, streets: list[AnalysedVideo]
) -> None:
    run = Run(stages(MatchSettings(closed=closed)))
    with SqliteGallery(None) as gallery:
        for number, name in enumerate(("Anna", "Ben", "Carol"), 1):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        (walk,) = enrol_walks(streets[0], [3], thumbnails=False)
        assert name_walks(streets, gallery, run)[0].decisions[3].identity == "Anna"
        for name, left in (("Anna", {"Ben", "Carol"}), ("Ben", {"Carol"}), ("Carol", set())):
            gallery.deny(walk, name)
            decision = name_walks(streets, gallery, run)[0].decisions[3]
            assert {candidate.identity for candidate in decision.candidates} == left
            assert decision.identity in {None, *left}
        assert decision.reason == "somebody has said that it is none of the people who could be compared"


def test_the_very_recording_of_somebody_is_not_theirs_where_somebody_denied_that(home: AnalysedVideo) -> None:
    with SqliteGallery(None) as gallery:
        for number, name in enumerate(("Anna", "Ben"), 1):
            gallery.enrol(name, enrol_walks(home, [number], thumbnails=False), consent="yes")
        gallery.deny(enrol_walks(home, [1], thumbnails=False)[0], "Anna")
        (seen,) = name_walks([home], gallery, Run(stages()))
        assert (seen.decisions[1].recording_of, seen.decisions[2].recording_of) == (None, "Ben")
