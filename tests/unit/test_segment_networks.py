"""Segmenters that run a network: crop geometry, ONNX mattes of every layout, PaddleSeg's descriptions."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from app.crops.windows import CropShape, crop_of, crop_windows, matte_of
from app.errors import CheckpointError
from app.segment.humanseg import Deployment, HumanSeg
from app.segment.onnx_matte import OnnxMatte
from app.settings import SegmenterSettings
from app.types import Frame
from app.weights.checkpoints import CheckpointFile
from app.weights.registry import segmenters

SHAPE = CropShape(64, 64)


def test_windows_have_a_margin_and_stay_in_the_frame() -> None:
    boxes = np.array([[100, 50, 200, 250], [-5, -5, 30, 100], [630, 470, 640, 480]], np.float32)
    windows = crop_windows(boxes, 640, 480, SHAPE)
    assert windows[0].tolist() == [80, 30, 220, 270]
    assert (windows[:, :2] >= 0).all()
    assert (windows[:, 2:] <= [640, 480]).all()
    assert (windows[:, 2:] > windows[:, :2]).all()
    assert crop_windows(boxes[:0], 640, 480, SHAPE).shape == (0, 4)


def test_narrow_boxes_get_a_wider_window() -> None:
    window = crop_windows(np.array([[300, 100, 330, 300]], np.float32), 640, 480, SHAPE)[0]
    assert window.tolist() == [255, 80, 375, 320]  # 240 px high with the margin, so 120 wide


def test_a_matte_returns_to_the_pixels_of_its_window() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[100:300, 300:360] = 255
    window = crop_windows(np.array([[300, 100, 360, 300]], np.float32), 640, 480, SHAPE)[0]
    crop = crop_of(image, window, SHAPE)
    assert crop.shape == (64, 64, 3)
    matte = matte_of(crop[..., 0].astype(np.float32) / 255, window)
    left, top, right, bottom = window
    assert (matte.left, matte.top, matte.alpha.shape) == (left, top, (bottom - top, right - left))
    rows, columns = np.nonzero(matte.alpha > 127)
    assert abs(rows.min() + top - 100) <= 3
    assert abs(columns.max() + left - 359) <= 3


def onnx_file(path: Path, *, nchw: bool, channels: int, logits: bool, batch: int | str = 1, **metadata: str) -> Path:
    """A network whose body probability is sigmoid(4 * (normalised red - 0.25)), so its answer is known."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    into = [batch, 3, 32, 16] if nchw else [batch, 32, 16, 3]
    axis = 1 if nchw else 3
    out = [size if i != axis else channels for i, size in enumerate(into)]
    ints = lambda name, value: helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value])  # noqa: E731
    weights = [ints("zero", 0), ints("one", 1), ints("axis", axis), helper.make_tensor("gain", kind, [1], [4.0])]
    weights.append(helper.make_tensor("shift", kind, [1], [0.25]))
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "axis"], ["red"]),
        helper.make_node("Sub", ["red", "shift"], ["moved"]),
        helper.make_node("Mul", ["moved", "gain"], ["body"]),
    ]
    if channels == 2:
        nodes += [helper.make_node("Sub", ["body", "body"], ["rest"])]
        nodes += [helper.make_node("Concat", ["rest", "body"], ["y" if logits else "both"], axis=axis)]
        nodes += [] if logits else [helper.make_node("Softmax", ["both"], ["y"], axis=axis)]
    else:
        nodes += [helper.make_node("Identity" if logits else "Sigmoid", ["body"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "matte",
        [helper.make_tensor_value_info("x", kind, into)],
        [helper.make_tensor_value_info("y", kind, out)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def picture(red: int) -> Frame:
    image = np.zeros((100, 80, 3), np.uint8)
    image[..., 2] = red  # frames are BGR
    return Frame(0, 0.0, image)


def onnx_matte(path: Path, threads: int = 2) -> OnnxMatte:
    return OnnxMatte(CheckpointFile(path, "given"), SegmenterSettings(threads=threads))


BOXES = np.array([[20, 20, 50, 90], [5, 30, 25, 80]], np.float32)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("nchw", [False, True])
def test_onnx_layouts(tmp_path: Path, nchw: bool, channels: int, logits: bool, batch: int | str) -> None:
    path = onnx_file(tmp_path / "net.onnx", nchw=nchw, channels=channels, logits=logits, batch=batch)
    (mattes,) = onnx_matte(path).segment([picture(200)], [BOXES])
    red = 200 / 255
    normalised = (red - 0.5) / 0.5 if nchw else red
    expected = 255 / (1 + math.exp(-4 * (normalised - 0.25)))
    assert len(mattes) == 2
    for matte in mattes:
        assert np.abs(matte.alpha.astype(float) - expected).max() <= 1


def test_onnx_metadata_wins(tmp_path: Path) -> None:
    words = {"mean": "0,0,0", "std": "1,1,1", "threshold": "0.7", "licence": "MIT", "note": "drawn"}
    path = onnx_file(tmp_path / "net.onnx", nchw=True, channels=1, logits=False, **words)
    segmenter = onnx_matte(path)
    assert (segmenter.threshold, segmenter.card.licence, segmenter.card.note) == (0.7, "MIT", "drawn")
    matte = segmenter.segment([picture(200)], [BOXES])[0][0]
    assert abs(int(matte.alpha[0, 0]) - 255 / (1 + math.exp(-4 * (200 / 255 - 0.25)))) <= 1
    with pytest.raises(CheckpointError, match="three numbers"):
        onnx_matte(onnx_file(tmp_path / "bad.onnx", nchw=True, channels=1, logits=False, mean="0,x,0"))


def test_order_and_threads_do_not_change_the_answer(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "net.onnx", nchw=False, channels=1, logits=False)
    frames = [picture(red) for red in (0, 90, 180, 255)]
    boxes = [BOXES, BOXES[:0], BOXES[1:], BOXES]
    two, one = (onnx_matte(path, threads).segment(frames, boxes) for threads in (2, 1))
    assert [len(mattes) for mattes in two] == [2, 0, 1, 2]
    for ours, theirs in zip(chain(*two), chain(*one), strict=True):
        np.testing.assert_array_equal(ours.alpha, theirs.alpha)


def test_only_mattes_are_recognised(tmp_path: Path, shared: Path) -> None:
    entry = segmenters.get("onnx-matte")
    assert entry.accepts is not None
    assert entry.accepts(shared / "models" / "selfie_segmentation.onnx")
    assert not entry.accepts(shared / "models" / "yolox_nano.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    assert not entry.accepts(broken)
    with pytest.raises(CheckpointError, match=r"broken\.onnx"):
        onnx_matte(broken)


def test_the_selfie_network_finds_a_walker(shared: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoCapture(str(shared / "videos" / "aio_gallery.mp4"))
    rows = np.loadtxt(shared / "videos" / "aio_gallery.gt.txt", delimiter=",")
    image = video.read()[1]
    boxes = rows[rows[:, 0] == 1][:, 2:6]
    boxes[:, 2:] += boxes[:, :2]
    segmenter = onnx_matte(shared / "models" / "selfie_segmentation.onnx")
    (mattes,) = segmenter.segment([Frame(0, 0.0, image)], [boxes.astype(np.float32)])
    for matte, box in zip(mattes, boxes, strict=True):
        x, y = int((box[0] + box[2]) / 2) - matte.left, int(box[1] + 0.35 * (box[3] - box[1])) - matte.top
        assert matte.alpha[y, x] > 255 * segmenter.threshold
        assert (matte.alpha[:3] > 127).mean() < 0.5


def deployment(folder: Path, text: str = "", network: str = "model.pdmodel") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / network).write_bytes(b"network")
    (folder / "model.pdiparams").write_bytes(b"weights")
    (folder / "deploy.yaml").write_text(
        "Deploy:\n  model: model.pdmodel\n  params: model.pdiparams\n" + text, encoding="utf-8"
    )
    return folder


NORMALIZE = "  transforms:\n  - {type: Resize, target_size: [398, 224]}\n  - {type: Normalize, mean: [0.1, 0.2, 0.3]}\n"


def test_deploy_yaml_is_honoured(tmp_path: Path) -> None:
    read = Deployment.read(deployment(tmp_path / "seg", NORMALIZE + "  output_op: softmax\n"))
    assert (read.shape.height, read.shape.width) == (224, 398)
    crop = np.zeros((224, 398, 3), np.uint8)
    crop[..., 0] = 255  # blue
    prepared = read.prepare([crop, crop])
    assert prepared.shape == (2, 3, 224, 398)
    np.testing.assert_allclose(prepared[1, :, 0, 0], [-0.2, -0.4, (1 - 0.3) / 0.5], atol=1e-6)


def test_output_ops(tmp_path: Path) -> None:
    logits = np.array([[[[0.0]], [[2.0]]]], np.float32)
    expected = 1 / (1 + math.exp(-2))
    none = Deployment.read(deployment(tmp_path / "none", "  output_op: none\n"))
    assert none.probabilities(logits).item() == pytest.approx(expected, abs=1e-6)
    softmax = Deployment.read(deployment(tmp_path / "softmax", "  output_op: softmax\n"))
    assert softmax.probabilities(np.array([[[[0.3]], [[0.7]]]], np.float32)).item() == pytest.approx(0.7)
    argmax = Deployment.read(deployment(tmp_path / "argmax", "  output_op: argmax\n"))
    np.testing.assert_array_equal(argmax.probabilities(np.array([[[0, 1]]], np.int32)), [[[0.0, 1.0]]])


def test_the_newer_format_is_found(tmp_path: Path) -> None:
    assert Deployment.read(deployment(tmp_path / "new", network="model.json")).network.name == "model.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  output_op: sigmoid\n", "output_op"),
        ("  transforms:\n  - type: ResizeByLong\n", "ResizeByLong"),
        ("  transforms:\n  - {type: Normalize, mean: [1, 2]}\n", "deploy.yaml"),
        ("  input_shape: [-1, 3, -1, -1]\n", "how large"),
    ],
)
def test_descriptions_that_ask_for_something_unknown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Deployment.read(deployment(tmp_path / "seg", text))


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = deployment(tmp_path / "seg")
    (folder / "model.pdiparams").unlink()
    with pytest.raises(CheckpointError, match=r"model\.pdiparams"):
        HumanSeg(CheckpointFile(folder, "given"), SegmenterSettings())
    (folder / "deploy.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"deploy\.yaml is missing"):
        Deployment.read(folder)


def test_folders_are_recognised(tmp_path: Path) -> None:
    assert segmenters.recognise(deployment(tmp_path / "seg")).name == "pp-humanseg"
