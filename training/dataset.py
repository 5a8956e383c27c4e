"""The dataset: what a crawl stored → cleaned, labelled, split into train, validation and test, in Parquet shards.

    datasets/<dataset_id>/<split>/00000.parquet   imdb_id, title, year, genres, image {bytes, path}
    datasets/<dataset_id>/splits.parquet          imdb_id, split, group: each labelled poster, also outside a sample
    datasets/<dataset_id>/dropped.parquet         imdb_id, reason: each title that is not in a split
    datasets/<dataset_id>/README.md, card.html    the card for the Hugging Face Hub, and for people
    datasets/<dataset_id>/made.json               when it was made, and which datasets' sides it kept
    datasets/<dataset_id>/card.json               the funnel, genre counts, options; written last

The id is a hash of all that goes in, so the same crawl, options and sides give the same id and the same bytes for any
number of workers, and nothing is ever overwritten with something else. The folder opens as it is with pandas and with
Hugging Face datasets, and can be uploaded to the Hub as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.errors import KeyNotFoundError
from cluster.store import Store
from crawler.crawl import list_crawls, read_summary
from training.candidates import DROPPED, read_candidates
from training.dataset_card import Card, DatasetError, by_age, key_of, list_datasets, newest_dataset, read_card
from training.dataset_page import render_page
from training.dataset_pictures import read_pictures
from training.dataset_plan import (
    Plan,
    PrepareOptions,
    dataset_id_of,
    make_plan,
    reasons_of,
    shard_tasks,
    shares_by_genre,
)
from training.dataset_readme import render_readme
from training.known_sides import NOBODY, KnownSides, read_sides
from training.shards import ShardResult, parquet, write_shards
from training.splits import SPLITS, Bools, scattered

__all__ = [
    "SPLITS",
    "Card",
    "DatasetError",
    "PrepareOptions",
    "list_datasets",
    "newest_dataset",
    "prepare",
    "read_card",
]

FRESH = "none"
_SAMPLES_A_SPLIT = 20


def prepare(
    store: Store,
    crawl_id: str | None,
    options: PrepareOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    workers: int | None = None,
    cpus_per_worker: int = 1,
    given: KnownSides | None = None,
    split_from: str | None = None,
) -> Card:
    """Make the dataset of a crawl, by default the newest; one that is there already is returned as it is.

    progress: called with posters done and posters in all. workers: None for the threads of this process, else so many
    Ray tasks at a time (Ray must be connected: `cluster.nodes.connect`), of cpus_per_worker CPUs each. given: the
    user's own split (`known_sides.read_split_file`). split_from: the dataset whose titles keep their side; None: all of
    the store that were split by the same shares, so that no title changes sides as the catalogue grows; FRESH:
    nobody's.
    Raises DatasetError when nothing is left to learn from.
    """
    if workers is not None and workers < 1:
        raise DatasetError(f"{workers} workers: at least 1 is needed")
    crawl_id = crawl_id or _newest_crawl(store)
    read_summary(store, crawl_id)
    kept, kept_from = (NOBODY, []) if given is not None else _kept_sides(store, options, split_from)
    plan = make_plan(read_candidates(store, crawl_id), crawl_id, options, kept, given)
    dataset_id = dataset_id_of(plan, crawl_id)
    if store.exists(key_of(dataset_id, "card.json")):
        return read_card(store, dataset_id)

    results = []
    done = 0
    for result in write_shards(shard_tasks(plan, dataset_id, options), store, workers, cpus_per_worker):
        results.append(result)
        done += len(result.kept)
        progress(done, len(plan))
    store = store.patient()
    card = _finish(store, dataset_id, crawl_id, plan, sorted(results, key=lambda result: result.key))
    made = {"made_at": datetime.now(UTC).isoformat(), "split_kept_from": kept_from}
    _put_json(store, key_of(dataset_id, "made.json"), made)
    _put_json(store, key_of(dataset_id, "card.json"), asdict(card))
    return card


def _finish(store: Store, dataset_id: str, crawl_id: str, plan: Plan, results: list[ShardResult]) -> Card:
    """Write all but the shards and card.json."""
    lost = {imdb_id: reason for result in results for imdb_id, reason in result.lost.items()}
    is_kept = np.ones(len(plan), np.bool_)
    if lost:
        is_kept = ~np.isin(plan.rows["imdb_id"].to_numpy(), list(lost))
    side, multi_hot = plan.side[is_kept], plan.multi_hot[is_kept]
    posters = {split: int((side == index).sum()) for index, split in enumerate(SPLITS)}
    if missing := [split for split in SPLITS if not posters[split]]:
        raise DatasetError(f"no poster of {missing[0]} can be read: {len(lost)} are lost; crawl them again")
    lost_rows = pa.table([list(lost), list(lost.values())], schema=DROPPED)
    dropped = pa.concat_tables([plan.dropped, lost_rows]).sort_by("imdb_id")
    counts = multi_hot.astype(np.float32)
    card = Card(
        dataset_id=dataset_id,
        crawl_id=crawl_id,
        options=plan.options,
        genres=list(plan.genres),
        funnel={**plan.funnel, "verified": int(is_kept.sum()), **posters},
        dropped=reasons_of(dropped),
        posters=posters,
        shards={split: [one.key for one in results if one.split == split and not one.is_empty] for split in SPLITS},
        genre_counts=shares_by_genre(multi_hot, side, plan.genres),
        co_occurrence=(counts.T @ counts).astype(np.int64).tolist(),
        near_duplicates=plan.near_duplicates,
        sizes=_sizes(results),
        folded=plan.folded,
        samples=_samples(plan, is_kept),
    )
    store.put(key_of(dataset_id, "splits.parquet"), parquet(plan.sides))
    store.put(key_of(dataset_id, "dropped.parquet"), parquet(dropped))
    _put_text(store, key_of(dataset_id, "README.md"), render_readme(card), "text/markdown; charset=utf-8")
    page = render_page(card, read_pictures(store, card))
    _put_text(store, key_of(dataset_id, "card.html"), page, "text/html; charset=utf-8")
    return card


def _kept_sides(store: Store, options: PrepareOptions, split_from: str | None) -> tuple[KnownSides, list[str]]:
    """The sides that titles have from before, and of which datasets."""
    if split_from == FRESH:
        return NOBODY, []
    if split_from is not None:
        card = read_card(store, split_from)
        try:
            return read_sides(store, key_of(card.dataset_id, "splits.parquet")), [card.dataset_id]
        except KeyNotFoundError as error:
            raise DatasetError(
                f"dataset {split_from} was made before splits were kept; prepare its crawl again"
            ) from error
    kept, kept_from = NOBODY, []
    for card in by_age(store):
        was = card.options
        shares = (was.get("validation_share"), was.get("test_share"))
        if was.get("split") == "stratified" and shares == (options.validation_share, options.test_share):
            kept = kept.updated(read_sides(store, key_of(card.dataset_id, "splits.parquet")))
            kept_from.append(card.dataset_id)
    return kept, kept_from


def _samples(plan: Plan, is_kept: Bools) -> dict[str, list[dict[str, Any]]]:
    """Some titles of each split, the same ones every time."""
    found = {}
    names = np.array(plan.genres)
    for index, split in enumerate(SPLITS):
        rows = np.flatnonzero(is_kept & (plan.side == index))
        rows = rows[np.argsort(scattered(plan.ids[rows]), kind="stable")[:_SAMPLES_A_SPLIT]]
        told = plan.rows.select(["imdb_id", "title", "year"]).take(pa.array(rows)).to_pylist()
        found[split] = [
            row | {"genres": names[plan.multi_hot[place]].tolist()} for place, row in zip(rows, told, strict=True)
        ]
    return found


def _sizes(results: list[ShardResult]) -> dict[str, Any]:
    sizes = np.concatenate([result.sizes for result in results])
    quantiles = {
        name: [int(value) for value in np.percentile(column, (5, 50, 95))]
        for name, column in zip(("bytes", "width_px", "height_px"), sizes.T, strict=True)
    }
    return {"total_bytes": int(sizes[:, 0].sum(dtype=np.int64)), "quantiles": quantiles}


def _newest_crawl(store: Store) -> str:
    crawls = [crawl for crawl in list_crawls(store) if crawl["stored"]]
    if not crawls:
        raise DatasetError(f"{store.url} has no crawl with posters; run `scrapy crawl posters -a catalog=PATH` first")
    return str(crawls[0]["crawl_id"])


def _put_json(store: Store, key: str, value: dict[str, Any]) -> None:
    store.put(key, json.dumps(value, indent=2).encode(), content_type="application/json")


def _put_text(store: Store, key: str, text: str, content_type: str) -> None:
    store.put(key, text.encode(), content_type=content_type)
