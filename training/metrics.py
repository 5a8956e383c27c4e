"""Pure: what scores are worth.

y_true: float32 [posters, genres] of 0 and 1; scores: floats of the same shape from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_curve

Array = np.ndarray[Any, Any]

# Of all others, more is better.
LOWER_IS_BETTER = frozenset({"cross_entropy", "calibration_error"})
# What `measure` tells, in its order.
METRICS = (
    "macro_map",
    "micro_ap",
    "micro_f1",
    "macro_f1",
    "sample_f1",
    "top1_hit",
    "top3_hit",
    "top5_hit",
    "exact_match",
    "binary_accuracy",
    "cross_entropy",
    "calibration_error",
)
_CALIBRATION_BINS = 10


def measure(y_true: Array, scores: Array, thresholds: Array, global_threshold: float) -> dict[str, float]:
    """Every metric by name.

    macro_map, micro_ap, the hits, cross_entropy and calibration_error need no threshold. macro_f1 is at the genres' own
    `thresholds`; micro_f1, sample_f1 and exact_match, which weigh a poster's genres against each other, at the one
    `global_threshold`. Both are tuned on other posters. binary_accuracy is at one half. sample_f1 is the mean over
    posters of the F1 of a poster's genres; exact_match the share of posters with all genres right and none too many.
    """
    predicted = scores >= global_threshold
    return {
        "macro_map": macro_map(y_true, scores),
        "micro_ap": float(average_precision_score(y_true.ravel(), scores.ravel())),
        "micro_f1": float(f1_score(y_true, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(y_true, scores >= thresholds, average="macro", zero_division=0)),
        "sample_f1": float(f1_score(y_true, predicted, average="samples", zero_division=0)),
        "top1_hit": top_k_hit(y_true, scores, k=1),
        "top3_hit": top_k_hit(y_true, scores, k=3),
        "top5_hit": top_k_hit(y_true, scores, k=5),
        "exact_match": float(accuracy_score(y_true, predicted)),
        "binary_accuracy": float(np.mean(np.equal(scores >= 0.5, y_true > 0))),
        "cross_entropy": cross_entropy(y_true, scores),
        "calibration_error": float(np.mean(calibration_errors(y_true, scores))),
    }


def macro_map(y_true: Array, scores: Array) -> float:
    """Mean over genres of the average precision; a genre without a poster here has none and does not count."""
    found = [precision for precision in average_precisions(y_true, scores) if precision is not None]
    return float(np.mean(found)) if found else 0.0


def average_precisions(y_true: Array, scores: Array) -> list[float | None]:
    """A genre's average precision each; None for a genre without a poster here."""
    return [
        float(average_precision_score(y_true[:, g], scores[:, g])) if y_true[:, g].any() else None
        for g in range(y_true.shape[1])
    ]


def top_k_hit(y_true: Array, scores: Array, *, k: int) -> float:
    """The share of posters of which one of the k highest scores is a true genre."""
    return float(np.mean(top_k_hits(y_true, scores, k=k)))


def top_k_hits(y_true: Array, scores: Array, *, k: int) -> Array:
    """bool [posters]: whether one of a poster's k highest scores is a true genre of it."""
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(y_true, highest, axis=1).any(axis=1))


def cross_entropy(y_true: Array, scores: Array) -> float:
    """Mean binary cross-entropy in nats, over posters and genres."""
    return float(np.mean(cross_entropies(y_true, scores)))


def cross_entropies(y_true: Array, scores: Array) -> Array:
    """float64 [posters]: the binary cross-entropy of each poster in nats, its mean over genres."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    each: Array = -np.mean(y_true * np.log(clipped) + (1 - y_true) * np.log1p(-clipped), axis=1)
    return each


def calibration_errors(y_true: Array, scores: Array, bins: Array | None = None) -> Array:
    """float64 [genres]: how far a genre's scores are from the share of posters that have it.

    The expected calibration error (Naeini et al. 2015) of each genre by itself, as in the classwise one of Kull et al.
    2019, over bins of equally many posters (Nguyen and O'Connor 2015), since most scores are near 0. bins: of
    `calibration_bins`, where they are not to be those of these posters.
    """
    bins = calibration_bins(scores) if bins is None else bins
    gaps = scores.astype(np.float64) - y_true
    return np.array(
        [np.abs(np.bincount(bins[:, g], gaps[:, g])).sum() / len(scores) for g in range(scores.shape[1])],
    )


def calibration_bins(scores: Array, count: int = _CALIBRATION_BINS) -> Array:
    """int64 [posters, genres]: the bin of each score, of `count` bins with equally many posters of a genre's.

    Equal scores are in one bin.
    """
    inner = np.linspace(0, 1, count + 1)[1:-1]
    placed = [np.searchsorted(np.unique(np.quantile(column, inner)), column, side="right") for column in scores.T]
    return np.stack(placed, axis=1)


def tune_thresholds(y_true: Array, scores: Array) -> Array:
    """float64 [genres]: for each genre the threshold with the best F1 on these posters; 0.5 where none has it."""
    return np.array([_best_f1(y_true[:, genre], scores[:, genre]) for genre in range(y_true.shape[1])])


def tune_global_threshold(y_true: Array, scores: Array) -> float:
    """The one threshold for all genres with the best micro F1 on these posters."""
    return _best_f1(y_true.ravel(), scores.ravel())


def _best_f1(y_true: Array, scores: Array) -> float:
    if not y_true.any():
        return 0.5
    precision, recall, cuts = precision_recall_curve(y_true, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # The last point has no threshold: it predicts nothing.
    return float(cuts[np.argmax(f1[:-1])])
