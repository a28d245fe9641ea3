"""The demo's own clips, through the command line and the embedded networks.

The same people get the same answer from a gallery video and from a gallery that is kept, and everybody is named
correctly.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.cli.main import main
from app.results.report import Report, TrackReport
from tests.truth import boxes_of, person_of

CLIPS = Path(__file__).resolve().parents[2] / "input_videos"
PROBES = [f"probe{number}" for number in range(1, 5)]
NAMES = ["Anna", "Ben", "Carol", "Dan"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(output: Path, command: str, *arguments: str) -> Report:
    """Run a command and return its results; files that other commands of the test need stay under `output`."""
    more = ["--output", str(output), "--set", "output.summary=false", "--set", "output.report=false"]
    assert main([command, *arguments, *more]) == 0
    (folder,) = (output / "OutputVideos").iterdir()
    report = Report.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
    shutil.rmtree(output / "OutputVideos")
    return report


def answers(report: Report, names: dict[str, str]) -> dict[tuple[str, int], tuple[object, ...]]:
    """What is said of each walk of the probes, the identities translated by `names`."""
    return {
        (probe.name, track.track_id): (
            names.get(track.identity or "", track.identity),
            track.status,
            track.distance,
            track.threshold,
            track.probability,
            track.confidence,
            track.agreeing,
            [(names.get(candidate.identity, candidate.identity), candidate.distance) for candidate in track.candidates],
        )
        for probe in report.probes
        for track in probe.tracks
    }


def test_the_demo_and_the_people_enrolled_under_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CLIPS.parent)
    output = tmp_path / "output"
    demo = run(output, "demo", "--gallery", "gallery", "--probe", *PROBES)
    assert demo.gallery is not None
    truth = boxes_of(CLIPS / "gallery.gt.txt")
    person_by_identity = {track.identity: person_of(track, truth) for track in demo.gallery.tracks if track.identity}
    assert sorted(person_by_identity.values()) == [1, 2, 3, 4]

    known: list[tuple[TrackReport, int | None]] = []
    strangers: list[TrackReport] = []
    for probe in demo.probes:
        truth = boxes_of(CLIPS / f"{probe.name}.gt.txt")
        for track in probe.tracks:
            person = person_of(track, truth)
            if track.status != "unusable":
                (known.append((track, person)) if person in {1, 2, 3, 4} else strangers.append(track))
    named = [(person_by_identity[track.identity], person) for track, person in known if track.identity]
    assert [name for name, _ in named] == [person for _, person in named], "somebody is named wrongly"
    assert len({person for _, person in named}) == 4
    assert len(named) >= 14
    assert len(known) - len(named) <= 3
    assert [track.identity for track in strangers] == [None]

    names = {}
    for track, name in zip(demo.gallery.tracks, NAMES, strict=True):
        arguments = ["--name", name, "--consent", "drawn", "--track", str(track.track_id), "--no-thumbnail"]
        database = ["--gallery-db", str(tmp_path / "people.db"), "--output", str(output)]
        assert main(["enrol", "gallery", *arguments, *database]) == 0
        assert track.identity is not None
        names[track.identity] = name
    kept = run(output, "identify", *PROBES, "--gallery-db", str(tmp_path / "people.db"))
    assert answers(demo, names) == answers(kept, {})
