"""The ledger: every title's outcome, exactly one, in Parquet.

While a crawl runs, rows go to small segments `crawls/<crawl_id>/ledger/<time>-<token>.parquet`, each written
whole. A finished crawl merges them into `crawls/<crawl_id>/ledger.parquet`, one row a title. Readers merge both,
newest row first, so a crash between any two writes loses or doubles nothing that was recorded.
"""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import KeyNotFoundError, StoreError
from cluster.store import Store
from crawler.outcomes import Reason

# What a SIGKILL can cost at most: rows whose posters are fetched again by the next run.
FLUSH_ROWS = 500
FLUSH_S = 3.0

SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("url", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("phash", pa.string()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("format", pa.string()),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        # What the title page told, where one was asked.
        pa.field("page_title", pa.string()),
        pa.field("page_year", pa.int16()),
        pa.field("page_genres", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """outcome: `stored` or `rejected`; reason and detail only where rejected; source: `listed` or `page`."""

    imdb_id: str
    outcome: str
    source: str
    attempts: int
    fetched_at: datetime
    reason: str | None = None
    detail: str | None = None
    http_status: int | None = None
    url: str | None = None
    sha256: str | None = None
    phash: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    bytes: int | None = None
    format: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    page_title: str | None = None
    page_year: int | None = None
    page_genres: list[str] | None = None


class Ledger:
    """Appends rows in segments; thread-safe."""

    def __init__(self, store: Store, crawl_id: str) -> None:
        self._store = store
        self._crawl_id = crawl_id
        self._writing = threading.Lock()
        self._rows: list[LedgerRow] = []
        self._flushed_at = time.monotonic()

    def append(self, row: LedgerRow) -> None:
        """Record a row; it is in storage after the next flush, which comes by itself every few seconds."""
        self._rows.append(row)  # atomic: the event loop never waits for a write that is under way

    def flush_if_due(self) -> None:
        """Write a segment if enough rows wait, or for long enough."""
        is_due = len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed_at >= FLUSH_S
        if is_due and not self._writing.locked():
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as one segment. Rows stay waiting where the store fails."""
        with self._writing:
            self._flushed_at = time.monotonic()
            rows = list(self._rows)
            if not rows:
                return
            # The name sorts by time; the token keeps two crawls at once apart.
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.parquet"
            table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
            self._store.put(f"{_segments(self._crawl_id)}{name}", _parquet(table))
            del self._rows[: len(rows)]

    def merge(self, titles: Iterable[str]) -> pa.Table:
        """Flush, then write `ledger.parquet` with one row for each of `titles` that has one, and drop the segments."""
        self.flush()
        segments = list(self._store.list(_segments(self._crawl_id)))
        table = _only(read_ledger(self._store, self._crawl_id), set(titles))
        self._store.put(f"crawls/{self._crawl_id}/ledger.parquet", _parquet(table))
        for key in segments:
            self._store.delete(key)
        return table


def read_ledger(store: Store, crawl_id: str, columns: list[str] | None = None) -> pa.Table:
    """The ledger of a crawl, running or finished: one row a title, the newest, sorted by imdb_id.

    Raises StoreError that names the object where one is damaged.
    """
    names = columns or SCHEMA.names
    needed = list(dict.fromkeys([*names, "imdb_id", "fetched_at"]))
    # Oldest first: a later row of the same title replaces an earlier one.
    keys = [f"crawls/{crawl_id}/ledger.parquet", *store.list(_segments(crawl_id))]
    tables = []
    for key in keys:
        try:
            tables.append(pq.read_table(io.BytesIO(store.get(key)), columns=needed))
        except KeyNotFoundError:
            if key != keys[0]:  # merged since it was listed: ledger.parquet has its rows now
                return read_ledger(store, crawl_id, columns)
        except pa.ArrowException as error:
            raise StoreError(f"{store.url_of(key)} is damaged ({error}); delete it, and crawl again") from error
    if not tables:
        return SCHEMA.empty_table().select(names)
    table = pa.concat_tables(tables)
    newest = {imdb_id: row for row, imdb_id in enumerate(table["imdb_id"].to_pylist())}
    return table.take([newest[imdb_id] for imdb_id in sorted(newest)]).select(names)


def done_titles(store: Store, crawl_id: str) -> set[str]:
    """The titles that need no further try: stored, or rejected for a lasting reason."""
    rows = read_ledger(store, crawl_id, ["imdb_id", "outcome", "reason"]).to_pylist()
    return {row["imdb_id"] for row in rows if row["outcome"] == "stored" or not Reason(row["reason"]).is_passing}


def count_outcomes(table: pa.Table) -> dict[str, Any]:
    """`{"stored": n, "rejected": n, "reasons": {reason: n}, "bytes": n}` of a ledger, most frequent reason first."""
    rows = table.select(["outcome", "reason", "bytes"]).to_pylist()
    reasons = Counter(row["reason"] for row in rows if row["outcome"] == "rejected")
    stored = [row for row in rows if row["outcome"] == "stored"]
    return {
        "stored": len(stored),
        "rejected": len(rows) - len(stored),
        "reasons": dict(reasons.most_common()),
        "bytes": sum(row["bytes"] for row in stored),
    }


def _segments(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/ledger/"


def _only(table: pa.Table, titles: set[str]) -> pa.Table:
    return table.filter(pa.array([imdb_id in titles for imdb_id in table["imdb_id"].to_pylist()], pa.bool_()))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
