"""Which walks of one video show different people for certain: those seen in the same frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.types import Bools, Ints


def visibility(frames: Sequence[Ints]) -> Bools:
    """Which tracks are seen together: bool (moments, tracks), each row the tracks of some frame.

    Only maximal sets are kept: a row whose tracks all appear in another row says nothing new. A pair of tracks
    shares a frame exactly if it shares a row.

    Args:
        frames: the frame indices of each track.
    """
    if not frames:
        return np.zeros((0, 0), np.bool_)
    _, moment = np.unique(np.concatenate(list(frames)), return_inverse=True)
    seen = np.zeros((moment.max() + 1, len(frames)), np.bool_)
    seen[moment, np.repeat(np.arange(len(frames)), [len(own) for own in frames])] = True
    sets = np.unique(seen, axis=0).astype(np.float32)
    # Row a is contained in row b if their common tracks are all of a's.
    contained = sets @ sets.T >= sets.sum(1)[:, None]
    np.fill_diagonal(contained, False)
    maximal: Bools = sets[~contained.any(1)] > 0
    return maximal


def covisible(frames: Sequence[Ints]) -> Bools:
    """Whether two tracks share a frame: bool (tracks, tracks), False on the diagonal."""
    seen = visibility(frames).astype(np.float32)
    together: Bools = seen.T @ seen > 0
    np.fill_diagonal(together, False)
    return together
