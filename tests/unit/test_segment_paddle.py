"""PP-HumanSeg's layout through Paddle, in both file formats, against what Paddle itself computes in eager mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.crops.windows import crop_of, crop_windows
from app.segment.humanseg import Deployment, HumanSeg
from app.settings import SegmenterSettings
from app.types import Frame
from app.weights.checkpoints import CheckpointFile

paddle = pytest.importorskip("paddle", reason="needs the extra [paddle]")

# In a process of its own: the format is chosen by an environment variable that Paddle reads once.
EXPORT = """
import sys
import numpy as np
import paddle
from paddle import nn
folder = sys.argv[1]
paddle.seed(3)
class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(3, 16, 3, 2, 1), nn.BatchNorm2D(16), nn.ReLU(), nn.Conv2D(16, 2, 3, 2, 1))
    def forward(self, x):
        return nn.functional.softmax(nn.functional.interpolate(self.body(x), scale_factor=4, mode="bilinear"), axis=1)
network = Network()
network.eval()
paddle.jit.save(network, folder + "/model", input_spec=[paddle.static.InputSpec([-1, 3, 192, 192], "float32")])
crops = np.load(folder + "/crops.npy")
np.save(folder + "/answer.npy", network(paddle.to_tensor(crops)).numpy())
"""


@pytest.mark.parametrize(("pir", "suffix"), [("0", ".pdmodel"), ("1", ".json")])
@pytest.mark.filterwarnings("ignore")
def test_both_formats(tmp_path: Path, pir: str, suffix: str) -> None:
    (tmp_path / "deploy.yaml").write_text(
        f"Deploy:\n  input_shape: [-1, 3, 192, 192]\n  model: model{suffix}\n  params: model.pdiparams\n"
        "  output_op: softmax\n  transforms:\n  - {target_size: [192, 192], type: Resize}\n  - {type: Normalize}\n",
        encoding="utf-8",
    )
    random = np.random.default_rng(1)
    frame = Frame(0, 0.0, random.integers(0, 256, (480, 640, 3), np.uint8))
    corners = random.uniform(20, 300, (5, 2))
    boxes = np.hstack([corners, corners + np.array([60, 150])]).astype(np.float32)
    # A description needs the files to exist; the export overwrites them.
    (tmp_path / f"model{suffix}").touch()
    (tmp_path / "model.pdiparams").touch()
    read = Deployment.read(tmp_path)
    windows = crop_windows(boxes, 640, 480, read.shape)
    np.save(tmp_path / "crops.npy", read.prepare([crop_of(frame.image, window, read.shape) for window in windows]))
    environment = {**os.environ, "FLAGS_enable_pir_api": pir}
    script = tmp_path / "export.py"  # a file: Paddle reads the source of what it exports
    script.write_text(EXPORT, encoding="utf-8")
    subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment, check=True, capture_output=True)
    expected = np.load(tmp_path / "answer.npy")[:, 1]

    segmenter = HumanSeg(CheckpointFile(tmp_path, "given"), SegmenterSettings(threads=2))
    crops = [crop_of(frame.image, window, read.shape) for window in windows]
    np.testing.assert_allclose(segmenter._run(crops), expected, atol=1e-5)
    together = segmenter.segment([frame], [boxes])[0]
    for box, matte in zip(boxes, together, strict=True):
        alone = segmenter.segment([frame], [box[None]])[0][0]
        assert np.abs(matte.alpha.astype(int) - alone.alpha.astype(int)).max() <= 1
