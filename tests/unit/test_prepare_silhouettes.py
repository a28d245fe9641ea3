"""Raw data sets, drawn here in miniature, become silhouettes in OpenGait's layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli.main import main
from app.errors import OutputError, SettingsError
from app.lab.data.conversion import DONE
from app.lab.data.definitions import known_names
from app.lab.data.opengait import DataSetError, read_partition, read_silhouettes, walk_files
from app.lab.data.raw import FOLDER, prepare_silhouettes, raw_walks, read_layout
from app.types import Bytes
from app.walks.silhouette import normalise
from tests.progress import Steps

WALKS = {
    "casia-b": ["001/bg-01/000/001-bg-01-000-", "075/nm-06/180/075-nm-06-180-"],
    "oumvlp": ["Silhouette_000-00/00001/", "Silhouette_270-01/10307/"],
    "grew": [
        "train/00001/4XPn5Z28/", "test/gallery/00001/t16VLaQf/", "test/gallery/00001/79XJefi8/", "test/probe/01DdvEHX/",
    ],
    "gait3d": ["0000/camid0_videoid2/seq0/human_crop_f", "0003/camid11_videoid4/seq10/human_crop_f"],
    "sustech1k": ["0000/00-nm/000/Sils/", "1050/03-cl-nt/225-far/Sils/"],
    "ccpg": ["000/U0_D0_BG/00_0/", "199/U3_D3/09_12/"],
}  # fmt: skip
NAMES = {
    "casia-b": ["001/bg-01/000", "075/nm-06/180"],
    "oumvlp": ["00001/00/000", "10307/01/270"],
    "grew": ["00001/01/79XJefi8", "00001/02/t16VLaQf", "00001train/00/4XPn5Z28", "probe/03/01DdvEHX"],
    "gait3d": ["0000/camid0_videoid2/seq0", "0003/camid11_videoid4/seq10"],
    "sustech1k": ["0000/00-nm/000", "1050/03-cl-nt/225-far"],
    "ccpg": ["000/U0_D0_BG/00_0", "199/U3_D3/09_12"],
}


def mask(step: int) -> Bytes:
    """A body of grey edges that leans more with every step."""
    picture = np.zeros((96, 80), np.uint8)
    cv2.ellipse(picture, (30 + step, 48), (8 + step % 3, 40), 3.0 * step, 0, 360, (255,), -1)
    return np.asarray(cv2.GaussianBlur(picture, (5, 5), 1.0), np.uint8)


def normalised(size: int) -> Bytes:
    """What the first six masks become."""
    found = [normalise(mask(step), size) for step in range(6)]
    return np.stack([one for one in found if one is not None])


def draw(raw: Path, walk: str, steps: int = 6, first: int = 1, digits: int = 3) -> None:
    for step in range(steps):
        path = raw / f"{walk}{first + step:0{digits}d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), mask(step))


@pytest.mark.parametrize("name", known_names(FOLDER))
def test_every_published_data_set(tmp_path: Path, name: str) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for walk in WALKS[name]:
        draw(raw, walk)
    if name == "grew":  # what lies beside is no silhouette
        (raw / "train/00001/4XPn5Z28/001_2d_pose.txt").write_text("0")
        assert cv2.imwrite(str(raw / "train/00001/4XPn5Z28_gei.png"), mask(0))
        (raw / "distractors").mkdir()
    if name == "sustech1k":
        draw(raw, "0000/00-nm/000/PCDs_depths/")
    report = prepare_silhouettes(read_layout(name), raw, out)
    found = walk_files(out)
    assert [walk.name for walk in found] == NAMES[name]
    for file in found:
        np.testing.assert_array_equal(read_silhouettes(file.path), normalised(64)[:, :, 10:54])
    assert (report.walks, report.frames, report.left_out) == (len(found), 6 * len(found), {})
    known_split = {"casia-b": (["001"], ["075"]), "grew": (["00001train"], ["00001", "probe"])}
    assert (out / "partition.json").exists() == (name in known_split)
    if name in known_split:
        assert read_partition(out / "partition.json", "train") == known_split[name][0]
        assert read_partition(out / "partition.json", "test") == known_split[name][1]


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "0001/camid0_videoid0/seq0/human_crop_f", steps=6, first=7, digits=0)  # f7 to f12
    prepare_silhouettes(read_layout("gait3d"), tmp_path / "raw", tmp_path / "out", size=128)
    (walk,) = walk_files(tmp_path / "out")
    reduced = [cv2.resize(one, (44, 64), interpolation=cv2.INTER_AREA) for one in normalised(128)[:, :, 20:108]]
    np.testing.assert_array_equal(read_silhouettes(walk.path), np.stack(reduced))


class TestLosses:
    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        raw = tmp_path / "raw"
        for walk in ("001/nm-01/000/f", "001/nm-01/018/f", "002/nm-01/000/f"):
            draw(raw, walk)
        (raw / "001/nm-01/000/f001.png").write_bytes(b"")
        (raw / "001/nm-01/000/f002.png").write_bytes(b"not a picture")
        assert cv2.imwrite(str(raw / "001/nm-01/018/f003.png"), np.zeros((9, 9), np.uint8))
        draw(raw, "001/nm-01/090/f", steps=3)
        draw(raw, "001/warm-up/000/f")
        return raw

    def test_are_reported_with_the_reason(self, raw: Path, tmp_path: Path) -> None:
        report = prepare_silhouettes(read_layout("casia-b"), raw, tmp_path / "out", min_frames=4)
        assert (report.people, report.walks, report.frames) == (2, 3, 15)
        assert report.frames_dropped == {"unreadable": 2, "nearly empty": 1}
        assert report.walks_with_gaps == {"001/nm-01/000": {"unreadable": 2}, "001/nm-01/018": {"nearly empty": 1}}
        assert report.walks_dropped == {"001/nm-01/090": "3 silhouettes of 4 needed"}
        assert report.left_out == {"001/warm-up": r"its name does not fit ((nm|bg|cl)-\d{2})"}
        written = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
        assert written["walks_dropped"] == report.walks_dropped

    def test_nothing_left(self, raw: Path, tmp_path: Path) -> None:
        with pytest.raises(DataSetError, match=r"None of 4 walks could be used\. 001/nm-01/000: 4 silhouettes of 50"):
            prepare_silhouettes(read_layout("casia-b"), raw, tmp_path / "out", min_frames=50)

    def test_a_run_goes_on_where_another_was_stopped(self, raw: Path, tmp_path: Path) -> None:
        out, whole = tmp_path / "out", tmp_path / "whole"
        layout = read_layout("casia-b")
        expected = prepare_silhouettes(layout, raw, whole, min_frames=4)
        prepare_silhouettes(layout, raw, out, min_frames=4)
        lines = (out / DONE).read_text(encoding="utf-8").splitlines()
        (out / DONE).write_text("\n".join([*lines[:2], lines[2][:9]]), encoding="utf-8")  # killed while writing
        kept, lost = [out / "data" / json.loads(line)["walk"] for line in lines[:2]]
        (kept / "0_silhouette.pkl").write_bytes(b"from the run before")
        (lost / "0_silhouette.pkl").unlink()
        lost.rmdir()
        (lost.parent / ".000.0123.partial").mkdir()
        progress = Steps()
        report = prepare_silhouettes(layout, raw, out, min_frames=4, progress=progress)
        assert report == expected
        assert progress.seen == [(1, 4), (4, 4)]
        assert (kept / "0_silhouette.pkl").read_bytes() == b"from the run before"
        assert [walk.name for walk in walk_files(out)] == [walk.name for walk in walk_files(whole)]

    def test_what_was_dropped_is_tried_again_once_it_was_mended(self, raw: Path, tmp_path: Path) -> None:
        layout = read_layout("casia-b")
        with pytest.raises(DataSetError, match="None of 4 walks"):
            prepare_silhouettes(layout, raw, tmp_path / "out", min_frames=7)
        draw(raw, "001/nm-01/090/f", steps=7)
        assert prepare_silhouettes(layout, raw, tmp_path / "out", min_frames=7).frames == 7
        draw(raw, "001/nm-01/000/f", steps=7)
        report = prepare_silhouettes(layout, raw, tmp_path / "out", min_frames=7)
        assert (report.walks, report.frames, len(report.walks_dropped)) == (2, 14, 2)

    def test_what_was_not_unpacked_or_copied_whole_is_named(self, raw: Path, tmp_path: Path) -> None:
        for archive in ("001.tar.gz", "003.tar.gz", "002/bg-01.ZIP"):  # the first is beside what came out of it
            (raw / archive).write_bytes(b"an archive")
        for folder in ("004", "005/nm-01", "002/bg-02/000", "__MACOSX/001/nm-01", "001/@eaDir", "001/.cache/000"):
            (raw / folder).mkdir(parents=True)
        (raw / "001/nm-01/000/Thumbs.db").write_bytes(b"of Windows")
        (raw / "001/nm-01/000/._f003.png").write_bytes(b"of macOS")
        report = prepare_silhouettes(read_layout("casia-b"), raw, tmp_path / "out", min_frames=4)
        unpacked, without = "it is an archive that was not unpacked", "it has no folder of a walk"
        assert report.left_out == {
            "001/warm-up": r"its name does not fit ((nm|bg|cl)-\d{2})",
            "002/bg-01.ZIP": unpacked, "003.tar.gz": unpacked, "004": without, "005/nm-01": without,
        }  # fmt: skip
        assert report.walks_dropped["002/bg-02/000"] == "its folder has no *.png, it is empty"
        assert report.frames_dropped == {"unreadable": 2, "nearly empty": 1}

    def test_pictures_of_other_names_or_that_are_none(self, raw: Path, tmp_path: Path) -> None:
        for path in list((raw / "002").rglob("*.png")):
            path.rename(path.with_suffix(".PNG"))
        for path in list((raw / "001/nm-01/090").iterdir()):
            path.rename(path.with_suffix(".bmp"))
        (raw / "001/nm-01/000/f003.png").unlink()
        (raw / "001/nm-01/000/f003.png").mkdir()
        report = prepare_silhouettes(read_layout("casia-b"), raw, tmp_path / "out", min_frames=3)
        assert (report.people, report.frames_dropped["unreadable"]) == (2, 3)
        assert report.walks_dropped == {"001/nm-01/090": "its folder has no *.png, but f001.bmp"}

    def test_another_data_set_is_not_mixed_in(self, raw: Path, tmp_path: Path) -> None:
        layout = read_layout("casia-b")
        prepare_silhouettes(layout, raw, tmp_path / "out")
        with pytest.raises(OutputError, match="made from something else"):
            prepare_silhouettes(layout, raw, tmp_path / "out", size=128)
        raw.rename(tmp_path / "moved")
        with pytest.raises(OutputError, match="made from something else"):
            prepare_silhouettes(layout, tmp_path / "moved", tmp_path / "out")

    def test_workers_make_the_same(self, raw: Path, tmp_path: Path) -> None:
        for person in range(10, 28):
            draw(raw, f"0{person}/nm-01/000/f", steps=5)
        layout = read_layout("casia-b")
        one = prepare_silhouettes(layout, raw, tmp_path / "one")
        two = prepare_silhouettes(layout, raw, tmp_path / "two", workers=2)
        assert one == two
        for alone, together in zip(walk_files(tmp_path / "one"), walk_files(tmp_path / "two"), strict=True):
            assert alone.name == together.name
            assert alone.path.read_bytes() == together.path.read_bytes()


class TestPartition:
    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        for person in ("00001", "00002", "00003"):
            draw(tmp_path / "raw", f"Silhouette_000-00/{person}/")
        return tmp_path / "raw"

    def given(self, folder: Path, **parts: list[str]) -> Path:
        path = folder / "given.json"
        path.write_text(json.dumps(parts), encoding="utf-8")
        return path

    def test_is_taken_along_and_compared(self, raw: Path, tmp_path: Path) -> None:
        path = self.given(tmp_path, TRAIN_SET=["00001"], TEST_SET=["00002", "09999"], PROBE_SET=["00002-00-000"])
        report = prepare_silhouettes(read_layout("oumvlp"), raw, tmp_path / "out", partition=path)
        written = json.loads((tmp_path / "out/partition.json").read_text(encoding="utf-8"))
        assert written == json.loads(path.read_text(encoding="utf-8"))
        assert report.left_out == {
            "person 09999": "in the partition, not in the data set",
            "person 00003": "in the data set, not in the partition",
        }

    @pytest.mark.parametrize(
        ("parts", "says"),
        [
            ({"TRAIN_SET": ["00001"], "TEST_SET": ["00001"]}, "00001 both in TRAIN_SET and in TEST_SET"),
            ({"TRAIN_SET": ["a"], "TEST_SET": ["b"]}, "lists nobody"),
            ({"TRAIN_SET": ["00001"]}, "not a partition"),
        ],
    )
    def test_a_wrong_one_is_told_before_the_work(
        self, raw: Path, tmp_path: Path, parts: dict[str, list[str]], says: str
    ) -> None:
        with pytest.raises(DataSetError, match=says):
            prepare_silhouettes(read_layout("oumvlp"), raw, tmp_path / "out", partition=self.given(tmp_path, **parts))
        assert not (tmp_path / "out").exists()


class TestLayouts:
    def test_all_say_where_they_are_from(self) -> None:
        assert known_names(FOLDER) == sorted(WALKS)
        assert all(read_layout(name).source for name in known_names(FOLDER))

    def test_one_of_the_users_own(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "source: me\nplaces:\n- folder: 'cam{view}/{identity}'\n  condition: 'w{number}'\nframes: ['*.bmp']\n",
            encoding="utf-8",
        )
        for step in range(5):
            picture = tmp_path / "raw/cam7/ann" / f"{step}.bmp"
            picture.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(picture), mask(step))
        prepare_silhouettes(read_layout(str(path)), tmp_path / "raw", tmp_path / "out")
        assert [walk.name for walk in walk_files(tmp_path / "out")] == ["ann/w1/7"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("source: x", "places"),
            ("source: x\nplaces: []\nviews: 1", "views"),
            ("source: x\nplaces: [{folder: '({identity}'}]", "not a regular expression"),
            ("source: x\nplaces: [{folder: '{identity}', view: '{where}'}]", "'{where}' cannot be a name"),
            ("{", "is not YAML"),
        ],
    )
    def test_a_wrong_one_is_told(self, tmp_path: Path, content: str, says: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(SettingsError, match=says):
            read_layout(str(path))

    def test_an_unknown_name_is_told_with_the_nearest(self) -> None:
        with pytest.raises(SettingsError, match="Did you mean 'casia-b'"):
            read_layout("CASIA_B")

    def test_the_wrong_folder_is_told_with_what_is_there(self, tmp_path: Path) -> None:
        draw(tmp_path / "GaitDatasetB", "001/nm-01/000/f")
        with pytest.raises(DataSetError, match=r"Expected: \{identity\}/.*Found: GaitDatasetB"):
            raw_walks(tmp_path, read_layout("casia-b"))
        with pytest.raises(DataSetError, match="There is no folder"):
            raw_walks(tmp_path / "absent", read_layout("casia-b"))
        with pytest.raises(DataSetError, match=r"f001\.png is a file"):
            raw_walks(tmp_path / "GaitDatasetB/001/nm-01/000/f001.png", read_layout("casia-b"))

    def test_the_folder_with_the_walks_is_named_if_there_is_one(self, tmp_path: Path) -> None:
        draw(tmp_path, "GaitDatasetB/silhouettes/001/nm-01/000/f")
        with pytest.raises(DataSetError, match=r"Give .*GaitDatasetB/silhouettes\.$"):
            raw_walks(tmp_path, read_layout("casia-b"))
        draw(tmp_path, "GaitDatasetB/others/001/nm-01/000/f")
        with pytest.raises(DataSetError, match="the folder in which these folders are"):
            raw_walks(tmp_path, read_layout("casia-b"))

    def test_two_folders_for_one_walk_are_told(self, tmp_path: Path) -> None:
        layout = read_layout("casia-b")
        layout = replace(layout, places=(replace(layout.places[0], view="same"),))
        for view in ("000", "018"):
            draw(tmp_path, f"001/nm-01/{view}/f")
        with pytest.raises(DataSetError, match="would both become 001/nm-01/same"):
            raw_walks(tmp_path, layout)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "raw", "001/nm-01/000/f")
    draw(tmp_path / "raw", "001/nm-01/018/f", steps=2)
    command = ["prepare", "silhouettes", "casia-b", str(tmp_path / "raw"), str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1 people, 1 walks, 6 frames" in told
    assert "Walks dropped: 1 (1 x 2 silhouettes of 5 needed)" in told
    assert main([*command, "--size", "100"]) == 2
    assert "--size 64 or --size 128" in capsys.readouterr().err
