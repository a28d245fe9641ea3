"""Pictures in folders as videos."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import VideoError
from app.runs.enrol import people_in
from app.types import Reading
from app.video.paths import files_of, frames_of
from app.video.reader import VideoReader
from app.video.sources import distinct_names, find_gallery_and_probes, find_video


def pictures(folder: Path, names: list[str]) -> Path:
    """Write pictures that get brighter from name to name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 20 * number, np.uint8))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [f"{number:06d}.jpg" for number in range(1, 11)],
        [f"{number}.png" for number in (1, 2, 3, 4, 5, 6, 7, 10, 11, 100)],  # not in the order of the alphabet
        [f"it's frame {number:04d}.bmp" for number in range(0, 50, 5)],
        [f"frame_{number:03d}_cam2.JPG" for number in range(10)],
    ],
)
def test_a_folder_of_pictures_is_a_video(tmp_path: Path, names: list[str]) -> None:
    folder = pictures(tmp_path / "Anna's walk", names)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "._000001.jpg").write_bytes(b"x")
    with VideoReader(find_video(str(folder))) as reader:
        frames = list(reader)
    brightness = [frame.image.mean() for frame in frames]
    assert brightness == pytest.approx([20 * number for number in range(10)], abs=4)
    assert [frame.index for frame in frames] == list(range(10))
    assert "25 frames/s is assumed" in reader.warnings[0]
    assert [file.name for file in files_of(folder)] == names
    with VideoReader(folder, Reading(fps=10)) as reader:
        assert [frame.time for frame in reader] == pytest.approx([number / 10 for number in range(10)])
    assert reader.warnings == []


@pytest.mark.parametrize("place", [0, 4, 9])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50])
def test_a_bad_picture_loses_only_itself(tmp_path: Path, place: int, content: bytes) -> None:
    folder = pictures(tmp_path / "walk", [f"{number:06d}.jpg" for number in range(10)])
    (folder / f"{place:06d}.jpg").write_bytes(content)
    with VideoReader(folder, Reading(fps=25)) as reader:
        assert len(list(reader)) == 9
    assert any(word in reader.warnings[0] for word in ("1 empty file", "1 damaged piece"))


@pytest.mark.parametrize("pattern", ["img1/%06d.jpg", "img1/%d.jpg", "img1/0*.jpg", "img1/*.jpg"])
def test_patterns_name_pictures(tmp_path: Path, pattern: str) -> None:
    folder = pictures(tmp_path / "img1", [f"{number:06d}.jpg" for number in range(1, 8)])
    pictures(folder, ["mask_1.png", "mask_2.png"])
    with VideoReader(find_video(str(tmp_path / pattern))) as reader:
        assert len(list(reader)) == 7


@pytest.mark.parametrize("place", ["", "img1", "img1/%06d.jpg"])
def test_a_sequence_of_mot_says_its_rate(tmp_path: Path, place: str) -> None:
    sequence = tmp_path / "MOT17-02"
    pictures(sequence / "img1", [f"{number:06d}.jpg" for number in range(1, 8)])
    (sequence / "seqinfo.ini").write_text("[Sequence]\nname=MOT17-02\nimDir=img1\nframeRate=30\nseqLength=7\n")
    path = find_video(str(sequence / place))
    with VideoReader(path) as reader:
        assert reader.info.fps == Fraction(30)
        assert len(list(reader)) == 7
    assert reader.warnings == []
    assert distinct_names([path]) == ["MOT17-02"]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[Sequence]\nframeRate=0\n", "[Sequence]\nframeRate=fast\n", "[Sequence]\nframeRate=1/0\n"]
)
def test_a_sequence_that_is_wrong_says_so(tmp_path: Path, text: str) -> None:
    pictures(tmp_path / "img1", ["1.jpg", "2.jpg"])
    (tmp_path / "seqinfo.ini").write_text(text)
    with pytest.raises(VideoError, match=r"seqinfo\.ini cannot be used"):
        frames_of(tmp_path)


def test_pictures_can_be_gallery_and_probe(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(5)]
    gallery, probe = pictures(tmp_path / "a", names), pictures(tmp_path / "b", names)
    assert find_gallery_and_probes(str(gallery), [str(probe / "%d.jpg")]) == (gallery, [probe / "%d.jpg"])
    with pytest.raises(VideoError, match="both as gallery and as probe"):
        find_gallery_and_probes(str(gallery), [str(gallery)])


def test_a_folder_without_pictures_is_no_video(tmp_path: Path) -> None:
    pictures(tmp_path / "photo", ["me.jpg"])
    for name in ("photo", ".", "nothing/%d.jpg"):
        with pytest.raises(VideoError):
            find_video(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 300 + "/%d.jpg", "x" * 300 + "%d.jpg", "a\0b", "a\0%d.jpg", "#1", "x#1"]
)
def test_names_that_no_file_can_have_are_no_videos(name: str) -> None:
    with pytest.raises(VideoError, match="There is no video"):
        find_video(name)


def test_everything_that_is_passed_over_in_a_folder_of_people_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        *(
            "Anna/walk.mp4",
            "Anna/._walk.mp4",
            "Anna/.DS_Store",
            "Bob/00001.MTS",
            "Dora/photo.jpg",
            "Franz/monday/a.mov",
        ),
        *("Gus/cam.asf", "Gus/Thumbs.db", "Hans/notes.txt", "Hans/clip.dav", "list.csv", "__MACOSX/Anna/._walk.mp4"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "Erik").mkdir()
    pictures(tmp_path / "Iris" / "img1", ["1.png", "2.png", "3.png"])
    with caplog.at_level(logging.WARNING):
        people = people_in(tmp_path)
    assert {name: [path.relative_to(tmp_path / name).as_posix() for path in of] for name, of in people.items()} == {
        "Anna": ["walk.mp4"], "Bob": ["00001.MTS"], "Franz": ["monday/a.mov"], "Gus": ["cam.asf"],
        "Hans": ["clip.dav"], "Iris": ["img1"],
    }  # fmt: skip
    said = "\n".join(caplog.messages)
    for name in ("Dora", "photo.jpg", "Erik", "notes.txt", "list.csv"):
        assert f"{name} is" in said
    for name in ("._walk", "DS_Store", "Thumbs", "__MACOSX"):
        assert name not in said


def test_what_is_passed_over_in_the_folder_of_videos_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("gallery.mp4", "a.mts", "b.asf", "photo.heic", "odd", "._a.mts", ".DS_Store", "Thumbs.db", "a.gt.txt"):
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING), pytest.raises(VideoError, match="cannot be used"):
        find_gallery_and_probes("gallery.mp4", [], tmp_path)
    assert [message.split(" is ")[0] for message in caplog.messages] == [
        str(tmp_path / name) for name in ("odd", "photo.heic")
    ]
