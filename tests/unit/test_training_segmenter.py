"""The network for crops of one person: losses, decoding of keypoints, training and the two exported files."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("lightning")

import torch

from app.errors import SettingsError
from app.lab import training
from app.lab.training import segmenter
from app.lab.training.detector import DetectorTrainSettings
from app.lab.training.person import PersonNetwork, decode, keypoints_and_parts
from app.lab.training.settings import TrainSettings, read_config
from app.parse.onnx_parts import OnnxParts
from app.pose.onnx_pose import OnnxPose
from app.segment.onnx_matte import OnnxMatte
from app.settings import ParserSettings, PoseSettings, SegmenterSettings
from app.types import MIRRORED_KEYPOINTS, MIRRORED_PARTS, Frame
from app.weights.checkpoints import CheckpointFile

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


def place_logits(x: float, y: float, height: float = 8.0, spread: float = 1.3) -> torch.Tensor:
    """Logits (1, 17, cells + 1) with a bell at `x`, `y` in 0..1."""
    across = (torch.arange(24) + 0.5 - 24 * x) ** 2
    down = (torch.arange(48) + 0.5 - 48 * y) ** 2
    bell = height - (down[:, None] + across) / (2 * spread**2)
    return torch.cat([bell.flatten(), torch.zeros(1)]).expand(1, 17, -1)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.31, 0.777), (0.9, 0.12)])
def test_keypoints_are_decoded_between_the_cells(x: float, y: float) -> None:
    found = decode(place_logits(x, y, height=12))[0]
    assert (found[:, 0] - x).abs().max() < 0.2 / 24
    assert (found[:, 1] - y).abs().max() < 0.2 / 48
    assert (found[:, 2] > 0.75).all()


def test_of_two_places_the_likelier_and_not_the_middle() -> None:
    both = torch.logaddexp(place_logits(0.25, 0.5, height=12), place_logits(0.75, 0.5, height=12.5))
    found = decode(both)[0]
    assert (found[:, 0] - 0.75).abs().max() < 0.01
    assert ((found[:, 2] > 0.4) & (found[:, 2] < 0.65)).all()


def test_what_is_absent_has_a_low_score() -> None:
    logits = place_logits(0.5, 0.5).clone()
    logits[..., -1] = 20
    assert (decode(logits)[..., 2] < 1e-3).all()


def test_a_mirror_image_has_the_keypoints_of_the_other_side() -> None:
    torch.manual_seed(0)
    network = PersonNetwork().eval()
    crops = torch.randn(2, 3, 192, 96)
    with torch.no_grad():
        network.maps[-1].weight *= 100  # so that one place is clearly the best
        network.parts[-1].weight *= 10
        there, parts = keypoints_and_parts(network, crops)
        mirrored, other_parts = keypoints_and_parts(network, crops.flip(3))
        alone = decode(network(crops)[1])
    torch.testing.assert_close(other_parts.flip(3)[:, list(MIRRORED_PARTS)], parts)
    torch.testing.assert_close(parts.sum(1), torch.ones(2, 96, 48))
    mirrored[..., 0] = 1 - mirrored[..., 0]
    assert torch.allclose(mirrored[:, list(MIRRORED_KEYPOINTS)], there, atol=1e-5)
    assert not torch.allclose(alone, there, atol=1e-3)


def test_labels_of_the_mirror_image_are_the_mirrored_labels() -> None:
    """Parts are learnt and judged in px of the crop, as a cell that stood for one px would be another in the mirror."""
    rng = np.random.default_rng(0)
    truth = cv2.resize(rng.integers(0, 12, (1, 12, 6), np.uint8)[0], (96, 192), interpolation=cv2.INTER_NEAREST)[None]
    logits = torch.nn.functional.one_hot(torch.from_numpy(truth[:, ::2, ::2]).long(), 12).movedim(3, 1).float() * 9
    loss = segmenter.parts_loss(logits, torch.from_numpy(truth))
    mirrored = segmenter.parts_loss(logits.flip(3), torch.from_numpy(truth[..., ::-1].copy()))
    torch.testing.assert_close(loss, mirrored)
    shares = logits.softmax(1).numpy()
    labels = segmenter.labels_of(shares)
    np.testing.assert_array_equal(segmenter.labels_of(shares[..., ::-1])[..., ::-1], labels)
    assert segmenter.part_ious(labels, truth).min() > 0.97


def keypoints(x: float, y: float, known: float) -> torch.Tensor:
    return torch.tensor([x, y, known]).expand(1, 17, 3)


def test_keypoint_loss() -> None:
    here = place_logits(0.4, 0.6, height=0.0)
    here = torch.cat([here[..., :-1], torch.full((1, 17, 1), -20.0)], dim=2)
    best = segmenter.keypoint_loss(here, keypoints(0.4, 0.6, 2.0))
    assert best.item() == pytest.approx(math.log(2 * math.pi * math.e * 1.3**2), abs=0.02)  # the bell's own entropy
    assert segmenter.keypoint_loss(here, keypoints(0.4, 0.6, 1.0)) == best
    assert segmenter.keypoint_loss(here, keypoints(0.6, 0.6, 2.0)) > best + 1
    assert segmenter.keypoint_loss(here, keypoints(0.4, 0.6, -1.0)) > 15
    assert segmenter.keypoint_loss(here, keypoints(0.4, 0.6, 0.0)) == 0


def test_matte_loss() -> None:
    matte = torch.zeros(2, 1, 192, 96)
    matte[:, :, 40:150, 30:60] = 1
    right = 20 * (2 * matte - 1)
    both = torch.ones(2)
    assert segmenter.matte_loss(right, matte, both) < 1e-3
    edge, inside = right.clone(), right.clone()
    edge[:, :, 40:150, 60:62] = 20  # 220 px too many at the outline
    inside[:, :, 80:91, 35:55] = -20  # 220 px missing in the middle
    at_edge, at_middle = (segmenter.matte_loss(wrong, matte, both) for wrong in (edge, inside))
    assert at_edge > 1.3 * at_middle > 0.1
    wrong = right.clone()
    wrong[1] *= -1
    assert segmenter.matte_loss(wrong, matte, torch.tensor([1.0, 0.0])) < 1e-3
    assert segmenter.matte_loss(wrong, matte, torch.zeros(2)) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> segmenter.PersonTrainSettings:
    """What a training leaves, without one."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("run")
    network = PersonNetwork()
    crops = torch.randn(4, 3, 192, 96)
    network(crops)  # so that the norms have seen something
    torch.save(network.state_dict(), out / "network.pt")
    return segmenter.PersonTrainSettings(out=out, steps=1, batch=1, rate=0.0, photos=out)


def convolutions(part: torch.nn.Module) -> int:
    return sum(isinstance(module, torch.nn.Conv2d) for module in part.modules())


def test_both_halves_are_exported_and_read(
    trained: segmenter.PersonTrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(segmenter.PersonTask, "check", lambda task, network: {"iou": 0.81, "pck": 0.72, "ankles": 0.63})
    matte, keypoints = tmp_path / "matte.onnx", tmp_path / "keypoints.onnx"
    assert segmenter.export_segmenter(trained, matte) < 1e-3
    assert segmenter.export_pose(trained, keypoints) < 1e-3
    network = segmenter.load(trained)
    # The second sees the mirror image too.
    heads = (
        (matte, [network.maps, network.wide, network.inner, network.borders, network.parts], 1),
        (keypoints, [network.matte], 2),
    )
    for file, missing, times in heads:
        wanted = times * (convolutions(network) - sum(map(convolutions, missing)))
        assert [node.op_type for node in onnx.load(file).graph.node].count("Conv") == wanted
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (30, 40, 3), np.uint8), (400, 300))
    boxes = np.array([[50, 40, 120, 240], [200, 30, 280, 290]], np.float32)
    cutter = OnnxMatte(CheckpointFile(matte, "given"), SegmenterSettings(threads=1, mirror=True))
    assert cutter.threshold == segmenter.THRESHOLD
    figures = [{one.key: one.value for one in onnx.load(file).metadata_props}["figures"] for file in (matte, keypoints)]
    assert "0.81" in figures[0]
    assert "0.72, ankles 0.63" in figures[1]
    (mattes,) = cutter.segment([Frame(0, 0.0, image)], [boxes])
    (found,) = OnnxPose(CheckpointFile(keypoints, "given"), PoseSettings(threads=1)).estimate(
        [Frame(0, 0.0, image)], [boxes]
    )
    windows = segmenter.crop_windows(boxes, 400, 300, segmenter.SHAPE)
    crops = [segmenter.crop_of(image, window, segmenter.SHAPE) for window in windows]
    with torch.inference_mode():
        expected, places, labels = segmenter.predict(network, crops)
    (maps,) = OnnxParts(CheckpointFile(keypoints, "given"), ParserSettings(threads=1)).parse(
        [Frame(0, 0.0, image)], [boxes]
    )
    for index, (left, top, right, bottom) in enumerate(windows.tolist()):
        alpha = segmenter.matte_of(expected[index], windows[index]).alpha
        assert np.abs(mattes[index].alpha.astype(int) - alpha).max() <= 3
        at = places[index, :, :2] * (right - left, bottom - top) + (left, top)
        assert np.median(np.abs(found[index, :, :2] - at)) < 0.5
        size = (min(right - left, 96), min(bottom - top, 192))
        likeliest = cv2.resize(labels[index].transpose(1, 2, 0), size).argmax(axis=2).astype(np.uint8)
        whole = cv2.resize(likeliest, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
        assert (maps[index].labels == whole).mean() > 0.99
    again = PersonNetwork()
    for file in (matte, keypoints):  # a training goes on from both files
        segmenter.start(again, file)
    for name, weight in again.state_dict().items():
        kept = network.state_dict()[name]
        assert "num_batches" in name or (weight - kept).abs().max() <= 0.01 * kept.abs().max() + 1e-3, name


def test_export_needs_a_trained_network(tmp_path: Path) -> None:
    settings = segmenter.PersonTrainSettings(out=tmp_path, steps=1, batch=1, rate=0.0, photos=tmp_path)
    with pytest.raises(SettingsError, match=r"network\.pt"):
        segmenter.export_pose(settings, tmp_path / "pose.onnx")


@pytest.mark.parametrize(
    ("kind", "name"), [(segmenter.PersonTrainSettings, "person"), (DetectorTrainSettings, "detector")]
)
def test_photos_must_be_given(kind: type[TrainSettings], name: str) -> None:
    with pytest.raises(SettingsError, match=r"'photos' is missing: a folder of labelled pictures.*--set photos=VALUE"):
        read_config(None, kind, name=name)
    assert read_config(None, kind, ["photos=mine"], name).photos == Path("mine")


def test_no_shipped_setting_points_outside_the_project() -> None:
    configs = list((Path(training.__file__).parent / "configs").glob("*.yaml"))
    assert len(configs) >= 5
    for path in configs:
        assert ".." not in path.read_text(encoding="utf-8").replace("...", ""), path


def test_it_learns_a_little_and_is_judged(shared: Path, tmp_path: Path) -> None:
    settings = segmenter.PersonTrainSettings(
        out=tmp_path, steps=6, batch=4, rate=0.003, warmup=2, ema=0.0, precision="32-true", workers=0, threads=1,
        check_every=100, photos=shared / "train",
    )  # fmt: skip
    network = segmenter.train(settings)
    task = segmenter.PersonTask(settings)
    task._people = segmenter.held_out_people(settings.photos)[:12]
    with torch.inference_mode():
        figures = task.check(network)
        before = task.check(task.network.eval())
    assert set(figures) == {"iou", "pck", "ankles"}
    assert figures["iou"] != before["iou"]
    assert (tmp_path / "network.pt").is_file()


def test_the_parts_can_learn_alone(tmp_path: Path) -> None:
    settings = segmenter.PersonTrainSettings(out=tmp_path, steps=1, batch=2, rate=0.1, photos=tmp_path, parts_only=True)
    task = segmenter.PersonTask(settings)
    rng = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (2, 3, 192, 96), dtype=torch.uint8, generator=rng)
    batch = {
        "image": crops,
        "matte": crops[:, :1],
        "known": torch.ones(2),
        "keypoints": torch.rand(2, 17, 3, generator=rng),
        "parts": torch.randint(0, 12, (2, 192, 96), dtype=torch.uint8, generator=rng),
    }
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    task.loss(batch)["loss"].backward()
    torch.optim.SGD([one for one in task.parameters() if one.requires_grad], 0.1).step()
    changed = {name.split(".")[0] for name, value in task.network.state_dict().items() if not value.equal(before[name])}
    assert changed == set(segmenter.PersonNetwork.OF_PARTS)
