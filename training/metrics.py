"""Pure: what scores are worth.

y_true: float32 [posters, genres] of 0 and 1; scores: floats of the same shape from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

Array = np.ndarray[Any, Any]


def measure(y_true: Array, scores: Array, thresholds: Array, global_threshold: float) -> dict[str, float]:
    """Every metric by name.

    macro_map, micro_ap and cross_entropy need no threshold; macro_f1 is at the genres' own `thresholds`, micro_f1
    at the one `global_threshold`, both tuned on other posters; binary_accuracy is at one half.
    """
    return {
        "macro_map": macro_map(y_true, scores),
        "micro_ap": float(average_precision_score(y_true.ravel(), scores.ravel())),
        "micro_f1": float(f1_score(y_true, scores >= global_threshold, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(y_true, scores >= thresholds, average="macro", zero_division=0)),
        "top3_hit": top_k_hit(y_true, scores, k=3),
        "binary_accuracy": float(np.mean((scores >= 0.5) == (y_true > 0))),
        "cross_entropy": cross_entropy(y_true, scores),
    }


def macro_map(y_true: Array, scores: Array) -> float:
    """Mean over genres of the average precision; a genre without a poster here has none and does not count."""
    counted = y_true.any(axis=0)
    if not counted.any():
        return 0.0
    return float(np.mean([average_precision_score(y_true[:, g], scores[:, g]) for g in np.flatnonzero(counted)]))


def average_precisions(y_true: Array, scores: Array) -> list[float | None]:
    """A genre's average precision each; None for a genre without a poster here."""
    return [
        float(average_precision_score(y_true[:, g], scores[:, g])) if y_true[:, g].any() else None
        for g in range(y_true.shape[1])
    ]


def top_k_hit(y_true: Array, scores: Array, *, k: int) -> float:
    """The share of posters of which one of the k highest scores is a true genre."""
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.take_along_axis(y_true, highest, axis=1).any(axis=1)))


def cross_entropy(y_true: Array, scores: Array) -> float:
    """Mean binary cross-entropy in nats, over posters and genres."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(y_true * np.log(clipped) + (1 - y_true) * np.log1p(-clipped)))


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
