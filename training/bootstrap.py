"""Pure: how sure a metric is, by drawing the test posters again and again with replacement (Efron 1979).

Every model is measured on the same draws, so the difference of two models is paired: what is hard about a draw is
hard for both. A thousand draws are matrix products over how often each poster was drawn, not a thousand evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from training.metrics import (
    LOWER_IS_BETTER,
    Array,
    calibration_bins,
    cross_entropies,
    top_k_hits,
)

RESAMPLES = 1000
_COVERAGE = 0.95
# With so many posters an interval is narrow, and fewer draws tell its ends as well.
_MAX_DRAWN = 100_000_000
_MIN_RESAMPLES = 100
_MAX_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says of the test posters: scores [posters, genres], and the thresholds tuned on other posters."""

    scores: Array
    thresholds: Array
    global_threshold: float


@dataclass(frozen=True, slots=True)
class Draws:
    """A model's metrics on each draw.

    metrics: the names of `metrics.measure` → float64 [draws]. precisions: float64 [genres, draws], the average
    precision; nan where no drawn poster has the genre.
    """

    metrics: dict[str, Array]
    precisions: Array


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more than another a model has of a metric, on the same draws.

    low, high: of the 95% interval. probability_better: the share of draws in which it is the better one, a tie half.
    """

    difference: float
    low: float
    high: float
    probability_better: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no difference out."""
        return self.low > 0 or self.high < 0


def interval(values: Array, measured: float) -> tuple[float, float]:
    """The 95% percentile interval of a metric over the draws; nan where no draw has it.

    measured: on the posters themselves. A draw has some posters twice, which lifts average precision and calibration
    error a little; so the draws are moved to have what was measured as their mean.
    """
    known = _moved(values, measured)
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2])
    return max(float(low), 0.0), min(float(high), max(1.0, measured))


def difference(name: str, of: Array, than: Array, measured: float) -> Difference:
    """The paired difference of a metric on the same draws. measured: the difference on the posters themselves."""
    known = _moved(of - than, measured)
    if not len(known):
        return Difference(measured, float("nan"), float("nan"), 0.5)
    low, high = np.quantile(known, [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2])
    better = known < 0 if name in LOWER_IS_BETTER else known > 0
    return Difference(measured, float(low), float(high), float(np.mean(better) + np.mean(known == 0) / 2))


def _moved(values: Array, measured: float) -> Array:
    known = values[~np.isnan(values)]
    return known + (measured - known.mean()) if len(known) else known


def draw(
    y_true: Array, models: Mapping[str, Predictions], *, resamples: int | None = None, seed: int = 0
) -> dict[str, Draws]:
    """Measure every model on the same draws of the posters.

    y_true: [posters, genres] of 0 and 1. resamples: by default a thousand, and down to a hundred beyond 100,000
    posters. Memory stays at some copies of the scores, however many draws.
    """
    posters, genres = y_true.shape
    resamples = resamples or max(_MIN_RESAMPLES, min(RESAMPLES, _MAX_DRAWN // posters))
    statistics = {name: _Statistics(y_true, one) for name, one in models.items()}
    pieces: dict[str, list[tuple[dict[str, Array], Array]]] = {name: [] for name in models}
    rng = np.random.default_rng(seed)
    at_once = max(1, _MAX_CELLS // (posters * genres))
    for start in range(0, resamples, at_once):
        drawn = min(at_once, resamples - start)
        picked = [np.bincount(rng.integers(posters, size=posters), minlength=posters) for _ in range(drawn)]
        counts = np.stack(picked, axis=1).astype(np.float32)
        for name, one in statistics.items():
            pieces[name].append(one.on(counts))
    return {
        name: Draws(
            {metric: np.concatenate([piece[0][metric] for piece in found]) for metric in found[0][0]},
            np.concatenate([piece[1] for piece in found], axis=1),
        )
        for name, found in pieces.items()
    }


class _Statistics:
    """What a model's metrics are made of, so that a draw is a sum over posters by how often each was drawn."""

    def __init__(self, y_true: Array, predictions: Predictions) -> None:
        scores = predictions.scores
        y = y_true.astype(np.float32)
        self._posters, self._genres = y.shape
        self._ranked = [
            _Ranking(y[:, g], scores[:, g], np.arange(self._posters), self._posters) for g in range(self._genres)
        ]
        self._ranked_all = _Ranking(
            y.ravel(), scores.ravel(), np.repeat(np.arange(self._posters), self._genres), self._posters
        )
        everywhere = (scores >= predictions.global_threshold).astype(np.float32)
        hits, said, there = (everywhere * y).sum(1), everywhere.sum(1), y.sum(1)
        self._means = {
            "sample_f1": 2 * hits / np.maximum(said + there, 1),
            "top1_hit": top_k_hits(y, scores, k=1),
            "top3_hit": top_k_hits(y, scores, k=3),
            "top5_hit": top_k_hits(y, scores, k=5),
            "exact_match": (everywhere == y).all(axis=1),
            "binary_accuracy": ((scores >= 0.5) == (y > 0)).mean(axis=1),
            "cross_entropy": cross_entropies(y, scores),
        }
        self._micro = np.stack([hits, said + there])
        predicted = (scores >= predictions.thresholds).astype(np.float32)
        self._hits, self._either = (predicted * y).T, (predicted + y).T
        self._gaps = _binned_gaps(y, scores)

    def on(self, counts: Array) -> tuple[dict[str, Array], Array]:
        """counts: float32 [posters, draws], how often each was drawn. Returns what `Draws` holds."""
        precisions = np.stack([one.average_precision(counts) for one in self._ranked])
        hits, either = self._micro @ counts
        gaps = np.abs(self._gaps @ counts).reshape(self._genres, -1, counts.shape[1])
        found = {name: (each.astype(np.float64) @ counts) / self._posters for name, each in self._means.items()}
        # A draw may have no poster of a rare genre, which then does not count, as in `metrics.macro_map`.
        some = np.maximum((~np.isnan(precisions)).sum(axis=0), 1)
        found["macro_map"] = np.nansum(precisions, axis=0) / some
        found["micro_ap"] = self._ranked_all.average_precision(counts)
        found["micro_f1"] = 2 * hits / np.maximum(either, 1)
        found["macro_f1"] = (2 * (self._hits @ counts) / np.maximum(self._either @ counts, 1)).mean(axis=0)
        found["calibration_error"] = gaps.sum(axis=1).mean(axis=0) / self._posters
        return found, precisions


class _Ranking:
    """Answers in the order of their scores, for the average precision as scikit-learn defines it: at distinct scores.

    Only scores that a true answer has add to it, so the sums run from one of these to the next, as rows of a sparse
    matrix: [steps, posters], how many answers of each poster a step adds.
    """

    def __init__(self, y_true: Array, scores: Array, posters: Array, total: int) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked, owners, true = scores[order], posters[order], y_true[order] > 0
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        with_true, true_steps = np.unique(np.searchsorted(ends, np.flatnonzero(true)), return_inverse=True)
        last = ends[with_true]
        counted = int(last[-1]) + 1 if len(last) else 0
        steps = np.searchsorted(last, np.arange(counted))
        self._added = _ones(steps, owners[:counted], (len(last), total))
        self._true = _ones(true_steps, owners[true], (len(last), total))

    def average_precision(self, counts: Array) -> Array:
        """float64 [draws]; nan where nothing that was drawn is true."""
        if not self._true.shape[0]:
            return np.full(counts.shape[1], np.nan)
        above = np.cumsum(self._added @ counts, axis=0, dtype=np.float64)
        gained = self._true @ counts
        true = np.cumsum(gained, axis=0, dtype=np.float64)
        area = (gained * true / np.maximum(above, 1)).sum(axis=0)
        with np.errstate(invalid="ignore"):
            precision: Array = area / true[-1]
        return precision


def _ones(rows: Array, columns: Array, shape: tuple[int, int]) -> Any:
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def _binned_gaps(y: Array, scores: Array) -> Any:
    """A sparse [genres * bins, posters] matrix of score minus truth, each in its bin of `metrics.calibration_bins`."""
    bins = calibration_bins(scores)
    posters, genres = y.shape
    most = int(bins.max()) + 1
    rows = (bins + np.arange(genres) * most).ravel()
    columns = np.repeat(np.arange(posters), genres)
    return sparse.csr_array(((scores - y).astype(np.float32).ravel(), (rows, columns)), shape=(genres * most, posters))
