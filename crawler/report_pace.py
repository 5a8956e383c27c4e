"""Pure: a crawl over time, in constant memory: how many titles ended when, and how fast while it was at work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Widths of the bins that are kept, in seconds, each a multiple of the one before: with too many of them, the next.
_WIDTHS_S = (1, 2, 10, 30, 60, 120, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 10 * 86_400, 100 * 86_400)
_MOST_BINS = 8_000
# Widths of the bins that are shown.
_SHOWN_S = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    180,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10_800,
    14_400,
    21_600,
    43_200,
)
_MOST_SHOWN = 96
# A crawl that records nothing for this long was stopped, and resumed.
PAUSE_S = 600

_COUNTS = ("stored", "lasting", "passing", "bytes", "requests", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A stretch of time. run: from 0, which start of the crawl it belongs to; seconds: how long it was at work in it.

    stored, lasting, passing: titles by what became of them. requests and failed: those sent for them.
    """

    run: int
    start: datetime
    seconds: int
    stored: int
    lasting: int
    passing: int
    bytes: int
    requests: int
    failed: int


@dataclass(frozen=True, slots=True)
class Pace:
    """The bins in their order, none for pauses. active_s: the time at work, pauses left out."""

    bins: tuple[Bin, ...]
    bin_s: int
    active_s: int

    @property
    def runs(self) -> int:
        """How often the crawl went to work."""
        return self.bins[-1].run + 1 if self.bins else 0


class Clock:
    """Counts what happened in which second, or in coarser bins once the crawl is long."""

    def __init__(self) -> None:
        self._level = 0
        self._bins: dict[int, NDArray[np.int64]] = {}

    def add(self, seconds: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """seconds: since 1970, one a row; counts: rows x (stored, lasting, passing, bytes, requests, failed)."""
        bins, places = np.unique(seconds // _WIDTHS_S[self._level], return_inverse=True)
        sums = np.zeros((len(bins), len(_COUNTS)), np.int64)
        np.add.at(sums, places, counts)
        for number, row in zip(bins.tolist(), sums, strict=True):
            self._bins[number] = self._bins[number] + row if number in self._bins else row
        while len(self._bins) > _MOST_BINS and self._level + 1 < len(_WIDTHS_S):
            self._coarsen()

    def pace(self) -> Pace:
        """What was counted, in bins to show."""
        width_s, numbers = _WIDTHS_S[self._level], sorted(self._bins)
        if not numbers:
            return Pace((), 1, 0)
        cuts = [0]
        cuts += [place for place, (a, b) in enumerate(pairwise(numbers), 1) if (b - a - 1) * width_s >= PAUSE_S]
        runs = [numbers[start:end] for start, end in pairwise([*cuts, len(numbers)])]
        active_s = sum((run[-1] + 1 - run[0]) * width_s for run in runs)
        bin_s = _shown_width(active_s, width_s)
        bins = [found for place, run in enumerate(runs) for found in self._shown(place, run, bin_s)]
        return Pace(tuple(bins), bin_s, active_s)

    def _shown(self, run: int, numbers: list[int], bin_s: int) -> list[Bin]:
        width_s = _WIDTHS_S[self._level]
        first, step = numbers[0], bin_s // width_s
        sums = np.zeros(((numbers[-1] - first) // step + 1, len(_COUNTS)), np.int64)
        for number in numbers:
            sums[(number - first) // step] += self._bins[number]
        end = numbers[-1] + 1
        return [
            Bin(
                run=run,
                start=datetime.fromtimestamp((first + place * step) * width_s, UTC),
                seconds=min(step, end - first - place * step) * width_s,
                **dict(zip(_COUNTS, row, strict=True)),
            )
            for place, row in enumerate(sums.tolist())
        ]

    def _coarsen(self) -> None:
        ratio = _WIDTHS_S[self._level + 1] // _WIDTHS_S[self._level]
        self._level += 1
        coarse: dict[int, NDArray[np.int64]] = {}
        for number, row in self._bins.items():
            coarse[number // ratio] = coarse[number // ratio] + row if number // ratio in coarse else row
        self._bins = coarse


def _shown_width(active_s: int, width_s: int) -> int:
    """The narrowest bins to show: few enough, and a multiple of those that were kept."""
    for shown_s in _SHOWN_S:
        if shown_s % width_s == 0 and active_s <= shown_s * _MOST_SHOWN:
            return shown_s
    unit_s = max(86_400, width_s)
    return unit_s * -(-active_s // (unit_s * _MOST_SHOWN))
