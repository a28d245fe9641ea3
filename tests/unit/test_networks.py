"""In which way ONNX networks are run: on which device, in which precision, and what happens when a device fails."""

from __future__ import annotations

import gzip
import logging
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from app.cli.options import with_settings
from app.errors import CheckpointError, MissingExtraError, SettingsError
from app.settings import SegmenterSettings, Settings
from app.types import Frame
from app.weights import networks
from app.weights.checkpoints import HOME, CheckpointFile, find_checkpoints
from app.weights.devices import CPU, PROVIDERS, Provider, providers_for, torch_device, torch_type
from app.weights.networks import Network, Way, measured, open_network, user_cache, watched, ways_of
from app.weights.quantised import quantised_path
from app.weights.registry import segmenters
from app.weights.sessions import open_session

EMBEDDED = HOME / "embedded"
FAKE = Provider("cuda", "FakeExecutionProvider", "onnxruntime-fake", half={"half": "1"})
CPU_ALONE = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def segmenter(tmp_path: Path) -> CheckpointFile:
    """A copy of the embedded segmenter with its 8-bit version."""
    for path in (EMBEDDED / "segmenter").glob("*.onnx*"):
        shutil.copy(path, tmp_path)
    return CheckpointFile(tmp_path / "gaitprint-segmenter.onnx", "given")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAITPRINT_CACHE", str(tmp_path / "cache"))


def picture() -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(1, 3, 192, 96)).astype(np.float32)}


def words(ways: list[Way]) -> list[str]:
    return [str(way) for way in ways]


def test_what_the_cpu_can_do(segmenter: CheckpointFile) -> None:
    assert words(ways_of(segmenter, "auto", "auto", CPU_ALONE)) == ["cpu int8", "cpu float32"]
    assert words(ways_of(segmenter, "cpu", "int8", CPU_ALONE)) == ["cpu int8"]
    assert words(ways_of(segmenter, "cpu", "float32", CPU_ALONE)) == ["cpu float32"]


def test_what_a_machine_with_a_fast_device_can_do(segmenter: CheckpointFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.weights.devices.PROVIDERS", (FAKE, CPU))
    there = [FAKE.name, CPU.name]
    every = ["cuda float16", "cuda float32", "cpu int8", "cpu float32"]
    assert words(ways_of(segmenter, "auto", "auto", there)) == every
    assert words(ways_of(segmenter, "cuda", "auto", there)) == ["cuda float16", "cuda float32"]
    assert words(ways_of(segmenter, "cuda", "float32", there)) == ["cuda float32"]
    assert words(ways_of(segmenter, "cuda", "int8", there)) == ["cpu int8"], "a device without integers"


def test_a_device_that_is_not_there_is_named_with_the_command() -> None:
    for provider in PROVIDERS:
        if provider != CPU and provider.package != CPU.package:
            with pytest.raises(MissingExtraError, match=f"{provider.device}: .*pip install {provider.package}"):
                providers_for(provider.device, CPU_ALONE)
    with pytest.raises(MissingExtraError, match=r"--device mps: .*CoreMLExecutionProvider.*macOS"):
        providers_for("mps", CPU_ALONE)
    assert providers_for("auto", CPU_ALONE) == [CPU]
    everything = [provider.name for provider in PROVIDERS]
    assert providers_for("auto", everything) == list(PROVIDERS)
    assert [provider.device for provider in providers_for("openvino", everything)] == ["openvino", "cpu"]


def test_torch_says_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    import torch

    assert torch_device("cpu").type == "cpu"
    assert torch_device("openvino").type == "cpu"
    assert "torch networks run on the CPU" in caplog.text
    if not torch.cuda.is_available():
        with pytest.raises(MissingExtraError, match=r"--device cuda: torch .* finds no such device"):
            torch_device("cuda")


def test_large_torch_networks_compute_in_bfloat16_where_the_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cpu = torch.device("cpu")
    for abilities, kind in (({"avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=abilities: known, raising=False)
        assert torch_type("auto", cpu, large=True) == kind
        assert torch_type("auto", cpu, large=False) == torch.float32
    assert torch_type("bfloat16", cpu, large=False) == torch.bfloat16
    assert torch_type("auto", torch.device("cuda"), large=False) == torch.float16


def test_a_network_without_8_bits_says_how_to_make_them(segmenter: CheckpointFile) -> None:
    quantised_path(segmenter.path).unlink()
    with pytest.raises(SettingsError, match=r"no 8-bit version.*models quantise gaitprint-segmenter\.onnx --data"):
        ways_of(segmenter, "cpu", "int8")
    assert words(ways_of(segmenter, "cpu", "auto")) == ["cpu float32"]


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b damaged", gzip.compress(b"no network")], ids=["empty", "bad", "odd"]
)
def test_8_bits_that_are_no_network_are_not_used(
    segmenter: CheckpointFile, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    quantised_path(segmenter.path).write_bytes(content)
    assert words(ways_of(segmenter, "cpu", "auto")) == ["cpu float32"]
    assert "Not used" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be used"):
        ways_of(segmenter, "cpu", "int8")


def test_8_bits_of_another_network_are_not_used(segmenter: CheckpointFile, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(next((EMBEDDED / "pose").glob("*.onnx")), segmenter.path)
    assert words(ways_of(segmenter, "cpu", "auto")) == ["cpu float32"]
    assert "made from another file" in caplog.text


def test_the_8_bit_versions_in_the_clone_belong_to_its_networks() -> None:
    made = list(EMBEDDED.rglob("*.int8.onnx.gz"))
    assert {path.parent.name for path in made} == {"detector", "segmenter"}
    for path in made:
        file = CheckpointFile(path.with_name(path.name.replace(".int8.onnx.gz", ".onnx")), "embedded")
        assert words(ways_of(file, "cpu", "int8")) == ["cpu int8"], f"make {path.name} anew: models quantise"
        assert path.with_name(path.name.replace(".onnx.gz", ".md")).is_file()
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) <= 20_000_000


def test_8_bit_versions_are_no_models_by_themselves(segmenter: CheckpointFile) -> None:
    root = segmenter.path.parent
    assert [found.file.path for found in find_checkpoints((root.parent,), (root.name,))] == [segmenter.path]


def test_the_fastest_way_is_measured_once_and_remembered(
    segmenter: CheckpointFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"cpu int8": 1.0, "cpu float32": 2.0}
    runs = []

    def told(ways: list[Way]) -> dict[Way, float]:
        runs.append(ways)
        return {way: seconds[str(way)] for way in ways}

    monkeypatch.setattr(networks, "measured", told)
    for _ in range(3):
        assert open_network(segmenter).runtime == "onnxruntime int8"
    assert len(runs) == 1
    assert open_network(segmenter, precision="float32").runtime == "onnxruntime float32"
    monkeypatch.setattr(networks, "processor", lambda: "another processor")
    seconds["cpu int8"] = 1.9  # hardly a gain
    assert open_network(segmenter).runtime == "onnxruntime float32"
    assert len(runs) == 2
    (user_cache() / "networks.json").write_text("no JSON")
    assert open_network(segmenter).runtime == "onnxruntime float32"
    assert len(runs) == 3


def test_a_cache_that_cannot_be_written_only_costs_time(
    segmenter: CheckpointFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAITPRINT_CACHE", str(tmp_path / "file"))
    assert open_network(segmenter).runtime.startswith("onnxruntime ")


def test_a_way_with_other_answers_is_never_chosen(segmenter: CheckpointFile, tmp_path: Path) -> None:
    reference, other = Way(segmenter.path, CPU, "float32"), Way(EMBEDDED / "pose" / "gaitprint-pose.onnx", CPU, "int8")
    assert list(measured([reference, other])) == [reference]
    assert list(measured([reference, Way(quantised_path(segmenter.path), CPU, "int8")])) == [
        reference,
        Way(quantised_path(segmenter.path), CPU, "int8"),
    ]


class Failing:
    """A session on a device that is taken away."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def run(self, outputs: Any, inputs: Any) -> Any:
        raise RuntimeError("out of memory")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


@pytest.mark.parametrize("when", ["opened", "run"])
def test_a_device_that_fails_is_replaced_by_the_cpu_with_one_line(
    segmenter: CheckpointFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    def opened(path: Path, *rest: Any, provider: Provider = CPU, **named: Any) -> Any:
        if provider == FAKE and when == "opened":
            raise RuntimeError("no such device")
        session = open_session(path)
        return Failing(session) if provider == FAKE else session

    monkeypatch.setattr(networks, "open_session", opened)
    reference = Way(segmenter.path, CPU, "float32")
    network = Network(Way(segmenter.path, FAKE, "float32"), reference)
    expected = open_session(segmenter.path).run(None, picture())[0]
    for _ in range(2):
        assert np.array_equal(network.run(None, picture())[0], expected)
    assert (network.runtime, network.batch) == ("onnxruntime float32", 1)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "cannot be run on the device 'cuda', so the CPU runs it" in record.getMessage()


def test_the_real_provider_of_a_device_that_is_not_there_fails_cleanly(segmenter: CheckpointFile) -> None:
    with pytest.raises(RuntimeError):
        open_session(segmenter.path, provider=FAKE)


def test_the_card_says_what_runs_it(segmenter: CheckpointFile) -> None:
    for precision in ("float32", "int8"):
        settings = SegmenterSettings(checkpoint=segmenter.path, precision=precision)
        assert segmenters.build(settings, ()).card.runtime == f"onnxruntime {precision}"


def test_a_device_gets_many_crops_at_once(segmenter: CheckpointFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches hold the crops of several frames and their mirror images; the answers are those of one at a time."""
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    frames = [Frame(index, 0.0, image) for index in range(3)]
    boxes = [np.array([[10 * i, 5, 10 * i + 60, 180] for i in range(count)], np.float32) for count in (2, 0, 5)]
    boxes[1] = boxes[1].reshape(0, 4)
    settings = SegmenterSettings(checkpoint=segmenter.path, device="cpu", precision="float32")
    expected = segmenters.build(settings, ()).segment(frames, boxes)
    fake = Provider("cuda", CPU.name, "onnxruntime-fake", batch=3)
    monkeypatch.setattr(networks, "providers_for", lambda device, there=None: [fake])
    sizes = []
    with watched(lambda inputs: sizes.append(len(inputs["image"]))):
        device = segmenters.build(settings, ())
        sizes.clear()
        found = device.segment(frames, boxes)
    assert device.card.runtime == "onnxruntime cuda float32"
    views = max(sizes) // 3
    assert sizes == [3 * views, 3 * views, views]
    assert [len(of_frame) for of_frame in found] == [2, 0, 5]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert (one.left, one.top, one.alpha.shape) == (other.left, other.top, other.alpha.shape)
        assert np.abs(one.alpha.astype(int) - other.alpha.astype(int)).max() <= 1


def test_the_options_are_for_all_networks() -> None:
    app = typer.Typer()
    given: list[Settings] = []

    @app.command()
    @with_settings()
    def command(*, settings: Settings) -> None:
        given.append(settings)

    assert CliRunner().invoke(app, ["--device", "openvino", "--precision", "int8"]).exit_code == 0
    (settings,) = given
    stages = (settings.detector, settings.segmenter, settings.pose)
    assert {(stage.device, stage.precision) for stage in stages} == {("openvino", "int8")}
    assert settings.gait.device == "openvino"
    assert isinstance(CliRunner().invoke(app, ["--device", "gpu"]).exception, SettingsError)
