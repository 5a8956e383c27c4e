"""Pure: what scores are worth.

y_true: float32 [posters, genres] of 0 and 1; scores: floats of the same shape from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

Array = np.ndarray[Any, Any]


def measure(y_true: Array, scores: Array, thresholds: Array) -> dict[str, float]:
    """Every metric by name: macro_map, micro_ap, micro_f1, macro_f1, top3_hit, binary_accuracy, cross_entropy."""
    predicted = scores >= thresholds
    return {
        "macro_map": macro_map(y_true, scores),
        "micro_ap": float(average_precision_score(y_true.ravel(), scores.ravel())),
        "micro_f1": float(f1_score(y_true, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(y_true, predicted, average="macro", zero_division=0)),
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
    thresholds = np.full(y_true.shape[1], 0.5)
    for genre in np.flatnonzero(y_true.any(axis=0)):
        precision, recall, cuts = precision_recall_curve(y_true[:, genre], scores[:, genre])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        thresholds[genre] = cuts[np.argmax(f1[:-1])]
    return thresholds
