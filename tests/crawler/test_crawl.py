"""A crawl: its name, its catalogue in the store, its summary."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CrawlerError
from cluster.store import FolderStore
from crawler import crawl as crawl_module
from crawler.catalogs import RejectedRow
from crawler.crawl import Crawl, list_crawls, read_summary, read_titles
from crawler.ledger import Ledger, LedgerRow
from crawler.titles import Title

HEADER = "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
ROWS = ("1,,One (1961),7,Drama,https://h/1.jpg\n", "2,,Two (1962),6,Comedy|Drama,\n", "3,,Three,,N/A,\n")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(tmp_path / "store")


def _catalog(folder: Path, *rows: str, name: str = "My Films.csv") -> Path:
    path = folder / name
    path.write_text(HEADER + "".join(rows))
    return path


def _finish(crawl: Crawl, *imdb_ids: str) -> dict[str, Any]:
    ledger = Ledger(crawl.store, crawl.crawl_id)
    now = datetime.now(UTC)
    for imdb_id in imdb_ids:
        ledger.append(LedgerRow(imdb_id=imdb_id, outcome="stored", source="page", attempts=1, fetched_at=now, bytes=7))
    return crawl.finish(ledger, started_at=now, finish_reason="finished", rejected_rows=0)


def test_the_same_bytes_are_the_same_crawl_and_other_bytes_another(tmp_path: Path, store: FolderStore) -> None:
    first = Crawl.open(_catalog(tmp_path, *ROWS), store).crawl_id
    assert first.startswith("my-films-")
    assert Crawl.open(_catalog(tmp_path, *ROWS), store).crawl_id == first
    assert Crawl.open(_catalog(tmp_path, *ROWS[:2]), store).crawl_id != first


@pytest.mark.parametrize("name", ["", "Films", "a/b", "../films", "-films", ".", "a" * 81, "films\n"])
def test_a_crawl_id_that_is_no_name_is_told_in_one_sentence(tmp_path: Path, store: FolderStore, name: str) -> None:
    with pytest.raises(CrawlerError, match=r"use lower-case letters, digits and \. _ -"):
        Crawl.open(_catalog(tmp_path, *ROWS), store, name)


def test_a_catalogue_of_columns_or_only_bad_rows_is_no_crawl(tmp_path: Path, store: FolderStore) -> None:
    for rows in ((), ("x,,One,7,Drama,\n",)):
        with pytest.raises(CrawlerError, match="has columns but no row that names a title"):
            Crawl.open(_catalog(tmp_path, *rows), store)


def test_each_distinct_title_is_crawled_once_by_its_first_row(tmp_path: Path, store: FolderStore) -> None:
    crawl = Crawl.open(_catalog(tmp_path, *ROWS, "1,,Uno,7,Drama,https://h/uno.jpg\n"), store)
    assert [title.title for title in crawl.titles()] == ["One", "Two", "Three"]


def test_the_store_keeps_the_catalogues_rows_duplicates_included(tmp_path: Path, store: FolderStore) -> None:
    crawl = Crawl.open(_catalog(tmp_path, *ROWS, "bad row\n", ROWS[0]), store)
    assert crawl.save_titles() == [RejectedRow(5, "1 cells where the header has 6")]
    rows = list(read_titles(store, crawl.crawl_id))
    assert [row["imdb_id"] for row in rows] == ["tt0000001", "tt0000002", "tt0000003", "tt0000001"]
    row = rows[1]
    row["genres"] = tuple(row["genres"])
    assert Title(**row) == Title("tt0000002", "Two", 1962, ("Comedy", "Drama"), 6.0)


def test_a_shorter_catalogue_under_the_same_name_leaves_nothing_of_the_longer_one(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_module, "_ROWS_A_FILE", 1)
    for rows in (ROWS, ROWS[:1]):
        crawl = Crawl.open(_catalog(tmp_path, *rows), store, "films")
        crawl.save_titles()
        summary = _finish(crawl, *(title.imdb_id for title in crawl.titles()))
    assert [row["imdb_id"] for row in read_titles(store, "films")] == ["tt0000001"]
    assert (summary["titles"], summary["stored"], summary["open"]) == (1, 1, 0)


def test_a_summary_counts_and_says_whether_titles_are_open(tmp_path: Path, store: FolderStore) -> None:
    crawl = Crawl.open(_catalog(tmp_path, *ROWS), store)
    part = _finish(crawl, "tt0000001")
    assert (part["titles"], part["stored"], part["open"], part["finished"], part["bytes"]) == (3, 1, 2, False, 7)
    whole = _finish(crawl, "tt0000002", "tt0000003")
    assert (whole["stored"], whole["open"], whole["finished"]) == (3, 0, True)
    assert read_summary(store, crawl.crawl_id) == whole


def test_crawls_are_listed_the_newest_first_and_an_unknown_one_is_told(tmp_path: Path, store: FolderStore) -> None:
    assert list_crawls(store) == []
    for name in ("b-first", "a-second"):
        summary = _finish(Crawl.open(_catalog(tmp_path, *ROWS), store, name))
        summary["finished_at"] = f"2026-01-0{1 if name == 'b-first' else 2}T00:00:00+00:00"
        store.put(f"crawls/{name}/summary.json", json.dumps(summary).encode())
    assert [row["crawl_id"] for row in list_crawls(store)] == ["a-second", "b-first"]
    with pytest.raises(CrawlerError, match=r"has no ended crawl 'none'; see `onesheet crawls`"):
        read_summary(store, "none")
