"""One crawl: its id, the catalogue that it leaves in the store, and the summary that it ends with.

crawls/<crawl_id>/titles/00000.parquet   the catalogue's rows as read, duplicates included
crawls/<crawl_id>/ledger.parquet         one row a distinct title (`crawler.ledger`)
crawls/<crawl_id>/summary.json           counts; `finished` once every title has its outcome
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import CrawlerError, KeyNotFoundError
from cluster.store import Store
from crawler.catalogs import RejectedRow, read_catalog
from crawler.ledger import Ledger, count_outcomes
from crawler.titles import Title

_CRAWL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_ROWS_A_FILE = 100_000
_TITLES_SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        pa.field("rating", pa.float32()),
        pa.field("poster_url", pa.string()),
        pa.field("page_url", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Crawl:
    """A catalogue on its way into a store. The same catalogue and store are the same crawl, and resume it."""

    crawl_id: str
    catalog: Path
    store: Store

    @classmethod
    def open(cls, catalog: Path, store: Store, crawl_id: str | None = None) -> Crawl:
        """The crawl of a catalogue, checked but not begun.

        crawl_id: a name of the user's, which lets a catalogue that grows continue its crawl; by default the
        file's stem and a hash of its bytes. Raises CatalogError or CrawlerError.
        """
        if crawl_id is not None and not _CRAWL_ID.fullmatch(crawl_id):
            raise CrawlerError(f"crawl id {crawl_id!r}: use lower-case letters, digits and . _ - (at most 80)")
        if not any(isinstance(row, Title) for row in read_catalog(catalog)):
            raise CrawlerError(f"catalogue {catalog} has columns but no row that names a title")
        return cls(crawl_id or _content_id(catalog), catalog, store)

    def titles(self) -> Iterator[Title]:
        """Each distinct title once, by its first row."""
        seen: set[str] = set()
        for row in read_catalog(self.catalog):
            if isinstance(row, Title) and row.imdb_id not in seen:
                seen.add(row.imdb_id)
                yield row

    def save_titles(self) -> list[RejectedRow]:
        """Leave the catalogue in the store, for the stages behind the crawl. Returns the rows that name no title."""
        rejected: list[RejectedRow] = []

        def valid() -> Iterator[dict[str, Any]]:
            for row in read_catalog(self.catalog):
                if isinstance(row, Title):
                    yield asdict(row)
                else:
                    rejected.append(row)

        rows, number = valid(), 0
        while batch := list(islice(rows, _ROWS_A_FILE)):
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(batch, schema=_TITLES_SCHEMA), sink, compression="zstd")
            self.store.put(f"{_titles(self.crawl_id)}{number:05}.parquet", sink.getvalue())
            number += 1
        for key in list(self.store.list(_titles(self.crawl_id))):
            if key >= f"{_titles(self.crawl_id)}{number:05}.parquet":
                self.store.delete(key)  # of an earlier, longer version of the catalogue
        return rejected

    def finish(self, ledger: Ledger, *, started_at: datetime, finish_reason: str, rejected_rows: int) -> dict[str, Any]:
        """Merge the ledger and write the summary. Returns the summary."""
        titles = {title.imdb_id for title in self.titles()}
        counts = count_outcomes(ledger.merge(titles))
        open_titles = len(titles) - counts["stored"] - counts["rejected"]
        finished_at = datetime.now(UTC)
        summary = {
            "crawl_id": self.crawl_id,
            "catalog": self.catalog.name,
            "titles": len(titles),
            **counts,
            "open": open_titles,
            "rejected_rows": rejected_rows,
            "finished": open_titles == 0,
            "finish_reason": finish_reason,
            "started_at": started_at.isoformat(timespec="seconds"),
            "finished_at": finished_at.isoformat(timespec="seconds"),
            "seconds": round((finished_at - started_at).total_seconds(), 1),
        }
        self.store.put(_summary(self.crawl_id), json.dumps(summary, indent=2).encode(), content_type="application/json")
        return summary


def read_titles(store: Store, crawl_id: str) -> Iterator[dict[str, Any]]:
    """The rows that a crawl kept of its catalogue, duplicates included, in the catalogue's order."""
    for key in store.list(_titles(crawl_id)):
        yield from pq.read_table(io.BytesIO(store.get(key))).to_pylist()


def read_summary(store: Store, crawl_id: str) -> dict[str, Any]:
    """The summary of a crawl that ended. Raises CrawlerError where none did."""
    try:
        summary: dict[str, Any] = json.loads(store.get(_summary(crawl_id)))
    except KeyNotFoundError as error:
        raise CrawlerError(f"{store.url} has no ended crawl {crawl_id!r}; see `onesheet crawls`") from error
    return summary


def list_crawls(store: Store) -> list[dict[str, Any]]:
    """The summaries of the crawls that ended, the newest first."""
    keys = [key for key in store.list("crawls/") if key.endswith("/summary.json")]
    return sorted(
        (json.loads(store.get(key)) for key in keys), key=lambda summary: summary["finished_at"], reverse=True
    )


def _content_id(catalog: Path) -> str:
    with catalog.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    slug = re.sub(r"[^a-z0-9]+", "-", catalog.name.split(".")[0].lower()).strip("-") or "catalog"
    return f"{slug[:60]}-{digest[:8]}"


def _titles(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/titles/"


def _summary(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/summary.json"
