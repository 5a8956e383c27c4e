"""Crawls in a store, as the crawler leaves them, for the tests of their reports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cluster.store import FolderStore
from crawler.catalogs import open_catalog
from crawler.crawl import Crawl
from crawler.ledger import Ledger, LedgerRow
from crawler.outcomes import Reason

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def imdb_id(number: int) -> str:
    return f"tt{number:07d}"


def stored(number: int, **told: Any) -> LedgerRow:
    facts: dict[str, Any] = {
        "source": "listed",
        "attempts": 1,
        "fetched_at": START + timedelta(seconds=number),
        "url": f"https://images.example/{number}.jpg",
        "http_status": 200,
        "sha256": f"{number:064x}",
        "width_px": 400,
        "height_px": 600,
        "bytes": 50_000 + number,
        "format": "JPEG",
    }
    return LedgerRow(imdb_id=imdb_id(number), outcome="stored", **facts | told)


def rejected(number: int, reason: Reason | str = Reason.NOT_FOUND, **told: Any) -> LedgerRow:
    facts: dict[str, Any] = {
        "source": "page",
        "attempts": 1,
        "fetched_at": START + timedelta(seconds=number),
        "url": f"https://pages.example/{number}",
        "detail": "HTTP 404",
    }
    return LedgerRow(imdb_id=imdb_id(number), outcome="rejected", reason=str(reason), **facts | told)


def crawl_of(folder: Path, titles: int, rows: Iterable[LedgerRow] = (), *, name: str = "films") -> Crawl:
    """A crawl of the titles 1 to `titles`, twice the first and one malformed row, with these rows of its ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog = folder / f"{name}.txt"
    catalog.write_text("\n".join([*(imdb_id(number) for number in range(1, titles + 1)), imdb_id(1), "no id at all"]))
    with open_catalog(str(catalog)) as opened:
        crawl = Crawl.open(opened, FolderStore(folder / "store"))
        crawl.save_titles(opened)
    ledger = Ledger(crawl.store, crawl.crawl_id)
    for row in rows:
        ledger.append(row)
    ledger.flush()
    return crawl
