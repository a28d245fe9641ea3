"""SMPL parameters of a data set are linked with its silhouettes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.lab.data.link import link
from app.lab.data.opengait import read_bodies, walk_files, write_array


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """SMPL parameters and silhouettes as Gait3D's preparation leaves them; one walk lacks frames, one is alone."""
    folders = tmp_path / "smpls", tmp_path / "sils"
    for folder in folders:
        for number in range(4):
            view = folder / "0000" / "camid0_videoid2" / f"seq{number}"
            view.mkdir(parents=True)
            frames = 5 - (number == 1 and folder.name == "smpls")
            smpl = np.full((frames, 85), number, np.float32)
            silhouettes = np.full((frames, 128, 128), 255, np.uint8)
            write_array(smpl if folder.name == "smpls" else silhouettes, view / f"seq{number}.pkl")
    (folders[1] / "0000/camid0_videoid2/seq3/seq3.pkl").unlink()
    (folders[1] / "0000/camid0_videoid2/seq3").rmdir()
    return folders


def test_what_belongs_together_is_linked_in_opengaits_order(sets: tuple[Path, Path], tmp_path: Path) -> None:
    report = link(*sets, tmp_path / "out", "smpl")
    assert report.walks == 2
    assert report.walks_dropped == {"0000/camid0_videoid2/seq1": "4 SMPL parameters and 5 silhouettes"}
    assert report.left_out == {"0000/camid0_videoid2/seq3": "has no silhouettes"}
    (_, pictures), (_, bodies) = (walk_files(tmp_path / "out", modality=kind) for kind in ("silhouette", "smpl"))
    assert (pictures.path.name, bodies.path.name) == ("0_silhouette.pkl", "1_smpl.pkl")
    assert (read_bodies(pictures.path, bodies.path, 128)["smpl"] == 2).all()


def test_the_command_links_one_or_the_other(
    sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smpls, sils = map(str, sets)
    command = ["prepare", "link", "--silhouettes", sils, "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 2
    assert "give either --heatmaps or --smpl" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--smpl", smpls, "--heatmaps", smpls]) == 2
    assert main([*command, "--smpl", smpls]) == 0
    assert (tmp_path / "out/data/0000/camid0_videoid2/seq2/1_smpl.pkl").is_symlink()
