"""Pure: how numbers are distributed, in constant memory: exact counts of small ones, fine steps for large ones.

The layout is HdrHistogram's (Gil Tene, 2012): each power of two is cut into equally many steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of `count` numbers: the smallest, the largest, and those that 5, 25, 50, 75 and 95% do not exceed."""

    count: int
    least: int
    p5: int
    p25: int
    p50: int
    p75: int
    p95: int
    most: int


class Histogram:
    """Counts of integers from 0 to 2^53; negative ones count as 0.

    bits: numbers below 2^(bits+1) are exact, larger ones to one part in 2^bits.
    """

    def __init__(self, bits: int = 10) -> None:
        self._bits = bits
        self._counts: NDArray[np.int64] = np.zeros(2, np.int64)
        self._least, self._most = _MOST, 0

    def add(self, values: NDArray[np.int64]) -> None:
        """Count these numbers."""
        if not len(values):
            return
        values = np.clip(values, 0, _MOST)
        self._least, self._most = min(self._least, int(values.min())), max(self._most, int(values.max()))
        octaves = np.maximum(np.frexp(values.astype(np.float64))[1] - (self._bits + 1), 0).astype(np.int64)
        counted = np.bincount((octaves << self._bits) + (values >> octaves))
        if len(counted) > len(self._counts):
            self._counts = np.pad(self._counts, (0, len(counted) - len(self._counts)))
        self._counts[: len(counted)] += counted

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return int(self._counts.sum())

    def quantile(self, share: float) -> int:
        """The least number that at least this share of all numbers does not exceed; 0 where there are none."""
        total = self.count
        if not total:
            return 0
        rank = max(1, int(np.ceil(share * total)))
        step = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(max(int(self._middles()[step]), self._least), self._most)

    def quantiles(self) -> Quantiles | None:
        """The usual ones; None where nothing was counted."""
        if not self.count:
            return None
        p5, p25, p50, p75, p95 = (self.quantile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
        return Quantiles(self.count, self._least, p5, p25, p50, p75, p95, self._most)

    def most_frequent(self, number: int) -> list[tuple[int, int]]:
        """The (value, count) pairs of the highest counts, the highest first."""
        order = np.argsort(-self._counts, kind="stable")[:number]
        middles = self._middles()
        return [(int(middles[step]), int(self._counts[step])) for step in order if self._counts[step]]

    def shape(self, bars: int) -> list[tuple[int, int, int]]:
        """(from, to, count) of equally many bars on a logarithmic scale, from the 0.5% to the 99.5% quantile.

        What lies outside is counted in the first and the last bar.
        """
        if not self.count:
            return []
        low, high = max(self.quantile(0.005), 1), max(self.quantile(0.995), 2)
        edges = np.unique(np.geomspace(low, max(high, low + 1), bars + 1).round().astype(np.int64))
        places = np.clip(np.searchsorted(edges, self._middles(), side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(places, weights=self._counts, minlength=len(edges) - 1).astype(np.int64)
        return [(int(edges[bar]), int(edges[bar + 1]), int(counts[bar])) for bar in range(len(counts))]

    def _middles(self) -> NDArray[np.int64]:
        steps = np.arange(len(self._counts), dtype=np.int64)
        octaves = np.maximum((steps >> self._bits) - 1, 0)
        return ((steps - (octaves << self._bits)) << octaves) + ((1 << octaves) >> 1)
