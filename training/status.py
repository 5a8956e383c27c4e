"""The learner's parts of `onesheet status`: the newest dataset, and the models."""

from __future__ import annotations

from cluster.overview import Part, Section, Where
from cluster.store import open_store


def _dataset(where: Where) -> Section:
    from training.dataset_card import by_age  # noqa: PLC0415  help stays quick

    cards = by_age(open_store(where.settings.store))
    if not cards:
        return Section("dataset", [("", "no dataset yet: onesheet prepare")], {"latest": None, "datasets": 0})
    card = cards[-1]
    posters = ", ".join(f"{count:,} {split}" for split, count in card.posters.items())
    lines = [(card.dataset_id, f"{posters} posters, {len(card.genres)} genres, of {card.crawl_id}")]
    latest = {"dataset_id": card.dataset_id, "crawl_id": card.crawl_id, "posters": card.posters}
    return Section("dataset", lines, {"latest": latest, "datasets": len(cards)})


def _models(where: Where) -> Section:
    from training.registry import Registry  # noqa: PLC0415  as above

    registry = Registry(open_store(where.settings.store))
    cards = registry.versions()
    production = registry.production()
    named = [("production", production.version if production else "none: onesheet models promote VERSION")]
    if cards:
        worth = ", ".join(f"{name} {value:.3f}" for name, value in list(cards[0].metrics.items())[:1])
        named.append(("latest", f"{cards[0].version}" + (f": {worth}" if worth else "")))
    named.append(("registered", str(len(cards))))
    data = {
        "production": production.version if production else None,
        "latest": cards[0].version if cards else None,
        "registered": len(cards),
    }
    return Section("models", named, data)


dataset_section = Part("dataset", _dataset)
models_section = Part("models", _models)
