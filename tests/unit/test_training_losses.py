"""The losses of gait training against naive twins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from app.lab.training.losses import batch_all_triplet, contrastive, part_cross_entropy

PEOPLE = torch.tensor([0, 0, 1, 1, 1, 2])


def embeddings(parts: int = 3) -> Tensor:
    return torch.randn(6, 5, parts, generator=torch.Generator().manual_seed(1))


def test_triplets_are_those_of_three_loops() -> None:
    x, margin = embeddings(), 0.5
    losses, shares = [], []
    for part in range(x.shape[2]):
        found = [
            float((x[a, :, part] - x[p, :, part]).norm() - (x[a, :, part] - x[n, :, part]).norm() + margin)
            for a in range(6)
            for p in range(6)
            for n in range(6)
            if a != p and PEOPLE[a] == PEOPLE[p] and PEOPLE[a] != PEOPLE[n]
        ]
        active = [value for value in found if value > 0]
        losses.append(sum(active) / len(active))
        shares.append(len(active) / len(found))
    loss, share = batch_all_triplet(x, PEOPLE, margin)
    assert float(loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert float(share) == pytest.approx(sum(shares) / len(shares), rel=1e-6)


def test_triplets_that_keep_the_margin_cost_nothing_and_equal_walks_have_a_gradient() -> None:
    x = torch.zeros(4, 2, 1, requires_grad=True)
    people = torch.tensor([0, 0, 1, 1])
    loss, share = batch_all_triplet(x + 10.0 * people[:, None, None], people)
    assert (float(loss.detach()), float(share)) == (0, 0)
    loss, _ = batch_all_triplet(x, people)
    loss.backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("people", [[0, 1, 2, 3, 4, 5], [7] * 6])
def test_triplets_need_a_pair_and_a_stranger(people: list[int]) -> None:
    with pytest.raises(ValueError, match="two walks and somebody else"):
        batch_all_triplet(embeddings(), torch.tensor(people))


def test_contrastive_is_the_formula() -> None:
    cosines = torch.nn.functional.normalize(embeddings(1)[..., 0], dim=1)
    cosines = cosines @ cosines.T
    expected = []
    for a in range(6):
        total = sum(math.exp(4 * cosines[a, b]) for b in range(6) if b != a)
        expected += [
            -math.log(math.exp(4 * cosines[a, b]) / total) for b in range(6) if b != a and PEOPLE[a] == PEOPLE[b]
        ]
    found = contrastive(cosines, PEOPLE, 4.0)
    assert float(found) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    both = contrastive(torch.stack([cosines, torch.zeros(6, 6)]), PEOPLE, 4.0)
    assert float(both) == pytest.approx((float(found) + math.log(5)) / 2, rel=1e-5)


def test_contrastive_needs_a_pair() -> None:
    with pytest.raises(ValueError, match="two walks"):
        contrastive(torch.zeros(3, 3), torch.tensor([1, 2, 3]), 1.0)


def test_entropy_of_knowing_nothing_and_everything() -> None:
    people = torch.tensor([0, 3])
    assert float(part_cross_entropy(torch.zeros(2, 4, 2), people)) == pytest.approx(math.log(4), rel=1e-6)
    sure = torch.zeros(2, 4, 2)
    sure[[0, 1], people] = 1.0
    assert float(part_cross_entropy(sure, people, smoothing=0.0)) < 1e-5
    assert float(part_cross_entropy(sure, people, smoothing=0.1)) == pytest.approx(0.1 * 0.75 * 16, rel=1e-3)
