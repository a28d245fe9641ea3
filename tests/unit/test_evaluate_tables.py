"""Several models on several data sets, models that see joints, and GREW's submission."""

from __future__ import annotations

import csv
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.cli.main import main
from app.gait.embedder import NetworkEmbedder
from app.gait.gei import GaitEnergyImage
from app.gait.models.posegait import PoseGait
from app.gait.models.skeletongait import SkeletonGait
from app.gait.opengait import to_theirs
from app.gait.opengait.residual import TABLE_P3D
from app.lab.data.opengait import DataSetError, WalkFile
from app.lab.evaluation.evaluate import Evaluation, evaluate
from app.lab.evaluation.protocol import Group
from app.lab.evaluation.report import COLUMNS, write_csv, write_excel, write_json
from app.lab.evaluation.submission import write_submission
from app.lab.evaluation.tables import cross_tables
from app.settings import GaitSettings
from app.types import GaitSequence
from app.weights.checkpoints import CheckpointFile
from tests.contract.samples import CHECKPOINTS

PROTOCOL = "{source: us, probes: {A: [two]}, gallery: [one], gallery_views: all, view: null, metrics: [Rank-1]}"


def make(folder: Path, people: int, seed: int, poses: bool = False) -> Path:
    """People with a shape, and legs of a length, of their own; two walks of each."""
    rng = np.random.default_rng(seed)
    for person in range(people):
        shape, length = rng.random((64, 64)) < 0.5, 30 + 5 * person
        for condition in ("one", "two"):
            view = folder / f"{person:03d}" / condition / "000"
            view.mkdir(parents=True)
            seen = shape ^ (rng.random((6, 64, 64)) < 0.2)
            (view / "0_silhouette.pkl").write_bytes(pickle.dumps(seen.astype(np.uint8) * np.uint8(255)))
            if poses:
                joints = np.ones((6, 17, 3), np.float32)
                joints[..., 0] = np.arange(17) % 2 * 10 + rng.normal(0, 0.1, (6, 17))
                joints[..., 1] = np.arange(17) * 3 + (np.arange(17) > 12) * length
                (view / "1_pose.pkl").write_bytes(pickle.dumps(joints))
    return folder


@pytest.fixture
def protocol(tmp_path: Path) -> str:
    (tmp_path / "own.yaml").write_text(PROTOCOL)
    return str(tmp_path / "own.yaml")


class TestTables:
    @pytest.fixture
    def found(self, tmp_path: Path, protocol: str) -> list[Evaluation]:
        sets = [make(tmp_path / "street", 5, 0), make(tmp_path / "hall", 3, 1)]
        network = NetworkEmbedder(CheckpointFile(CHECKPOINTS["opengait"](tmp_path), "given"), GaitSettings())
        models = (GaitEnergyImage(), network)
        return [evaluate(model, data, protocol, cache=tmp_path / "cache") for model in models for data in sets]

    def test_rows_are_models_and_columns_data_sets(self, found: list[Evaluation]) -> None:
        tables = cross_tables(found)
        assert [(table.title, table.columns) for table in tables] == [
            ("street", ["A\nRank-1"]),
            ("hall", ["A\nRank-1"]),
        ]
        for table, evaluations in zip(tables, (found[::2], found[1::2]), strict=True):
            assert table.rows == {one.model: [one.scores[0].metrics["Rank-1"]] for one in evaluations}
        assert found[0].scores[0].metrics["Rank-1"].value == 1.0

    def test_files_hold_all_of_them(self, found: list[Evaluation], tmp_path: Path) -> None:
        write_json(found, tmp_path / "a.json")
        assert [one["model"] for one in json.loads((tmp_path / "a.json").read_text())] == [one.model for one in found]
        write_csv(found, tmp_path / "a.csv")
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == ("model", "data", "protocol", *COLUMNS)
        assert len({(row["model"], row["data"]) for row in rows}) == 4
        pytest.importorskip("xlsxwriter", reason="needs the extra evaluate")
        write_excel(found, tmp_path / "a.xlsx")
        with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
            assert "Models by data sets" in book.read("xl/workbook.xml").decode()
            assert "<v>1</v>" in book.read("xl/worksheets/sheet1.xml").decode()

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1|cmd", "@SUM(1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
    def test_no_cell_is_a_formula(self, text: str, found: list[Evaluation], tmp_path: Path) -> None:
        odd = [replace(one, model=text, data=text, protocol=text) for one in found[:2]]
        odd = [replace(one, scores=[replace(score, name=text) for score in one.scores]) for one in odd]
        write_csv(odd, tmp_path / "a.csv")
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        written = f"'{text}".replace("\r", " ")
        assert {row[column] for row in rows for column in ("model", "data", "protocol", "probes")} == {written}
        assert not [one for row in rows for one in row.values() if one.startswith(("=", "+", "-", "@", "\t", "\r"))]
        pytest.importorskip("xlsxwriter", reason="needs the extra evaluate")
        write_excel(odd, tmp_path / "a.xlsx")
        with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
            sheets = [book.read(name).decode() for name in book.namelist() if "/sheet" in name and name.endswith("xml")]
        assert sheets
        assert not [sheet for sheet in sheets if "<f>" in sheet or "<hyperlink" in sheet]


class TestJoints:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> CheckpointFile:
        torch.manual_seed(0)
        torch.save(PoseGait(widths=(4, 8), channels=6).state_dict(), tmp_path / "posegait.pt")
        return CheckpointFile(tmp_path / "posegait.pt", "given")

    def test_keypoints_are_read_beside_the_silhouettes(
        self, tmp_path: Path, checkpoint: CheckpointFile, protocol: str
    ) -> None:
        data, model = make(tmp_path / "set", 4, 0, poses=True), NetworkEmbedder(checkpoint, GaitSettings())
        found = evaluate(model, data, protocol, cache=tmp_path / "cache")
        assert found.scores[0].metrics["Rank-1"].value == 1.0
        kept = sorted((tmp_path / "cache").rglob("*.npy"))
        pose = data / "000" / "one" / "000" / "1_pose.pkl"
        walk = GaitSequence(np.arange(6), np.zeros((6, 64, 64), np.uint8), 25.0, pickle.loads(pose.read_bytes()))
        parts = model.embed([walk])[0].parts
        assert any(np.allclose(np.load(path)[0], parts, atol=1e-5) for path in kept)
        pose.write_bytes(pickle.dumps(walk.keypoints * np.float32(1.5) if walk.keypoints is not None else None))
        evaluate(model, data, protocol, cache=tmp_path / "cache")
        assert len(sorted((tmp_path / "cache").rglob("*.npy"))) == len(kept) + 1, "other keypoints are embedded anew"

    def test_skeleton_maps_are_drawn_from_them(self, tmp_path: Path, protocol: str) -> None:
        torch.manual_seed(0)
        network = SkeletonGait("p3d", (4, 4, 4, 4), (1, 1, 1, 1), parts=4, channels=5)
        torch.save({"model": to_theirs(network, TABLE_P3D)}, tmp_path / "maps.pt")
        model = NetworkEmbedder(CheckpointFile(tmp_path / "maps.pt", "given"), GaitSettings())
        found = evaluate(model, make(tmp_path / "set", 3, 0, poses=True), protocol, cache=tmp_path / "cache")
        assert found.scores[0].searches == 3

    def test_data_sets_without_them_are_refused_and_walks_that_do_not_fit_are_left_out(
        self, tmp_path: Path, checkpoint: CheckpointFile, protocol: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = NetworkEmbedder(checkpoint, GaitSettings())
        with pytest.raises(DataSetError, match="needs keypoints"):
            evaluate(model, make(tmp_path / "plain", 2, 0), protocol, cache=tmp_path / "cache")
        data = make(tmp_path / "set", 2, 0, poses=True)
        (data / "000" / "one" / "000" / "1_pose.pkl").write_bytes(pickle.dumps(np.zeros((5, 17, 3), np.float32)))
        evaluate(model, data, protocol, cache=tmp_path / "cache")  # a walk that does not fit is left out, and named
        assert "has 5 poses" in caplog.text
        assert "has 6 silhouettes" in caplog.text


class TestSubmission:
    def walks(self, people: int) -> list[WalkFile]:
        gallery = [WalkFile(f"{i + 1:05d}", "01", "v", Path("x")) for i in range(people)]
        return [*gallery, *(WalkFile("probe", "03", name, Path("x")) for name in ("01DdvEHX", "2V2ALmUZ"))]

    def test_a_row_for_each_probe_names_the_nearest_people(self, tmp_path: Path) -> None:
        features = np.concatenate([np.arange(30.0), [29.2, 3.1]]).astype(np.float32).reshape(32, 1, 1)
        group = Group("All", np.array([30, 31]), np.arange(30))
        write_submission(features, self.walks(30), group, tmp_path / "submission.csv")
        head, first, second = (tmp_path / "submission.csv").read_text().splitlines()
        assert head.split(",") == ["videoId", *(f"rank{number}" for number in range(1, 21))]
        assert first.split(",") == ["01DdvEHX", *(str(number) for number in range(30, 10, -1))]
        assert second.split(",")[:5] == ["2V2ALmUZ", "4", "5", "3", "6"]

    def test_a_gallery_that_does_not_do_is_told(self, tmp_path: Path) -> None:
        features = np.zeros((22, 1, 1), np.float32)
        with pytest.raises(DataSetError, match="20 gallery walks"):
            write_submission(
                features[:12], self.walks(10), Group("All", np.array([10]), np.arange(10)), tmp_path / "a.csv"
            )
        with pytest.raises(DataSetError, match="'probe' is not a number"):
            write_submission(features, self.walks(20), Group("All", np.array([20]), np.arange(22)), tmp_path / "a.csv")
        assert not (tmp_path / "a.csv").exists()


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "120")
        make(tmp_path / "street", 5, 0)
        make(tmp_path / "hall", 3, 1)
        return lambda *more: main(["evaluate", "--data", "street", "--protocol", protocol, *more])

    def test_several_make_a_table(
        self, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--data", "hall", "--gait", "gei", "--csv", "all.csv") == 0
        out = capsys.readouterr().out
        assert "street" in out
        assert "hall" in out
        assert "100.0" in out
        assert (tmp_path / "all.csv").read_text().startswith("model,data,protocol,frames")

    @pytest.mark.parametrize("columns", [80, 120])
    def test_tables_are_whole_on_any_terminal(
        self, run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        names = [f"a-group-of-probes-{i}" for i in range(6)]
        probes = ", ".join(f"{name}: [two]" for name in names)
        Path("groups.yaml").write_text(
            f"{{source: us, probes: {{{probes}}}, gallery: [one], gallery_views: all, metrics: [Rank-1, Rank-5, mAP]}}"
        )
        own = ("--gait", "gei", "--protocol", "groups.yaml")
        for more in ((), ("--data", "hall")):
            assert main(["evaluate", "--data", "street", *more, *own, "--frames", "2,4"]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert not any("…" in line for line in lines)
            tables = [
                line for line in lines if not line.endswith((".", "distance"))
            ]  # prose is wrapped by the terminal
            assert all(len(line) <= columns for line in tables)
            said = " ".join(lines)
            assert all(name in said for name in names)
            assert said.count("100.0..100.0") >= 6, "intervals are whole"

    def test_a_submission_is_written(
        self, run: Callable[..., int], tmp_path: Path, protocol: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make(tmp_path / "grew", 20, 2)
        other = ["evaluate", "--data", "grew", "--protocol", protocol, "--gait", "gei", "--submission", "s.csv"]
        assert main(other) == 0
        rows = (tmp_path / "s.csv").read_text().splitlines()
        assert len(rows) == 21
        assert [row.split(",")[1] for row in rows[1:]] == [str(number) for number in range(20)]

    @pytest.mark.parametrize(
        ("more", "match"),
        [
            (("--protocol", "gait3d", "--protocol", "grew"), "1 data sets, 3 protocols"),
            (("--data", "hall", "--partition", "a.json"), "2 data sets, 1 protocols and 1 partitions"),
            (("--data", "hall", "--pictures", "p"), "one model on one data set"),
        ],
    )
    def test_bad_usage_is_explained(
        self, run: Callable[..., int], capsys: pytest.CaptureFixture[str], more: tuple[str, ...], match: str
    ) -> None:
        assert run("--gait", "gei", *more) == 2
        assert match in " ".join(capsys.readouterr().err.split())
