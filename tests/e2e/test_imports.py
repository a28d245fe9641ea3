"""What the command line imports: a run with the networks that come with Gaitprint needs no large library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNUSED = {"lightning", "matplotlib", "moviepy", "onnx", "pandas", "scipy", "torch"}
"""What other networks, trainings and evaluations use. Torch alone takes seconds and 200 MB."""
UNUSED_BY_HELP = UNUSED | {"av", "cv2", "numpy", "onnxruntime", "yaml"}
PROGRAM = """
import sys
from app.cli.main import main
code = main(sys.argv[1:])
print("modules:", *{name.partition(".")[0] for name in sys.modules})
sys.exit(code)
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    """Run the command line in a process of its own, and return the packages that it has imported in the end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].partition("modules:")[2].split())


def test_a_package_that_is_imported_is_noticed(tmp_path: Path) -> None:
    assert "rich" in imported(tmp_path, "--help")


@pytest.mark.parametrize("command", [[], ["demo"], ["models"], ["train"], ["gallery"], ["walkers"]], ids=" ".join)
def test_help(tmp_path: Path, command: list[str]) -> None:
    assert not imported(tmp_path, *command, "--help") & UNUSED_BY_HELP


def test_the_list_of_models(tmp_path: Path) -> None:
    assert not imported(tmp_path, "models", "--checkpoints", str(tmp_path)) & UNUSED


def test_a_run_with_the_embedded_networks(tmp_path: Path) -> None:
    """Tracks, silhouettes, embeddings, names and painted videos."""
    found = imported(
        tmp_path, "demo", "--gallery", "gallery.mp4", "--probe", "probe1.mp4", "--from", "2", "--to", "3.3",
        "--output", str(tmp_path), "--set", f"checkpoints={tmp_path}",
    )  # fmt: skip
    assert (next(tmp_path.glob("OutputVideos/*")) / "results.csv").read_text().count("\n") > 1, "nobody was followed"
    assert "onnxruntime" in found
    assert found & UNUSED == {"moviepy"}  # it writes the GIF, at the end
