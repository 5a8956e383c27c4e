"""The bootstrap: a fast draw is exactly the metric of the posters that were drawn, and intervals mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.bootstrap import Predictions, difference, draw, interval
from training.metrics import average_precisions, calibration_bins, calibration_errors, measure

RNG = np.random.default_rng(3)
Y = (RNG.random((120, 5)) < [0.5, 0.3, 0.2, 0.1, 0.02]).astype(np.float32)
# Two decimals, so that scores tie.
SCORES = np.round(np.clip(Y * 0.3 + RNG.random(Y.shape) * 0.7, 0, 1), 2).astype(np.float32)
MODEL = Predictions(SCORES, np.array([0.4, 0.5, 0.5, 0.6, 0.5]), 0.45)
PRIOR = Predictions(np.broadcast_to(Y.mean(axis=0), Y.shape), np.full(5, 0.2), 0.25)


@pytest.mark.parametrize("predictions", [MODEL, PRIOR], ids=["model", "prior"])
def test_a_draw_is_measured_as_its_posters_are(predictions: Predictions) -> None:
    draws = draw(Y, {"one": predictions}, resamples=7, seed=5)["one"]
    rng, bins = np.random.default_rng(5), calibration_bins(predictions.scores)
    for place in range(7):
        picked = rng.integers(len(Y), size=len(Y))
        y_true, scores = Y[picked], predictions.scores[picked]
        expected = measure(y_true, scores, predictions.thresholds, predictions.global_threshold)
        expected["calibration_error"] = float(np.mean(calibration_errors(y_true, scores, bins[picked])))
        found = {name: float(values[place]) for name, values in draws.metrics.items()}
        assert found == pytest.approx(expected, abs=1e-6)
        precisions = [np.nan if one is None else one for one in average_precisions(y_true, scores)]
        np.testing.assert_allclose(draws.precisions[:, place], precisions, atol=1e-6)


def test_draws_in_several_pieces_are_the_draws_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = draw(Y, {"one": MODEL}, resamples=9)["one"]
    monkeypatch.setattr("training.bootstrap._MAX_CELLS", 2 * Y.size)
    pieces = draw(Y, {"one": MODEL}, resamples=9)["one"]
    np.testing.assert_allclose(whole.precisions, pieces.precisions)
    assert whole.metrics.keys() == pieces.metrics.keys()
    np.testing.assert_allclose(whole.metrics["micro_ap"], pieces.metrics["micro_ap"])


def test_the_interval_of_a_mean_is_the_one_that_statistics_knows() -> None:
    hits = (np.random.default_rng(0).random((2000, 1)) < 0.3).astype(np.float32)
    draws = draw(hits, {"one": Predictions(np.ones((2000, 1)), np.array([0.5]), 0.5)}, resamples=1000)["one"]
    share = float(hits.mean())
    low, high = interval(draws.metrics["binary_accuracy"], share)
    spread = 1.96 * np.sqrt(share * (1 - share) / 2000)
    assert (low, high) == pytest.approx((share - spread, share + spread), abs=0.003)


def test_a_model_is_surely_better_than_a_worse_one_and_as_good_as_itself() -> None:
    worse = Predictions(np.random.default_rng(1).random(Y.shape), MODEL.thresholds, MODEL.global_threshold)
    draws: dict[str, Any] = draw(Y, {"model": MODEL, "same": MODEL, "worse": worse}, resamples=200)

    def gap(name: str, other: str) -> Any:
        mine, others = (
            measure(Y, one.scores, one.thresholds, one.global_threshold)
            for one in (MODEL, worse if other == "worse" else MODEL)
        )
        return difference(name, draws["model"].metrics[name], draws[other].metrics[name], mine[name] - others[name])

    assert gap("macro_map", "worse").probability_better > 0.99
    assert gap("macro_map", "worse").is_sure
    # Of these, less is better.
    assert gap("cross_entropy", "worse").high < 0
    assert gap("cross_entropy", "worse").probability_better > 0.99
    same = gap("macro_map", "same")
    assert (same.low, same.high, same.probability_better) == (0, 0, 0.5)
    assert not same.is_sure


def test_a_genre_that_no_poster_has_has_no_interval() -> None:
    y_true = Y.copy()
    y_true[:, 4] = 0
    precisions = draw(y_true, {"one": MODEL}, resamples=5)["one"].precisions
    assert np.isnan(precisions[4]).all()
    assert np.isnan(interval(precisions[4], 0.0)).all()


def test_the_interval_lies_around_what_was_measured_also_where_draws_are_biased() -> None:
    """A draw has posters twice, so its calibration error is larger; a percentile interval would leave out the value."""
    scores = np.random.default_rng(0).random((300, 4))
    y_true = (np.random.default_rng(1).random((300, 4)) < scores).astype(np.float32)
    model = Predictions(scores, np.full(4, 0.5), 0.5)
    drawn = draw(y_true, {"model": model}, resamples=300)["model"].metrics["calibration_error"]
    measured = measure(y_true, scores, model.thresholds, 0.5)["calibration_error"]
    assert np.quantile(drawn, 0.025) > measured
    low, high = interval(drawn, measured)
    assert low < measured < high
