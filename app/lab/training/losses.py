"""Losses of embeddings of walks, computed for each part of the embeddings.

Libraries of metric learning have these losses for one vector per walk. Here an embedding has many parts, which share a
batch, so the losses are written for all parts at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def batch_all_triplet(embeddings: Tensor, people: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
    """The batch-all triplet loss (Hermans et al. 2017, "In Defense of the Triplet Loss", section 2), of each part.

    A triplet is an anchor, another walk of the same person and a walk of somebody else. The distance from the anchor to
    the first should be smaller than to the second by `margin`, in units of the embedding. The mean is over the triplets
    that violate this.

    Takes embeddings (n, C, P) and the person of each walk, int (n,). Returns the loss, and the share of triplets that
    violate the margin: means over the parts, float32 scalars.

    Raises:
        ValueError: no person has two walks, or all walks are of one person.
    """
    points = embeddings.float().permute(2, 0, 1)  # (P, n, C)
    # Differences of large sums lose digits in bfloat16, and the square root has no derivative at 0.
    with torch.autocast(points.device.type, enabled=False):
        squares = points.square().sum(2)
        between = squares[:, :, None] + squares[:, None] - 2 * points @ points.mT
        distances = between.clamp_min(1e-6).sqrt()
    same = people[:, None] == people
    positive = same & ~torch.eye(len(people), dtype=torch.bool, device=people.device)
    anchors, firsts = positive.nonzero(as_tuple=True)
    if not len(anchors) or bool(same.all()):
        raise ValueError("triplets need a person with two walks and somebody else")
    violations = F.relu(distances[:, anchors, firsts, None] - distances[:, anchors] + margin)  # (P, pairs, n)
    violations = violations * ~same[anchors]
    active = (violations > 0).sum((1, 2))
    possible = (~same[anchors]).sum()
    losses = violations.sum((1, 2)) / active.clamp_min(1)
    return losses.mean(), (active / possible).mean()


def contrastive(similarities: Tensor, people: Tensor, scale: float) -> Tensor:
    """The supervised contrastive loss (Khosla et al. 2020, "Supervised Contrastive Learning", equation 2).

    Among the similarities of a walk to all others, (..., n, n), such as cosines, those to walks of the same person, int
    (n,), should be the highest. They are multiplied by `scale`, the inverse of the temperature. Unlike the triplet
    loss, it learns from every pair from the first step on, and equal embeddings of all walks do not satisfy it.

    Raises:
        ValueError: no person has two walks.
    """
    itself = torch.eye(len(people), dtype=torch.bool, device=people.device)
    positive = (people[:, None] == people) & ~itself
    if not bool(positive.any()):
        raise ValueError("a contrastive loss needs a person with two walks")
    shares = (similarities.float() * scale).masked_fill(itself, -1e9).log_softmax(-1)
    return -shares.masked_select(positive).mean()


def part_cross_entropy(logits: Tensor, people: Tensor, scale: float = 16.0, smoothing: float = 0.1) -> Tensor:
    """Cross entropy of cosine logits (n, classes, P), the mean over the parts, for the class of each walk, int (n,).

    The cosines are multiplied by `scale`, because their softmax would be nearly uniform otherwise. `smoothing` is the
    share of the target probability that is spread over all classes (Szegedy et al. 2016, section 7).
    """
    of_parts = people[:, None].expand(-1, logits.shape[2])
    return F.cross_entropy(logits.float() * scale, of_parts, label_smoothing=smoothing)


def own_view(likeness: Sequence[Tensor]) -> Tensor:
    """The loss of learning without names: each walk should be most like the other view of itself.

    It is the sum over the matrices of cosines (n, n, P) of the cross entropy of their rows, a scalar; see
    `app.gait.models.gaitssb.SelfSupervised.likeness`. Scale and smoothing are GaitSSB's.
    """
    itself = torch.arange(len(likeness[0]), device=likeness[0].device)
    return torch.stack([part_cross_entropy(each, itself) for each in likeness]).sum()
