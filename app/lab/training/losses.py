"""What embeddings of walks are trained with, part by part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def batch_all_triplet(embeddings: Tensor, people: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
    """The batch-all triplet loss (Hermans et al. 2017, "In Defense of the Triplet Loss", section 2), of each part.

    For every anchor, every other walk of the same person and every walk of somebody else: the distance to the first
    is to be smaller than to the second by `margin`. The mean is over the triplets that violate it.

    Args:
        embeddings: (n, C, P).
        people: int (n,), who walks.
        margin: in units of the embedding.

    Returns:
        The loss and the share of triplets that violate the margin, both means over the parts, float32 scalars.

    Raises:
        ValueError: no person has two walks, or all walks are of one.
    """
    points = embeddings.float().permute(2, 0, 1)  # (P, n, C)
    # Differences of large sums lose digits in bfloat16; the square root has no slope at 0.
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

    From each walk's likeness to all others, its own person's are to be told: unlike triplets it learns from every pair
    from the first step on, and cannot be content with embeddings that are all alike.

    Args:
        similarities: (..., n, n), cosines of walks.
        people: int (n,), who walks.
        scale: the inverse of the temperature; the cosines are multiplied by it.

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
    """Cross entropy of cosine logits, the mean over the parts, with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        logits: (n, classes, P), cosines.
        people: int (n,), the class of each walk.
        scale: the cosines are multiplied by it, as they alone cannot be sure.
        smoothing: share of the truth that is spread over all classes.
    """
    of_parts = people[:, None].expand(-1, logits.shape[2])
    return F.cross_entropy(logits.float() * scale, of_parts, label_smoothing=smoothing)
