"""Where the processor time of a run goes: into kernels, or into everything around them.

Kernels are compiled code that works through pixels: networks, FFmpeg, OpenCV, Pillow's palettes and GIFs, and NumPy
where it brings pictures into the form that a network takes. All else is around them: Python and its waiting, the start
of the program with its imports and the loading of networks, tracks, decisions, and the files of a run. NumPy's
arithmetic elsewhere cannot be told apart from Python and counts as that.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

NETWORKS, VIDEO, THREADS = "networks", "FFmpeg", "FFmpeg's own threads"
PICTURES, ARRAYS = "OpenCV and Pillow", "pictures into the networks' form"


class Meter:
    """Counts the processor time of this process inside of kernels. Make it before the program is imported."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._of_ended = 0.0
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._wrap_all()

    def shares(self) -> dict[str, float]:
        """Return the seconds by kind, when the run is over.

        Threads that are not Python's are FFmpeg's, since networks run on the thread that asks them. Python lists such
        a thread, too, once it has called Python, and goes on to list it after its end.
        """
        own = [thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)]
        alive = [time.pthread_getcpuclockid(thread.ident) for thread in own if thread.ident]
        in_python = self._of_ended + sum(map(time.clock_gettime, alive))
        return {**self.seconds, THREADS: time.process_time() - in_python}

    def _timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, whose time counts. What kernels call themselves is not counted twice."""

        def timed(*arguments: Any, **named: Any) -> Any:
            if getattr(self._inside, "it", False):
                return call(*arguments, **named)
            self._inside.it, begin = True, time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                spent = time.thread_time() - begin
                self._inside.it = False
                with self._lock:
                    self.seconds[kind] += spent

        return timed

    def _timed_steps(self, kind: str, call: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def timed(*arguments: Any) -> Iterator[Any]:
            step = self._timed(kind, call(*arguments).__next__)
            while True:
                try:
                    item = step()
                except StopIteration:
                    return
                yield item

        return timed

    def _wrap_all(self) -> None:
        run = threading.Thread.run

        def counted(thread: threading.Thread) -> None:
            try:
                run(thread)
            finally:
                with self._lock:
                    self._of_ended += time.thread_time()

        threading.Thread.run = counted  # type: ignore[method-assign, assignment]
        import cv2
        import numpy as np
        import onnxruntime
        from av.video.reformatter import VideoReformatter
        from PIL import GifImagePlugin, Image

        from app.crops.network import CropNetwork
        from app.detect import yolox_onnx
        from app.video import reader, upright, writer

        self._wrap(NETWORKS, onnxruntime.InferenceSession, "run")
        functions = [name for name, value in vars(cv2).items() if type(value).__name__ == "builtin_function_or_method"]
        self._wrap(PICTURES, cv2, *functions)
        self._wrap(PICTURES, cv2.dnn, "NMSBoxes")
        self._wrap(PICTURES, Image.Image, "quantize", "convert", "putdata")
        self._wrap(PICTURES, GifImagePlugin, "_write_frame_data")
        self._wrap(ARRAYS, np, "ascontiguousarray")
        self._wrap(ARRAYS, yolox_onnx, "letterbox", "normalised")
        self._wrap(ARRAYS, CropNetwork, "_pixels")
        self._wrap(VIDEO, reader, "opened")
        self._wrap(VIDEO, upright.Upright, "_bgr")
        self._wrap(VIDEO, writer.VideoWriter, "_encode", "_finish")
        decode = reader.VideoReader._decode
        reader.VideoReader._decode = self._timed_steps(VIDEO, decode)  # type: ignore[method-assign]
        timed = self._timed

        class Timed:
            """FFmpeg's conversion of pictures, which cannot be replaced itself."""

            def __init__(self) -> None:
                self.reformat = timed(VIDEO, VideoReformatter().reformat)

        setattr(writer, "VideoReformatter", Timed)  # noqa: B010

    def _wrap(self, kind: str, owner: Any, *names: str) -> None:
        for name in names:
            setattr(owner, name, self._timed(kind, getattr(owner, name)))
