"""Dynamic batching: posters of requests that are under way at the same time are scored together."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from training.runtimes import Features, Images, Runtime, RuntimeName, Scores

# As quick as 4 on two cores, quicker than 1 and 8, and half the memory: `python -m benchmarks.batching`.
DEFAULT_MAX_BATCH = 2


@dataclass(eq=False, slots=True)
class _Call:
    """turn: set when the call has its scores or its error, or when it is to lead the next batch."""

    images: Images
    turn: threading.Event = field(default_factory=threading.Event)
    scores: Scores | None = None
    error: Exception | None = None


class Batched:
    """A runtime whose calls from several threads are joined; one itself.

    Greedy: a call that finds one of the runtime's lanes free starts at once, alone; those that come when none is are
    the next batches. So nobody waits for a timer, and the busier the runtime is, the fuller are its batches. It has no
    thread of its own: the first of those who wait runs the batch of all.
    """

    def __init__(self, runtime: Runtime, *, max_batch: int, wait_ms: float = 0) -> None:
        """max_batch: posters; a call with more is a batch by itself. wait_ms: for more of them, before each batch."""
        self._runtime = runtime
        self._max_batch = max_batch
        self._wait_s = wait_ms / 1000
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._free = runtime.lanes

    @property
    def name(self) -> RuntimeName:
        """See `Runtime`."""
        return self._runtime.name

    @property
    def lanes(self) -> int:
        """See `Runtime`."""
        return self._runtime.lanes

    def __call__(self, images: Images) -> Scores:
        """See `Runtime`."""
        own = _Call(images)
        with self._lock:
            leads = self._free > 0
            if leads:
                self._free -= 1
            else:
                self._waiting.append(own)
        if not leads:
            own.turn.wait()
        if own.scores is None and own.error is None:
            self._run_batch(own)
        if own.error is not None:
            raise own.error
        return own.scores  # type: ignore[return-value]  # a batch leaves one of the two

    def embed(self, images: Images) -> Features:
        """See `Runtime`; each call by itself."""
        return self._runtime.embed(images)

    def _run_batch(self, leader: _Call) -> None:
        """Run the caller's own call in its lane, and as many of those who wait as there is room for."""
        if self._wait_s:
            time.sleep(self._wait_s)
        with self._lock:
            batch = [leader]
            count = len(leader.images)
            while self._waiting and count + len(self._waiting[0].images) <= self._max_batch:
                batch.append(self._waiting.popleft())
                count += len(batch[-1].images)
        try:
            scores = self._runtime(np.concatenate([call.images for call in batch]) if batch[1:] else leader.images)
            start = 0
            for call in batch:
                call.scores = scores[start : start + len(call.images)]
                start += len(call.images)
        except Exception as error:  # for each of them to raise in its own thread
            for call in batch:
                call.error = error
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                self._free += following is None
            for waiting in (following, *batch[1:]):
                if waiting:
                    waiting.turn.set()
