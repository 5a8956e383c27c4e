"""Decode and model in one process, without any server: `python -m benchmarks.serving_peers.floor STORE FOLDER …`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from cluster.store import open_store
from serving.predictor import Predictor
from training.registry import Registry


def main(store: str, folder: str, concurrency: int, seconds: float) -> None:
    """Print what `benchmarks.serving.Load` has."""
    registry = Registry(open_store(store))
    with tempfile.TemporaryDirectory() as name:
        predictor = Predictor.load(Path(name), registry.fetch(registry.production_or_raise().version, Path(name)))
    posters = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    latencies_ms: list[float] = []
    ends_at = 0.0

    def caller(place: int) -> None:
        while (began := time.perf_counter()) < ends_at:
            predictor.predict([posters[place % len(posters)]])
            latencies_ms.append((time.perf_counter() - began) * 1000)
            place += concurrency

    process = psutil.Process()
    # The first second does not count.
    for length_s in (1.0, seconds):
        latencies_ms.clear()
        began, before = time.perf_counter(), process.cpu_times()
        ends_at = began + length_s
        with ThreadPoolExecutor(concurrency) as threads:
            list(threads.map(caller, range(concurrency)))
    after = process.cpu_times()
    print(
        json.dumps(
            {
                "latencies_ms": latencies_ms,
                "wall_s": time.perf_counter() - began,
                "cpu_s": after.user + after.system - before.user - before.system,
                "memory_bytes": process.memory_full_info().pss,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
