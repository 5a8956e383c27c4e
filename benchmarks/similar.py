"""What similar posters cost: the index of a dataset of so many, its files, and a search, beside a graph's.

    python -m benchmarks.similar [--posters 10000,100000,1000000]

Vectors are made up: clusters of 1,280 features, as a backbone pools them. Exact is what a bundle's index does; graph is
usearch's HNSW over the same codes, with its own defaults, for up to 100,000 posters (it is built for minutes beyond).
Found is the share of the ten nearest by the float32 features, all 1,280 of them, that a search gives.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from training.similar import SCHEMA, PosterIndex, encode, fit_projection

FEATURES = 1280
ASKED = 100
CHUNK = 20_000
LARGEST_GRAPH = 100_000


class Posters:
    """Features of made-up posters, made anew in chunks: a million of them would fill the memory."""

    def __init__(self, count: int) -> None:
        self.count = count
        # As many directions as real features have that matter.
        self._basis = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
        self._centres = np.random.default_rng(1).normal(size=(500, 200)).astype(np.float32)

    def chunk(self, start: int) -> Any:
        """float32 [CHUNK or fewer, FEATURES]."""
        rng = np.random.default_rng([2, start])
        size = min(CHUNK, self.count - start)
        seen = self._centres[rng.integers(0, 500, size)] + rng.normal(0, 0.7, (size, 200)).astype(np.float32)
        return np.maximum(seen @ self._basis / 10 + 0.5, 0)

    def starts(self) -> range:
        return range(0, self.count, CHUNK)


def index_of(posters: Posters) -> PosterIndex:
    projection = fit_projection(posters.chunk(0)[:8192])
    codes = np.concatenate([encode(posters.chunk(start), projection) for start in posters.starts()])
    numbers = range(posters.count)
    titles = pa.table(
        {
            "imdb_id": [f"tt{number:07}" for number in numbers],
            "title": [f"The film of the number {number}" for number in numbers],
            "year": pa.array([1900 + number % 120 for number in numbers], pa.int16()),
            "genres": [["Drama", "Comedy"][: 1 + number % 2] for number in numbers],
        }
    )
    return PosterIndex(titles.cast(SCHEMA), codes, projection)


def nearest_by_features(posters: Posters, asked: Any) -> list[set[int]]:
    """The ten nearest of each, by the cosine of what the whole features are beside their mean."""
    mean = posters.chunk(0)[:8192].mean(axis=0)

    def directions(features: Any) -> Any:
        centred = features - mean
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)

    likeness = np.concatenate(
        [directions(asked) @ directions(posters.chunk(start)).T for start in posters.starts()], axis=1
    )
    return [set(row.tolist()) for row in np.argpartition(-likeness, 10, axis=1)[:, :10]]


def timed(search: Callable[[Any], Any], asked: Any) -> tuple[list[Any], float]:
    """What a search gives for each poster asked, and the median milliseconds of one."""
    found, took = [], []
    for one in asked:
        began = time.perf_counter()
        found.append(search(one[None]))
        took.append((time.perf_counter() - began) * 1000)
    return found, statistics.median(took)


def shared(found: list[set[int]], nearest: list[set[int]]) -> str:
    return f"{np.mean([len(one & other) / 10 for one, other in zip(found, nearest, strict=True)]):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posters", default="10000,100000,1000000")
    given = parser.parse_args()
    table = Table("posters", "index", "made in s", "files MB", "search ms", "found")
    for count in (int(word) for word in given.posters.split(",")):
        posters = Posters(count)
        index = index_of(posters)
        asked = posters.chunk(0)[:ASKED] + np.random.default_rng(3).normal(0, 0.05, (ASKED, FEATURES)).astype(
            np.float32
        )
        nearest = nearest_by_features(posters, asked)
        with tempfile.TemporaryDirectory(prefix="onesheet-similar-") as folder:
            index.write(Path(folder))
            read = PosterIndex.read(Path(folder))
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            answers, ms = timed(partial(read.nearest, top=10), asked)
        told = [{int(poster.imdb_id[2:]) for poster in answer[0]} for answer in answers]
        table.add_row(f"{count:,}", "exact", "0", f"{size / 1e6:.1f}", f"{ms:.2f}", shared(told, nearest))
        if count <= LARGEST_GRAPH:
            table.add_row(f"{count:,}", *graph(index, asked, nearest))
    console = Console()
    console.print(f"$ python -m benchmarks.similar {shlex.join(sys.argv[1:])}", highlight=False)
    console.print(table)


def graph(index: PosterIndex, asked: Any, nearest: list[set[int]]) -> tuple[str, ...]:
    """The same by usearch's graph."""
    from usearch.index import Index  # noqa: PLC0415

    made = Index(ndim=index.codes.shape[1], metric="cos", dtype="i8")
    began = time.monotonic()
    made.add(np.arange(len(index)), np.asarray(index.codes))
    seconds = time.monotonic() - began
    answers, ms = timed(lambda one: made.search(encode(one, index.projection)[0], 10), asked)
    told = [{int(key) for key in answer.keys} for answer in answers]
    return "graph", f"{seconds:.1f}", f"{made.serialized_length / 1e6:.1f}", f"{ms:.2f}", shared(told, nearest)


if __name__ == "__main__":
    main()
