"""Threads and batches change how long pass 1 takes, and nothing that it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.runs.build import begin
from app.settings import Settings
from app.walks.analyse import analyse
from app.walks.analysed import AnalysedVideo

CLIP = Path(__file__).resolve().parents[2] / "input_videos" / "gallery.mp4"


def found(folder: Path, threads: int, batch: int) -> AnalysedVideo:
    values = {"video.end": 1.2, "quality.min_seconds": 0.6, "detector.batch": batch, "output.folder": folder}
    values |= {f"{stage}.threads": threads for stage in ("detector", "segmenter", "pose")}
    return analyse(CLIP, "clip", begin(Settings.load(named=values)), fresh=True)


def test_results_do_not_depend_on_threads_and_batches(tmp_path: Path) -> None:
    first, *others = (found(tmp_path / str(threads), threads, batch) for threads, batch in ((1, 8), (2, 3), (5, 64)))
    assert len(first.usable()) >= 2
    for other in others:
        assert other.frame_count == first.frame_count
        for one, same in zip(first.walks, other.walks, strict=True):
            assert one.reason == same.reason
            for name in ("frame_indices", "boxes", "scores"):
                np.testing.assert_array_equal(getattr(one.track, name), getattr(same.track, name))
            np.testing.assert_array_equal(one.silhouettes, same.silhouettes)
            if one.embedding is not None and same.embedding is not None:
                np.testing.assert_array_equal(one.embedding.parts, same.embedding.parts)
