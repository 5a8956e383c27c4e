"""What a dataset says of itself: its card, where cards lie in the store, and which one is the newest."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.store import Store
from crawler.crawl import list_crawls

SCHEMA_VERSION = 2


class DatasetError(TrainingError):
    """A crawl that no dataset can be made of, or a dataset that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a dataset is: the funnel from titles to splits, and what was dropped and why.

    funnel: titles → posters → labelled → (in the sample →) verified → train, validation, test. dropped: titles by
    reason. posters, shards, genre_counts: by split. co_occurrence: [genres, genres], posters that have both, on the
    diagonal those that have the one. near_duplicates: the distance, how many groups have several posters, how many
    posters are in them, how large the largest is, how many are on both sides of a split, and some of the groups.
    sizes: bytes of all posters, and the quantiles (5%, 50%, 95%) of bytes, width_px and height_px.
    folded: posters by `spelling → genre`. samples: some titles of each split,
    with imdb_id, title, year and genres.
    """

    dataset_id: str
    crawl_id: str
    options: dict[str, Any]
    genres: list[str]
    funnel: dict[str, int]
    dropped: dict[str, int]
    posters: dict[str, int]
    shards: dict[str, list[str]]
    genre_counts: dict[str, dict[str, int]]
    co_occurrence: list[list[int]] = field(default_factory=list)
    near_duplicates: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    folded: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def key_of(dataset_id: str, name: str) -> str:
    """The key of an object of a dataset, such as card.json."""
    return f"datasets/{dataset_id}/{name}"


def read_card(store: Store, dataset_id: str) -> Card:
    """The card of a dataset. Raises DatasetError where there is none."""
    try:
        return Card(**json.loads(store.get(key_of(dataset_id, "card.json"))))
    except KeyNotFoundError as error:
        raise DatasetError(f"{store.url} has no dataset {dataset_id!r}; see `onesheet datasets`") from error


def read_making(store: Store, dataset_id: str) -> dict[str, Any]:
    """How a dataset came to be, which is no part of what it is: made_at (ISO 8601, UTC), split_kept_from.

    Empty for a dataset of before this was written.
    """
    try:
        made: dict[str, Any] = json.loads(store.get(key_of(dataset_id, "made.json")))
    except KeyNotFoundError:
        return {}
    return made


def list_datasets(store: Store) -> list[Card]:
    """The cards of all finished datasets, by id."""
    names = [f"datasets/{dataset_id}/card.json" for dataset_id in store.folders("datasets/")]
    return [Card(**json.loads(store.get(name))) for name in names if store.exists(name)]


def by_age(store: Store) -> list[Card]:
    """The cards of all finished datasets, the one that was made first first."""
    cards = list_datasets(store)
    made_at = {card.dataset_id: str(read_making(store, card.dataset_id).get("made_at", "")) for card in cards}
    return sorted(cards, key=lambda card: made_at[card.dataset_id])


def newest_dataset(store: Store) -> Card:
    """Of the crawl that ended last and has a dataset, the one that was made last. Raises DatasetError for none."""
    cards = {card.crawl_id: card for card in by_age(store)}
    for crawl in list_crawls(store):
        if crawl["crawl_id"] in cards:
            return cards[crawl["crawl_id"]]
    raise DatasetError(f"{store.url} has no dataset; run `onesheet prepare` first")


def prior_map(dataset: Card) -> float:
    """Macro mAP of the prior baseline on the validation split: a genre's share of the posters."""
    shares = [count / dataset.posters["validation"] for count in dataset.genre_counts["validation"].values() if count]
    return sum(shares) / len(shares) if shares else 0.0
