"""Evaluation: posters are scored as they lie, scores are kept, and models are compared on what both know."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.store import FolderStore
from training.answers import Answers, EvaluationError, SplitAnswers, answers_key, ask, load_answers, save_answers
from training.bundle import BundleCard
from training.comparison import compare, fairness
from training.dataset import Card
from training.evaluate import evaluate, judge
from training.preprocessing import to_pixels
from training.rows import Rows


def model_of(genres: int, seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((24, 16, 3))
    features = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(genres, activation="sigmoid")(features))


def _pixels(rows: Rows, row: int) -> Any:
    return to_pixels(Image.open(io.BytesIO(rows.encoded(row))), height_px=24, width_px=16)


def answers_of(skill: float, genres: tuple[str, ...] = ("Comedy", "Drama", "Horror"), seed: int = 0) -> Answers:
    """What a model of that skill, 0 to 1, says of 60 and 200 posters that are the same for each call."""
    posters, noise = np.random.default_rng(7), np.random.default_rng(seed)

    def split(count: int) -> SplitAnswers:
        y_true = (posters.random((count, 3)) < [0.5, 0.3, 0.2]).astype(np.float32)[:, : len(genres)]
        scores = np.clip(skill * y_true + (1 - skill) * noise.random(y_true.shape), 0, 1).astype(np.float32)
        return SplitAnswers([f"tt{row:07}" for row in range(count)], y_true, scores)

    return Answers("ds-1", genres, np.array([0.5, 0.3, 0.2])[: len(genres)], split(60), split(200))


def test_an_evaluation_measures_the_model_as_it_scores_the_posters(dataset: tuple[FolderStore, Card]) -> None:
    store, card = dataset
    model = model_of(len(card.genres))
    found = evaluate(model, store, card, version="v1")
    kept = load_answers(store, "v1", card.dataset_id)
    assert kept is not None
    with Rows(store, card, "test") as rows:
        assert kept.test.imdb_ids == rows.imdb_ids
        np.testing.assert_array_equal(kept.test.y_true, rows.labels)
    assert found == judge(kept)
    assert found.posters == {"validation": card.posters["validation"], "test": card.posters["test"]}
    assert set(found.metrics) == set(found.intervals) == set(found.prior_metrics) == set(found.gains)
    for name, value in found.metrics.items():
        low, high = found.intervals[name]
        assert low <= high
        assert name == "macro_map" or low - 0.05 <= value <= high + 0.05
    assert [row["genre"] for row in found.genres] == card.genres
    # What a run writes down.
    assert json.loads(json.dumps(asdict(found)))["metrics"] == found.metrics


def test_a_bundles_card_holds_what_an_evaluation_found() -> None:
    found = judge(answers_of(0.5))
    card = BundleCard(
        version="v1",
        architecture="tiny",
        genres=("Comedy", "Drama", "Horror"),
        height_px=24,
        width_px=16,
        **found.card_fields(),
    )
    assert card.intervals["macro_map"] == found.intervals["macro_map"]
    assert card.genre_metrics[1].average_precision == found.genres[1]["average_precision"]


def test_kept_answers_come_back_as_they_were_and_open_as_a_table(tmp_path: Any) -> None:
    store, answers = FolderStore(tmp_path), answers_of(0.5)
    assert load_answers(store, "v1", "ds-1") is None
    save_answers(store, "v1", answers)
    back = load_answers(store, "v1", "ds-1")
    assert back is not None
    np.testing.assert_array_equal(back.test.scores, answers.test.scores)
    np.testing.assert_array_equal(back.validation.y_true, answers.validation.y_true)
    np.testing.assert_array_equal(back.prior, answers.prior)
    assert (back.genres, back.test.imdb_ids) == (answers.genres, answers.test.imdb_ids)
    with store.open(answers_key("v1", "ds-1")) as file:
        table = pq.read_table(file).to_pandas()
    assert table.columns.tolist() == ["imdb_id", "split", "labels", "scores"]
    assert table["split"].value_counts().to_dict() == {"test": 200, "validation": 60}


def test_a_genre_that_no_test_poster_has_is_told_as_unknown() -> None:
    answers = answers_of(0.5)
    answers.test.y_true[:, 2] = 0
    row = judge(answers).genres[2]
    assert (row["average_precision"], row["low"], row["recall"], row["test_posters"]) == (None, None, None, 0)
    assert "NaN" not in json.dumps(asdict(judge(answers)))


def test_a_skilled_model_beats_the_prior_for_sure_and_a_blind_one_does_not() -> None:
    assert judge(answers_of(0.4)).gains["macro_map"]["low"] > 0
    blind = judge(answers_of(0.0)).gains["macro_map"]
    assert blind["low"] < 0.05
    assert judge(answers_of(0.0)).metrics["cross_entropy"] > judge(answers_of(0.0)).prior_metrics["cross_entropy"]


def test_a_model_of_other_genres_is_asked_in_those_that_the_dataset_knows(dataset: tuple[FolderStore, Card]) -> None:
    store, card = dataset
    model = model_of(3)
    mixed = (card.genres[2], "Unheard-of", card.genres[0])
    found = ask(model, store, card, genres=mixed)
    assert found.genres == (card.genres[0], card.genres[2])
    with Rows(store, card, "test") as rows:
        np.testing.assert_array_equal(found.test.y_true, rows.labels[:, [0, 2]])
        scores = model(np.stack([_pixels(rows, row) for row in range(len(rows))]))
        np.testing.assert_allclose(found.test.scores, np.asarray(scores)[:, [2, 0]], atol=1e-5)
    with pytest.raises(EvaluationError, match=r"the model knows Opera, and dataset ds-.* has none of these"):
        ask(model, store, card, genres=("Opera",))


def test_the_better_model_is_found_and_differences_are_paired() -> None:
    found = compare({"old": answers_of(0.15, seed=1), "new": answers_of(0.4, seed=2)}, resamples=200)
    old, new = found.sides
    gap = new.differences["macro_map"]
    assert gap.is_sure
    assert gap.probability_better > 0.99
    assert gap.difference == pytest.approx(new.metrics["macro_map"] - old.metrics["macro_map"])
    assert old.differences == {}
    # Paired: narrower than if each were drawn by itself.
    widths = [side.intervals["top1_hit"][1] - side.intervals["top1_hit"][0] for side in found.sides]
    assert 0 < new.differences["top1_hit"].high - new.differences["top1_hit"].low < sum(widths)
    horror = new.genres[2]
    assert (horror.genre, horror.test_posters) == ("Horror", int(answers_of(0.4).test.y_true[:, 2].sum()))
    assert horror.difference is not None


def test_models_are_compared_in_the_genres_that_all_know() -> None:
    found = compare({"three": answers_of(0.4), "two": answers_of(0.4, genres=("Comedy", "Drama"))}, resamples=20)
    assert (found.genres, found.left_out) == (("Comedy", "Drama"), ("Horror",))
    with pytest.raises(EvaluationError, match="share no genre"):
        compare({"one": answers_of(0.4).only(["Drama"]), "other": answers_of(0.4).only(["Horror"])})
    with pytest.raises(EvaluationError, match="compared on the same posters"):
        compare({"here": answers_of(0.4), "there": replace(answers_of(0.4), dataset_id="ds-2")})


def test_a_model_that_trained_on_these_test_posters_is_called_unfair(
    make_dataset: Callable[[], tuple[FolderStore, Card]],
) -> None:
    store, card = make_dataset()
    swapped = replace(
        card,
        dataset_id="ds-swapped",
        shards={"train": card.shards["test"], "validation": card.shards["validation"], "test": card.shards["train"]},
    )
    store.put("datasets/ds-swapped/card.json", json.dumps(asdict(swapped)).encode())

    def note(dataset_id: str | None) -> str | None:
        bundle = BundleCard(
            version="v1",
            architecture="tiny",
            genres=("Drama",),
            thresholds=(0.5,),
            height_px=8,
            width_px=8,
            lineage={"dataset_id": dataset_id},
        )
        return fairness(store, bundle, card)

    assert note(card.dataset_id) is None
    tests = card.posters["test"]
    assert f"it was trained on {tests} and tuned on 0 of these {tests} test posters" in str(note("ds-swapped"))
    assert "which is not in" in str(note("ds-gone"))
    assert "does not say what it was trained on" in str(note(None))
