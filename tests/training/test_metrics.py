from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, f1_score, log_loss

from training.metrics import (
    LOWER_IS_BETTER,
    average_precisions,
    calibration_bins,
    calibration_errors,
    cross_entropy,
    macro_map,
    measure,
    top_k_hit,
    tune_global_threshold,
    tune_thresholds,
)

RNG = np.random.default_rng(0)
Y = (RNG.random((200, 6)) < 0.3).astype(np.float32)
SCORES = np.clip(Y * 0.3 + RNG.random((200, 6)) * 0.7, 0, 1)


def test_macro_map_is_the_mean_of_scikit_learns_average_precision():
    assert macro_map(Y, SCORES) == pytest.approx(average_precision_score(Y, SCORES, average="macro"))


def test_a_genre_without_a_poster_does_not_count_in_macro_map():
    without = Y.copy()
    without[:, 2] = 0
    assert macro_map(without, SCORES) == pytest.approx(macro_map(np.delete(Y, 2, 1), np.delete(SCORES, 2, 1)))
    assert average_precisions(without, SCORES)[2] is None


def test_cross_entropy_agrees_with_scikit_learn_and_survives_certain_scores():
    assert cross_entropy(Y, SCORES) == pytest.approx(log_loss(Y.ravel(), SCORES.ravel()), rel=1e-5)
    assert np.isfinite(cross_entropy(Y, 1 - Y))


def test_top_k_hit_counts_a_poster_once():
    y = np.array([[1, 0, 0, 0], [0, 0, 0, 1]])
    scores = np.array([[0.1, 0.9, 0.8, 0.7], [0.1, 0.2, 0.3, 0.4]])
    assert top_k_hit(y, scores, k=3) == 0.5
    assert top_k_hit(y, scores, k=4) == 1


def test_tuned_thresholds_are_the_best_of_all_for_each_genre():
    tuned = tune_thresholds(Y, SCORES)
    for genre in range(Y.shape[1]):
        best = max(f1_score(Y[:, genre], SCORES[:, genre] >= cut) for cut in np.unique(SCORES[:, genre]))
        assert f1_score(Y[:, genre], SCORES[:, genre] >= tuned[genre]) == pytest.approx(best)


def test_a_genre_without_a_validation_poster_keeps_one_half():
    assert tune_thresholds(np.zeros((5, 2)), np.full((5, 2), 0.2)).tolist() == [0.5, 0.5]


def test_the_global_threshold_is_the_best_of_all_for_micro_f1():
    cut = tune_global_threshold(Y, SCORES)
    best = max(f1_score(Y.ravel(), SCORES.ravel() >= one) for one in np.unique(SCORES))
    assert f1_score(Y.ravel(), SCORES.ravel() >= cut) == pytest.approx(best)


def test_a_perfect_model_measures_one_everywhere():
    y = Y[Y.any(axis=1)]
    found = measure(y, y, np.full(6, 0.5), 0.5)
    for name in LOWER_IS_BETTER:
        assert found.pop(name) == pytest.approx(0, abs=1e-6)
    assert set(found.values()) == {1.0}


def test_hits_match_and_sample_f1_are_counted_by_poster():
    y = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]], np.float32)
    scores = np.array([[0.9, 0.1, 0.1, 0.1, 0.1, 0.1], [0.9, 0.8, 0.7, 0.6, 0.5, 0.1]])
    found = measure(y, scores, np.full(6, 0.5), 0.65)
    assert (found["top1_hit"], found["top3_hit"], found["top5_hit"], found["exact_match"]) == (0.5, 1, 1, 0.5)
    # The second poster: two of two found, one too many.
    assert found["sample_f1"] == pytest.approx((1 + 0.8) / 2)


def test_calibration_error_is_the_mean_gap_of_scikit_learns_calibration_curve():
    errors = calibration_errors(Y, SCORES)
    for genre in range(Y.shape[1]):
        share, said = calibration_curve(Y[:, genre], SCORES[:, genre], n_bins=10, strategy="quantile")
        # Scores do not tie, so each of the ten bins has 20 posters.
        assert errors[genre] == pytest.approx(np.abs(share - said).mean())


def test_the_calibration_error_of_one_score_for_all_is_its_distance_from_the_frequency():
    scores = np.full(Y.shape, 0.5)
    np.testing.assert_allclose(calibration_errors(Y, scores), np.abs(Y.mean(axis=0) - 0.5))


def test_scores_are_calibrated_in_bins_of_equally_many_posters_and_ties_stay_together():
    assert [np.bincount(column).tolist() for column in calibration_bins(SCORES).T] == [[20] * 10] * 6
    tied = np.repeat([0.1, 0.9], 50)[:, None]
    assert [len(np.unique(calibration_bins(tied)[rows])) for rows in (slice(50), slice(50, 100))] == [1, 1]
