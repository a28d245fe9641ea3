"""Evaluation of a gait model on small data sets: protocols, cache, figures, files."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli.main import main
from app.errors import CheckpointError, OutputError, SettingsError
from app.gait.gei import GaitEnergyImage
from app.lab.data.opengait import DataSetError, WalkFile, walk_files
from app.lab.evaluation import embeddings, scores
from app.lab.evaluation.charts import draw_curves
from app.lab.evaluation.embeddings import Cluster, embed_walks, walks_for
from app.lab.evaluation.evaluate import Evaluation, evaluate
from app.lab.evaluation.protocol import groups_of, known_protocols, read_protocol, views_of
from app.lab.evaluation.report import COLUMNS, draw, write_csv, write_excel, write_json
from app.settings import Settings
from app.types import Embedding, GaitSequence
from tests.progress import Steps

CONDITIONS = ("nm-01", "nm-02", "nm-05", "bg-01", "cl-01")
VIEWS = ("000", "090", "180")


class CountingModel(GaitEnergyImage):
    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def embed(self, walks: Sequence[GaitSequence]) -> list[Embedding]:
        self.lengths += [len(walk) for walk in walks]
        return super().embed(walks)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people whom one shape tells apart; noise and a bag make it harder."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("evaluate") / "set"
    for person in range(6):
        shape = rng.random((64, 64)) < 0.5
        for condition in CONDITIONS:
            for view in VIEWS:
                seen = shape ^ (rng.random((6, 64, 64)) < (0.49 if condition == "cl-01" else 0.2))
                path = folder / f"{person:03d}" / condition / view / "0_silhouette.pkl"
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps(seen.astype(np.uint8) * np.uint8(255)))
    return folder


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(original, tmp_path / "set"))


@pytest.fixture(scope="module")
def judged(original: Path) -> Evaluation:
    return evaluate(GaitEnergyImage(), original, "casia-b", frames=(2, 4), cache=original.parent / "cache")


class TestProtocols:
    def test_all_that_are_known_can_be_read(self) -> None:
        assert {"casia-b", "oumvlp", "grew", "gait3d", "sustech1k", "ccpg"} <= set(known_protocols())
        for name in known_protocols():
            assert read_protocol(name).source

    def test_an_unknown_one_is_named_with_the_nearest(self) -> None:
        with pytest.raises(SettingsError, match=r"no protocol 'casia_b'.*Did you mean 'casia-b'"):
            read_protocol("casia_b")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("{sourc: x, probes: {A: [a]}, gallery: [b], gallery_views: all, metrics: [mAP]}", "sourc"),
            ("- a", "The protocol .* must hold lines"),
            ("a: [", "not YAML"),
            (
                "{source: x, probes: {A: [a]}, gallery: [b], gallery_views: all, metrics: [Rank-0]}",
                "no metric 'Rank-0'",
            ),
            ("{source: x, probes: {A: [a]}, gallery: {B: [b]}, gallery_views: all, metrics: [mAP]}", "same groups"),
            ("{source: x, probes: {A/B: [a]}, gallery: [b], gallery_views: all, metrics: [mAP]}", "cannot name"),
            ("{source: x, probes: {A: [a]}, gallery: [b], gallery_views: all, view: (, metrics: [mAP]}", "expression"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, match: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        with pytest.raises(SettingsError, match=match):
            read_protocol(str(path))

    def test_a_walk_with_a_bag_at_night_counts_for_both(self) -> None:
        conditions = ("00-nm", "01-nm", "02-bg-nt", "03-cl")
        walks = [WalkFile("1", condition, "000", Path("x")) for condition in conditions]
        found = {group.name: group.probes.tolist() for group in groups_of(read_protocol("sustech1k"), walks, None)}
        assert found == {"Normal": [1], "Bag": [2], "Night": [2], "Clothing": [3], "Overall": [1, 2, 3]}

    def test_the_camera_is_read_off_the_view(self) -> None:
        walks = [WalkFile("1", "U0_D0", view, Path("x")) for view in ("00_0", "00_1", "07_0")]
        assert views_of(read_protocol("ccpg"), walks).tolist() == ["00", "00", "07"]
        assert views_of(read_protocol("gait3d"), walks).tolist() == ["all"] * 3
        with pytest.raises(DataSetError, match="expects names of views"):
            views_of(replace(read_protocol("ccpg"), view="[a-z]+"), walks)

    def test_lists_of_probes_come_from_the_partition(self, tmp_path: Path) -> None:
        walks = [WalkFile("1", "camid1_videoid2", f"seq{number}", Path("x")) for number in range(3)]
        partition = tmp_path / "partition.json"
        partition.write_text(json.dumps({"PROBE_SET": ["1-camid1_videoid2-seq1"]}))
        (group,) = groups_of(read_protocol("gait3d"), walks, partition)
        assert (group.probes.tolist(), group.gallery.tolist()) == ([1], [0, 2])
        with pytest.raises(DataSetError, match=r"PROBE_SET.*--partition"):
            groups_of(read_protocol("gait3d"), walks, None)
        partition.write_text("{}")
        with pytest.raises(DataSetError, match="no list PROBE_SET"):
            groups_of(read_protocol("gait3d"), walks, partition)

    def test_other_data_sets_are_refused_with_what_they_hold(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataSetError, match="bg-01, cl-01"):
            evaluate(GaitEnergyImage(), data, "oumvlp", cache=tmp_path / "cache")
        own = tmp_path / "own.yaml"
        own.write_text('{source: x, probes: {A: ["nm-*"]}, gallery: [nm-01], gallery_views: all, metrics: [mAP]}')
        with pytest.raises(DataSetError, match="both a probe and in the gallery"):
            evaluate(GaitEnergyImage(), data, str(own), cache=tmp_path / "cache")


class TestEmbeddings:
    def test_nobody_is_embedded_twice(self, data: Path, tmp_path: Path) -> None:
        model, progress = CountingModel(), Steps(stop=30)
        walks = walks_for(model, data)
        with pytest.raises(KeyboardInterrupt):
            embed_walks(walks, model, cache=tmp_path / "cache", progress=progress)
        assert len(model.lengths) == 30
        features = embed_walks(walks, model, cache=tmp_path / "cache").features
        assert len(model.lengths) == len(walks) == 90
        assert progress.seen == [(15, 90), (30, 90)]
        again = embed_walks(walks, model, cache=tmp_path / "cache").features
        assert len(model.lengths) == 90
        np.testing.assert_array_equal(features, again)
        assert features.shape == (90, 16, 88)

    def test_what_has_changed_is_embedded_again(self, data: Path, tmp_path: Path) -> None:
        model, files = CountingModel(), walk_files(data)
        walks = walks_for(model, data)
        before = embed_walks(walks, model, cache=tmp_path / "cache").features
        files[20].path.write_bytes(files[0].path.read_bytes())
        after = embed_walks(walks, model, cache=tmp_path / "cache").features
        assert len(model.lengths) == 90 + 15
        np.testing.assert_array_equal(after[20], before[0])
        np.testing.assert_array_equal(np.delete(after, 20, 0), np.delete(before, 20, 0))

    def test_members_that_cannot_be_read_are_left_out_and_listed(
        self, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = walk_files(data)
        bad = [files[number] for number in (3, 20, 21, *range(45, 60))]  # one, two of somebody, a whole person
        kinds = [
            b"\x80\x04",
            b"no pickle",
            pickle.dumps([1]),
            pickle.dumps(np.zeros((2, 64, 64))),
            files[0].path.read_bytes()[:99],
        ]
        for number, file in enumerate(bad):
            file.path.write_bytes(kinds[number % len(kinds)])
        model = CountingModel()
        found = evaluate(model, data, "casia-b", frames=(4,), cache=tmp_path / "cache")
        assert found.left_out.keys() == {file.name for file in bad}
        assert all(str(data) in reason for reason in found.left_out.values())
        assert (found.people, found.walks) == (5, 72)
        assert any("18 left out" in message for message in caplog.messages)
        write_json([found], tmp_path / "found.json")
        assert json.loads((tmp_path / "found.json").read_text())["left_out"] == found.left_out
        count = len(model.lengths)
        again = evaluate(model, data, "casia-b", frames=(4,), cache=tmp_path / "cache")
        assert len(model.lengths) == count, "the others are in the cache"
        assert again.left_out == found.left_out
        for file in bad:
            file.path.unlink()
        without = evaluate(model, data, "casia-b", cache=tmp_path / "cache")
        assert len(model.lengths) == count
        assert [score.metrics for score in without.scores] == [score.metrics for score in found.scores]

    def test_one_person_alone_is_no_gallery(self, data: Path, tmp_path: Path) -> None:
        for other in sorted(data.iterdir())[1:]:
            shutil.rmtree(other)
        with pytest.raises(DataSetError, match="shows one person only, as whom every walk is named"):
            evaluate(GaitEnergyImage(), data, "casia-b", cache=tmp_path / "cache")

    def test_nothing_that_can_be_read_is_an_error(self, data: Path, tmp_path: Path) -> None:
        for file in walk_files(data):
            file.path.write_bytes(b"no pickle")
        with pytest.raises(DataSetError, match=r"No walk can be read: .*0_silhouette\.pkl cannot be read"):
            evaluate(GaitEnergyImage(), data, "casia-b", cache=tmp_path / "cache")

    def test_walks_without_keypoints_are_left_out(self, data: Path) -> None:
        model = CountingModel()
        model.card = replace(model.card, keypoints=True)
        for file in walk_files(data)[1:]:
            file.path.with_name("1_pose.pkl").write_bytes(pickle.dumps(np.zeros((6, 17, 3), np.float32)))
        left_out: dict[str, str] = {}
        walks = walks_for(model, data, left_out=left_out)
        assert len(walks) == 89
        assert all(walk.other is not None and walk.other.name == "1_pose.pkl" for walk in walks)
        assert left_out == {"000/bg-01/000": "has no keypoints"}

    def test_frames_are_those_of_the_middle(self, data: Path, tmp_path: Path) -> None:
        model, files = CountingModel(), walk_files(data)
        few = embed_walks(walks_for(model, data), model, frames=4, cache=tmp_path / "cache").features
        assert set(model.lengths) == {4}
        whole: np.ndarray = pickle.loads(files[0].path.read_bytes())  # type: ignore[type-arg]
        walk = GaitSequence(np.arange(4), whole[1:5], 25.0)
        np.testing.assert_array_equal(few[0], GaitEnergyImage().embed([walk])[0].parts)

    def test_a_model_that_needs_keypoints_is_refused(self, data: Path) -> None:
        model = CountingModel()
        model.card = replace(model.card, keypoints=True)
        with pytest.raises(DataSetError, match=r"needs keypoints, but .* has only silhouettes"):
            walks_for(model, data)


class TestCluster:
    """A cluster of one machine, this process, which answers in the other order; `test_cluster` has real ones."""

    @pytest.fixture(autouse=True)
    def one_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            embeddings, "on_cluster", lambda work, todo, address: (work(*each) for each in reversed(todo))
        )

    def test_figures_do_not_depend_on_the_order_of_answers(
        self, judged: Evaluation, original: Path, tmp_path: Path
    ) -> None:
        there = Cluster("auto", Settings.load(named={"gait.name": "gei"}))
        cache, progress = tmp_path / "cache", Steps()
        found = evaluate(
            GaitEnergyImage(), original, "casia-b", frames=(2, 4), cache=cache, cluster=there, progress=progress
        )
        assert found == judged
        assert progress.seen[:6] == [(15 * done, 90) for done in range(1, 7)]
        assert [title.rpartition(", ")[2] for title in progress.titles] == ["whole walks", "2 frames", "4 frames"]

    def test_embeddings_that_only_other_machines_see_are_said(
        self, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = tmp_path / "there.npy"
        monkeypatch.setattr(
            embeddings, "on_cluster", lambda work, todo, address: (work(*each)._replace(path=there) for each in todo)
        )
        model, cluster = GaitEnergyImage(), Cluster("auto", Settings.load(named={"gait.name": "gei"}))
        with pytest.raises(OutputError, match=r"written to .*there\.npy, but they are not there"):
            embed_walks(walks_for(model, original), model, cache=tmp_path / "cache", cluster=cluster)

    def test_a_machine_with_another_model_is_said(self, original: Path, tmp_path: Path) -> None:
        model, cluster = GaitEnergyImage(), Cluster("auto", Settings())
        with pytest.raises(CheckpointError, match=r"found the gait model gaitprint.*, not gei"):
            embed_walks(walks_for(model, original), model, cache=tmp_path / "cache", cluster=cluster)
        assert not list(tmp_path.rglob("*.npy"))


class TestScores:
    def test_of_walks_that_can_and_cannot_be_told_apart(self, judged: Evaluation) -> None:
        assert [score.name for score in judged.scores] == ["NM", "BG", "CL"]
        nm, _, cl = judged.scores
        assert (nm.probes, nm.gallery, nm.searches, nm.without_mate) == (18, 36, 36, 0)
        assert nm.metrics["Rank-1"].value == nm.metrics["mAP"].value == 1.0
        assert nm.eer == pytest.approx(0, abs=0.01)
        assert nm.fnir == {"0.01": 0.0, "0.1": 0.0}
        low, value, high = (getattr(cl.metrics["Rank-1"], name) for name in ("low", "value", "high"))
        assert 0.1 < low < value < high <= 1
        assert cl.cmc == sorted(cl.cmc)
        assert nm.cmc == [1.0] * 20
        assert cl.cmc[0] == pytest.approx(value)
        assert cl.cmc[10] == 1.0  # a view's gallery has twelve walks, two of them of the right person
        fewest = judged.by_frames[2][2].metrics["Rank-1"].value
        assert fewest is not None
        assert fewest < value

    def test_identical_views_are_shown_and_do_not_count(self, judged: Evaluation) -> None:
        cl = judged.scores[2]
        table = np.array(cl.tables["mAP"], np.float64)
        others = ~np.eye(3, dtype=bool)
        assert cl.metrics["mAP"].value == pytest.approx(table[others].mean())
        np.testing.assert_allclose(np.array(cl.by_view["mAP"], np.float64), (table * others).sum(axis=1) / 2)

    def test_do_not_depend_on_the_blocks(
        self, judged: Evaluation, original: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scores, "_BLOCK", 36 * 5)
        assert evaluate(GaitEnergyImage(), original, "casia-b", cache=original.parent / "cache").scores == judged.scores

    def test_people_whom_the_gallery_lacks_fail(self, data: Path, tmp_path: Path) -> None:
        for condition in ("nm-01", "nm-02"):
            (data / "003" / condition).rename(data / "003" / condition.replace("nm", "zz"))
        nm = evaluate(GaitEnergyImage(), data, "casia-b", cache=tmp_path / "cache").scores[0]
        assert nm.without_mate == 6
        assert nm.metrics["Rank-1"].value == pytest.approx(5 / 6)
        assert nm.metrics["mAP"].value == 1.0

    def test_reranking_needs_the_whole_gallery(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="view by view"):
            evaluate(GaitEnergyImage(), data, "casia-b", rerank=True, cache=tmp_path / "cache")
        own = tmp_path / "own.yaml"
        own.write_text("{source: x, probes: {A: [cl-01]}, gallery: [nm-01], gallery_views: all, metrics: [mAP]}")
        plain, reranked = (
            evaluate(GaitEnergyImage(), data, str(own), rerank=rerank, cache=tmp_path / "cache").scores[0]
            for rerank in (False, True)
        )
        assert plain.metrics["mAP"] != reranked.metrics["mAP"]

    def test_one_view_alone_cannot_be_compared_across_views(self, data: Path, tmp_path: Path) -> None:
        own = tmp_path / "own.yaml"
        own.write_text(
            "{source: x, probes: {A: [cl-01]}, gallery: [nm-01], gallery_views: each, exclude: same view, "
            "view: '', metrics: [mAP]}"
        )
        with pytest.raises(DataSetError, match="one view only"):
            evaluate(GaitEnergyImage(), data, str(own), cache=tmp_path / "cache")


class TestFiles:
    def test_json_holds_everything(self, judged: Evaluation, tmp_path: Path) -> None:
        write_json([judged], tmp_path / "a.json")
        content = json.loads((tmp_path / "a.json").read_text())
        assert content["scores"][2]["metrics"]["Rank-1"]["value"] == judged.scores[2].metrics["Rank-1"].value
        assert set(content["by_frames"]) == {"2", "4"}

    def test_csv_has_a_row_for_each_figure(self, judged: Evaluation, tmp_path: Path) -> None:
        write_csv([judged], tmp_path / "a.csv")
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        assert len(rows) == 3 * 3 * (4 + 3 + 4 * 9)
        means = [row for row in rows if row["metric"] == "Rank-1" and not row["probe_view"] and not row["frames"]]
        assert [float(row["value"]) for row in means] == [score.metrics["Rank-1"].value for score in judged.scores]

    def test_excel_has_a_sheet_for_each_group(self, judged: Evaluation, tmp_path: Path) -> None:
        pytest.importorskip("xlsxwriter", reason="needs the extra evaluate")
        write_excel([judged], tmp_path / "a.xlsx")
        with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
            names = book.read("xl/workbook.xml").decode()
            sheet = book.read("xl/worksheets/sheet4.xml").decode()
        assert all(f'name="{name}"' in names for name in ("Figures", "NM Rank-1", "BG Rank-1", "CL Rank-1"))
        assert f"<v>{judged.scores[2].tables['Rank-1'][0][1]:.16G}</v>" in sheet

    def test_pictures_show_the_curves(self, judged: Evaluation, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra evaluate")
        paths = draw(judged, tmp_path / "pictures")
        assert {path.name for path in paths} == {
            "cmc.png",
            "frames.png",
            *(f"distances-{name}.png" for name in ("NM", "BG", "CL")),
        }
        for path in paths:
            with Image.open(path) as picture:
                assert picture.size == (900, 560)

    @pytest.mark.parametrize("logarithmic", [False, True])
    def test_a_curve_is_drawn_with_its_colour(self, tmp_path: Path, logarithmic: bool) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra evaluate")
        points = [1.0, 10.0], [0.5, 0.5]
        path = draw_curves(tmp_path / "a.png", "title", "x", "y", {"curve": points}, 1, logarithmic=logarithmic)
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        blue = np.argwhere(np.abs(pixels - (31, 119, 180)).sum(axis=2) < 30)
        rows = np.bincount(blue[:, 0])
        assert rows.max() > 500, "a level line runs through the picture"
        assert 0.4 < rows.argmax() / 560 < 0.6, "half way up"

    @pytest.mark.parametrize(("package", "option"), [("matplotlib", "--pictures"), ("xlsxwriter", "--excel")])
    def test_a_missing_extra_is_said_before_the_long_work(
        self, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        package: str, option: str,
    ) -> None:  # fmt: skip
        monkeypatch.setitem(sys.modules, package, None)
        assert run("--protocol", "casia-b", option, "out") == 2
        assert "pip install 'gaitprint[evaluate]'" in " ".join(capsys.readouterr().err.split())
        assert not Path("output").exists()


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    return lambda *more: main(["evaluate", "--data", str(data), "--gait", "gei", *more])


class TestCommand:
    def test_prints_and_writes(
        self, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            run("--protocol", "casia-b", "--frames", "4", "--json", "a.json", "--csv", "a.csv", "--metric", "cosine")
            == 0
        )
        out = capsys.readouterr().out
        assert "6 people, 90 walks" in out
        assert "Rank-1 by probe view" in out
        assert json.loads((tmp_path / "a.json").read_text())["distance"] == "cosine"
        assert len(list((tmp_path / "output" / "cache" / "embeddings" / "gei").iterdir())) == 12

    @pytest.mark.parametrize(
        ("more", "match"),
        [
            (("--protocol", "casia-b", "--frames", "5;10"), "write numbers"),
            (("--protocol", "casia-b", "--frames", "0"), "cannot be evaluated"),
            (("--protocol", "casia-b", "--metric", "manhattan"), "'euclidean' or 'cosine'"),
            (("--protocol", "nothing"), "no protocol"),
            (("--protocol", "casia-b", "--partition", "none.json"), "none.json"),
            (
                ("--protocol", "casia-b", "--partition", "other.json"),
                "None of the 5 people of other.json (a1, a2, a3, a4",
            ),
            (("--protocol", "casia-b", "--partition", "other.json"), "people are called 000, 001, 002, 003 ..."),
            (("--protocol", "casia-b", "--rerank"), "view by view"),
            (("--protocol", "nothing-yet.yaml", "--rerank"), "nothing-yet.yaml"),
            (("--protocol", "one-view.yaml"), "one view only"),
            (("--protocol", "casia-b", "--json", "file/a.json"), "a.json cannot be made"),
            (("--protocol", "casia-b", "--csv", "."), "is a folder"),
            (("--protocol", "casia-b", "--pictures", "file"), "cannot be made"),
        ],
    )
    def test_bad_usage_is_explained(
        self, run: Callable[..., int], capsys: pytest.CaptureFixture[str], more: tuple[str, ...], match: str
    ) -> None:
        Path("other.json").write_text('{"TRAIN_SET": [], "TEST_SET": ["a1", "a2", "a3", "a4", "a5"]}')
        Path("one-view.yaml").write_text(
            "{source: x, probes: {A: [cl-01]}, gallery: [nm-01], gallery_views: each, exclude: same view, "
            "view: '', metrics: [mAP]}"
        )
        Path("file").touch()
        assert run(*more) == 2
        assert match in " ".join(capsys.readouterr().err.split())
        assert not Path("output").exists(), "that is known before the long work"
