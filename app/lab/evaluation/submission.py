"""The file that GREW's server scores, because nobody else knows whom its probes show.

The format is that of the benchmark (Zhu et al., ICCV 2021; its repository's ``submission.csv``): a row for each probe
video with the people of the 20 nearest gallery walks. The server takes it in a zip archive.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.files import written_whole
from app.gallery.distances import Metric, part_distances
from app.lab.data.opengait import DataSetError, WalkFile
from app.lab.evaluation.protocol import Group
from app.types import Floats

RANKS = 20
COLUMNS = ("videoId", *(f"rank{rank}" for rank in range(1, RANKS + 1)))
_BLOCK = 256  # probes at once


def write_submission(
    features: Floats, walks: Sequence[WalkFile], group: Group, path: Path, metric: Metric = "euclidean"
) -> None:
    """Write the ``.csv`` file from the embeddings of all walks, float32 (N, P, C).

    A probe's view is the name of its video, and the people of the gallery are whole numbers.

    Raises:
        DataSetError: the gallery has fewer than 20 walks, or people whose names are not numbers.
        OutputError: the file cannot be written.
    """
    if len(group.gallery) < RANKS:
        raise DataSetError(
            f"GREW's submission names {RANKS} gallery walks for each probe, but this gallery has {len(group.gallery)}."
        )
    names = [walks[index].identity for index in group.gallery]
    for name in names:
        if not name.isdecimal():
            raise DataSetError(
                f"The gallery's person '{name}' is not a number, but GREW's submission names people by numbers."
            )
    people = np.array([int(name) for name in names])
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for start in range(0, len(group.probes), _BLOCK):
            probes = group.probes[start : start + _BLOCK]
            distances = part_distances(features[probes], features[group.gallery], metric)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :RANKS]
            for probe, found in zip(probes, nearest, strict=True):
                writer.writerow([walks[probe].view, *people[found].tolist()])
