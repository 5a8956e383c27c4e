"""A crawl: its name, its catalogue in the store, its summary."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap64

from cluster.errors import CrawlerError
from cluster.store import FolderStore
from crawler import crawl as crawl_module
from crawler import title_files
from crawler.catalogs import open_catalog
from crawler.crawl import CatalogCard, Crawl, list_crawls, read_summary, read_titles
from crawler.ledger import Ledger, LedgerRow, read_ledger
from crawler.titles import Kind, Title, shard_of

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


def _open(folder: Path, store: FolderStore, *rows: str, crawl_id: str | None = None, save: bool = True) -> Crawl:
    """A crawl of these rows, whose titles are in the store."""
    with open_catalog(str(_catalog(folder, *rows))) as catalog:
        crawl = Crawl.open(catalog, store, crawl_id)
        if save:
            crawl.save_titles(catalog)
    return crawl


def _record(crawl: Crawl, *imdb_ids: str) -> None:
    ledger = Ledger(crawl.store, crawl.crawl_id)
    for imdb_id in imdb_ids:
        facts: dict[str, Any] = {"source": "page", "attempts": 1, "fetched_at": datetime.now(UTC), "bytes": 7}
        ledger.append(LedgerRow(imdb_id=imdb_id, outcome="stored", **facts))
    ledger.flush()


def _finish(crawl: Crawl, *imdb_ids: str, started_at: datetime | None = None) -> dict[str, Any]:
    _record(crawl, *imdb_ids)
    return crawl.finish(started_at=started_at or datetime.now(UTC), finish_reason="finished")


def test_the_same_bytes_are_the_same_crawl_and_other_bytes_another(tmp_path: Path, store: FolderStore) -> None:
    first = _open(tmp_path, store, *ROWS).crawl_id
    assert first.startswith("my-films-")
    assert _open(tmp_path, store, *ROWS).crawl_id == first
    assert _open(tmp_path, store, *ROWS[:2]).crawl_id != first


@pytest.mark.parametrize("name", ["", "Films", "a/b", "../films", "-films", ".", "a" * 81, "films\n"])
def test_a_crawl_id_that_is_no_name_is_told_in_one_sentence(tmp_path: Path, store: FolderStore, name: str) -> None:
    with pytest.raises(CrawlerError, match=r"use lower-case letters, digits and \. _ -"):
        _open(tmp_path, store, *ROWS, crawl_id=name)
    with pytest.raises(CrawlerError, match=r"use lower-case letters, digits and \. _ -"):
        Crawl.resume(store, name)


def test_a_catalogue_of_only_bad_rows_is_no_crawl(tmp_path: Path, store: FolderStore) -> None:
    with pytest.raises(CrawlerError, match="has no row that names a title"):
        _open(tmp_path, store, "x,,One,7,Drama,\n")
    assert list(store.list()) == []


def test_each_distinct_title_is_crawled_once_by_its_first_row(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = "1,,Uno,7,Drama,https://h/uno.jpg\n"
    for rows_a_batch in (1, 2, 1000):
        monkeypatch.setattr(crawl_module, "_ROWS_A_BATCH", rows_a_batch)
        crawl = _open(tmp_path, store, ROWS[0], again, *ROWS[1:], again, ROWS[2])
        assert [title.title for title in crawl.titles()] == ["One", "Two", "Three"]
        assert [title.title for title in crawl.titles(without=BitMap64([1, 3]))] == ["Two"]
    assert crawl.numbers() == BitMap64([1, 2, 3])


def test_titles_come_out_as_they_went_in(tmp_path: Path, store: FolderStore) -> None:
    rows = [
        Title("tt0000001", "One", 1961, ("Drama",), 7.0, "https://h/1.jpg", None, Kind.FILM),
        Title("tt12345678", None, None, (), None, None, "https://h/page", None),
        Title("tt0000003", "Three", 1999, ("A", "B"), 6.5, None, None, Kind.EPISODE),
    ]

    class Catalog:
        name, slug, form, digest = "three", "three", "ids", "0" * 64

        def rows(self) -> Any:
            return iter(rows)

    catalog: Any = Catalog()
    crawl = Crawl.open(catalog, store)
    crawl.save_titles(catalog)
    assert list(crawl.titles()) == rows


def test_the_shards_of_a_crawl_are_all_of_its_titles_each_once(tmp_path: Path, store: FolderStore) -> None:
    rows = [f"{number},,Film,7,Drama,\n" for number in [*range(1, 300), *range(1, 50)]]
    crawl = _open(tmp_path, store, *rows)
    shards = [[title.imdb_id for title in crawl.titles(shard, 3)] for shard in range(3)]
    assert all(shard_of(imdb_id, 3) == shard for shard, ids in enumerate(shards) for imdb_id in ids)
    assert sorted(imdb_id for ids in shards for imdb_id in ids) == [f"tt{number:07}" for number in range(1, 300)]


def test_the_store_keeps_the_catalogues_rows_duplicates_included_and_its_card(
    tmp_path: Path, store: FolderStore
) -> None:
    crawl = _open(tmp_path, store, *ROWS, "bad row\n", ROWS[0])
    rows = list(read_titles(store, crawl.crawl_id))
    assert [row["imdb_id"] for row in rows] == ["tt0000001", "tt0000002", "tt0000003", "tt0000001"]
    row = rows[1]
    row["genres"] = tuple(row["genres"])
    assert Title(**row) == Title("tt0000002", "Two", 1962, ("Comedy", "Drama"), 6.0)
    card = crawl.card()
    assert card.first_rejected == [{"line": 5, "detail": "1 cells where the header has 6"}]
    shown = replace(card, first_rejected=[], saved_at="")
    assert shown == CatalogCard(card.name, "movie-genre", crawl.digest, 5, 3, 1, [], "")
    assert "My Films.csv" in card.name


def test_no_more_than_twenty_rejected_rows_are_kept_but_all_are_counted(tmp_path: Path, store: FolderStore) -> None:
    card = _open(tmp_path, store, *["bad\n"] * 50, *ROWS).card()
    assert (len(card.first_rejected), card.rejected_rows, card.rows, card.titles) == (20, 50, 53, 3)


def test_a_catalogue_is_read_once(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS)

    class Unread:
        def rows(self) -> Any:
            raise AssertionError("it was read again")

    unread: Any = Unread()
    assert crawl.save_titles(unread) == crawl.card()


def test_a_crawl_is_resumed_without_its_catalogue(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS)
    resumed = Crawl.resume(store, crawl.crawl_id)
    assert resumed == crawl
    assert list(resumed.titles()) == list(crawl.titles())
    with pytest.raises(CrawlerError, match=r"no catalogue of a crawl 'none'; start it with its catalogue"):
        Crawl.resume(store, "none")


def test_a_catalogue_that_was_only_saved_in_part_is_no_crawl_to_resume(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of saving a second, other catalogue: the first one's card must not speak for both."""
    monkeypatch.setattr(title_files, "_ROWS_A_FILE", 1)
    monkeypatch.setattr(title_files, "_ROWS_A_GROUP", 1)
    _open(tmp_path, store, *ROWS, crawl_id="films")
    put = store.put

    def put_until(key: str, data: bytes, **options: Any) -> None:
        if key.endswith("00001.parquet"):
            raise KeyboardInterrupt
        put(key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", put_until)
        with pytest.raises(KeyboardInterrupt):
            _open(tmp_path, store, *reversed(ROWS), crawl_id="films")
    with pytest.raises(CrawlerError, match="start it with its catalogue"):
        Crawl.resume(store, "films")
    crawl = _open(tmp_path, store, *ROWS, crawl_id="films")
    assert [title.title for title in crawl.titles()] == ["One", "Two", "Three"]


def test_a_shorter_catalogue_under_the_same_name_leaves_nothing_of_the_longer_one(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(title_files, "_ROWS_A_FILE", 1)
    monkeypatch.setattr(title_files, "_ROWS_A_GROUP", 1)
    for rows in (ROWS, ROWS[:1]):
        crawl = _open(tmp_path, store, *rows, crawl_id="films")
        summary = _finish(crawl, *(title.imdb_id for title in crawl.titles()))
    assert [row["imdb_id"] for row in read_titles(store, "films")] == ["tt0000001"]
    assert (summary["titles"], summary["stored"], summary["open"]) == (1, 1, 0)
    assert read_ledger(store, "films")["imdb_id"].to_pylist() == ["tt0000001"]


def test_a_crawl_whose_catalogue_another_start_replaced_ends_with_an_error_and_keeps_all_rows(
    tmp_path: Path, store: FolderStore
) -> None:
    first = _open(tmp_path, store, *ROWS[:2], crawl_id="films")
    numbers = first.numbers()
    _record(first, "tt0000001", "tt0000002")
    second = _open(tmp_path, store, ROWS[2], crawl_id="films")
    _record(second, "tt0000003")
    for use in (first.numbers, first.card, lambda: list(first.titles())):
        with pytest.raises(CrawlerError, match="was started with another catalogue meanwhile"):
            use()
    with pytest.MonkeyPatch.context() as patch:
        # Even when it is replaced behind the last look at the titles.
        patch.setattr(Crawl, "numbers", lambda self: numbers)
        with pytest.raises(CrawlerError, match="all its outcomes are kept"):
            first.finish(started_at=datetime.now(UTC), finish_reason="finished")
    assert read_ledger(store, "films").num_rows == 3
    assert second.finish(started_at=datetime.now(UTC), finish_reason="finished")["stored"] == 1


def test_a_summary_counts_and_says_whether_titles_are_open(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS, "bad\n")
    part = _finish(crawl, "tt0000001")
    assert (part["titles"], part["stored"], part["open"], part["finished"], part["bytes"]) == (3, 1, 2, False, 7)
    assert (part["rows"], part["rejected_rows"], part["sources"]) == (4, 1, {"page": 1})
    whole = _finish(crawl, "tt0000002", "tt0000003")
    assert (whole["stored"], whole["open"], whole["finished"]) == (3, 0, True)
    assert read_summary(store, crawl.crawl_id) == whole


def test_a_summary_tells_the_first_start_from_this_one(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS)
    now = datetime.now(UTC)
    first = _finish(crawl, started_at=now - timedelta(hours=5))
    second = _finish(crawl, started_at=now - timedelta(seconds=60))
    assert second["first_started_at"] == first["first_started_at"] == first["started_at"] < second["started_at"]
    assert 60 <= second["seconds"] < 120


def test_a_damaged_file_of_titles_is_told_with_what_to_do(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS, crawl_id="films")
    store.put("crawls/films/titles/00000.parquet", b"PAR1")
    with pytest.raises(CrawlerError, match=r"00000\.parquet is damaged .*; delete .*catalog\.json, and start"):
        list(crawl.titles())
    store.delete("crawls/films/catalog.json")
    assert len(list(_open(tmp_path, store, *ROWS, crawl_id="films").titles())) == 3


def test_two_starts_of_the_same_catalogue_leave_the_same_bytes(tmp_path: Path, store: FolderStore) -> None:
    crawl = _open(tmp_path, store, *ROWS, crawl_id="films")
    key = "crawls/films/titles/00000.parquet"
    data = store.get(key)
    store.delete("crawls/films/catalog.json")
    assert _open(tmp_path, store, *ROWS, crawl_id="films") == crawl
    assert store.get(key) == data
    assert pq.read_table(store.root / key).num_rows == 3


def test_crawls_are_listed_the_newest_first_and_an_unknown_one_is_told(tmp_path: Path, store: FolderStore) -> None:
    assert list_crawls(store) == []
    _open(tmp_path, store, *ROWS, crawl_id="c-running")
    for name in ("b-first", "a-second"):
        summary = _finish(_open(tmp_path, store, *ROWS, crawl_id=name))
        summary["finished_at"] = f"2026-01-0{1 if name == 'b-first' else 2}T00:00:00+00:00"
        store.put(f"crawls/{name}/summary.json", json.dumps(summary).encode())
    assert [row["crawl_id"] for row in list_crawls(store)] == ["a-second", "b-first"]
    with pytest.raises(CrawlerError, match=r"has no ended crawl 'none'; see `onesheet crawls`"):
        read_summary(store, "none")
