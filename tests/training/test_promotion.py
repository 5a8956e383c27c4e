"""Promotion only of what is better, on test posters that neither model has learned from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cluster.store import FolderStore
from training.answers import Answers, EvaluationError, SplitAnswers, save_answers
from training.bundle import MODEL_FILE, BundleCard, sha256_of
from training.dataset import Card, PrepareOptions, prepare
from training.known_sides import KnownSides
from training.metrics import METRICS, measure
from training.model_commands import models_app
from training.promotion import PRIOR, Rule, promote_if_better
from training.registry import Registry
from training.rows import Rows
from training.splits import SPLITS

Made = tuple[FolderStore, Card]


@pytest.fixture
def made(make_dataset: Callable[[], Made]) -> Made:
    """A store of its own with a dataset, and nothing in production."""
    return make_dataset()


def registered(made: Made, folder: Path, version: str, *, skill: float, dataset: Card | None = None) -> BundleCard:
    """A version whose kept scores are the truth by this share and noise by the rest. dataset: it was trained on."""
    store, card = made
    (folder / MODEL_FILE).write_bytes(version.encode())
    bundle = BundleCard(
        version=version,
        architecture="tiny",
        genres=tuple(card.genres),
        thresholds=(0.5,) * len(card.genres),
        height_px=8,
        width_px=8,
        files={MODEL_FILE: sha256_of(folder / MODEL_FILE)},
        lineage={"dataset_id": (dataset or card).dataset_id},
    )
    Registry(store).register(folder, bundle)
    noise = np.random.default_rng(sum(version.encode()))

    def split(name: str) -> SplitAnswers:
        with Rows(store, card, name) as rows:
            truth = rows.labels.astype(np.float32)
            scores = skill * truth + (1 - skill) * noise.random(truth.shape, np.float32)
            return SplitAnswers(list(rows.imdb_ids), truth, scores)

    prior = np.array([card.genre_counts["train"][genre] for genre in card.genres]) / card.posters["train"]
    answers = Answers(card.dataset_id, tuple(card.genres), prior, split("validation"), split("test"))
    save_answers(store, version, answers)
    return bundle


def production_of(made: Made) -> str | None:
    production = Registry(made[0]).production()
    return production.version if production else None


def quiet(line: str) -> None:
    """Nobody listens."""


def test_a_better_model_goes_into_production_and_a_worse_one_does_not(made: Made, tmp_path: Path):
    registered(made, tmp_path, "good", skill=0.3)
    registered(made, tmp_path, "worse", skill=0.0)
    registered(made, tmp_path, "best", skill=0.9)
    first = promote_if_better(made[0], "good", Rule(), say=quiet)
    assert (first.promoted, first.against, production_of(made)) == (True, PRIOR, "good")
    refused = promote_if_better(made[0], "worse", Rule(), say=quiet)
    assert (refused.promoted, refused.production, production_of(made)) == (False, "good", "good")
    assert refused.reason.startswith("not better: macro_map ")
    assert refused.difference
    assert refused.difference["difference"] < 0
    better = promote_if_better(made[0], "best", Rule(confidence=0.95), say=quiet)
    assert (better.promoted, better.changed, better.against) == (True, True, "good")
    again = promote_if_better(made[0], "best", Rule(), say=quiet)
    assert (again.promoted, again.changed) == (True, False)
    assert Registry(made[0]).production_or_raise().previous == ("good",)


def test_the_first_model_has_to_beat_the_prior_baseline(made: Made, tmp_path: Path):
    registered(made, tmp_path, "inverted", skill=-1.0)
    decision = promote_if_better(made[0], "inverted", Rule(), say=quiet)
    assert (decision.promoted, decision.production, production_of(made)) == (False, None, None)


def test_the_rule_asks_for_a_gain_and_for_certainty_and_knows_which_way_is_better(made: Made, tmp_path: Path):
    registered(made, tmp_path, "good", skill=0.3)
    registered(made, tmp_path, "best", skill=0.9)
    Registry(made[0]).promote("good")
    assert not promote_if_better(made[0], "best", Rule(min_gain=0.9), say=quiet).promoted
    lower = promote_if_better(made[0], "best", Rule(metric="cross_entropy", confidence=0.95), say=quiet)
    assert lower.promoted
    assert lower.difference
    assert lower.difference["difference"] < 0


def test_posters_that_production_has_learned_from_do_not_count(made: Made, tmp_path: Path):
    store, card = made
    with Rows(store, card, "test") as rows:
        test = list(rows.imdb_ids)
    with Rows(store, card, "train") as rows:
        train = list(rows.imdb_ids)
    # Production's dataset had the first half of what is tested on now among what it learned from.
    half, rest = test[: len(test) // 2], test[len(test) // 2 :]
    sides = [(each, "train") for each in half] + [(each, "test") for each in rest]
    sides += [(each, "train") for each in train[2:]] + [(each, "validation") for each in train[:2]]
    ids = np.array([int(imdb_id[2:]) for imdb_id, _ in sides], np.int64)
    given = KnownSides.of(ids, np.array([SPLITS.index(split) for _, split in sides], np.int8))
    other = prepare(store, card.crawl_id, PrepareOptions(), given=given)
    registered(made, tmp_path, "old", skill=0.3, dataset=other)
    registered(made, tmp_path, "new", skill=0.9)
    Registry(store).promote("old")
    decision = promote_if_better(store, "new", Rule(), say=quiet)
    assert decision.promoted
    assert decision.test_posters == len(rest)
    assert decision.notes == (f"{len(half)} test posters that old has learned from do not count.",)


def test_a_production_that_has_learned_from_all_of_them_is_left_to_people(made: Made, tmp_path: Path):
    store, card = made
    with Rows(store, card, "test") as rows:
        test = [int(imdb_id[2:]) for imdb_id in rows.imdb_ids]
    with Rows(store, card, "train") as rows:
        train = [int(imdb_id[2:]) for imdb_id in rows.imdb_ids]
    swapped = np.array([0] * len(test) + [1] * 5 + [2] * (len(train) - 5), np.int8)
    given = KnownSides.of(np.array(test + train, np.int64), swapped)
    other = prepare(store, card.crawl_id, PrepareOptions(), given=given)
    registered(made, tmp_path, "old", skill=0.3, dataset=other)
    registered(made, tmp_path, "new", skill=0.9)
    Registry(store).promote("old")
    with pytest.raises(EvaluationError, match=r"has learned from every test poster .* decide by hand"):
        promote_if_better(store, "new", Rule(), say=quiet)
    assert production_of(made) == "old"


def test_where_nobody_knows_what_production_learned_from_it_is_said(made: Made, tmp_path: Path):
    store, card = made
    registered(made, tmp_path, "old", skill=0.3, dataset=replace(card, dataset_id="ds-000000000000"))
    registered(made, tmp_path, "new", skill=0.9)
    Registry(store).promote("old")
    decision = promote_if_better(store, "new", Rule(), say=quiet)
    assert decision.promoted
    assert "it may have seen these test posters" in decision.notes[0]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"metric": "accuracy"}, "there is no metric 'accuracy'; known: macro_map"),
        ({"confidence": 0.2}, "confidence 0.2"),
        ({"min_gain": -1.0}, "min gain -1.0"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule: dict[str, Any], sentence: str):
    with pytest.raises(EvaluationError, match=sentence):
        Rule(**rule)


def test_the_command_tells_its_decision_as_json_and_exits_with_0_either_way(made: Made, tmp_path: Path):
    registered(made, tmp_path, "good", skill=0.3)
    registered(made, tmp_path, "worse", skill=0.0)
    Registry(made[0]).promote("good")
    words = ("promote", "worse", "--if-better", "--store", made[0].url, "--json")
    result = CliRunner().invoke(models_app, words, catch_exceptions=False)
    assert result.exit_code == 0
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["promoted"], told["production"], told["against"]) == (False, "good", "good")


def test_every_metric_that_is_measured_has_its_name_in_the_list():
    y_true = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    assert tuple(measure(y_true, y_true * 0.5, np.array([0.5, 0.5]), 0.5)) == METRICS
