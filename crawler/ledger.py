"""The ledger: every title's outcome, exactly one, in Parquet.

Rows go to small segments while a crawl runs, and a finished crawl merges them (`crawler.segments` says what lies
where, and why nothing is lost or doubled). Readers of a running crawl merge for themselves. Which row of a title
counts: `stored` beats `rejected`, then the newest (`crawler.ledger_merge`). All of it works in constant memory, except
`read_ledger`, which gives the whole table.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyroaring import BitMap64

from cluster.store import Store
from crawler.ledger_merge import Spill, with_number
from crawler.ledger_rows import SCHEMA, LedgerRow, conformed, passing_reasons, table_of
from crawler.segments import Read, Segments

# What a SIGKILL can cost at most: rows whose posters are fetched again by the next run.
FLUSH_ROWS = 500
FLUSH_S = 3.0

# Merges that end at the same moment leave a file each, and try again to leave one.
_MERGE_ROUNDS = 8

# What decides which row of a title counts.
_DECISIVE = ("imdb_id", "outcome", "fetched_at")
_COUNTED = ("imdb_id", "outcome", "reason", "source", "bytes")


@dataclass(frozen=True, slots=True)
class Counts:
    """Titles by outcome; rejected ones by reason, stored ones by source, the most frequent first; bytes stored."""

    stored: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.stored + other.stored,
            self.rejected + other.rejected,
            dict((Counter(self.reasons) + Counter(other.reasons)).most_common()),
            dict((Counter(self.sources) + Counter(other.sources)).most_common()),
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What needs no further try, and what was stored so long ago that its host may be asked whether it changed."""

    done: BitMap64
    stale: BitMap64


class Ledger:
    """Appends rows in segments; thread-safe."""

    def __init__(self, store: Store, crawl_id: str) -> None:
        self._segments = Segments(store, crawl_id)
        self._writing = threading.Lock()
        self._rows: list[LedgerRow] = []
        self._tried_at = time.monotonic()
        self._has_failed = False

    @property
    def waiting(self) -> int:
        """Rows that are not in storage yet."""
        return len(self._rows)

    def append(self, row: LedgerRow) -> None:
        """Record a row; it is in storage after the next flush. Waits for nothing."""
        self._rows.append(row)  # atomic: the event loop never waits for a write that is under way

    def flush_if_due(self) -> None:
        """Write a segment if enough rows wait, or for long enough; call it also while no rows come.

        While the store fails, it is tried every FLUSH_S seconds, however many rows wait.
        """
        is_time = time.monotonic() - self._tried_at >= FLUSH_S
        is_due = bool(self._rows) and (is_time or (len(self._rows) >= FLUSH_ROWS and not self._has_failed))
        if is_due and self._writing.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._writing.release()

    def flush(self) -> None:
        """Write the waiting rows as one segment. Rows stay waiting where the store fails."""
        with self._writing:
            self._flush()

    def _flush(self) -> None:
        rows = list(self._rows)
        self._has_failed = bool(rows)
        try:
            if rows:
                self._segments.append(table_of(rows))
                del self._rows[: len(rows)]
            self._has_failed = False
        finally:
            self._tried_at = time.monotonic()


def read_ledger(store: Store, crawl_id: str, columns: list[str] | None = None) -> pa.Table:
    """The ledger of a crawl, running or finished, whole: one row a title, ascending by imdb_id as text.

    Raises StoreError that names the object where one is damaged.
    """
    names = columns or SCHEMA.names
    return pa.concat_tables([SCHEMA.empty_table().select(names), *iter_ledger(store, crawl_id, names)])


def iter_ledger(store: Store, crawl_id: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Like `read_ledger`, in tables of some ten thousand rows, for ledgers of any size."""
    names = list(columns or SCHEMA.names)
    for table in _resolved(store, crawl_id, names):
        yield table.select(names)


def known(store: Store, crawl_id: str, *, refresh_before: datetime | None) -> Known:
    """What the ledger knows of the titles, by their numbers (`titles.number_of`).

    done: stored, or rejected for a lasting reason. refresh_before: an earlier row is not done; it is stale where
    its poster is stored, and where it is rejected the title is asked for again.
    """
    now = Known(BitMap64(), BitMap64())
    for table in _resolved(store, crawl_id, ["outcome", "reason", "fetched_at"]):
        is_stored = pc.equal(table["outcome"], "stored")
        is_done = pc.or_(is_stored, pc.invert(pc.is_in(table["reason"], passing_reasons())))
        if refresh_before is not None:
            is_old = pc.less(table["fetched_at"], pa.scalar(refresh_before, pa.timestamp("ms", tz="UTC")))
            now.stale.update(_numbers(table.filter(pc.and_(is_stored, is_old))))
            is_done = pc.and_(is_done, pc.invert(is_old))
        now.done.update(_numbers(table.filter(is_done)))
    return now


def merge(
    store: Store,
    crawl_id: str,
    titles: BitMap64 | None = None,
    *,
    may_drop: Callable[[], bool] = lambda: True,
) -> Counts:
    """Leave one row a title in as few segments as can be, and count them.

    titles: what the catalogue has now; only its titles are counted, and rows of others are dropped (a catalogue that
    shrank), unless `may_drop` says no, which is asked once all rows are read. None: every row stays and counts. Safe
    beside other merges, readers, and crawls that still append: their new segments stay for the next merge.
    """
    counts = Counts()
    for _ in range(_MERGE_ROUNDS):
        began_at = time.monotonic()
        counts = _merge_once(Segments(store, crawl_id), titles, may_drop)
        segments = Segments(store, crawl_id)
        if len(segments.merges(segments.keys())) <= 1:
            break
        # Another merge ended at the same moment. Whoever waits longer finds the other's work done.
        longest_s = max(0.2, 2 * (time.monotonic() - began_at))
        time.sleep(random.uniform(0.05, longest_s))  # noqa: S311 - no secret
    return counts


def adopt(store: Store, crawl_id: str, titles: BitMap64) -> int:
    """Record as stored what other crawls of the same store have stored, so that no poster is fetched a second time.

    titles: those that this crawl wants. Rows of titles that have a stored row here stay as they are; of several
    crawls' rows the newest is taken, for its poster is the one that lies in the store. Returns how many were adopted.
    """
    wanted = titles.copy()
    for table in _resolved(store, crawl_id, ["outcome"]):
        wanted -= _numbers(table.filter(pc.equal(table["outcome"], "stored")))
    if not wanted:
        return 0
    adopted = 0
    with Spill() as spill:
        for other in store.folders("crawls/"):
            if other != crawl_id:
                for table in Segments(store, other).tables(_stored_rows(wanted)):
                    spill.add(table)
        for table in spill.resolved():
            Segments(store, crawl_id).append(table.select(SCHEMA.names))
            adopted += table.num_rows
    return adopted


def _merge_once(segments: Segments, titles: BitMap64 | None, may_drop: Callable[[], bool]) -> Counts:
    if (counts := _counts_if_merged(segments, titles)) is not None:
        return counts
    counts = Counts()
    with Spill() as spill:
        for table in segments.tables(_columns(SCHEMA.names)):
            spill.add(table)
        is_dropping = titles is not None and may_drop()
        with segments.merged_files(SCHEMA) as files:
            for table in spill.resolved():
                in_catalog = _only(table, titles)
                counts += _count(in_catalog)
                files.write((in_catalog if is_dropping else table).select(SCHEMA.names))
    segments.delete(segments.read_keys)
    return counts


def _counts_if_merged(segments: Segments, titles: BitMap64 | None) -> Counts | None:
    """The counts of a ledger that a merge would leave as it is, by a look at a few of its columns."""
    counts = Counts()
    keys = segments.keys()
    if keys and not segments.are_one_merge(keys):
        return None
    for table in Segments(segments.store, segments.crawl_id).tables(_columns(_COUNTED)):
        in_catalog = _only(table, titles)
        if in_catalog.num_rows < table.num_rows:
            return None
        counts += _count(in_catalog)
    # Had it changed meanwhile, rows could be missing or counted twice.
    return counts if segments.keys() == keys else None


def _resolved(store: Store, crawl_id: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """One row a title, with at least these columns and `number`."""
    with Spill() as spill:
        for table in Segments(store, crawl_id).tables(_columns([*_DECISIVE, *columns])):
            spill.add(table)
        yield from spill.resolved()


def _columns(names: Sequence[str]) -> Read:
    """Reads these columns, and `number`, in the types of SCHEMA; a column that came later is null in older files."""
    schema = pa.schema([SCHEMA.field(name) for name in dict.fromkeys(names)])

    def read(file: pq.ParquetFile) -> Iterator[pa.Table]:
        there = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=16_384, columns=there):
            yield with_number(conformed(pa.Table.from_batches([batch]), schema))

    return read


def _stored_rows(wanted: BitMap64) -> Read:
    """Reads whole the stored rows of wanted titles; where there are none, two columns are all that is read."""

    def read(file: pq.ParquetFile) -> Iterator[pa.Table]:
        for group in range(file.num_row_groups):
            keys = with_number(file.read_row_group(group, columns=["imdb_id", "outcome"]))
            is_wanted = pc.and_(pc.equal(keys["outcome"], "stored"), _is_in(keys, wanted))
            if pc.any(is_wanted).as_py():
                yield with_number(conformed(file.read_row_group(group), SCHEMA).filter(is_wanted))

    return read


def _count(table: pa.Table) -> Counts:
    is_stored = pc.equal(table["outcome"], "stored")
    stored, rejected = table.filter(is_stored), table.filter(pc.invert(is_stored))
    return Counts(
        stored.num_rows,
        rejected.num_rows,
        {pair["values"]: pair["counts"] for pair in pc.value_counts(rejected["reason"]).to_pylist()},
        {pair["values"]: pair["counts"] for pair in pc.value_counts(stored["source"]).to_pylist()},
        pc.sum(stored["bytes"]).as_py() or 0,
    )


def _only(table: pa.Table, titles: BitMap64 | None) -> pa.Table:
    return table if titles is None else table.filter(_is_in(table, titles))


def _is_in(table: pa.Table, titles: BitMap64) -> pa.Array:
    common = np.array((_numbers(table) & titles).to_array(), np.int64)
    return pa.array(np.isin(table["number"].to_numpy(), common))


def _numbers(table: pa.Table) -> BitMap64:
    return BitMap64(table["number"].to_numpy().astype(np.uint64))
