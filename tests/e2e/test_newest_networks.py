"""The newest gait networks from the command line: most name people, the others say what a video lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from app.body.estimators import Lift
from app.cli.main import main
from app.gait import embeddings
from app.gait.base import EmbeddingNetwork
from app.gait.models.biggergait import BiggerGait
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitedge import GaitEdge
from app.gait.models.parsinggait import ParsingGait
from app.gait.models.smplgait import SMPLGait
from app.gait.models.swingait import SwinGait
from app.gait.models.xgait import XGait
from app.gait.opengait import to_theirs
from app.gait.opengait.saving import architecture_for
from app.types import BODY_PARTS, BodyMotion, GaitSequence
from app.walks.archive import read_walks
from tests.contract.samples import shake
from tests.e2e.conftest import Demo

WIDTHS = (4, 4, 6, 6)


def put(network: EmbeddingNetwork, path: Path) -> Path:
    shake(network)
    torch.save({"model": to_theirs(network, architecture_for(network).table), "iteration": 60000}, path)
    return path


def test_a_run_with_swingait(demo: Demo, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SwinGait((4, 8), (16, 16), (1, 1, 2, 2), (2, 4), channels=8, classes=9)
    path = put(network, tmp_path / "SwinGait3D_B1122_C2-60000.pt")
    ended = demo(
        "--probe", "probe1", "--output", tmp_path / "out", "--gait-checkpoint", path, "--set", "gait.max_frames=12"
    )
    assert ended.code == 0, ended.out + ended.err
    assert f"swingait ({path})" in " ".join(ended.out.split())
    (results,) = (tmp_path / "out" / "OutputVideos").glob("*/results.json")
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["models"]["gait"]["name"] == "swingait"
    assert "academic use only" in report["models"]["gait"]["licence"]
    assert any(track["identity"] for track in report["gallery"]["tracks"])


@pytest.mark.parametrize("family", ["xgait", pytest.param("parsinggait", marks=pytest.mark.slow)])
def test_a_run_with_body_parts(demo: Demo, tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    path = tmp_path / f"Gait3D-Parsing-{family}-120000.pt"
    put(
        XGait(WIDTHS, narrow=2, channels=5, classes=3)
        if family == "xgait"
        else ParsingGait(WIDTHS, channels=5, classes=3),
        path,
    )
    out = tmp_path / "out"
    options = ["--gait-checkpoint", path, "--set", "gait.max_frames=12", "--set", "output.features=true"]
    ended = demo("--probe", "probe1", "--output", out, *options)
    assert ended.code == 0, ended.out + ended.err
    (results,) = (out / "OutputVideos").glob("*/results.json")
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["models"]["gait"]["name"].startswith(family)
    assert report["models"]["parser"]["name"]
    assert any(track["identity"] for track in report["gallery"]["tracks"])
    (features, *_) = sorted((out / "GaitFeatures" / "gallery").glob("*.npz"))
    with np.load(features, allow_pickle=False) as arrays:
        assert arrays["body_parts"].max() <= len(BODY_PARTS)
        assert len(arrays["body_parts"]) == len(arrays["frame_indices"])
        assert arrays["parts"].ndim == 2, "the embedding keeps its name"


class Everything(set[str]):
    """A set that has whatever is asked for."""

    def __contains__(self, one: object) -> bool:
        return True


@pytest.mark.slow
def test_a_run_with_smplgait_fits_each_body_once(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[bytes] = []
    fit = Lift.fit

    def counted(lift: Lift, walks: Sequence[GaitSequence]) -> list[BodyMotion]:
        fitted.extend((b"" if walk.keypoints is None else walk.keypoints.tobytes()) for walk in walks)
        return fit(lift, walks)

    monkeypatch.setattr(Lift, "fit", counted)
    # Once in a process, a network is tried with a changed walk of whichever video is ready first; that is no fit of
    # this test. So all networks count as tried.
    monkeypatch.setattr(embeddings, "_tells_apart", Everything())
    torch.manual_seed(0)
    network = SMPLGait((8, 8, 8), (8, 8), channels=5, classes=3)
    path = put(network, tmp_path / "SMPLGait-180000.pt")
    output, lift = ("--output", str(tmp_path / "out")), ("--set", "body.name=lift")
    # The input of the gait network, and the report
    ended = demo("--probe", "probe1", *output, "--gait-checkpoint", path, *lift, "--set", "body.show=true")
    assert ended.code == 0, ended.out + ended.err
    assert fitted
    assert len(set(fitted)) == len(fitted)
    (results,) = (tmp_path / "out" / "OutputVideos").glob("*/results.json")
    assert list((results.parent / "crops" / "probe1").glob("*-body.jpg"))
    models = json.loads(results.read_text(encoding="utf-8"))["models"]
    assert models["gait"]["name"].startswith("smplgait")
    assert "fitted here to keypoints" in models["gait"]["note"]
    assert models["pose"]["name"]
    assert models["body"]["name"]
    # Calibrated silhouettes in another run, and the command of its own
    once = len(fitted)
    ended = demo("--probe", "probe1", *output, *lift, "--set", "gait.input=calibrated", "--set", "pose.when=always")
    assert ended.code == 0, ended.out + ended.err
    command = ["body", "probe1", *output, "--body", "lift", "--track", "1", "--out", str(tmp_path / "bodies")]
    assert main([*command, "--detector", "motion", "--segmenter", "motion"]) == 0
    assert len(fitted) == once
    if Path("/proc").is_dir():  # where nobody can write; this is said before the long work
        assert main([*command, "--fresh", "--out", "/proc/bodies"]) == 2
        assert len(fitted) == once


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ScoNet-20000.pt", ("screens for scoliosis", "do not tell who walks")),
    ],
)
def test_what_does_not_tell_people_apart_is_refused(
    demo: Demo, tmp_path: Path, name: str, says: tuple[str, ...]
) -> None:
    path = put(GaitBase(WIDTHS, classes=3), tmp_path / name)
    ended = demo("--probe", "probe1", "--output", tmp_path / "out", "--gait-checkpoint", path)
    ended.failed_with(name, *says)


@pytest.mark.parametrize("family", [pytest.param("biggergait", marks=pytest.mark.slow), "gaitedge"])
def test_a_run_with_people_in_colour(demo: Demo, tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    network: EmbeddingNetwork = (
        BiggerGait(64, 2, None, 16, 5, 2, 1, 4, 3, (4, 4, 4, 4), channels=5, classes=4)
        if family == "biggergait"
        else GaitEdge((2, 3, 4, 5), (4, 4, 6, 6), channels=5, classes=4)
    )
    path = put(network, tmp_path / f"{network.family}-40000.pt")
    out = tmp_path / "out"
    ended = demo("--probe", "probe1", "--output", out, "--gait-checkpoint", path, "--set", "gait.max_frames=8")
    assert ended.code == 0, ended.out + ended.err
    (results,) = (out / "OutputVideos").glob("*/results.json")
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["models"]["gait"]["name"].startswith(family)
    assert any(track["identity"] for track in report["gallery"]["tracks"])
    kept = [walk.sequence for path in (out / "cache").glob("*.zip") for walk in read_walks(path)]
    assert any(walk is not None and walk.pictures is not None for walk in kept)
    again = demo("--probe", "probe1", "--output", out, "--gait-checkpoint", path, "--set", "gait.max_frames=8")
    assert again.code == 0, again.out + again.err
    assert "of an earlier run are used" in again.out + again.err
