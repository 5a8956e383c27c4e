"""The ledger: nothing that was recorded is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import StoreError
from cluster.store import FolderStore
from crawler import ledger as ledger_module
from crawler.ledger import SCHEMA, Ledger, LedgerRow, count_outcomes, done_titles, read_ledger
from crawler.outcomes import Reason

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


def _write(store: FolderStore, rows: Iterable[LedgerRow]) -> None:
    ledger = Ledger(store, CRAWL)
    for row in rows:
        ledger.append(row)
    ledger.flush()


def _ids(numbers: Iterable[int]) -> list[str]:
    return [f"tt{number:07}" for number in numbers]


def _keys(store: FolderStore) -> list[str]:
    return [key.removeprefix(f"crawls/{CRAWL}/") for key in store.list(f"crawls/{CRAWL}/")]


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
    assert done_titles(store, "none") == set()
    assert count_outcomes(read_ledger(store, "none")) == {"stored": 0, "rejected": 0, "reasons": {}, "bytes": 0}


def test_the_newest_row_of_a_title_wins_over_segments_and_the_merged_file(store: FailingStore) -> None:
    _write(store, [_row(1, Reason.TIMEOUT), _row(1, Reason.BLOCKED), _row(2)])
    assert read_ledger(store, CRAWL, ["reason"])["reason"].to_pylist() == ["blocked", None]
    Ledger(store, CRAWL).merge(_ids([1, 2]))
    _write(store, [_row(1)])
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]


def test_a_merge_leaves_one_file_with_the_rows_of_the_catalogue_sorted(store: FailingStore) -> None:
    _write(store, [_row(3), _row(1)])
    _write(store, [_row(2), _row(9)])
    table = Ledger(store, CRAWL).merge(_ids([1, 2, 3, 4]))
    assert table["imdb_id"].to_pylist() == _ids([1, 2, 3])
    assert _keys(store) == ["ledger.parquet"]
    assert read_ledger(store, CRAWL).equals(table)


def test_a_merge_flushes_what_still_waits(store: FailingStore) -> None:
    ledger = Ledger(store, CRAWL)
    ledger.append(_row(1))
    assert ledger.merge(_ids([1])).num_rows == 1


def test_a_crash_between_the_merged_file_and_its_segments_deletion_loses_and_doubles_nothing(
    store: FailingStore,
) -> None:
    _write(store, [_row(1, Reason.TIMEOUT), _row(2)])
    _write(store, [_row(1)])
    store.deletes_fail = True
    with pytest.raises(StoreError):
        Ledger(store, CRAWL).merge(_ids([1, 2]))
    assert len(_keys(store)) == 3
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]
    store.deletes_fail = False
    Ledger(store, CRAWL).merge(_ids([1, 2]))
    assert _keys(store) == ["ledger.parquet"]
    assert read_ledger(store, CRAWL, ["outcome"])["outcome"].to_pylist() == ["stored", "stored"]


def test_a_reader_that_is_overtaken_by_a_merge_still_sees_every_row(store: FailingStore) -> None:
    _write(store, [_row(1)])

    class Overtaken(FolderStore):
        def get(self, key: str) -> bytes:
            if key.endswith("ledger.parquet") and not store.exists(key):
                try:
                    return super().get(key)
                finally:
                    Ledger(store, CRAWL).merge(_ids([1]))
            return super().get(key)

    assert read_ledger(Overtaken(store.root), CRAWL, ["imdb_id"])["imdb_id"].to_pylist() == _ids([1])


def test_two_crawls_at_once_lose_no_row(store: FailingStore) -> None:
    def crawl(first: int) -> None:
        ledger = Ledger(store, CRAWL)
        for number in range(first, 200, 2):
            ledger.append(_row(number))
            if number % 10 < 2:
                ledger.flush()
        ledger.flush()

    threads = [threading.Thread(target=crawl, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_ledger(store, CRAWL, ["imdb_id"])["imdb_id"].to_pylist() == _ids(range(200))


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
    assert read_ledger(store, CRAWL, ["imdb_id"])["imdb_id"].to_pylist() == _ids([1, 2])
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


def test_stored_and_lasting_reasons_are_done_and_passing_ones_stay_open(store: FailingStore) -> None:
    reasons = list(Reason)
    _write(store, [_row(0), *(_row(number, reason) for number, reason in enumerate(reasons, start=1))])
    lasting = [number for number, reason in enumerate(reasons, start=1) if not reason.is_passing]
    assert done_titles(store, CRAWL) == set(_ids([0, *lasting]))


def test_counts_name_each_reason_the_most_frequent_first(store: FailingStore) -> None:
    _write(store, [_row(1), _row(2), _row(3, Reason.TIMEOUT), _row(4, Reason.NOT_FOUND), _row(5, Reason.NOT_FOUND)])
    counts = count_outcomes(read_ledger(store, CRAWL))
    assert counts == {"stored": 2, "rejected": 3, "reasons": {"not_found": 2, "timeout": 1}, "bytes": 20}
    assert list(counts["reasons"]) == ["not_found", "timeout"]
