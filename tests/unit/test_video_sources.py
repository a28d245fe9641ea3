"""Which files are videos, where they are found, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import VideoError
from app.video.sources import distinct_names, find_gallery_and_probes, find_video, plain_name
from tests.clips import Scene, write_clip


def test_bad_videos_stop_the_run_only_where_nothing_can_come_of_it(tmp_path: Path) -> None:
    for name in ("gallery.mp4", "good.mp4"):
        write_clip(tmp_path / name, Scene((), width=32, height=32, seconds=0.2))
    for name in ("empty.mp4", "text.mp4"):
        (tmp_path / name).write_text("" if name == "empty.mp4" else "this is not a video\n" * 50)
    found = [path.name for path in find_gallery_and_probes("gallery", ["empty", "good", "text"], tmp_path)[1]]
    assert found == ["empty.mp4", "good.mp4", "text.mp4"]
    with pytest.raises(VideoError, match=r"(?s)empty\.mp4.*text\.mp4"):
        find_gallery_and_probes("gallery", ["empty", "text"], tmp_path)
    with pytest.raises(VideoError, match=r"(?s)text\.mp4.*empty\.mp4"):
        find_gallery_and_probes("text", ["good", "empty"], tmp_path)


def test_videos_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("input_videos")
    folder.mkdir()
    scene = Scene((), width=32, height=32, seconds=0.2)
    for name in ("gallery.mp4", "b.mp4", "a.mkv", "c.MP4"):
        write_clip(folder / name, scene)
    (folder / "notes.txt").touch()
    (folder / ".hidden").touch()
    gallery, probes = find_gallery_and_probes("gallery.mp4", [], folder)
    assert gallery == folder / "gallery.mp4"
    assert [path.name for path in probes] == ["a.mkv", "b.mp4", "c.MP4"]
    assert find_gallery_and_probes("gallery", ["b", "input_videos/b.mp4", "a.mkv"], folder)[1] == [
        folder / "b.mp4",
        folder / "a.mkv",
    ]
    with pytest.raises(VideoError, match="both as gallery and as probe"):
        find_gallery_and_probes("gallery", ["input_videos/../input_videos/gallery.mp4"], folder)
    with pytest.raises(VideoError, match=r"(?s)^2 videos .*'nowhere'.*'neither'"):
        find_gallery_and_probes("gallery", ["nowhere", "b", "neither"], folder)
    for path in probes:
        path.unlink()
    with pytest.raises(VideoError, match="There is no probe"):
        find_gallery_and_probes("gallery", [], folder)


def test_names_are_distinct_and_short_enough_for_a_file() -> None:
    videos = [Path(path) for path in ("a/x.mp4", "b/x.avi", "c/x.mp4", "x-2.mp4", "y.tar.mp4", "步" * 80 + ".mp4")]
    names = distinct_names(videos)
    assert names[:5] == ["x", "x-2", "x-3", "x-2-2", "y.tar"]
    assert len(set(names)) == len(names)
    assert "步步步".startswith(names[5][:3])
    assert len(f"G-{names[5]}-99_P-{names[5]}-99.mp4".encode()) <= 255


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("A.mp4", "a.mp4", "A.mov"), ["A", "a-2", "A-3"]),
        (("walk.mp4", "WALK-2.mp4", "Walk.avi"), ["walk", "WALK-2", "Walk-3"]),
        (("caf\u00e9.mp4", "cafe\u0301.mp4", "CAFE\u0301.mp4"), ["caf\u00e9", "cafe\u0301-2", "CAFE\u0301-3"]),
        (("\u03c3\u03c2.mp4", "\u03a3\u03a3.mp4"), ["\u03c3\u03c2", "\u03a3\u03a3-2"]),
        (("Stra\u00dfe.mp4", "STRASSE.mp4"), ["Stra\u00dfe", "STRASSE-2"]),
    ],
)
def test_names_are_distinct_on_disks_that_ignore_case(files: tuple[str, ...], names: list[str]) -> None:
    assert distinct_names([Path(file) for file in files]) == names


@pytest.mark.parametrize(
    "stem",
    [
        "..",
        ".",
        "",
        "...",
        "../x",
        "a/b",
        "a\\b",
        "a\x00b",
        "a\nb",
        "con",
        "NUL.txt",
        "lpt1",
        " x ",
        "x.",
        "\udcff",
        "x" * 300,
        "COM¹",
        "lpt³.tar",
        "conout$",
        "con .txt",
        "a\u2028b",
        "\u202egnp",
        "a\x85b",
        "\ufeff.",
    ],
)
def test_any_text_becomes_the_name_of_a_plain_child(stem: str, tmp_path: Path) -> None:
    name = plain_name(stem)
    child = tmp_path / name
    child.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert child.resolve().parent == tmp_path.resolve()
    assert len(name.encode()) <= 111
    assert name.strip(". ") == name
    assert not any(sign in name for sign in '/\\:*?"<>|\x00\n\x85\u2028\u202e\ufeff')
    assert name.partition(".")[0].strip().lower() not in {"con", "nul", "lpt1", "com¹", "lpt³", "conout$"}


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("probe1", "gallery.v2", "Anna & Ben (yard)", "步态", "x-2"):
        assert plain_name(name) == name


def test_resolves_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "input_videos"
    folder.mkdir()
    for place in (folder / "gallery.mp4", folder / "probe.1.mov", tmp_path / "here.avi"):
        place.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert find_video("here.avi", folder) == Path("here.avi")
    assert find_video("gallery.mp4", folder) == folder / "gallery.mp4"
    assert find_video("gallery", folder) == folder / "gallery.mp4"
    assert find_video("probe.1", folder) == folder / "probe.1.mov"
    assert find_video(str(folder / "gallery.mp4"), folder) == folder / "gallery.mp4"
    with pytest.raises(VideoError, match=r"galery\.mp4.*Did you mean 'gallery\.mp4'"):
        find_video("galery.mp4", folder)
    with pytest.raises(VideoError, match=r"Did you mean 'here\.avi'"):
        find_video("hera", folder)
    with pytest.raises(VideoError) as caught:
        find_video("nosuch.avi", folder)
    assert "Did you mean" not in str(caught.value), "of 'here.avi' it has the extension alone"
    with pytest.raises(VideoError, match="is a folder"):
        find_video("input_videos", folder)
