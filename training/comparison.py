"""Models side by side on the same test posters: is one really better, and is the comparison fair?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.parquet as pq

from cluster.store import Store
from training.answers import Answers, EvaluationError
from training.bootstrap import Difference, difference, draw, interval
from training.bundle import BundleCard
from training.dataset import Card, DatasetError, read_card
from training.evaluate import Interval, differences, intervals, metrics_of
from training.metrics import average_precisions


@dataclass(frozen=True, slots=True)
class GenreRow:
    """A genre's average precision by one model, its 95% interval, and the paired difference to the reference."""

    genre: str
    test_posters: int
    average_precision: float | None
    interval: Interval
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Side:
    """One model in a comparison. differences: to the reference, by metric; empty for the reference itself."""

    version: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, Difference]
    genres: tuple[GenreRow, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models on the test posters of one dataset, in the genres that all of them and the dataset know.

    sides: the reference first. left_out: genres that some of the models know, and not all. notes: what makes it
    unfair, or cannot be ruled out.
    """

    dataset_id: str
    genres: tuple[str, ...]
    left_out: tuple[str, ...]
    test_posters: int
    resamples: int
    sides: tuple[Side, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Seen:
    """Test posters, by their ids, that a model was trained on, and that it was tuned on."""

    trained: frozenset[str]
    tuned: frozenset[str]


def compare(answers: Mapping[str, Answers], *, notes: Sequence[str] = (), resamples: int | None = None) -> Comparison:
    """Put models side by side; the first is the reference of the differences.

    answers: by version, all on the same dataset. Raises EvaluationError where they share no genre, or no posters.
    """
    versions = list(answers)
    first = answers[versions[0]]
    for version, one in answers.items():
        if one.dataset_id != first.dataset_id or one.test.imdb_ids != first.test.imdb_ids:
            raise EvaluationError(
                f"{version} was asked about dataset {one.dataset_id}, {versions[0]} about {first.dataset_id}; "
                "models are compared on the same posters: name one --dataset"
            )
    genres = [genre for genre in first.genres if all(genre in one.genres for one in answers.values())]
    if not genres:
        raise EvaluationError(f"{' and '.join(versions)} share no genre; they cannot be compared")
    shared = {version: one.only(genres) for version, one in answers.items()}
    y_true = shared[versions[0]].test.y_true
    predictions = {version: one.predictions() for version, one in shared.items()}
    draws = draw(y_true, predictions, resamples=resamples)
    metrics = {version: metrics_of(y_true, one) for version, one in predictions.items()}
    precisions = {version: average_precisions(y_true, one.scores) for version, one in predictions.items()}
    reference = versions[0]

    def genre_row(version: str, g: int) -> GenreRow:
        mine, other = precisions[version][g], precisions[reference][g]
        drawn, beside = draws[version].precisions[g], draws[reference].precisions[g]
        gap = None
        if version != reference and mine is not None and other is not None:
            gap = difference("average_precision", drawn, beside, mine - other)
        return GenreRow(genres[g], int(y_true[:, g].sum()), mine, interval(drawn, mine or 0), gap)

    sides = [
        Side(
            version,
            metrics[version],
            intervals(draws[version], metrics[version]),
            differences(draws[version], draws[reference], metrics[version], metrics[reference])
            if version != reference
            else {},
            tuple(genre_row(version, g) for g in range(len(genres))),
        )
        for version in versions
    ]
    known = dict.fromkeys(genre for one in answers.values() for genre in one.genres)
    return Comparison(
        first.dataset_id,
        tuple(genres),
        tuple(genre for genre in known if genre not in genres),
        len(y_true),
        draws[reference].precisions.shape[1],
        tuple(sides),
        tuple(notes),
    )


def fairness(store: Store, bundle: BundleCard, card: Card) -> str | None:
    """What speaks against measuring a model on a dataset's test split, in a sentence; None where nothing does.

    A model that was trained on another dataset may have seen this one's test posters.
    """
    trained_on = bundle.lineage.get("dataset_id")
    if not trained_on:
        return f"{bundle.version} does not say what it was trained on; it may have seen these test posters."
    seen = seen_posters(store, bundle, card)
    if seen is None:
        return (
            f"{bundle.version} was trained on dataset {trained_on}, which is not in {store.url}; "
            "it may have seen these test posters."
        )
    if not seen.trained and not seen.tuned:
        return None
    return (
        f"Unfair in favour of {bundle.version}: it was trained on {len(seen.trained):,} and tuned on "
        f"{len(seen.tuned):,} of these {card.posters['test']:,} test posters, as its dataset {trained_on} splits them "
        "otherwise."
    )


def seen_posters(store: Store, bundle: BundleCard, card: Card) -> Seen | None:
    """The posters of a dataset's test split that a model has seen; None where its own dataset is not known."""
    trained_on = bundle.lineage.get("dataset_id")
    if trained_on == card.dataset_id:
        return Seen(frozenset(), frozenset())
    if not trained_on:
        return None
    try:
        other = read_card(store, str(trained_on))
    except DatasetError:
        return None
    test = _ids(store, card, "test")
    return Seen(frozenset(test & _ids(store, other, "train")), frozenset(test & _ids(store, other, "validation")))


def _ids(store: Store, card: Card, split: str) -> set[str]:
    found: set[str] = set()
    for key in card.shards[split]:
        with store.open(key) as file:
            found.update(pq.read_table(file, columns=["imdb_id"])["imdb_id"].to_pylist())
    return found
