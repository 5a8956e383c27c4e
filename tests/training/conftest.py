"""A small store with a finished crawl of drawn posters, and datasets of it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.store import FolderStore
from crawler.catalogs import open_catalog
from crawler.crawl import Crawl
from crawler.ledger import Ledger, LedgerRow
from crawler.pipelines import poster_key
from crawler.site.drawing import draw_poster
from crawler.site.invention import invent_titles
from training.dataset import Card, PrepareOptions, prepare

DRAWN = 80


@pytest.fixture(scope="session")
def drawn() -> dict[str, tuple[tuple[str, ...], bytes]]:
    """imdb_id → genres and a drawn poster."""
    return {title.imdb_id: (title.genres, draw_poster(title)) for title in invent_titles(DRAWN)}


def crawled(store: FolderStore, catalog: Path, posters: dict[str, bytes], genres: dict[str, list[str]]) -> str:
    """Leave in the store what a crawl of these posters leaves; returns its id."""
    with catalog.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["Id", "Genre"])
        rows.writerows([imdb_id, str(names)] for imdb_id, names in genres.items())
    with open_catalog(str(catalog)) as opened:
        crawl = Crawl.open(opened, store)
        crawl.save_titles(opened)
    ledger = Ledger(store, crawl.crawl_id)
    for imdb_id, data in posters.items():
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(poster_key(imdb_id), data)
        row = {"source": "listed", "attempts": 1, "fetched_at": datetime.now(UTC), "sha256": sha256, "bytes": len(data)}
        ledger.append(LedgerRow(imdb_id=imdb_id, outcome="stored", **row))  # type: ignore[arg-type]
    ledger.flush()
    crawl.finish(started_at=datetime.now(UTC), finish_reason="finished")
    return crawl.crawl_id


@pytest.fixture(scope="session")
def make_dataset(
    drawn: dict[str, tuple[tuple[str, ...], bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], tuple[FolderStore, Card]]:
    def make() -> tuple[FolderStore, Card]:
        folder = tmp_path_factory.mktemp("dataset")
        store = FolderStore(folder / "store")
        posters = {imdb_id: data for imdb_id, (_, data) in drawn.items()}
        genres = {imdb_id: list(names) for imdb_id, (names, _) in drawn.items()}
        crawl_id = crawled(store, folder / "catalog.csv", posters, genres)
        return store, prepare(store, crawl_id, PrepareOptions())

    return make


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[[], tuple[FolderStore, Card]]) -> tuple[FolderStore, Card]:
    """A store with a dataset of drawn posters; tests only read it."""
    return make_dataset()
