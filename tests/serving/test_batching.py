"""Dynamic batching: calls of several threads are joined, none waits for a timer, and each gets its own scores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.batching import Batched
from training.runtimes import Features, Images, RuntimeName, Scores


class Slow:
    """Scores each image by its first byte; the first call lasts until `go`."""

    name: RuntimeName = "openvino"

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.sizes: list[int] = []
        self.has_begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, images: Images) -> Scores:
        self.sizes.append(len(images))
        self.has_begun.set()
        assert self.go.wait(20)
        if images.max() == 255:
            raise ValueError("an image that no model takes")
        return self.embed(images)

    def embed(self, images: Images) -> Features:
        return images[:, 0, 0, :1].astype(np.float32)


def images(*values: int) -> Images:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def until_waiting(batched: Batched, count: int) -> None:
    while len(batched._waiting) < count:
        threading.Event().wait(0.005)


def test_calls_that_come_while_it_runs_are_the_next_batches() -> None:
    runtime = Slow()
    batched = Batched(runtime, max_batch=4)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batched, images(1))
        assert runtime.has_begun.wait(20)
        others = []
        for value in range(2, 8):
            others.append(threads.submit(batched, images(value)))
            until_waiting(batched, len(others))
        runtime.go.set()
        assert [float(call.result(20)[0, 0]) for call in (first, *others)] == [1, 2, 3, 4, 5, 6, 7]
    assert runtime.sizes == [1, 4, 2]


def test_each_lane_of_the_runtime_has_a_batch_of_its_own() -> None:
    runtime = Slow(lanes=2)
    batched = Batched(runtime, max_batch=4)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(batched, images(value)) for value in (1, 2)]
        while len(runtime.sizes) < 2:
            threading.Event().wait(0.005)
        for value in range(3, 9):
            calls.append(threads.submit(batched, images(value)))
            until_waiting(batched, len(calls) - 2)
        runtime.go.set()
        assert [float(call.result(20)[0, 0]) for call in calls] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (runtime.sizes[:2], max(runtime.sizes), sum(runtime.sizes)) == ([1, 1], 4, 8)
    assert (batched._free, len(batched._waiting)) == (2, 0)


def test_a_call_of_many_posters_is_never_cut_nor_refused() -> None:
    runtime = Slow()
    runtime.go.set()
    assert Batched(runtime, max_batch=2)(images(5, 6, 7)).ravel().tolist() == [5, 6, 7]
    assert runtime.sizes == [3]


def test_an_error_reaches_everybody_in_the_batch_and_nobody_after() -> None:
    runtime = Slow()
    batched = Batched(runtime, max_batch=2)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(batched, images(1))
        assert runtime.has_begun.wait(20)
        others = []
        for value in (255, 3, 4):
            others.append(threads.submit(batched, images(value)))
            until_waiting(batched, len(others))
        runtime.go.set()
        assert first.result(20).tolist() == [[1]]
        for spoiled in others[:2]:
            with pytest.raises(ValueError, match="no model takes"):
                spoiled.result(20)
        assert others[2].result(20).tolist() == [[4]]


def test_many_threads_get_each_their_own_scores() -> None:
    runtime = Slow(lanes=3)
    runtime.go.set()
    batched = Batched(runtime, max_batch=8)
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda value: float(batched(images(value))[0, 0]), list(range(200)) * 5))
    assert found == [float(value) for value in range(200)] * 5
    assert sum(runtime.sizes) == 1000
