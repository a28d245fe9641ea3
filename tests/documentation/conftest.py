"""A clone with short clips whose names are those of the pages: people.mp4, street.mp4, anna.mp4 and so on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.documentation.pages import ROOT, Block, Workspace

CLIPS = ROOT / "input_videos"
SECONDS = 1.4
# name: clip of the project, first frame, and which columns of the picture (those where one person walks alone)
VIDEOS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "input_videos/gallery.mp4": ("gallery", 60, (0, 854)),
    "input_videos/probe1.mp4": ("probe1", 80, (0, 854)),
    "people.mp4": ("gallery", 60, (0, 854)),
    "street.mp4": ("probe1", 80, (0, 854)),
    "hall.mp4": ("probe3", 60, (0, 854)),
    "yard.mp4": ("probe1", 80, (0, 854)),
    "anna.mp4": ("gallery", 60, (560, 854)),
    "people/Ben/first.mp4": ("gallery", 60, (400, 560)),
    "people/Cleo/first.mp4": ("gallery", 60, (276, 420)),
}


def cut(source: Path, target: Path, first: int, columns: tuple[int, int]) -> None:
    """Write `SECONDS` of a clip from frame `first` on, and of its picture only the columns given."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left, right = columns
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        stream = writing.add_stream("libx264", rate=Fraction(25), options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = right - left, 480, "yuv420p"
        for index, frame in enumerate(reading.decode(video=0)):
            if first <= index < first + SECONDS * 25:
                image = frame.to_ndarray(format="bgr24")[:, left:right]
                writing.mux(stream.encode(av.VideoFrame.from_ndarray(image.copy(), format="bgr24")))
        writing.mux(stream.encode())


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short clips, cut once."""
    folder = tmp_path_factory.mktemp("videos")
    done: dict[tuple[str, int, tuple[int, int]], Path] = {}
    for name, clip in VIDEOS.items():
        path = folder / name
        if clip in done:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(done[clip], path)
        else:
            cut(CLIPS / f"{clip[0]}.mp4", path, *clip[1:])
            done[clip] = path
    return folder


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """An output folder in which Anna, Ben and Cleo are enrolled."""
    workspace = Workspace.make(tmp_path_factory.mktemp("enrolled"))
    shutil.copytree(videos, workspace.folder, dirs_exist_ok=True)
    text = (
        'python -m app enrol anna.mp4 --name Anna --consent "a test"\n'
        'python -m app enrol --folder people --consent "a test"\n'
    )
    workspace.run(Block(Path(__file__), 1, "sh", None, text, None, False))
    return workspace.folder / "output"


@pytest.fixture
def workspace(tmp_path: Path, request: pytest.FixtureRequest, videos: Path) -> Callable[..., Workspace]:
    """Make a clone with the clips; with `known`, people are enrolled in it; with `own_code`, it may be changed."""
    if sys.platform == "win32":
        pytest.skip("the shell blocks are written for bash")

    def make(known: bool = False, own_code: bool = False) -> Workspace:
        made = Workspace.make(tmp_path, own_code)
        shutil.copytree(videos, tmp_path, dirs_exist_ok=True)
        if known:
            shutil.copytree(request.getfixturevalue("enrolled"), tmp_path / "output")
        return made

    return make
