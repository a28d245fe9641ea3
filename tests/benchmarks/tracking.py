"""ByteTrack here against the `trackers` package, on the same detections: ``python -m tests.benchmarks.tracking``.

The real clips and their ground truth lie beside the project (``--shared``); `trackers` and `motmetrics` come with
``pip install -e ".[benchmark]"``. Counted are the frames with ground truth, a hit being an IoU of at least 0.5.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from app.settings import DetectorSettings, TrackSettings
from app.stages import Detector
from app.track.bytetrack import ByteTracker, iou
from app.track.hindsight import Exchange, Hindsight, exchanged
from app.types import Detections, Floats, Ints
from app.video.looks import Looks, between
from app.video.reader import VideoReader
from app.weights.registry import detectors

Run: TypeAlias = Callable[[Detections], tuple[Ints, Floats]]

CLIPS = {"vtest": "vtest.avi", "TUD-Stadtmitte": "TUD-Stadtmitte.mp4", "aio_gallery": "aio_gallery.mp4"}
CLIPS["aio_probe3"] = "aio_probe3.mp4"
MEASURES = ("idf1", "mota", "num_switches", "num_false_positives", "num_misses", "motp")


def detected(detector: Detector, path: Path) -> tuple[list[Detections], float, float]:
    """Return the detections of each frame, the frame rate and the ms a frame took, decoding included."""
    begin = time.perf_counter()
    with VideoReader(path) as video:
        detector.start(video.info)
        found = [people for frame in video for people in detector.detect([frame])]
        return found, float(video.info.fps), (time.perf_counter() - begin) / len(found) * 1000


def own(fps: float) -> Run:
    tracker = ByteTracker(fps)

    def run(detections: Detections) -> tuple[Ints, Floats]:
        tracked = tracker.update(detections)
        return tracked.track_ids, tracked.boxes

    return run


def followed(
    found: Sequence[Detections], fps: float, rate: float, settings: TrackSettings | None = None
) -> list[tuple[Ints, Floats]]:
    """Return the tracks of each frame as the product has them, at `rate` looks a second.

    Boxes between the looks and in gaps are interpolated. `found` has every frame's detections.
    """
    looks, tracks, before = Looks(fps, rate), dict[int, list[tuple[int, Floats]]](), -1
    tracker, hindsight = ByteTracker(looks.rate, settings), Hindsight(fps)

    def put_right(exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            pair = exchange.one, exchange.other
            both = exchanged(tracks.pop(pair[0]), tracks.pop(pair[1]), exchange, lambda look: look[0])
            tracks.update({track_id: seen for track_id, seen in zip(pair, both, strict=True) if seen})

    for index, people in enumerate(found):
        if looks.due(index):
            tracked = tracker.update(people, looks.number(index) - looks.number(before))
            before = index
            exchanges: list[Exchange] = []
            if settings is None or settings.hindsight:
                tracked, exchanges = hindsight.update(index, tracked)
            for track_id, box in zip(tracked.track_ids.tolist(), tracked.boxes, strict=True):
                tracks.setdefault(track_id, []).append((index, box))
            put_right(exchanges)
    put_right(hindsight.end())
    every: list[tuple[list[int], list[Floats]]] = [([], []) for _ in found]
    for track_id, seen in tracks.items():
        frames, boxes = zip(*seen, strict=True)
        for index, box in zip(*between(np.array(frames), np.stack(boxes)), strict=True):
            every[index][0].append(track_id)
            every[index][1].append(box)
    return [(np.array(ids, np.int64), np.array(boxes, np.float32).reshape(-1, 4)) for ids, boxes in every]


def from_package(fps: float, **options: Any) -> Run:
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(frame_rate=fps, **options)

    def run(detections: Detections) -> tuple[Ints, Floats]:
        classes = np.zeros(len(detections.scores), np.int64)
        given = supervision.Detections(detections.boxes, confidence=detections.scores, class_id=classes)
        tracked: Any = tracker.update(given)
        ids = np.zeros(0, np.int64) if tracked.tracker_id is None else np.asarray(tracked.tracker_id, np.int64)
        return ids[ids >= 0], np.asarray(tracked.xyxy, np.float32)[: len(ids)][ids >= 0]

    return run


def published_thresholds(fps: float) -> Run:
    return from_package(fps, track_activation_threshold=0.6, high_conf_det_threshold=0.5, minimum_iou_threshold=0.2)


TRACKERS: dict[str, Callable[[float], Run]] = {
    "own": own,
    "trackers, its defaults": from_package,
    "trackers, published thresholds": published_thresholds,
}


def scores(truth: Floats, tracked: Sequence[tuple[Ints, Floats]]) -> dict[str, float]:
    """Return `MEASURES` for tracks against `truth`, rows of frame (from 1), id, left, top, width, height."""
    import motmetrics

    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for index in np.unique(truth[:, 0]).astype(int) - 1:
        if index >= len(tracked):
            break
        rows = truth[truth[:, 0] == index + 1]
        boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
        ids, found = tracked[index]
        overlap = iou(boxes, found)
        accumulator.update(rows[:, 1].astype(int), ids, np.where(overlap >= 0.5, 1 - overlap, np.nan))
    table = motmetrics.metrics.create().compute(accumulator, metrics=list(MEASURES))
    return {name: float(table[name].iloc[0]) for name in MEASURES}


def report(detector: Detector, folder: Path) -> None:
    print(f"{'clip':15}{'tracker':32}{'IDF1':>7}{'MOTA':>7}{'switch':>7}{'FP':>6}{'FN':>6}{'IoU':>7}{'ms':>7}")
    for clip, file in CLIPS.items():
        found, fps, cost = detected(detector, folder / file)
        truth = np.loadtxt(folder / f"{clip}.gt.txt", delimiter=",", usecols=range(6), dtype=np.float32)
        for name, make in TRACKERS.items():
            run = make(fps)
            begin = time.perf_counter()
            tracked = [run(people) for people in found]
            spent = (time.perf_counter() - begin) / len(found) * 1000
            s = scores(truth, tracked)
            print(
                f"{clip:15}{name:32}{s['idf1']:7.3f}{s['mota']:7.3f}{s['num_switches']:7.0f}"
                f"{s['num_false_positives']:6.0f}{s['num_misses']:6.0f}{1 - s['motp']:7.3f}{spent:7.2f}"
                f"   ({spent / cost:.1%} of decoding and detecting)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--detector", default="auto", help="'motion' measures the weight-free one, on vtest alone")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.detector == "motion":
        for clip in set(CLIPS) - {"vtest"}:
            del CLIPS[clip]
        settings = DetectorSettings(name="motion")
    else:
        settings = DetectorSettings(name=given.detector, checkpoint=given.shared / "models" / "yolox_nano.onnx")
    report(detectors.build(settings, ()), given.shared / "videos")


if __name__ == "__main__":
    main()
