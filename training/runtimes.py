"""What runs a model on posters, behind one small interface: OpenVINO, or TensorFlow where that is not to be had."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from cluster.cores import available_cores
from training.embedding import Embedder

RuntimeName = Literal["openvino", "tensorflow"]
Scores = np.ndarray[Any, np.dtype[np.float32]]
Features = np.ndarray[Any, np.dtype[np.float32]]
Images = np.ndarray[Any, np.dtype[np.uint8]]

# How far a runtime's scores may be from Keras's.
TOLERANCE = 1e-3
# A tenth of the share of those that it gives way to, where both want the same core.
_NICER = 10
# For so long after two calls have met, the next ones are taken to meet others.
_CROWD_S = 0.1


class Runtime(Protocol):
    """A model, loaded. Safe to call from several threads."""

    @property
    def name(self) -> RuntimeName:
        """By which it is chosen."""

    @property
    def lanes(self) -> int:
        """How many calls at the same time it gains by."""

    def __call__(self, images: Images) -> Scores:
        """images: uint8 [N, H, W, 3] of the model's input size, RGB. Returns float32 [N, genres]."""

    def embed(self, images: Images) -> Features:
        """What the model sees in the same images, as `training.embedding` says: float32 [N, F]."""


class OpenVino:
    """An exported model on this machine's CPU, in float32; of the runtimes there it takes every model (decision 7).

    A call that is alone has all threads, and is answered soonest. Calls that come beside it have a thread each, and so
    have those soon after, which meet others too: threads that share a call wait for each other many times in it, in
    vain wherever the core of one has something else to do. One call more than there are threads waits within OpenVINO,
    where a thread that is done begins it at once; a call from Python first waits for its lock. The threads give way to
    those that run Python: what these do is short, and brings the next call.
    """

    name: RuntimeName = "openvino"

    def __init__(self, graph: Path, *, threads: int | None = None) -> None:
        """graph: of `training.export`. threads: of all calls together; by default one a core.

        Raises ImportError without OpenVINO, RuntimeError for what it cannot read, or scores in two ways.
        """
        import openvino  # noqa: PLC0415

        threads = threads or available_cores()
        self.lanes = threads + 1
        self._lock = threading.Lock()
        self._under_way = 0
        self._met_at = -_CROWD_S
        core = openvino.Core()
        model = core.read_model(graph)

        def compiled(**options: str | int) -> _Compiled:
            # Of its own accord it takes bfloat16 where the CPU has it, which moves scores by a hundredth.
            whole = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, **options}
            return _Compiled(core.compile_model(model, "CPU", whole))

        def prepare() -> None:
            self._alone = compiled(PERFORMANCE_HINT="LATENCY")
            self._beside = compiled(NUM_STREAMS=threads) if threads > 1 else self._alone
            height_px, width_px = (model.input().partial_shape[axis].get_length() for axis in (1, 2))
            self._rehearse(np.random.default_rng(0).integers(0, 256, (2, height_px, width_px, 3), np.uint8))

        # Threads that are started within it, OpenVINO's among them, are as it is.
        with ThreadPoolExecutor(1, initializer=_give_way) as starting:
            starting.submit(prepare).result()

    def _rehearse(self, pictures: Images) -> None:
        """Each lane prepares itself at its first call, and for each size of a batch: no poster is to wait for that."""
        with ThreadPoolExecutor(self.lanes) as threads:
            for count in range(1, len(pictures) + 1):
                alone = self._alone(pictures[:count], 0)
                beside = list(threads.map(self._beside, [pictures[:count]] * self.lanes, [0] * self.lanes))
                apart = float(np.abs(np.stack(beside) - alone).max())
                # NaN is for those to find who know what is right.
                if apart > TOLERANCE:
                    raise RuntimeError(f"scores beside each other are {apart:.2g} apart from those alone")

    def __call__(self, images: Images) -> Scores:
        """See `Runtime`."""
        return self._seen(images, 0)

    def embed(self, images: Images) -> Features:
        """See `Runtime`."""
        return self._seen(images, 1)

    def _seen(self, images: Images, output: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        with self._lock:
            now = time.monotonic()
            if self._under_way:
                self._met_at = now
            model = self._alone if now - self._met_at >= _CROWD_S else self._beside
            self._under_way += 1
        try:
            return model(images, output)
        finally:
            with self._lock:
                self._under_way -= 1


def _give_way() -> None:
    """Have other threads preferred to this one, and to those that it starts; where the system can't, nothing."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + _NICER)


class _Compiled:
    """A model of OpenVINO's, for calls from several threads."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # One holds the buffers of one call.
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, images: Images, output: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        found: Scores = request.infer({0: images}, share_inputs=True)[output].copy()
        self._idle.put(request)
        return found


class TensorFlow:
    """A keras.Model as a graph: `model.predict` at batch 1 takes five times as long, and an eager call ten times."""

    name: RuntimeName = "tensorflow"
    lanes = 1

    def __init__(self, model: Any) -> None:
        import tensorflow as tf  # noqa: PLC0415

        pixels = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)
        self._scores = tf.function(lambda batch: model(batch, training=False), input_signature=[pixels])
        self._embedder = Embedder(model)

    def __call__(self, images: Images) -> Scores:
        """See `Runtime`."""
        found: Scores = self._scores(images).numpy()
        return found

    def embed(self, images: Images) -> Features:
        """See `Runtime`."""
        return self._embedder(images)
