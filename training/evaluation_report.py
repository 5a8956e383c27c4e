"""What the report of an evaluation shows, as plain values: curves, confusion, calibration, posters and heat maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import precision_recall_curve

from cluster.store import Store
from training.answers import Answers
from training.bundle import BundleCard
from training.comparison import Comparison
from training.dataset import Card
from training.evaluate import Evaluation
from training.evaluation_report_looks import Look, looks_of, thumbnail
from training.metrics import Array, calibration_bins, cross_entropies
from training.rows import Rows

_CURVE_POINTS = 160
_SHOWN_POSTERS = 6
_PAIRS = 6
# Posters that would have a pair by chance; of fewer, their number says little.
_MIN_EXPECTED = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision at recall, from the highest score down; the point at the genre's threshold is `precision`, `recall`."""

    name: str
    points: tuple[tuple[float, float], ...]
    prior: float
    average_precision: float
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """points: a bin each: the mean score, the share of posters that have the genre, how many there are."""

    name: str
    points: tuple[tuple[float, float, int], ...]
    error: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two genres, and how many times as often as by chance they come together: as predicted, and in truth."""

    genre: str
    other: str
    predicted: float
    true: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """What is predicted at the genres' thresholds.

    wrong: float [true genre, predicted genre], of the posters with the one and without the other, the share in which
    the other is predicted; on the diagonal the recall. anyhow: the same of all posters without the genre.
    too_often, too_seldom: pairs that are predicted together more, or less, than they belong together.
    """

    wrong: Array
    anyhow: Array
    too_often: tuple[Pair, ...]
    too_seldom: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class PosterScores:
    """A test poster with its scores. bits: how much better than the prior the model answered, over all its genres.

    scores: the genre, the score, whether the poster has it and whether it is predicted; the highest first.
    """

    imdb_id: str
    title: str
    genres: tuple[str, ...]
    bits: float
    scores: tuple[tuple[str, float, bool, bool], ...]
    thumbnail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All that the page tells. beside: the model and the one in production; notes: what to know before believing it."""

    bundle: BundleCard
    dataset_id: str
    made_at: datetime
    evaluation: Evaluation
    whole: Curve
    curves: tuple[Curve, ...]
    calibration: Calibration
    calibrations: tuple[Calibration, ...]
    confusion: Confusion
    best: tuple[PosterScores, ...]
    worst: tuple[PosterScores, ...]
    looks: dict[str, tuple[Look, ...]]
    beside: Comparison | None
    notes: tuple[str, ...]


def make_report(
    model: Any,
    bundle: BundleCard,
    store: Store,
    card: Card,
    answers: Answers,
    evaluation: Evaluation,
    *,
    beside: Comparison | None = None,
    notes: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Gather what the page shows; the model is asked only for the heat maps of the posters that are shown."""
    y_true, scores = answers.test.y_true, answers.test.scores
    thresholds = np.array(evaluation.thresholds)
    bits = (_prior_entropies(answers) - cross_entropies(y_true, scores)) * len(answers.genres) / np.log(2)
    order = np.argsort(-bits, kind="stable")
    titles = _titles(store, card)
    with Rows(store, card, "test") as rows:

        def poster(row: int) -> PosterScores:
            ranked = np.argsort(-scores[row], kind="stable")
            return PosterScores(
                answers.test.imdb_ids[row],
                titles.get(answers.test.imdb_ids[row], ""),
                tuple(genre for genre, has in zip(answers.genres, y_true[row], strict=True) if has),
                float(bits[row]),
                tuple(
                    (answers.genres[g], float(scores[row, g]), bool(y_true[row, g]), bool(scores[row, g] >= cut))
                    for g, cut in ((g, thresholds[g]) for g in ranked)
                ),
                thumbnail(rows.encoded(row)),
            )

        best = tuple(poster(int(row)) for row in order[:_SHOWN_POSTERS])
        worst = tuple(poster(int(row)) for row in order[::-1][:_SHOWN_POSTERS])
        say("what each genre's detector looks at")
        looks = looks_of(model, bundle, rows, answers, titles)
    whole = _curve("all genres together", y_true.ravel(), scores.ravel(), evaluation.metrics["micro_ap"])
    return EvaluationReport(
        bundle=bundle,
        dataset_id=card.dataset_id,
        made_at=datetime.now(UTC),
        evaluation=evaluation,
        whole=whole,
        curves=tuple(_genre_curves(answers, evaluation)),
        calibration=_calibration(
            "all genres together", y_true.ravel(), scores.ravel(), evaluation.metrics["calibration_error"]
        ),
        calibrations=tuple(
            _calibration(row["genre"], y_true[:, g], scores[:, g], row["calibration_error"])
            for g, row in enumerate(evaluation.genres)
        ),
        confusion=confusion(y_true, scores >= thresholds, answers.genres),
        best=best,
        worst=worst,
        looks=looks,
        beside=beside,
        notes=tuple(notes),
    )


def confusion(y_true: Array, predicted: Array, genres: Sequence[str]) -> Confusion:
    """y_true: [posters, genres] of 0 and 1; predicted: bool of the same shape."""
    true, said = y_true.astype(np.float64), predicted.astype(np.float64)
    absent = (1 - true) * said
    with np.errstate(invalid="ignore", divide="ignore"):
        wrong = (true.T @ absent) / (true.T @ (1 - true))
        anyhow = absent.sum(axis=0) / (1 - true).sum(axis=0)
        recall = (true * said).sum(axis=0) / true.sum(axis=0)
    np.fill_diagonal(wrong, recall)
    often, seldom = _pairs(true, said, genres)
    return Confusion(wrong, anyhow, often, seldom)


def _pairs(true: Array, said: Array, genres: Sequence[str]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Pairs that come together more, and less, often in what is predicted than in what is true, beyond chance.

    Chance: two genres that had nothing to do with each other would come together as often as their frequencies say,
    whatever a low threshold does to these.
    """
    found = []
    for i, j in combinations(range(len(genres)), 2):
        lifts, expected = [], []
        for answers in (said, true):
            expected.append(answers[:, i].sum() * answers[:, j].sum() / len(answers))
            lifts.append((answers[:, i] @ answers[:, j] + 0.5) / (expected[-1] + 0.5))
        if min(expected) >= _MIN_EXPECTED:
            found.append((np.log(lifts[0] / lifts[1]), Pair(genres[i], genres[j], float(lifts[0]), float(lifts[1]))))
    found.sort(key=lambda pair: -pair[0])
    often = tuple(pair for gap, pair in found[:_PAIRS] if gap > 0)
    return often, tuple(pair for gap, pair in found[::-1][:_PAIRS] if gap < 0)


def _titles(store: Store, card: Card) -> dict[str, str]:
    """imdb_id → `title (year)` of the test posters, as far as the shards know."""
    found: dict[str, str] = {}
    for key in card.shards["test"]:
        with store.open(key) as file:
            shard = pq.read_table(file, columns=["imdb_id", "title", "year"])
        for row in shard.to_pylist():
            year = f" ({row['year']})" if row["year"] else ""
            found[row["imdb_id"]] = f"{row['title']}{year}" if row["title"] else ""
    return found


def _prior_entropies(answers: Answers) -> Array:
    return cross_entropies(answers.test.y_true, answers.prior_predictions().scores)


def _genre_curves(answers: Answers, evaluation: Evaluation) -> Iterable[Curve]:
    for g, row in enumerate(evaluation.genres):
        if row["average_precision"] is not None:
            yield _curve(
                row["genre"],
                answers.test.y_true[:, g],
                answers.test.scores[:, g],
                row["average_precision"],
                row["precision"],
                row["recall"],
            )


def _curve(
    name: str,
    y_true: Array,
    scores: Array,
    average_precision: float,
    precision: float | None = None,
    recall: float | None = None,
) -> Curve:
    precisions, recalls, _ = precision_recall_curve(y_true, scores)
    # From recall 0 up; of a long curve as many points as can be seen, evenly over recall.
    # The first point of scikit-learn is no answer of the model, but where the area begins.
    recalls, precisions = recalls[::-1][1:], precisions[::-1][1:]
    wanted = np.unique(np.searchsorted(recalls, np.linspace(0, 1, _CURVE_POINTS)).clip(0, len(recalls) - 1))
    points = tuple((float(recalls[at]), float(precisions[at])) for at in wanted)
    return Curve(name, points, float(np.mean(y_true)), average_precision, precision, recall)


def _calibration(name: str, y_true: Array, scores: Array, error: float) -> Calibration:
    bins = calibration_bins(scores[:, None])[:, 0]
    counts = np.bincount(bins)
    said, true = np.bincount(bins, scores), np.bincount(bins, y_true)
    points = tuple(
        (float(said[b] / counts[b]), float(true[b] / counts[b]), int(counts[b])) for b in np.flatnonzero(counts)
    )
    return Calibration(name, points, error)
