"""Every provider of ONNX Runtime that is here gives the answers of the CPU. The ordinary package has the CPU alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.weights.checkpoints import HOME
from app.weights.devices import PROVIDERS, Provider, available
from app.weights.sessions import open_session

HERE = [provider for provider in PROVIDERS if provider.name in available()]
INPUTS = {"detector": (1, 3, 192, 320), "segmenter": (2, 3, 192, 96), "pose": (1, 3, 192, 96), "gait": (1, 8, 64, 44)}


@pytest.mark.parametrize("stage", INPUTS)
@pytest.mark.parametrize("provider", HERE, ids=lambda provider: provider.device)
class TestEveryProvider:
    def answers(self, stage: str, provider: Provider, batch: int = 1) -> list[Any]:
        path: Path = HOME / "embedded" / stage / f"gaitprint-{stage}.onnx"
        session = open_session(path, provider=provider)
        pictures = np.random.default_rng(0).random(INPUTS[stage], np.float32)
        scale = 255 if stage == "detector" else 1
        inputs = {session.get_inputs()[0].name: np.concatenate([pictures * scale] * batch)}
        return list(session.run(None, inputs))

    def test_its_answers_are_those_of_the_cpu(self, stage: str, provider: Provider) -> None:
        for one, other in zip(self.answers(stage, provider), self.answers(stage, PROVIDERS[-1]), strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= 2e-3 * max(1.0, float(np.abs(other).max()))

    def test_a_batch_is_answered_like_its_pictures(self, stage: str, provider: Provider) -> None:
        (one, *_), (batch, *_) = self.answers(stage, provider), self.answers(stage, provider, batch=3)
        pieces = np.split(batch, 3)
        for piece in pieces:
            assert np.abs(piece - one).max() <= 2e-3 * max(1.0, float(np.abs(one).max()))
