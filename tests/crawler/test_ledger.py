"""The ledger: nothing that was recorded is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap64

from cluster.errors import StoreError, StoreUnavailableError
from cluster.store import FolderStore, Store, open_store
from crawler import ledger as ledger_module
from crawler import ledger_merge, segments
from crawler.ledger import SCHEMA, Counts, Ledger, LedgerRow, adopt, iter_ledger, known, merge, read_ledger
from crawler.outcomes import Reason
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server

CRAWL = "films-1"


class FailingStore(FolderStore):
    """A folder that refuses writes or deletes while told to."""

    writes_fail = deletes_fail = False

    def put(self, key: str, data: bytes, *, content_type: str = "", if_absent: bool = False) -> None:
        """Write, or refuse."""
        if self.writes_fail:
            raise StoreError(f"cannot write {key}: No space left on device")
        super().put(key, data, content_type=content_type, if_absent=if_absent)

    def delete(self, key: str) -> None:
        """Delete, or refuse."""
        if self.deletes_fail:
            raise StoreError(f"cannot delete {key}: Connection reset")
        super().delete(key)


@pytest.fixture
def store(tmp_path: Path) -> FailingStore:
    """A store whose writes can be made to fail."""
    return FailingStore(tmp_path)


def _row(number: int, reason: Reason | None = None, **facts: Any) -> LedgerRow:
    outcome = {"outcome": "rejected", "reason": reason.value} if reason else {"outcome": "stored", "bytes": 10}
    row: dict[str, Any] = {"source": "page", "attempts": 1, "fetched_at": datetime.now(UTC), **outcome, **facts}
    return LedgerRow(imdb_id=f"tt{number:07}", **row)


def _write(store: Store, rows: Iterable[LedgerRow], crawl_id: str = CRAWL) -> None:
    ledger = Ledger(store, crawl_id)
    for row in rows:
        ledger.append(row)
    ledger.flush()


def _ids(numbers: Iterable[int]) -> list[str]:
    return [f"tt{number:07}" for number in numbers]


def _keys(store: Store) -> list[str]:
    return [key.removeprefix(f"crawls/{CRAWL}/ledger/") for key in store.list(f"crawls/{CRAWL}/")]


def _read_ids(store: Store, crawl_id: str = CRAWL) -> list[str]:
    ids: list[str] = read_ledger(store, crawl_id, ["imdb_id"])["imdb_id"].to_pylist()
    return ids


def test_a_row_reads_back_with_all_of_its_columns(store: FailingStore) -> None:
    row = _row(1, fetched_at=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), page_genres=["Drama"], sha256="a", width_px=9)
    _write(store, [row])
    table = read_ledger(store, CRAWL)
    assert table.schema == SCHEMA
    assert LedgerRow(**table.to_pylist()[0]) == row


def test_a_damaged_segment_is_told_by_its_address(store: FailingStore) -> None:
    _write(store, [_row(1)])
    store.put(f"crawls/{CRAWL}/ledger/0.parquet", b"PAR1 and nothing more")
    with pytest.raises(StoreError, match=r"ledger/0\.parquet is damaged .*; delete it, and crawl again"):
        read_ledger(store, CRAWL)


def test_an_unknown_crawl_has_an_empty_ledger_of_the_same_columns(store: FailingStore) -> None:
    assert read_ledger(store, "none").schema == SCHEMA
    assert list(iter_ledger(store, "none")) == []
    assert not known(store, "none", refresh_before=None).done
    assert merge(store, "none") == Counts()
    assert list(store.list()) == []


def test_the_newest_row_of_a_title_wins_over_segments_and_merged_ones(store: FailingStore) -> None:
    _write(store, [_row(1, Reason.TIMEOUT), _row(1, Reason.BLOCKED), _row(2)])
    assert read_ledger(store, CRAWL, ["reason"])["reason"].to_pylist() == ["blocked", None]
    merge(store, CRAWL)
    _write(store, [_row(1)])
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]


def test_what_is_stored_stays_stored_whatever_a_later_try_meets(store: FailingStore) -> None:
    _write(store, [_row(1, sha256="first")])
    _write(store, [_row(1, Reason.NOT_FOUND)])
    assert read_ledger(store, CRAWL, ["sha256"]).to_pylist() == [{"sha256": "first"}]
    _write(store, [_row(1, sha256="second")])
    merge(store, CRAWL)
    assert read_ledger(store, CRAWL, ["sha256"]).to_pylist() == [{"sha256": "second"}]


def test_a_merge_leaves_one_file_with_the_rows_of_the_catalogue_sorted(store: FailingStore) -> None:
    _write(store, [_row(10_000_000), _row(1), _row(1_000_001)])
    _write(store, [_row(2), _row(9)])
    counts = merge(store, CRAWL, BitMap64([1, 2, 4, 1_000_001, 10_000_000]))
    assert counts == Counts(stored=4, sources={"page": 4}, bytes=40)
    (name,) = _keys(store)
    assert name.startswith("merged-000001-")
    frame = pd.read_parquet(store.root / f"crawls/{CRAWL}/ledger/")
    assert list(frame["imdb_id"]) == sorted(_ids([1, 2, 1_000_001, 10_000_000])) == _read_ids(store)
    assert list(frame["imdb_id"])[-2:] == ["tt10000000", "tt1000001"]


def test_a_merge_of_a_merged_ledger_counts_it_and_leaves_it_as_it_is(store: FailingStore) -> None:
    _write(store, [_row(number) for number in range(1, 5)])
    counts = merge(store, CRAWL)
    keys = _keys(store)
    assert merge(store, CRAWL, BitMap64([1, 2, 3, 4, 5])) == counts
    assert _keys(store) == keys
    assert merge(store, CRAWL, BitMap64([1, 2])).stored == 2
    assert _keys(store) != keys
    assert _read_ids(store) == _ids([1, 2])


def test_a_merge_that_may_not_drop_keeps_the_rows_of_other_catalogues_and_counts_its_own(store: FailingStore) -> None:
    _write(store, [_row(1), _row(2)])
    assert merge(store, CRAWL, BitMap64([1, 5]), may_drop=lambda: False).stored == 1
    assert _read_ids(store) == _ids([1, 2])


def test_a_large_ledger_is_merged_into_several_files_in_order(
    store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 10)
    monkeypatch.setattr(segments, "_ROWS_A_FILE", 30)
    # Ranges are cut between ids whose first five digits differ.
    numbers = [number * 1000 for number in range(100, 0, -1)]
    for start in range(0, 100, 7):
        _write(store, [_row(number) for number in numbers[start : start + 7]])
    assert merge(store, CRAWL).stored == 100
    files = [store.root / f"crawls/{CRAWL}/ledger" / key for key in _keys(store)]
    assert 3 <= len(files) <= 5
    assert [row for file in files for row in pq.read_table(file)["imdb_id"].to_pylist()] == _ids(sorted(numbers))
    assert max(table.num_rows for table in iter_ledger(store, CRAWL)) <= 20
    _write(store, [_row(100_001)])
    assert merge(store, CRAWL).stored == 101
    assert all(key.startswith("merged-000002-") for key in _keys(store))


def test_a_crash_between_the_merged_file_and_its_segments_deletion_loses_and_doubles_nothing(
    store: FailingStore,
) -> None:
    _write(store, [_row(1, Reason.TIMEOUT), _row(2)])
    _write(store, [_row(1)])
    store.deletes_fail = True
    with pytest.raises(StoreError):
        merge(store, CRAWL)
    assert len(_keys(store)) == 3
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]
    store.deletes_fail = False
    assert merge(store, CRAWL).stored == 2
    assert len(_keys(store)) == 1
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]


def test_a_merge_that_cannot_write_deletes_nothing(store: FailingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(store, [_row(1)])
    keys = _keys(store)
    monkeypatch.setattr(
        store, "put_file", lambda *_, **__: (_ for _ in ()).throw(StoreUnavailableError("not just now"))
    )
    with pytest.raises(StoreUnavailableError):
        merge(store, CRAWL)
    assert _keys(store) == keys


class Overtaken(FolderStore):
    """A folder in which a merge goes by, once, when the first object is about to be read."""

    is_overtaken = False

    def get(self, key: str) -> bytes:
        """Read, too late."""
        self._overtake()
        return super().get(key)

    def open(self, key: str) -> Any:
        """Open, too late."""
        self._overtake()
        return super().open(key)

    def _overtake(self) -> None:
        if not self.is_overtaken:
            self.is_overtaken = True
            other = FolderStore(self.root)
            _write(other, [_row(3)])
            merge(other, CRAWL)


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_reader_that_is_overtaken_by_a_merge_still_sees_every_row(store: FailingStore, is_merged: bool) -> None:
    for number in (1, 2):
        _write(store, [_row(number)])
    if is_merged:
        merge(store, CRAWL)
    assert _read_ids(Overtaken(store.root)) == _ids([1, 2, 3])


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_merge_that_is_overtaken_by_another_leaves_every_row_once(store: FailingStore, is_merged: bool) -> None:
    for number in (1, 2):
        _write(store, [_row(number)])
    if is_merged:
        merge(store, CRAWL)
    assert merge(Overtaken(store.root), CRAWL).stored == 3
    assert len(_keys(store)) == 1
    assert _read_ids(store) == _ids([1, 2, 3])


def test_merges_that_end_at_the_same_moment_leave_one_file(store: FailingStore) -> None:
    for number in range(1, 40):
        _write(store, [_row(number)])
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        assert merge(store, CRAWL).stored == 39

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _read_ids(store) == _ids(range(1, 40))
    assert len(_keys(store)) == 1


def test_two_crawls_at_once_lose_no_row(store: FailingStore) -> None:
    def crawl(first: int) -> None:
        ledger = Ledger(store, CRAWL)
        for number in range(first, 200, 2):
            ledger.append(_row(number))
            if number % 10 < 2:
                ledger.flush()
        ledger.flush()

    threads = [threading.Thread(target=crawl, args=(first,)) for first in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _read_ids(store) == _ids(range(1, 200))


def test_rows_appended_while_a_segment_is_written_are_in_a_later_one_once(tmp_path: Path) -> None:
    class Slow(FolderStore):
        def put(self, key: str, data: bytes, **options: Any) -> None:
            if not late.is_set():
                late.set()
                ledger.append(_row(2))  # would wait forever, did append share the writer's lock
            super().put(key, data, **options)

    late = threading.Event()
    store = Slow(tmp_path)
    ledger = Ledger(store, CRAWL)
    ledger.append(_row(1))
    ledger.flush()
    assert read_ledger(store, CRAWL).num_rows == 1
    ledger.flush()
    ledger.flush()
    assert read_ledger(store, CRAWL).num_rows == 2
    assert len(_keys(store)) == 2


def test_rows_wait_while_the_store_fails_and_are_written_after(store: FailingStore) -> None:
    ledger = Ledger(store, CRAWL)
    ledger.append(_row(1))
    store.writes_fail = True
    with pytest.raises(StoreError, match="No space left on device"):
        ledger.flush()
    ledger.append(_row(2))
    store.writes_fail = False
    ledger.flush()
    assert _read_ids(store) == _ids([1, 2])
    assert len(_keys(store)) == 1


def test_a_segment_is_due_after_enough_rows_or_enough_time(
    store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_ROWS", 2)
    ledger = Ledger(store, CRAWL)
    ledger.append(_row(1))
    ledger.flush_if_due()
    assert _keys(store) == []
    ledger.append(_row(2))
    ledger.flush_if_due()
    assert len(_keys(store)) == 1
    monkeypatch.setattr(ledger_module, "FLUSH_S", 0.0)
    ledger.append(_row(3))
    ledger.flush_if_due()
    assert len(_keys(store)) == 2


def test_no_row_waits_for_the_next_one_and_no_segment_is_empty(
    store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_S", 0.0)
    ledger = Ledger(store, CRAWL)
    ledger.flush_if_due()
    assert _keys(store) == []
    ledger.append(_row(1))
    assert ledger.waiting == 1
    ledger.flush_if_due()
    assert (ledger.waiting, len(_keys(store))) == (0, 1)


def test_a_store_that_is_away_is_not_asked_for_every_row(store: FailingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_ROWS", 1)
    ledger = Ledger(store, CRAWL)
    ledger.append(_row(1))
    store.writes_fail = True
    with pytest.raises(StoreError):
        ledger.flush_if_due()
    for _ in range(20):
        ledger.flush_if_due()  # would raise, did it try
    monkeypatch.setattr(ledger_module, "FLUSH_S", 0.0)
    store.writes_fail = False
    ledger.flush_if_due()
    assert _read_ids(store) == _ids([1])


def test_a_row_that_no_file_can_hold_does_not_hold_up_the_others(store: FailingStore) -> None:
    odd = _row(2, page_title="lone \ud800", page_year=99_999, page_genres=["\udfff", "Drama"], url="https://h/\ud800")
    _write(store, [_row(1), odd])
    row = read_ledger(store, CRAWL).to_pylist()[1]
    assert (row["page_title"], row["page_year"], row["page_genres"]) == ("lone ?", None, ["?", "Drama"])
    assert (row["imdb_id"], row["url"], row["bytes"]) == ("tt0000002", "https://h/?", 10)


def test_a_segment_of_before_a_column_was_added_reads_as_null_there(store: FailingStore) -> None:
    _write(store, [_row(1)])
    (key,) = _keys(store)
    path = store.root / f"crawls/{CRAWL}/ledger/{key}"
    pq.write_table(pq.read_table(path).drop_columns(["page_kind"]), path)
    _write(store, [_row(2, page_kind="film")])
    assert read_ledger(store, CRAWL, ["page_kind"])["page_kind"].to_pylist() == [None, "film"]
    assert read_ledger(store, CRAWL).schema == SCHEMA


@pytest.mark.parametrize("column", ["imdb_id", "fetched_at"])
def test_a_segment_without_a_column_that_it_needs_is_damaged(store: FailingStore, column: str) -> None:
    _write(store, [_row(1)])
    (key,) = _keys(store)
    path = store.root / f"crawls/{CRAWL}/ledger/{key}"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(StoreError, match=rf"{key} is damaged \(no column {column}\)"):
        merge(store, CRAWL)
    assert _keys(store) == [key]


def test_stored_and_lasting_reasons_are_done_and_passing_ones_stay_open(store: FailingStore) -> None:
    reasons = list(Reason)
    _write(store, [_row(99), *(_row(number, reason) for number, reason in enumerate(reasons, start=1))])
    lasting = [number for number, reason in enumerate(reasons, start=1) if not reason.is_passing]
    now = known(store, CRAWL, refresh_before=None)
    assert now.done == BitMap64([*lasting, 99])
    assert not now.stale


def test_what_is_older_than_the_refresh_is_stale_or_asked_for_again(store: FailingStore) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=30)
    _write(store, [_row(1, fetched_at=old), _row(2), _row(3, Reason.NOT_FOUND, fetched_at=old)])
    _write(
        store, [_row(4, Reason.NOT_FOUND), _row(5, Reason.TIMEOUT, fetched_at=old), _row(6, fetched_at=old), _row(6)]
    )
    found = known(store, CRAWL, refresh_before=now - timedelta(days=7))
    assert (found.done, found.stale) == (BitMap64([2, 4, 6]), BitMap64([1]))


def test_counts_name_reasons_and_sources_the_most_frequent_first(store: FailingStore) -> None:
    _write(store, [_row(1), _row(2, source="tmdb"), _row(6), _row(3, Reason.TIMEOUT), _row(4, Reason.NOT_FOUND)])
    _write(store, [_row(5, Reason.NOT_FOUND)])
    counts = merge(store, CRAWL)
    assert counts == Counts(3, 3, {"not_found": 2, "timeout": 1}, {"page": 2, "tmdb": 1}, 30)
    assert (list(counts.reasons), list(counts.sources)) == (["not_found", "timeout"], ["page", "tmdb"])
    assert merge(store, CRAWL) == counts


class TestAdopt:
    def test_what_another_crawl_stored_is_stored_here_too_with_its_newest_row(self, store: FailingStore) -> None:
        old = datetime.now(UTC) - timedelta(days=1)
        _write(store, [_row(1, sha256="old", fetched_at=old), _row(2, sha256="b"), _row(3, Reason.NOT_FOUND)], "a")
        _write(store, [_row(1, sha256="new"), _row(9)], "b")
        merge(store, "b")
        _write(store, [_row(2, Reason.TIMEOUT), _row(4, sha256="own")])
        assert adopt(store, CRAWL, BitMap64([1, 2, 3, 4])) == 2
        rows = read_ledger(store, CRAWL, ["imdb_id", "sha256"]).to_pylist()
        assert [(row["imdb_id"], row["sha256"]) for row in rows] == list(
            zip(_ids([1, 2, 4]), ["new", "b", "own"], strict=True)
        )
        assert adopt(store, CRAWL, BitMap64([1, 2, 3, 4])) == 0
        assert _read_ids(store, "a") == _ids([1, 2, 3])

    def test_a_store_without_other_crawls_gives_nothing(self, store: FailingStore) -> None:
        assert adopt(store, CRAWL, BitMap64([1])) == 0
        _write(store, [_row(1)])
        assert adopt(store, CRAWL, BitMap64([1, 2])) == 0
        assert len(_keys(store)) == 1


@pytest.mark.parametrize("server", ["swift", "moto"])
def test_the_ledger_on_s3_is_merged_read_and_adopted(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3: S3Server = request.getfixturevalue(f"{server}_server")
    store = open_store(fresh_bucket(s3, monkeypatch) + "/data")
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 5)
    for start in range(1, 31, 10):
        _write(store, [_row(number * 1000) for number in range(start, start + 10)])
    assert merge(store, CRAWL).stored == 30
    _write(store, [_row(31_000)])
    assert _read_ids(store) == _ids(range(1000, 32_000, 1000))
    assert len(known(store, CRAWL, refresh_before=None).done) == 31
    assert adopt(store, "other", BitMap64([1000, 31_000, 5])) == 2
    assert merge(store, CRAWL).stored == 31
    assert len(_keys(store)) == 1
