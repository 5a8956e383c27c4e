"""A model's scores of a dataset's validation and test posters: asked once, and kept in the store beside its run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.store import Store
from training.bootstrap import Predictions
from training.dataset import Card
from training.metrics import Array, tune_global_threshold, tune_thresholds
from training.rows import Rows


class EvaluationError(TrainingError):
    """A model that cannot be measured on a dataset, or compared with another."""


@dataclass(frozen=True, slots=True)
class SplitAnswers:
    """imdb_ids: of the posters; y_true: float32 [posters, genres] of 0 and 1; scores: float32 of the same shape."""

    imdb_ids: list[str]
    y_true: Array
    scores: Array


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of two splits of a dataset, in the genres that both know, in the dataset's order.

    prior: float64 [genres], the share of the train posters that have each: what the prior baseline says of every
    poster.
    """

    dataset_id: str
    genres: tuple[str, ...]
    prior: Array
    validation: SplitAnswers
    test: SplitAnswers

    def predictions(self) -> Predictions:
        """The model's test scores, with thresholds tuned on validation."""
        return _predictions(self, self.validation.scores, self.test.scores)

    def prior_predictions(self) -> Predictions:
        """The same of the prior baseline, which tunes its thresholds on validation as well."""
        shape = (1, len(self.genres))
        of_validation = np.broadcast_to(self.prior.reshape(shape), self.validation.y_true.shape)
        return _predictions(self, of_validation, np.broadcast_to(self.prior.reshape(shape), self.test.y_true.shape))

    def only(self, genres: Sequence[str]) -> Answers:
        """The answers in some of the genres, in the order given."""
        columns = [self.genres.index(genre) for genre in genres]

        def part(split: SplitAnswers) -> SplitAnswers:
            return SplitAnswers(split.imdb_ids, split.y_true[:, columns], split.scores[:, columns])

        return Answers(self.dataset_id, tuple(genres), self.prior[columns], part(self.validation), part(self.test))

    def without(self, imdb_ids: Collection[str]) -> Answers:
        """The answers with these posters left out of the test split."""
        rows = [row for row, imdb_id in enumerate(self.test.imdb_ids) if imdb_id not in imdb_ids]
        test = SplitAnswers([self.test.imdb_ids[row] for row in rows], self.test.y_true[rows], self.test.scores[rows])
        return replace(self, test=test)


def ask(
    model: Any,
    store: Store,
    card: Card,
    say: Callable[[str], None] = lambda line: None,
    *,
    genres: Sequence[str] | None = None,
) -> Answers:
    """Score the validation and the test split with a keras.Model, as it is served; posters pass by in batches.

    genres: the model's, in the order of its outputs; those of the dataset by default. Raises EvaluationError where
    the two share none.
    """
    from training.scoring import inference, predict  # noqa: PLC0415

    own = list(card.genres if genres is None else genres)
    shared = [genre for genre in card.genres if genre in own]
    if not shared:
        raise EvaluationError(
            f"the model knows {', '.join(own)}, and dataset {card.dataset_id} has none of these; name another --dataset"
        )
    height_px, width_px = model.input_shape[1:3]
    forward = inference(model)

    def split(name: str) -> SplitAnswers:
        with Rows(store, card, name) as rows:
            say(f"scores of {len(rows):,} {name} posters")
            scores = predict(forward, rows, height_px=height_px, width_px=width_px)
            y_true = rows.labels[:, [card.genres.index(genre) for genre in shared]]
            return SplitAnswers(list(rows.imdb_ids), y_true, scores[:, [own.index(genre) for genre in shared]])

    counts = card.genre_counts["train"]
    prior = np.array([counts[genre] for genre in shared]) / card.posters["train"]
    return Answers(card.dataset_id, tuple(shared), prior, split("validation"), split("test"))


def save_answers(store: Store, version: str, answers: Answers) -> str:
    """Keep the answers of a version as a Parquet file, a row a poster; returns its key.

    Columns: imdb_id, split, labels (a list of 0 and 1) and scores, both in the order of the genres, which the file's
    metadata names under `onesheet`.
    """
    facts = {"version": version, "dataset_id": answers.dataset_id, "genres": answers.genres}
    facts["prior"] = answers.prior.tolist()
    tables = [
        pa.table(
            {
                "imdb_id": split.imdb_ids,
                "split": pa.array([name] * len(split.imdb_ids), pa.string()).dictionary_encode(),
                "labels": _lists(split.y_true.astype(np.uint8)),
                "scores": _lists(split.scores.astype(np.float32)),
            }
        )
        for name, split in (("validation", answers.validation), ("test", answers.test))
    ]
    table = pa.concat_tables(tables).unify_dictionaries().replace_schema_metadata({"onesheet": json.dumps(facts)})
    key = answers_key(version, answers.dataset_id)
    with io.BytesIO() as file:
        pq.write_table(table, file, compression="zstd")
        store.put_file(key, file)
    return key


def load_answers(store: Store, version: str, dataset_id: str) -> Answers | None:
    """What `save_answers` kept of a version on a dataset, or None."""
    try:
        table = pq.read_table(io.BytesIO(store.get(answers_key(version, dataset_id))))
    except KeyNotFoundError:
        return None
    facts = json.loads(table.schema.metadata[b"onesheet"])
    splits = np.asarray(table["split"].cast(pa.string()).to_pylist())

    def split(name: str) -> SplitAnswers:
        rows = table.filter(pa.array(splits == name))
        labels, scores = (_array(rows[column], len(facts["genres"])) for column in ("labels", "scores"))
        return SplitAnswers(rows["imdb_id"].to_pylist(), labels.astype(np.float32), scores)

    prior = np.array(facts["prior"])
    return Answers(dataset_id, tuple(facts["genres"]), prior, split("validation"), split("test"))


def answers_key(version: str, dataset_id: str) -> str:
    """Where a version's answers on a dataset are kept."""
    return f"runs/{version}/evaluation/{dataset_id}.parquet"


def _predictions(answers: Answers, of_validation: Array, of_test: Array) -> Predictions:
    truth = answers.validation.y_true
    return Predictions(of_test, tune_thresholds(truth, of_validation), tune_global_threshold(truth, of_validation))


def _lists(values: Array) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _array(column: Any, width: int) -> Array:
    flat: Array = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, width)
