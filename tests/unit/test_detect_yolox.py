"""The YOLOX detectors without golden vectors: files of all kinds, precision, exports."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from app.detect.letterbox import cells
from app.detect.yolox import Yolox, YoloxLayout
from app.detect.yolox_onnx import YoloxOnnxDetector, holds_yolox_onnx
from app.detect.yolox_torch import YoloxDetector, holds_yolox
from app.errors import CheckpointError, SettingsError
from app.settings import DetectorSettings, cores
from app.types import Detections, Frame, VideoInfo
from app.weights.checkpoints import CheckpointFile


def tiny(classes: int = 1, seed: int = 0) -> Yolox:
    torch.manual_seed(seed)
    model = Yolox(YoloxLayout(channels=4, blocks=1, classes=classes, depthwise=False)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    for predictors in (model.head.reg_preds, model.head.obj_preds, model.head.cls_preds):
        for predictor in predictors:
            assert isinstance(predictor, nn.Conv2d)
            nn.init.normal_(predictor.weight, std=0.7)
    return model


def frames(count: int, height: int = 120, width: int = 90) -> list[Frame]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return [Frame(index, index / 25, image) for index, image in enumerate(images)]


@pytest.fixture
def checkpoint(tmp_path: Path) -> CheckpointFile:
    path = tmp_path / "own.pth"
    torch.save({"model": tiny(classes=2).state_dict(), "best_ap": 0.5}, path)
    return CheckpointFile(path, "given")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_only_yolox_files_are_accepted(tmp_path: Path, checkpoint: CheckpointFile) -> None:
    assert holds_yolox(checkpoint.path)
    mark = tmp_path / "ran"
    others: dict[str, Any] = {
        "gait.pt": {"model": {"Backbone.forward_block.conv1.weight": torch.zeros(3)}, "iteration": 1},
        "bomb.pth": {"model": tiny().state_dict(), "bomb": Bomb(mark)},
        "list.pth": [1, 2],
        "whole.pt": {"model": nn.Linear(2, 2)},
    }
    for name, content in others.items():
        torch.save(content, tmp_path / name)
        assert not holds_yolox(tmp_path / name), name
    (tmp_path / "junk.pt").write_bytes(b"\x80\x02junk")
    (tmp_path / "cut.pth").write_bytes(checkpoint.path.read_bytes()[:5000])
    for name in ("junk.pt", "cut.pth", "absent.pth", "."):
        assert not holds_yolox(tmp_path / name), name
    assert not mark.exists()


def test_a_file_with_some_of_the_keys_is_not_accepted(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    for without, extra in (("backbone.dark3", ""), ("none", "neck.attention.weight"), ("reg_preds", "mask.weight")):
        weights = {key: value for key, value in tiny().state_dict().items() if without not in key}
        torch.save({"model": weights | ({extra: torch.zeros(2)} if extra else {})}, path)
        named = extra or "missing: .*dark3"
        with pytest.raises(CheckpointError, match=rf"foreign\.pt does not fit YOLOX.*{named}"):
            holds_yolox(path)
    shapes = tiny().state_dict()
    shapes["head.stems.1.conv.weight"] = torch.zeros(3, 3)
    torch.save(shapes, path)
    with pytest.raises(CheckpointError, match=r"head\.stems\.1\.conv\.weight is \(3, 3\)"):
        holds_yolox(path)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": tiny().state_dict(), "bomb": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="refused"):
        YoloxDetector(CheckpointFile(tmp_path / "bomb.pth", "given"), DetectorSettings())
    assert not (tmp_path / "ran").exists()


def test_missing_keys_are_named(tmp_path: Path) -> None:
    weights = tiny().state_dict()
    del weights["backbone.C3_p4.conv1.conv.weight"]
    torch.save({"model": weights}, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: backbone\.C3_p4\.conv1\.conv\.weight"):
        YoloxDetector(CheckpointFile(tmp_path / "cut.pth", "given"), DetectorSettings())
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not a YOLOX checkpoint"):
        YoloxDetector(CheckpointFile(tmp_path / "other.pth", "given"), DetectorSettings())
    with pytest.raises(CheckpointError, match="--detector-checkpoint"):
        YoloxDetector(None, DetectorSettings())


def test_torch_keeps_its_threads_unless_the_settings_say_how_many(checkpoint: CheckpointFile) -> None:
    """All networks of the process share them, and a process of its own for each core has been given one."""
    torch.set_num_threads(cores() + 1)
    YoloxDetector(checkpoint, DetectorSettings())
    assert torch.get_num_threads() == cores() + 1
    YoloxDetector(checkpoint, DetectorSettings(threads=1))
    assert torch.get_num_threads() == 1


def test_a_batch_gives_what_single_frames_give(checkpoint: CheckpointFile) -> None:
    detector = YoloxDetector(checkpoint, DetectorSettings(input_size=(160, 160)))
    batch = frames(3)
    together = detector.detect(batch)
    assert detector.detect([]) == []
    assert sum(len(found.scores) for found in together) > 0
    for frame, found in zip(batch, together, strict=True):
        (alone,) = detector.detect([frame])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-3)
        assert (np.diff(found.scores) <= 0).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [90, 120, 90, 120]).all()
    assert detector.card.model_id.startswith("yolox-w4d1@")


def test_bfloat16_stays_close(checkpoint: CheckpointFile) -> None:
    exact, rough = (
        YoloxDetector(checkpoint, DetectorSettings(input_size=(160, 160), precision=precision))
        for precision in ("float32", "bfloat16")
    )
    image = torch.from_numpy(np.stack([frame.image for frame in frames(2, 160, 96)])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        wanted, found = exact.network(image.float()), rough.network(image.bfloat16())
    assert found.dtype == torch.float32
    assert 0 < float((wanted - found).abs().max() / wanted.abs().max()) < 0.1


def test_a_file_may_state_its_input(tmp_path: Path) -> None:
    torch.save({"model": tiny().state_dict(), "normalise": "raw"}, tmp_path / "own.pth")
    detector = YoloxDetector(CheckpointFile(tmp_path / "own.pth", "given"), DetectorSettings())
    assert (detector.normalise, detector.input_size) == ("raw", (416, 416))


class Decoded(nn.Module):
    """The network with decoded boxes, as in some exports, for one size."""

    def __init__(self, model: Yolox, height: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.grid = torch.from_numpy(cells(height, width).copy())

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        centre = (y[..., :2] + self.grid[:, :2]) * self.grid[:, 2:]
        return torch.cat([centre, y[..., 2:4].exp() * self.grid[:, 2:], y[..., 4:]], dim=-1)


def export(model: nn.Module, path: Path, shape: tuple[int, int, int, int], free: bool) -> CheckpointFile:
    pytest.importorskip("onnx")
    axes = {"images": {0: "n", 2: "h", 3: "w"}, "output": {0: "n", 1: "a"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.rand(shape) * 255,),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=["output"],
            dynamic_axes=axes,
        )
    return CheckpointFile(path, "given")


def test_exports_give_what_torch_gives(tmp_path: Path, checkpoint: CheckpointFile) -> None:
    """Exports of free size, of a fixed batch of two, and with boxes decoded in the graph."""
    batch = frames(3, 160, 96)
    settings = DetectorSettings(input_size=(160, 96))
    wanted = YoloxDetector(checkpoint, settings).detect(batch)
    model = tiny(classes=2)
    exports = {
        "free": export(model, tmp_path / "free.onnx", (1, 3, 64, 64), True),
        "fixed": export(model, tmp_path / "fixed.onnx", (2, 3, 160, 96), False),
        "decoded": export(Decoded(model, 160, 96), tmp_path / "decoded.onnx", (1, 3, 160, 96), False),
    }
    for name, file in exports.items():
        assert holds_yolox_onnx(file.path), name
        detector = YoloxOnnxDetector(file, replace(settings, threads=1))
        assert detector.decoded == (name == "decoded")
        assert detector.detect([]) == []
        for found, expected in zip(detector.detect(batch), wanted, strict=True):
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4, err_msg=name)
            # Boxes of nearly the same score may change places.
            apart = np.abs(found.boxes[:, None] - expected.boxes).max(axis=2)
            assert apart.min(axis=1).max() < 0.01, name


def test_a_free_export_looks_as_large_as_people_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = export(tiny(classes=2), tmp_path / "free.onnx", (1, 3, 64, 64), True)
    seen: list[tuple[int, tuple[int, int]]] = []

    def within(self: YoloxOnnxDetector, frames: Sequence[Frame], size: tuple[int, int]) -> list[Detections]:
        seen.append((len(frames), size))
        people = np.array([[10, 10, 30, 50]] * len(frames), np.float32)
        return [Detections(box[None], np.ones(1, np.float32)) for box in people]

    monkeypatch.setattr(YoloxOnnxDetector, "_within", within)
    clip = frames(7, 480, 854)
    video = VideoInfo(Path("clip.mp4"), 854, 480, Fraction(2))
    detector = YoloxOnnxDetector(file, DetectorSettings())
    assert "longer side 416 to 960 px" in detector.card.note
    for _ in range(2):  # a second video is looked at in the same way
        detector.start(video)
        seen.clear()
        assert len(detector.detect(clip)) == 7
        look, people = (1, (960, 960)), (960, 960)  # of 40 px
        assert seen == [look, *[(1, people)] * 4, look, *[(1, people)] * 3]
    sized = YoloxOnnxDetector(file, DetectorSettings(input_size=(480, 640)))
    assert "within 480x640 px" in sized.card.note
    bytetrack = YoloxOnnxDetector(file, DetectorSettings(normalise="imagenet"))
    for one, size in ((sized, (480, 640)), (bytetrack, (800, 1440))):
        one.start(video)
        seen.clear()
        one.detect(clip)
        assert seen == [(1, size)] * 7


def test_a_fixed_export_refuses_another_size(tmp_path: Path) -> None:
    file = export(tiny(classes=2), tmp_path / "fixed.onnx", (1, 3, 64, 96), False)
    with pytest.raises(SettingsError, match="fixed to 64x96"):
        YoloxOnnxDetector(file, DetectorSettings(input_size=(640, 640)))


@pytest.mark.parametrize(("sure", "expected"), [(None, None), ("0.8", 0.8), ("much", ValueError), ("2", ValueError)])
def test_a_file_may_say_which_score_starts_a_track(tmp_path: Path, sure: str | None, expected: Any) -> None:
    file = export(tiny(classes=1), tmp_path / "a.onnx", (1, 3, 64, 96), False)
    if sure is not None:
        onnx = pytest.importorskip("onnx")
        model = onnx.load(file.path)
        onnx.helper.set_model_props(model, {"sure": sure})
        onnx.save(model, file.path)
    if expected is ValueError:
        with pytest.raises(CheckpointError, match=f"'sure'.*not {sure}"):
            YoloxOnnxDetector(file, DetectorSettings())
    else:
        assert YoloxOnnxDetector(file, DetectorSettings()).card.sure == expected


def test_other_onnx_files_are_not_accepted(tmp_path: Path) -> None:
    file = export(nn.Conv2d(3, 6, 1), tmp_path / "conv.onnx", (1, 3, 32, 32), False)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for path in (file.path, tmp_path / "junk.onnx", tmp_path / "absent.onnx", tmp_path):
        assert not holds_yolox_onnx(path)
    with pytest.raises(CheckpointError, match="not a YOLOX export"):
        YoloxOnnxDetector(file, DetectorSettings())
    with pytest.raises(CheckpointError, match="cannot be read as an ONNX network"):
        YoloxOnnxDetector(CheckpointFile(tmp_path / "junk.onnx", "given"), DetectorSettings())


def test_the_segmenter_of_the_shared_models_is_not_a_detector(shared: Path) -> None:
    assert holds_yolox_onnx(shared / "models" / "yolox_nano.onnx")
    assert not holds_yolox_onnx(shared / "models" / "selfie_segmentation.onnx")
