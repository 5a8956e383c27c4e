"""One crawl: its id, the catalogue that it leaves in the store, and the summary that it ends with.

    crawls/<crawl_id>/titles/00000.parquet   the catalogue's rows as read, duplicates included
    crawls/<crawl_id>/catalog.json           what the catalogue is; written last, so where it is the titles are whole
    crawls/<crawl_id>/ledger/*.parquet       one row a distinct title (`crawler.ledger`)
    crawls/<crawl_id>/summary.json           counts; `finished` once every title has its outcome

A catalogue is read once. From then on its titles are streamed from the store, by any process on any machine, and sets
of them are bitmaps of their numbers: memory stays the same from ten thousand titles to ten million.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pyroaring import BitMap64

from cluster.errors import CrawlerError, KeyNotFoundError
from cluster.store import Store
from crawler import title_files
from crawler.catalogs import Catalog, RejectedRow
from crawler.ledger import merge
from crawler.titles import Title, shard_of

_CRAWL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
# Few enough that the event loop of a crawl does not notice the decoding of a batch.
_ROWS_A_BATCH = 1_000
_REJECTED_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CatalogCard:
    """What a catalogue is, once it was read: rows = titles + duplicates + rejected_rows.

    first_rejected: `{"line": n, "detail": why}` of the first rows that name no title. saved_at: ISO 8601, in UTC.
    """

    name: str
    form: str
    digest: str
    rows: int
    titles: int
    rejected_rows: int
    first_rejected: list[dict[str, Any]]
    saved_at: str


@dataclass(frozen=True, slots=True)
class Crawl:
    """A catalogue on its way into a store. The same catalogue and store are the same crawl, and resume it.

    digest: of the catalogue that this start was given. Should another start put another catalogue in its place (two
    starts with the same `crawl_id` of the user's), this one ends with an error and leaves all rows as they are.
    """

    crawl_id: str
    digest: str
    store: Store

    @classmethod
    def open(cls, catalog: Catalog, store: Store, crawl_id: str | None = None) -> Crawl:
        """The crawl of a catalogue, checked but not begun.

        crawl_id: a name of the user's, which lets a catalogue that grows continue its crawl; by default the
        catalogue's name and a hash of its content. Raises CatalogError or CrawlerError.
        """
        if crawl_id is not None:
            _checked(crawl_id)
        if not any(isinstance(row, Title) for row in catalog.rows()):
            raise CrawlerError(f"catalogue {catalog.name} has no row that names a title")
        return cls(crawl_id or f"{catalog.slug[:60]}-{catalog.digest[:8]}", catalog.digest, store)

    @classmethod
    def resume(cls, store: Store, crawl_id: str) -> Crawl:
        """A crawl whose titles an earlier start left whole in the store. Raises CrawlerError where none did."""
        card = _read_card(store, _checked(crawl_id))
        if card is None:
            raise CrawlerError(f"{store.url} has no catalogue of a crawl {crawl_id!r}; start it with its catalogue")
        return cls(crawl_id, card.digest, store)

    def save_titles(self, catalog: Catalog) -> CatalogCard:
        """Read the catalogue, once, and leave it in the store; one that lies there already is not read again."""
        card = _read_card(self.store, self.crawl_id)
        if card and card.digest == self.digest:
            return card
        if card:
            # From here on the titles are of neither catalogue, until the new card is there.
            self.store.delete(_card_key(self.crawl_id))
        rejected: list[RejectedRow] = []
        rows = rejected_rows = 0

        def valid() -> Iterator[Title]:
            nonlocal rows, rejected_rows
            for row in catalog.rows():
                rows += 1
                if isinstance(row, Title):
                    yield row
                else:
                    rejected_rows += 1
                    rejected.extend([row][: _REJECTED_SHOWN - len(rejected)])

        distinct = title_files.write(self.store, self.crawl_id, self.digest, valid())
        card = CatalogCard(
            name=catalog.name,
            form=str(catalog.form),
            digest=self.digest,
            rows=rows,
            titles=len(distinct),
            rejected_rows=rejected_rows,
            first_rejected=[{"line": row.line, "detail": row.detail} for row in rejected],
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        data = json.dumps(asdict(card), indent=2).encode()
        self.store.put(_card_key(self.crawl_id), data, content_type="application/json")
        return card

    def card(self) -> CatalogCard:
        """What the saved catalogue is. Raises CrawlerError where another start's is in its place."""
        card = _read_card(self.store, self.crawl_id)
        if card is None or card.digest != self.digest:
            raise self._replaced()
        return card

    def titles(self, shard: int = 0, shards: int = 1, *, without: BitMap64 | None = None) -> Iterator[Title]:
        """Each distinct title of a shard once, by its first row, in the catalogue's order.

        without: the numbers of titles to leave out, such as those that are done, which costs less here than later.
        Raises CrawlerError where another start's catalogue is in the place of this one's.
        """
        seen = without.copy() if without else BitMap64()
        for batch in self._batches(title_files.SCHEMA.names):
            numbers = title_files.numbers_of(batch)
            new = np.fromiter((number not in seen for number in numbers.tolist()), bool, len(numbers))
            if not new.any():
                continue
            _, firsts = np.unique(numbers, return_index=True)
            is_first = np.zeros(len(numbers), bool)
            is_first[firsts] = True
            seen.update(numbers.astype(np.uint64))
            titles = title_files.as_titles(batch.filter(pa.array(new & is_first)))
            yield from titles if shards == 1 else (t for t in titles if shard_of(t.imdb_id, shards) == shard)

    def numbers(self) -> BitMap64:
        """The distinct titles, by their numbers (`titles.number_of`)."""
        distinct = BitMap64()
        for batch in self._batches(["imdb_id"]):
            distinct.update(title_files.numbers_of(batch).astype(np.uint64))
        return distinct

    def finish(self, *, started_at: datetime, finish_reason: str) -> dict[str, Any]:
        """Merge the ledger and write the summary, which is returned. `seconds` is this start's, from started_at.

        Rows of titles that the catalogue no longer has are dropped. Raises CrawlerError, and drops nothing, where
        another start has put another catalogue in the place of this one's.
        """
        numbers = self.numbers()
        # Rows of another start are in storage only after its catalogue's card is, so a look at the card behind the
        # reading of the rows tells whether they are all this catalogue's.
        counts = merge(self.store, self.crawl_id, numbers, may_drop=self._is_current)
        card = self.card()
        open_titles = len(numbers) - counts.stored - counts.rejected
        finished_at = datetime.now(UTC)
        started = started_at.astimezone(UTC).isoformat(timespec="seconds")
        summary = {
            "crawl_id": self.crawl_id,
            "catalog": card.name,
            "titles": len(numbers),
            **asdict(counts),
            "open": open_titles,
            "rows": card.rows,
            "rejected_rows": card.rejected_rows,
            "finished": open_titles == 0,
            "finish_reason": finish_reason,
            "first_started_at": min(started, self._first_started_at(), card.saved_at),
            "started_at": started,
            "finished_at": finished_at.isoformat(timespec="seconds"),
            "seconds": round((finished_at - started_at).total_seconds(), 1),
        }
        self.store.put(_summary(self.crawl_id), json.dumps(summary, indent=2).encode(), content_type="application/json")
        return summary

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for file in title_files.files(self.store, self.crawl_id):
            if title_files.digest_of(file) != self.digest:
                raise self._replaced()
            yield from file.iter_batches(_ROWS_A_BATCH, columns=columns)

    def _is_current(self) -> bool:
        card = _read_card(self.store, self.crawl_id)
        return card is not None and card.digest == self.digest

    def _first_started_at(self) -> str:
        try:
            summary = read_summary(self.store, self.crawl_id)
        except CrawlerError:
            return "9999"
        return str(summary.get("first_started_at", summary["started_at"]))

    def _replaced(self) -> CrawlerError:
        return CrawlerError(
            f"crawl {self.crawl_id!r} in {self.store.url} was started with another catalogue meanwhile; "
            "all its outcomes are kept: give each catalogue a crawl id of its own, or start again with the right one"
        )


def read_titles(store: Store, crawl_id: str) -> Iterator[dict[str, Any]]:
    """The rows that a crawl kept of its catalogue, duplicates included, in the catalogue's order."""
    for file in title_files.files(store, crawl_id):
        for batch in file.iter_batches(10 * _ROWS_A_BATCH):
            yield from batch.to_pylist()


def read_summary(store: Store, crawl_id: str) -> dict[str, Any]:
    """The summary of a crawl that ended. Raises CrawlerError where none did."""
    try:
        summary: dict[str, Any] = json.loads(store.get(_summary(crawl_id)))
    except KeyNotFoundError as error:
        raise CrawlerError(f"{store.url} has no ended crawl {crawl_id!r}; see `onesheet crawls`") from error
    return summary


def list_crawls(store: Store) -> list[dict[str, Any]]:
    """The summaries of the crawls that ended, the newest first."""
    summaries = []
    for crawl_id in store.folders("crawls/"):
        try:
            summaries.append(json.loads(store.get(_summary(crawl_id))))
        except KeyNotFoundError:
            continue  # it has not ended yet
    return sorted(summaries, key=lambda summary: summary["finished_at"], reverse=True)


def _checked(crawl_id: str) -> str:
    if not _CRAWL_ID.fullmatch(crawl_id):
        raise CrawlerError(f"crawl id {crawl_id!r}: use lower-case letters, digits and . _ - (at most 80)")
    return crawl_id


def _read_card(store: Store, crawl_id: str) -> CatalogCard | None:
    try:
        return CatalogCard(**json.loads(store.get(_card_key(crawl_id))))
    except KeyNotFoundError:
        return None


def _card_key(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/catalog.json"


def _summary(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/summary.json"
