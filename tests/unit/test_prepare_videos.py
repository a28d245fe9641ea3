"""Videos become a data set once somebody has said who is who."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from app.cli.main import main
from app.errors import NobodyFoundError, SettingsError, VideoError
from app.files import written_whole
from app.gait.heatmaps import heatmaps
from app.lab.data import from_videos as dataset
from app.lab.data.conversion import Report
from app.lab.data.from_videos import prepare_videos
from app.lab.data.labels import read_labels
from app.lab.data.opengait import DataSetError, read_heatmaps, read_keypoints, read_silhouettes, walk_files
from app.progress import Silent
from app.settings import Settings
from app.types import Floats, GaitSequence, Track, VideoInfo
from app.video.reader import VideoReader
from app.video.writer import VideoWriter
from app.walks import archive
from app.walks.analysed import AnalysedVideo, AnalysedWalk
from app.walks.sequences import Walk
from app.workspace import in_use
from tests.clips import Scene, Walker, crossing, write_clip

FPS = 25


def track(number: int, frames: range, *, keypoints: bool = True, reason: str | None = None) -> Walk:
    """A track whose silhouettes and joints say its number and frame."""
    indices, count = np.array(frames), len(frames)
    boxes = np.tile(np.array([[10, 20, 50, 120]], np.float32), (count, 1))
    bodies = np.full((count, 64, 64), 100 + number, np.uint8)
    bodies[:, 0, 20] = indices
    joints: Floats = np.random.default_rng(number).random((count, 17, 3), np.float32)
    sequence = GaitSequence(indices, bodies, FPS, joints if keypoints else None)
    return Walk(Track(number, indices, boxes, np.ones(count, np.float32)), sequence, reason)


class Studio:
    """Videos of which only the tracks exist; pass 1 is replaced by looking them up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.videos, self.out = folder / "videos", folder / "out"
        self._tracks: dict[Path, Sequence[Walk]] = {}
        monkeypatch.setattr(dataset, "analyse", self._analyse)

    def film(self, name: str, *tracks: Walk) -> None:
        path = self.videos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self._tracks[path] = tracks

    def _analyse(self, video: Path, name: str, *_: Any) -> AnalysedVideo:
        if not self._tracks[video]:
            raise NobodyFoundError(f"No pedestrian in {video}.")
        path = self.out / "cache" / f"{name}.zip"
        with archive.writing(path) as store:
            for walk in self._tracks[video]:
                store.add(walk)
            store.end(archive.Ending(200, ()))
        walks = tuple(AnalysedWalk(walk.track, None, walk.reason, path) for walk in self._tracks[video])
        return AnalysedVideo(name, VideoInfo(video, 320, 240, Fraction(FPS), 200), 200, (), walks, path)

    def label(self, *lines: str, header: str = "video,track,identity,condition,view") -> Path:
        path = self.videos.parent / "labels.csv"
        path.write_text("\n".join([header, *lines]), encoding="utf-8")
        return path

    def prepare(self, *lines: str, **more: str) -> Report:
        return prepare_videos(self.videos, self.label(*lines, **more), self.out, WEIGHT_FREE, Silent())

    def walks(self) -> dict[str, Path]:
        return {walk.name: walk.path for walk in walk_files(self.out)}


ASSIGNED = ["detector.name=motion", "segmenter.name=motion", "pose.when=never"]
WEIGHT_FREE = Settings.load(assignments=ASSIGNED)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    studio = Studio(tmp_path, monkeypatch)
    studio.film("a.mp4", track(1, range(60)), track(2, range(60, 100)), track(3, range(30, 70)))
    studio.film("sub/b.mp4", track(1, range(40), keypoints=False))
    return studio


def test_walks_are_named_by_the_labels_and_their_video(studio: Studio) -> None:
    report = studio.prepare("a.mp4,1,ann,nm-01,090", "a.mp4,3,bea,,", "sub/b.mp4,1,ann,,", "a.mp4,2,,,")
    assert set(studio.walks()) == {"ann/nm-01/090", "bea/a/seq0", "ann/sub_b/seq0"}
    assert (report.people, report.walks, report.frames) == (2, 3, 140)
    view = studio.out / "data/bea/a/seq0"
    expected = track(3, range(30, 70)).sequence
    assert expected is not None
    assert expected.keypoints is not None
    np.testing.assert_array_equal(read_silhouettes(view / "0_silhouette.pkl"), expected.silhouettes[:, :, 10:54])
    np.testing.assert_array_equal(read_keypoints(view / "1_pose.pkl"), expected.keypoints)
    np.testing.assert_array_equal(read_heatmaps(view / "2_heatmap.pkl"), heatmaps(expected.keypoints))
    assert [path.name for path in (studio.out / "data/ann/sub_b/seq0").iterdir()] == ["0_silhouette.pkl"]
    sources = json.loads((studio.out / "report.json").read_text(encoding="utf-8"))["sources"]
    assert sources["ann/sub_b/seq0"] == {"video": "sub/b.mp4", "tracks": [1], "fps": 25.0, "frames": 40}


def test_pieces_of_a_track_are_joined_in_time(studio: Studio) -> None:
    short = "too short: 0.6 s of 1.0 s needed"
    studio.film("c.mp4", track(4, range(40, 55), reason=short), track(7, range(15), reason=short))
    studio.film("d.mp4", track(1, range(15), reason=short))
    report = studio.prepare("c.mp4,4,ann,x,y", "c.mp4,7,ann,x,y", "d.mp4,1,ann,,")
    (path,) = studio.walks().values()
    assert read_silhouettes(path)[:, 0, 10].tolist() == [*range(15), *range(40, 55)]
    needed = "1.0 s and 8 silhouettes needed"
    assert report.walks_dropped == {"ann/d/seq0": f"too short: 0.6 s, 15 silhouettes; {needed}"}


def test_what_is_not_used_is_reported(studio: Studio) -> None:
    studio.film("standing.mp4", track(1, range(60), reason="standing still: leg motion 0.10, 0.25 needed"))
    studio.film("nobody.mp4")
    lines = ("a.mp4,1,ann,,", "standing.mp4,1,bea,,", "nobody.mp4,1,cal,,")
    report = studio.prepare(*lines)
    assert report.walks == 1
    assert set(report.left_out) == {"sub/b.mp4", "standing.mp4, track 1", "nobody.mp4"}
    assert report.left_out["sub/b.mp4"] == "not labelled"
    assert report.left_out["standing.mp4, track 1"].startswith("standing still")
    with pytest.raises(DataSetError, match="could be used"):
        studio.prepare(lines[1])
    assert set(studio.walks()) == {"ann/a/seq0"}  # what was there stays


def test_new_labels_replace_the_data(studio: Studio) -> None:
    studio.prepare("a.mp4,1,ann,,")
    studio.prepare("a.mp4,1,bea,,")
    assert set(studio.walks()) == {"bea/a/seq0"}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["a.mp4,1,ann,,", "a.mp4,3,ann,,"],
            r"tracks 1 and 3 of a\.mp4 are both labelled ann, but both are visible at 1\.20 s",
        ),
        (["a.mp4,9,ann,,"], r"a\.mp4 has no track 9\. It has: 1, 2, 3"),
        (["a.mp4,1,ann,,", "a.mp4,1,bea,,"], "line 3: track 1 of a.mp4 is labelled twice"),
        (["a.mp4,1,ann,x,y", "sub/b.mp4,1,ann,x,y"], r"ann/x/y is in a\.mp4 too"),
        (["aa.mp4,1,ann,,"], r"line 2: there is no video 'aa\.mp4'\. Did you mean 'a\.mp4'"),
        (["a.mp4,one,ann,,"], "track must be a whole number"),
        (["a.mp4,1,../ann,,"], "cannot be the name of a folder"),
        (["a.mp4,1,ann,.,"], "cannot be the name of a folder"),
        *(
            (["a.mp4,1," + name + ",,"], "cannot be the name of a folder")
            for name in ("con", "LPT1.x", "...", "a?", "a|b")
        ),
        (["a.mp4,1,ann," + "x" * 200 + ","], "cannot be the name of a folder"),
        (["a.mp4,1,,,"], "No line of .* has an identity"),
    ],
)
def test_labels_that_cannot_be_right_are_told(studio: Studio, lines: list[str], says: str) -> None:
    with pytest.raises(DataSetError, match=says):
        studio.prepare(*lines)
    assert not (studio.out / "data").exists()


def test_labels_of_other_tracks_are_noticed(studio: Studio) -> None:
    header = "video,track,identity,from_s,to_s"
    assert studio.prepare("a.mp4,3,ann,1.20,2.76", header=header).walks == 1
    with pytest.raises(DataSetError, match=r"track 3 .* was visible from 0 to 2\.76 s when .* is another one now"):
        studio.prepare("a.mp4,3,ann,0.00,2.76", header=header)


def test_labels_from_a_spreadsheet(studio: Studio) -> None:
    path = studio.label("a.mp4;3;Änne;;;x", header="\ufeffvideo;track;identity;condition;view;my notes")
    (label,) = read_labels(path, ["a.mp4"])["a.mp4"]
    assert label.walk == "Änne/a/seq0"
    path.write_text("video,track\na,1", encoding="utf-8")
    with pytest.raises(DataSetError, match="lack the column identity"):
        read_labels(path, ["a.mp4"])
    path.write_bytes(b"video,track,identity\na.mp4,1,\xc4nne")
    with pytest.raises(DataSetError, match="CSV in UTF-8"):
        read_labels(path, ["a.mp4"])


def test_names_that_begin_like_formulas(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written as texts, and read as they are."""
    names = ["=1+1.mp4", "@x/-2.mp4", "+.mp4"]
    for name in names:
        studio.film(name, track(1, range(60), reason="- too short"))
    monkeypatch.setattr(dataset, "_write_pictures", lambda *_: None)
    template = dataset.write_template(studio.videos, studio.out, WEIGHT_FREE, Silent())
    with template.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["video"] for row in rows} >= {f"'{name}" for name in names}
    assert not [one for row in rows for one in row.values() if one.startswith(("=", "+", "-", "@"))]
    for row in rows:
        row["identity"] = "ann"
    labels = studio.label(*(",".join([row["video"], row["track"], "ann", "", row["track"]]) for row in rows))
    found = read_labels(labels, [*names, "a.mp4", "sub/b.mp4"])
    assert set(names) <= set(found)


def test_what_is_no_video_is_named_and_cameras_are_videos(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (studio.videos / "notes.xyz").touch()
    (studio.videos / "._a.mp4").touch()
    (studio.videos / "__MACOSX").mkdir()
    (studio.videos / "__MACOSX" / "c.mp4").touch()
    monkeypatch.setattr("app.video.sources._cameras", lambda path: [path.with_name(f"{path.name}#{n}") for n in (1, 2)])
    left_out: dict[str, str] = {}
    found = dataset._videos(studio.videos, left_out)
    assert list(found) == ["a.mp4#1", "a.mp4#2", "sub/b.mp4#1", "sub/b.mp4#2"]
    assert list(left_out) == ["notes.xyz"]
    assert "notes.xyz is passed over" in caplog.text


@pytest.mark.parametrize(
    "options", [{}, {"video.start": 1.0}, {"video.fps": 12.5}, {"video.start": 0.8, "video.end": 3.0, "video.fps": 50}]
)
def test_pictures_show_the_part_that_is_read(options: dict[str, Any], tmp_path: Path) -> None:
    clip = tmp_path / "grey.mp4"
    with VideoWriter(clip, 64, 48, Fraction(25)) as writer:
        for number in range(100):
            writer.write(np.full((48, 64, 3), 2 * number, np.uint8), number / 25)
    settings = Settings.load(named=options)
    with VideoReader(clip, settings.video) as reader:
        frames = {frame.index: float(frame.image.mean()) for frame in reader}
        info = reader.info
    indices = np.array(sorted(frames))
    seen = Track(1, indices, np.tile(np.float32([0, 0, 64, 48]), (len(indices), 1)), np.ones(len(indices), np.float32))
    video = AnalysedVideo("grey", info, int(indices[-1]) + 1, (), (), tmp_path / "none")
    for _ in range(2):  # earlier pictures are replaced
        dataset._write_pictures(video, [seen], tmp_path / "pictures", Silent())
    strip = cv2.imread(str(tmp_path / "pictures" / "001.jpg"))
    places = np.linspace(0, len(indices) - 1, 8).astype(int)[1:-1]
    shown = [float(strip[96, 112 * column + 56].mean()) for column in range(6)]
    assert shown == pytest.approx([frames[int(indices[place])] for place in places], abs=4)


def test_a_folder_without_videos_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no video in"):
        prepare_videos(tmp_path, tmp_path / "labels.csv", tmp_path / "out", WEIGHT_FREE, Silent())


def test_a_pose_network_that_was_asked_for_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dataset, "checkpoint_roots", lambda folder: (tmp_path,))
    stages = dataset._stages(Settings.load(assignments=ASSIGNED[:2]), tmp_path)
    assert stages.pose is None
    assert stages.gait.card.name == "gei"
    assert "no keypoints" in caplog.text
    with pytest.raises(SettingsError):
        dataset._stages(Settings.load(assignments=[*ASSIGNED[:2], "pose.name=absent"]), tmp_path)


def test_from_clips_to_walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The whole way, twice: first for the labels to fill in, then with them."""
    (tmp_path / "in").mkdir()
    size: dict[str, Any] = {"width": 320, "height": 240, "fps": Fraction(FPS)}
    write_clip(tmp_path / "in" / "two.mp4", crossing([Walker(1), Walker(2)], gap=0.9, first=-0.7, seconds=3.6, **size))
    write_clip(tmp_path / "in" / "nobody.mp4", Scene((), seconds=1.0, **size))
    monkeypatch.chdir(tmp_path)
    command = ["prepare", "from-videos", "in", "out", *(word for one in ASSIGNED for word in ("--set", one))]
    assert main(command) == 0
    template = tmp_path / "out" / "labels.csv"
    with template.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["video"] for row in rows} == {"two.mp4"}
    usable = [row for row in rows if not row["note"]]
    assert len(usable) == 2
    for row in rows:
        picture = cv2.imread(str(tmp_path / "out" / row["picture"]))
        assert picture is not None
        assert picture.shape == (192, 6 * 112, 3)
        assert picture.std() > 20
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err

    for _ in range(2):  # a run that was stopped may begin again
        assert main([*command, "--without-names"]) == 0
        assert "2 people, 2 walks" in " ".join(capsys.readouterr().out.split())
    assert {walk.identity for walk in walk_files(tmp_path / "out")} == {"000001", "000002"}
    assert main([*command, "--without-names", "--labels", str(template)]) == 2
    assert "not both" in capsys.readouterr().err

    for person, row in zip(("ann", "bea"), usable, strict=True):
        row["identity"] = person
    with template.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main([*command, "--labels", str(template)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "an earlier run" in told
    assert "2 people, 2 walks" in told
    walks = walk_files(tmp_path / "out")
    assert [walk.name for walk in walks] == ["ann/two/seq0", "bea/two/seq0"]
    for walk, row in zip(walks, usable, strict=True):
        assert len(read_silhouettes(walk.path)) == int(row["silhouettes"])


def test_what_another_program_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs prepare into one folder: neither takes the other's archive for that of a killed one."""
    run: Any = SimpleNamespace(settings=SimpleNamespace(output=SimpleNamespace(folder=tmp_path)))

    def analysed(path: Path, name: str, _run: Any) -> str:
        with written_whole(tmp_path / "cache" / f"{name}.zip") as half:
            half.write_bytes(b"half")
            with in_use(tmp_path):  # the other program begins
                pass
            assert half.is_file()
        return name

    monkeypatch.setattr(dataset, "analyse", analysed)
    assert dict(dataset._analysed({"a": Path("a.mp4")}, run, {})) == {"a": "a"}
