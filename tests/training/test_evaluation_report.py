"""The report's figures: curves, confusion and pairs say what the answers say, and words from outside stay words."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from tests.training.test_evaluate import answers_of
from training.comparison import compare
from training.comparison_page import render_comparison
from training.evaluation_report import Curve, PosterScores, confusion
from training.evaluation_report_charts import precision_recall
from training.evaluation_report_looks import thumbnail
from training.evaluation_report_posters import posters_part

GENRES = ("Comedy", "Drama", "Horror")


def test_confusion_counts_what_is_predicted_where_it_is_absent() -> None:
    y_true = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32)
    predicted = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], bool)
    found = confusion(y_true, predicted, GENRES)
    # Of the one comedy that is no drama, drama is predicted; of the two horrors, for one.
    assert found.wrong[0, 1] == 1
    assert found.wrong[2, 1] == 0.5
    # Of three posters that are no drama, for two.
    assert found.anyhow[1] == pytest.approx(2 / 3)
    # The diagonal is the recall.
    assert np.diag(found.wrong).tolist() == [1, 0, 0.5]
    # Every drama is a comedy: none is left to be wrong about.
    assert np.isnan(found.wrong[1, 0])


def test_pairs_that_are_predicted_together_beyond_truth_are_found() -> None:
    rng = np.random.default_rng(0)
    y_true = (rng.random((400, 3)) < 0.4).astype(np.float32)
    predicted = y_true > 0
    predicted[:, 1] = predicted[:, 0]
    found = confusion(y_true, predicted, GENRES)
    assert (found.too_often[0].genre, found.too_often[0].other) == ("Comedy", "Drama")
    assert found.too_often[0].predicted == pytest.approx(1 / predicted[:, 0].mean(), rel=0.02)
    assert found.too_often[0].true == pytest.approx(1, abs=0.2)


def test_thumbnails_are_of_one_size_and_in_rgb() -> None:
    poster = io.BytesIO()
    Image.new("CMYK", (300, 300)).save(poster, "JPEG")
    with Image.open(io.BytesIO(thumbnail(poster.getvalue()))) as small:
        assert (small.mode, small.size) == ("RGB", (168, 252))


def test_a_curve_says_its_figures_to_who_cannot_see_it() -> None:
    curve = Curve("Horror", ((0.0, 1.0), (0.5, 0.6), (1.0, 0.2)), 0.2, 0.55, 0.6, 0.5)
    drawn = precision_recall(curve)
    assert 'role="img" aria-label="Horror: average precision 0.550, prior 0.200; at its threshold' in drawn
    assert drawn.count("<circle") == 1


def test_words_from_outside_stay_words() -> None:
    trap = "<img src=x onerror=alert(1)>"
    poster = PosterScores(trap, trap, (trap,), -1.0, ((trap, 0.5, True, True),), b"")
    answers = answers_of(0.4, genres=("Comedy", trap, "Horror"))
    found = compare({trap: answers, "other": answers_of(0.2, genres=("Comedy", trap, "Horror"))}, resamples=10)
    page = render_comparison(found, datetime.now(UTC))
    for text in (posters_part([poster]), page):
        assert "onerror" in text
        assert "<img src=x" not in text
