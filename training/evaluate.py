"""What a model is worth on a dataset's test split, beside the prior baseline, at thresholds tuned on validation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.store import Store
from training.answers import Answers, ask, save_answers
from training.bootstrap import Difference, Draws, Predictions, difference, draw, interval
from training.bundle import GenreWorth
from training.dataset import Card
from training.metrics import Array, average_precisions, calibration_errors, measure

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model is worth; plain values, so that `asdict` of it is JSON.

    metrics, prior_metrics: `training.metrics.measure` on the test split. intervals, prior_intervals: the 95% bootstrap
    interval of each. gains: of each, `training.bootstrap.Difference` of the model to the prior, on the same draws.
    thresholds: a genre's own; global_threshold: the one for all, of micro F1. genres: a row a genre, for the table.
    """

    thresholds: tuple[float, ...]
    global_threshold: float
    metrics: dict[str, float]
    prior_metrics: dict[str, float]
    intervals: dict[str, Interval]
    prior_intervals: dict[str, Interval]
    gains: dict[str, dict[str, float]]
    genres: list[dict[str, Any]]
    posters: dict[str, int]
    resamples: int

    def card_fields(self) -> dict[str, Any]:
        """What of this a `BundleCard` holds, by the names of its fields."""
        return {
            "thresholds": self.thresholds,
            "metrics": self.metrics,
            "prior_metrics": self.prior_metrics,
            "intervals": self.intervals,
            "prior_intervals": self.prior_intervals,
            "genre_metrics": tuple(
                GenreWorth(**{name: row[name] for name in GenreWorth.model_fields}) for row in self.genres
            ),
        }


def evaluate(
    model: Any,
    store: Store,
    card: Card,
    say: Callable[[str], None] = lambda line: None,
    *,
    version: str | None = None,
) -> Evaluation:
    """Score the validation and the test split with a keras.Model, as it will be served.

    The prior baseline scores every poster with the genre frequencies of the train split. version: under which the
    scores are kept in the store, so that it can be compared later without its model.
    """
    answers = ask(model, store, card, say)
    if version is not None:
        save_answers(store, version, answers)
    return judge(answers)


def judge(answers: Answers) -> Evaluation:
    """What a model is worth by its answers. The same answers are judged the same to the last digit."""
    model, prior = answers.predictions(), answers.prior_predictions()
    y_true = answers.test.y_true
    draws = draw(y_true, {"model": model, "prior": prior})
    metrics, prior_metrics = (metrics_of(y_true, one) for one in (model, prior))
    gains = differences(draws["model"], draws["prior"], metrics, prior_metrics)
    return Evaluation(
        thresholds=tuple(float(threshold) for threshold in model.thresholds),
        global_threshold=model.global_threshold,
        metrics=metrics,
        prior_metrics=prior_metrics,
        intervals=intervals(draws["model"], metrics),
        prior_intervals=intervals(draws["prior"], prior_metrics),
        gains={name: asdict(gain) for name, gain in gains.items()},
        genres=_genres(answers, model, prior, draws),
        posters={"validation": len(answers.validation.y_true), "test": len(y_true)},
        resamples=draws["model"].precisions.shape[1],
    )


def metrics_of(y_true: Array, predictions: Predictions) -> dict[str, float]:
    """`training.metrics.measure` of predictions."""
    return measure(y_true, predictions.scores, predictions.thresholds, predictions.global_threshold)


def intervals(draws: Draws, metrics: dict[str, float]) -> dict[str, Interval]:
    """The 95% interval of each metric, by name."""
    return {name: interval(draws.metrics[name], value) for name, value in metrics.items()}


def differences(
    of: Draws, than: Draws, metrics: dict[str, float], other_metrics: dict[str, float]
) -> dict[str, Difference]:
    """The paired difference of each metric, by name."""
    return {
        name: difference(name, of.metrics[name], than.metrics[name], metrics[name] - other_metrics[name])
        for name in metrics
    }


def _genres(answers: Answers, model: Predictions, prior: Predictions, draws: dict[str, Draws]) -> list[dict[str, Any]]:
    y_true = answers.test.y_true
    found, of_prior = (average_precisions(y_true, one.scores) for one in (model, prior))
    errors = calibration_errors(y_true, model.scores)
    predicted = model.scores >= model.thresholds
    hits, said, there = (predicted * y_true).sum(0), predicted.sum(0), y_true.sum(0)
    rows = []
    for g, genre in enumerate(answers.genres):
        low, high = interval(draws["model"].precisions[g], found[g] or 0)
        gain = difference(
            "average_precision",
            draws["model"].precisions[g],
            draws["prior"].precisions[g],
            (found[g] or 0) - (of_prior[g] or 0),
        )
        rows.append(
            {
                "genre": genre,
                "test_posters": int(there[g]),
                "average_precision": found[g],
                "low": _known(low),
                "high": _known(high),
                "prior_average_precision": of_prior[g],
                "gain_low": _known(gain.low),
                "gain_high": _known(gain.high),
                "threshold": float(model.thresholds[g]),
                "precision": float(hits[g] / said[g]) if said[g] else None,
                "recall": float(hits[g] / there[g]) if there[g] else None,
                "f1": float(2 * hits[g] / (said[g] + there[g])) if said[g] + there[g] else None,
                "calibration_error": float(errors[g]),
                "mean_score": float(np.mean(model.scores[:, g])),
            }
        )
    return rows


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
