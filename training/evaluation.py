"""Registered models measured again, and put side by side: fetched, asked, judged, compared, told on a page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.store import Store
from training.answers import Answers, EvaluationError, ask, load_answers, save_answers
from training.bundle import MODEL_FILE, BundleCard, load_model
from training.comparison import Comparison, fairness
from training.comparison import compare as compare_answers
from training.dataset import Card, read_card
from training.evaluate import Evaluation, judge
from training.registry import Registry
from training.telling import Say

PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class VersionEvaluation:
    """What a registered model is worth. beside: it and the one in production, where there is another; page: HTML."""

    bundle: BundleCard
    dataset_id: str
    evaluation: Evaluation
    beside: Comparison | None
    notes: tuple[str, ...]
    page: str

    def to_dict(self) -> dict[str, Any]:
        """Everything but the page, as JSON can hold it."""
        return {
            "version": self.bundle.version,
            "dataset_id": self.dataset_id,
            **asdict(self.evaluation),
            "beside_production": self.beside.to_dict() if self.beside else None,
            "notes": list(self.notes),
        }


def evaluate_version(store: Store, version: str, dataset_id: str | None = None, say: Say = print) -> VersionEvaluation:
    """Measure a registered model on a dataset's test split, beside the prior and the model in production.

    version: or `latest` or `production`. dataset_id: by default that of the dataset it was trained on. Its scores are
    kept in the store. Raises RegistryError, DatasetError or EvaluationError.
    """
    from training.evaluation_report import make_report  # noqa: PLC0415  drawing starts with evaluations only
    from training.evaluation_report_page import render_page  # noqa: PLC0415

    registry = Registry(store)
    bundle = find(registry, version)
    card = dataset_of(store, bundle, dataset_id)
    with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
        model = load_model(Path(folder), registry.fetch(bundle.version, Path(folder), only=(MODEL_FILE,)))
        say(f"{bundle.version} on {card.dataset_id}")
        answers = ask(model, store, card, say, genres=bundle.genres)
        save_answers(store, bundle.version, answers)
        evaluation = judge(answers)
        beside, notes = _beside_production(registry, bundle, answers, card, say)
        left_out = [genre for genre in bundle.genres if genre not in answers.genres]
        left_out += [genre for genre in card.genres if genre not in answers.genres]
        if left_out:
            notes = (
                f"Genres that only the model or only the dataset knows do not count: {', '.join(left_out)}.",
                *notes,
            )
        page = render_page(
            make_report(model, bundle, store, card, answers, evaluation, beside=beside, notes=notes, say=say)
        )
    return VersionEvaluation(bundle, card.dataset_id, evaluation, beside, notes, page)


def compare_versions(
    store: Store, versions: Sequence[str], dataset_id: str | None = None, say: Say = print
) -> Comparison:
    """Put registered models side by side on one dataset's test split, by default that of the first.

    versions: two or more; the first is the reference. Scores that are kept in the store are used again. Raises
    RegistryError, DatasetError or EvaluationError.
    """
    registry = Registry(store)
    bundles = list({bundle.version: bundle for bundle in (find(registry, version) for version in versions)}.values())
    if len(bundles) < 2:
        raise EvaluationError(f"compare takes two different versions or more, not {' '.join(versions)}")
    card = dataset_of(store, bundles[0], dataset_id)
    answers = {bundle.version: kept_answers(registry, bundle, card, say) for bundle in bundles}
    return compare_answers(answers, notes=_unfair(store, bundles, card))


def find(registry: Registry, version: str) -> BundleCard:
    """The card of a version, of `latest`, or of the one in `production`. Raises RegistryError."""
    return registry.card(registry.production_or_raise().version if version == PRODUCTION else version)


def dataset_of(store: Store, bundle: BundleCard, dataset_id: str | None) -> Card:
    """The dataset asked for, or that of the model. Raises DatasetError or EvaluationError that says what to do."""
    wanted = dataset_id or bundle.lineage.get("dataset_id")
    if not wanted:
        raise EvaluationError(
            f"{bundle.version} does not say what it was trained on; name a --dataset to measure it on"
        )
    return read_card(store, str(wanted))


def kept_answers(registry: Registry, bundle: BundleCard, card: Card, say: Say) -> Answers:
    """A version's answers on a dataset: as they were kept, or else asked now and kept."""
    found = load_answers(registry.store, bundle.version, card.dataset_id)
    if found is None:
        from training.quiet import start_tensorflow  # noqa: PLC0415  only a model that runs needs it

        start_tensorflow()
        say(f"{bundle.version} on {card.dataset_id}")
        with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
            model = load_model(Path(folder), registry.fetch(bundle.version, Path(folder), only=(MODEL_FILE,)))
            found = ask(model, registry.store, card, say, genres=bundle.genres)
        save_answers(registry.store, bundle.version, found)
    return found


def _beside_production(
    registry: Registry, bundle: BundleCard, answers: Answers, card: Card, say: Say
) -> tuple[Comparison | None, tuple[str, ...]]:
    """The comparison with the model in production, and what to say about it and about the model."""
    production = registry.production()
    if production is None:
        return None, (*_unfair(registry.store, [bundle], card), "No model is in production to compare it with.")
    if production.version == bundle.version:
        return None, (*_unfair(registry.store, [bundle], card), "This is the model in production.")
    other = registry.card(production.version)
    notes = _unfair(registry.store, [other, bundle], card)
    try:
        beside = {other.version: kept_answers(registry, other, card, say), bundle.version: answers}
        return compare_answers(beside, notes=notes), notes
    except EvaluationError as error:
        return None, (*notes, f"Not beside the model in production: {error}.")


def _unfair(store: Store, bundles: Sequence[BundleCard], card: Card) -> tuple[str, ...]:
    return tuple(note for bundle in bundles if (note := fairness(store, bundle, card)))
