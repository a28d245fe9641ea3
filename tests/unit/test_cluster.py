"""Work on a real cluster of Ray: several nodes on this machine, one of which is killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import GaitprintError, MissingExtraError, OutputError, VideoError
from app.gallery.opening import open_store
from app.gallery.store import NewWalk
from app.lab.evaluation.embeddings import Cluster
from app.lab.evaluation.evaluate import evaluate
from app.lab.evaluation.files import load_model
from app.lab.walkers.body import BodyModel
from app.lab.walkers.dataset import Plan, write_dataset
from app.lab.walkers.jobs import make_missing
from app.runs.batch import name_batch
from app.runs.build import build
from app.settings import Settings
from app.types import Embedding
from app.workers import on_cluster
from tests.clusters import fill, refuse, slowly, where
from tests.progress import Steps

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that works at nothing, and two machines of one core each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra [cluster]")
    small = {"object_store_memory": 80_000_000}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(2):
            found.add_node(num_cpus=1, **small)
        yield found
    finally:
        found.shutdown()


def test_all_is_done_once_by_other_processes(cluster: Any) -> None:
    terminated = signal.getsignal(signal.SIGTERM)
    found = list(on_cluster(where, [(number,) for number in range(12)], cluster.address))
    assert signal.getsignal(signal.SIGTERM) is terminated
    assert sorted(number for number, _ in found) == [2 * number for number in range(12)]
    processes = Counter(process for _, process in found)
    assert os.getpid() not in processes
    assert len(processes) <= 4, "workers are used again, so that models are loaded once"


def test_an_error_of_the_work_arrives_as_it_is(cluster: Any) -> None:
    with pytest.raises(VideoError, match="video 2 is broken"):
        list(on_cluster(refuse, [(number,) for number in range(4)], cluster.address))


def test_a_machine_that_is_lost_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    machine = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    work = on_cluster(slowly, [(number, tmp_path) for number in range(12)], cluster.address)
    found = [next(work)]
    cluster.remove_node(machine, allow_graceful=False)
    found += list(work)
    assert sorted(found) == list(range(12))
    assert sorted(int(path.stem) for path in tmp_path.glob("*.done")) == list(range(12))
    begun = [len((tmp_path / f"{number}.begun").read_text().splitlines()) for number in range(12)]
    assert 12 <= sum(begun) <= 15, "only what the lost machine was at is begun anew"


STOPPED = """
import logging, sys
from pathlib import Path
import app.workers
from app.errors import GaitprintError
from tests.clusters import slowly

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="warning: %(message)s")
app.workers._LOOK, app.workers._EMPTY, app.workers._LOST = 0.5, 1.0, 2.0
try:
    for number in app.workers.on_cluster(slowly, [(number, Path(sys.argv[2])) for number in range(99)], sys.argv[1]):
        print("done:", number, flush=True)
except GaitprintError as error:
    print("error:", error, flush=True)
    sys.exit(2)
"""


def test_a_cluster_that_stops_midway_is_said(tmp_path: Path) -> None:
    """By another process, which Ray itself would end after a minute, without a word. First no machine can work."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra [cluster]")
    small = {"object_store_memory": 80_000_000}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    command = [sys.executable, "-c", STOPPED, found.address, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as driver:
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline().startswith("warning: No machine of the cluster")
            found.add_node(num_cpus=1, **small)
            assert driver.stdout.readline().startswith("done:")
            found.head_node.kill_gcs_server()
            killed = time.monotonic()
            out, _ = driver.communicate(timeout=50)
        finally:
            driver.kill()
            found.shutdown()
    assert time.monotonic() - killed < 40
    assert driver.returncode == 2
    assert out.splitlines()[-1].startswith("error: The cluster ")
    assert "was lost: it was stopped" in out
    assert "run the command again; finished work is kept" in out
    assert list(tmp_path.glob("*.done"))


def test_a_cluster_that_is_not_there_is_said() -> None:
    pytest.importorskip("ray", reason="needs the extra [cluster]")
    with pytest.raises(GaitprintError, match=r"cannot be reached.*ray start --head"):
        list(on_cluster(where, [(1,)], "127.0.0.1:1"))


def test_a_batch_on_the_cluster_gives_the_same_bytes(cluster: Any, tmp_path: Path) -> None:
    database, results = tmp_path / "gallery.db", {}
    card = build(Settings.load(named={"output.folder": tmp_path})).gait.card
    parts = np.random.default_rng(0).normal(0, 1, (16, 128)).astype(np.float32)
    with open_store(database) as store:
        store.enrol("Anna", [NewWalk(Embedding(parts, card.model_id, 20), "walk.mp4", 1)], consent="for a test")
    for name, address in (("here", None), ("there", cluster.address)):
        settings = Settings.load(named={"output.folder": tmp_path / name})
        videos = [Path("input_videos/probe1.mp4").absolute(), tmp_path / "none.mp4"]
        outcomes = {one.video.name: one for one in name_batch(videos, database, settings, cluster=address)}
        assert outcomes["none.mp4"].reason is not None
        results[name] = outcomes
    for name, outcomes in results.items():
        assert outcomes["probe1.mp4"].reason is None, name
    here, there = (json.loads((one["probe1.mp4"].folder / "results.json").read_text()) for one in results.values())
    assert here["probes"] == there["probes"]
    again = [*name_batch(videos[:1], database, settings, cluster=cluster.address)]
    assert [one.was_there for one in again] == [True]


def test_folders_of_people_are_whole_although_a_machine_is_lost(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BodyModel, "load", lambda cache: None)
    jobs = {tmp_path / "data" / f"{number:02d}": (tmp_path / "data" / f"{number:02d}", 1.0) for number in range(10)}
    machine = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)

    class Losing(Steps):
        """Loses the machine when two people are done."""

        @contextmanager
        def stage(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
            with super().stage(title, total) as advance:

                def advanced(count: int) -> None:
                    advance(count)
                    if self.seen[-1][0] == 2:
                        cluster.remove_node(machine, allow_graceful=False)

                yield advanced

    make_missing(fill, jobs, tmp_path, 1, Losing(), cluster.address)
    assert sorted((tmp_path / "data").iterdir()) == sorted(jobs), "nothing is missing, and nothing else is left"
    for path in jobs:
        assert [file.read_text() for file in sorted(path.iterdir())] == [path.name] * 3
    begun = (tmp_path / "begun.txt").read_text().splitlines()
    assert 10 <= len(begun) <= 12, "only what the lost machine was at is begun anew"
    make_missing(fill, jobs, tmp_path, 1, None, cluster.address)
    assert (tmp_path / "begun.txt").read_text().splitlines() == begun, "what is there is kept"


def test_a_folder_that_only_the_other_machines_see_is_said(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BodyModel, "load", lambda cache: None)
    with pytest.raises(OutputError, match=r"has made .*/01, but it is not there"):
        make_missing(where, {tmp_path / "data" / "01": (1,)}, tmp_path, 1, None, cluster.address)


@pytest.mark.filterwarnings("ignore")  # Anny's and torch's own
def test_a_data_set_of_the_cluster_has_the_same_bytes(
    cluster: Any, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anny", reason="needs the extra [walkers]")
    cache = Path(request.config.cache.mkdir("walkers"))  # type: ignore[union-attr]
    plan = Plan(subjects=3, seed=9, conditions=(("nm", 1), ("cl", 1)), views=(0, 90), frames=4)
    monkeypatch.chdir(tmp_path)
    write_dataset(Path("here"), plan, cache=cache)
    write_dataset(Path("there"), plan, cache=cache, cluster=cluster.address)
    here, there = (files(tmp_path / name) for name in ("here", "there"))
    assert len(here) == 2 + 3 * 2 * 2
    assert here == there


def test_an_evaluation_on_the_cluster_gives_the_same_figures(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for person in range(3):
        for condition in ("nm-01", "nm-05", "bg-01", "cl-01"):
            for view in ("000", "090"):
                path = Path(f"set/{person:03d}/{condition}/{view}/0_silhouette.pkl")
                path.parent.mkdir(parents=True)
                path.write_bytes(pickle.dumps((random.random((8, 64, 64)) < 0.5).astype(np.uint8) * np.uint8(255)))
    Path("set/001/nm-05/090/0_silhouette.pkl").write_bytes(b"no walk")
    settings = Settings()  # the embedded network
    gait, found = load_model(settings), {}
    for name, machines in (("here", None), ("there", Cluster(cluster.address, settings))):
        judged = evaluate(gait, Path("set"), "casia-b", cache=Path(name), cluster=machines)
        assert list(judged.left_out) == ["001/nm-05/090"]
        found[name] = replace(judged, left_out={})
    assert found["here"] == found["there"]
    assert files(Path("here")) == files(Path("there")) != {}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import app.workers as module

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install -e \"\.\[cluster\]\""):
        list(on_cluster(where, [(1,)], "auto"))
