"""Promotion only of a model that beats the one in production, on test posters that neither has learned from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cluster.store import Store
from training.answers import EvaluationError
from training.bootstrap import Difference
from training.bundle import MACRO_MAP, BundleCard
from training.comparison import compare, fairness, seen_posters
from training.dataset import Card
from training.evaluate import judge
from training.evaluation import dataset_of, find, kept_answers
from training.metrics import LOWER_IS_BETTER, METRICS
from training.registry import Production, Registry
from training.telling import Say

PRIOR = "the prior baseline"
# A pointer that others move is looked at again so often.
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a model is better: its metric is better by more than `min_gain`, in at least this share of the draws."""

    metric: str = MACRO_MAP
    min_gain: float = 0.0
    confidence: float = 0.5

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise EvaluationError(f"there is no metric {self.metric!r}; known: {', '.join(METRICS)}")
        if self.min_gain < 0 or not 0.5 <= self.confidence <= 1:
            raise EvaluationError(
                f"min gain {self.min_gain} and confidence {self.confidence}: at least 0, and from 0.5 (better on these "
                "posters) to 1 (better in every draw of them)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a version is in production now, and why.

    changed: whether this call put it there. against: the version in production that it was measured against, or the
    prior baseline. value, against_value: of the metric, by `test_posters` test posters of the dataset.
    """

    version: str
    promoted: bool
    changed: bool
    production: str | None
    reason: str
    dataset_id: str | None = None
    metric: str | None = None
    against: str | None = None
    value: float | None = None
    against_value: float | None = None
    difference: dict[str, float] | None = None
    test_posters: int | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Measured:
    against: str
    value: float
    against_value: float
    difference: Difference
    test_posters: int
    notes: tuple[str, ...]


def promote_if_better(
    store: Store, version: str, rule: Rule, dataset_id: str | None = None, say: Say = print
) -> Decision:
    """Put a version into production if it beats what is there; where nothing is, it has to beat the prior baseline.

    version: or `latest`. dataset_id: on whose test split, by default that of the dataset it was trained on. Posters of
    it that either model was trained or tuned on do not count. Raises RegistryError, DatasetError or EvaluationError
    where the two cannot be compared.
    """
    registry = Registry(store)
    bundle = find(registry, version)
    card = dataset_of(store, bundle, dataset_id)
    for _ in range(_TRIES):
        production = registry.production()
        if production is not None and production.version == bundle.version:
            return Decision(
                version=bundle.version,
                promoted=True,
                changed=False,
                production=bundle.version,
                reason=f"{bundle.version} is in production already",
            )
        decision = _decide(registry, bundle, card, production, rule, say)
        # Somebody may have promoted another model while these two were measured.
        if _version_of(registry.production()) == _version_of(production):
            if decision.promoted:
                registry.promote(bundle.version)
            return decision
    raise EvaluationError("production changes all the time; run the same command again")


def _decide(
    registry: Registry, bundle: BundleCard, card: Card, production: Production | None, rule: Rule, say: Say
) -> Decision:
    measured = (
        _beside_prior(registry, bundle, card, rule.metric, say)
        if production is None
        else _beside_production(registry, bundle, registry.card(production.version), card, rule.metric, say)
    )
    gap = measured.difference
    gain = -gap.difference if rule.metric in LOWER_IS_BETTER else gap.difference
    is_better = gain > rule.min_gain and gap.probability_better >= rule.confidence
    words = (
        f"{rule.metric} {measured.value:.4f} against {measured.against_value:.4f} of {measured.against}, on "
        f"{measured.test_posters:,} test posters, better in {gap.probability_better:.0%} of the draws"
    )
    asked = f"asked for more than {rule.min_gain:g}, in {rule.confidence:.0%} of the draws"
    return Decision(
        version=bundle.version,
        promoted=is_better,
        changed=is_better,
        production=bundle.version if is_better else _version_of(production),
        reason=f"better: {words}" if is_better else f"not better: {words} ({asked})",
        dataset_id=card.dataset_id,
        metric=rule.metric,
        against=measured.against,
        value=measured.value,
        against_value=measured.against_value,
        difference=asdict(gap),
        test_posters=measured.test_posters,
        notes=measured.notes,
    )


def _beside_prior(registry: Registry, bundle: BundleCard, card: Card, metric: str, say: Say) -> _Measured:
    found = judge(kept_answers(registry, bundle, card, say))
    gain = Difference(**found.gains[metric])
    return _Measured(PRIOR, found.metrics[metric], found.prior_metrics[metric], gain, found.posters["test"], ())


def _beside_production(
    registry: Registry, bundle: BundleCard, other: BundleCard, card: Card, metric: str, say: Say
) -> _Measured:
    answers = {one.version: kept_answers(registry, one, card, say) for one in (other, bundle)}
    seen: set[str] = set()
    notes = []
    for one in (other, bundle):
        found = seen_posters(registry.store, one, card)
        if found is None:
            notes.append(fairness(registry.store, one, card) or "")
        elif either := found.trained | found.tuned:
            seen |= either
            notes.append(f"{len(either):,} test posters that {one.version} has learned from do not count.")
    left = {version: one.without(seen) for version, one in answers.items()}
    if not left[bundle.version].test.imdb_ids:
        raise EvaluationError(
            f"{other.version} has learned from every test poster of {card.dataset_id}, so that nothing is left to "
            "compare on; decide by hand: `onesheet models promote VERSION`"
        )
    reference, side = compare(left).sides
    return _Measured(
        other.version,
        side.metrics[metric],
        reference.metrics[metric],
        side.differences[metric],
        len(left[bundle.version].test.imdb_ids),
        tuple(notes),
    )


def _version_of(production: Production | None) -> str | None:
    return production.version if production else None
