"""What ``pip install .`` brings: the embedded networks, every data file, and the command ``gaitprint``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

setuptools = pytest.importorskip("setuptools", minversion="77")  # an older one cannot read pyproject.toml

ROOT = Path(__file__).parents[2]
STAGES = ("detector", "segmenter", "pose", "body", "parser", "gait")


def test_every_package_is_listed() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {*setuptools.find_packages(str(ROOT), include=["app", "app.*"]), "app.checkpoints"}
    assert set(setup["packages"]) == packages, "change [tool.setuptools] packages in pyproject.toml accordingly"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages, with the unpacked wheel of this checkout in it."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "app", source / "app", ignore=ignored)
    shutil.copytree(ROOT / "checkpoints" / "embedded", source / "checkpoints" / "embedded")
    for name in ("checkpoints/README.md", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    own = source / "checkpoints" / "gait" / "licensed.pt"  # a user's file, which must not be passed on
    own.parent.mkdir()
    own.write_bytes(b"x")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q")
    subprocess.run([sys.executable, "-m", "pip", "wheel", source, *options, "-w", folder], check=True)
    (wheel,) = folder.glob("gaitprint-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_data_file_is_in_the_wheel(site: Path) -> None:
    for path in (ROOT / "app").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md":
            assert (site / path.relative_to(ROOT)).is_file(), f"add {path} to package-data in pyproject.toml"
    networks = {path.relative_to(ROOT) for path in (ROOT / "checkpoints" / "embedded").rglob("*") if path.is_file()}
    carried = {path.relative_to(site / "app") for path in (site / "app" / "checkpoints").rglob("*") if path.is_file()}
    assert carried == {*networks, Path("checkpoints/README.md")}


def test_an_installed_package_finds_its_networks_from_any_folder(site: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from importlib.metadata import entry_points;"
        "(point,) = entry_points(group='console_scripts', name='gaitprint');"
        "sys.argv = ['gaitprint', *sys.argv[1:]]; sys.exit(point.load()())"
    )

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert "Warning" not in done.stderr + done.stdout
        return done.stdout

    assert "Usage: gaitprint" in run("--help")
    used = {model["stage"]: model for model in json.loads(run("models", "--json"))["models"] if model["used"]}
    assert set(used) == set(STAGES)
    for model in used.values():
        assert (model["origin"], model["problem"]) == ("embedded", "")
        assert Path(model["file"]).is_relative_to(site / "app" / "checkpoints" / "embedded")
        assert Path(model["card"]).is_file()


def test_a_clone_finds_its_networks_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.settings import Settings
    from app.weights.checkpoints import checkpoint_roots
    from app.weights.registry import detectors

    monkeypatch.chdir(tmp_path)
    choice = detectors.choose("auto", None, checkpoint_roots(Settings().checkpoints))
    assert choice.file is not None
    assert choice.file.path.is_relative_to(ROOT / "checkpoints" / "embedded")
