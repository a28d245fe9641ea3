"""Which walks of one video are certainly of different people: those that are in view in the same frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.types import Bools, Ints


def visibility(frames: Sequence[Ints]) -> Bools:
    """Return which tracks are in view together: bool (moments, tracks). Each row has the tracks of some frame.

    Only the largest sets are kept, because a row whose tracks all appear in another row adds nothing. Two tracks share
    a frame exactly if they share a row.

    Args:
        frames: the frame indices of each track.
    """
    if not frames:
        return np.zeros((0, 0), np.bool_)
    _, moment = np.unique(np.concatenate(list(frames)), return_inverse=True)
    in_view = np.zeros((moment.max() + 1, len(frames)), np.bool_)
    in_view[moment, np.repeat(np.arange(len(frames)), [len(indices) for indices in frames])] = True
    sets = np.unique(in_view, axis=0).astype(np.float32)
    # Row a is contained in row b if they have as many tracks in common as row a has.
    contained = sets @ sets.T >= sets.sum(1)[:, None]
    np.fill_diagonal(contained, False)
    maximal: Bools = sets[~contained.any(1)] > 0
    return maximal


def covisible(frames: Sequence[Ints]) -> Bools:
    """Return which pairs of tracks share a frame: bool (tracks, tracks), False on the diagonal."""
    in_view = visibility(frames).astype(np.float32)
    together: Bools = in_view.T @ in_view > 0
    np.fill_diagonal(together, False)
    return together
