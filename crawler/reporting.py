"""The report of a crawl: read from the store, written as a page and a picture."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cluster.errors import CrawlerError, KeyNotFoundError
from cluster.settings import Settings
from cluster.store import FolderStore, Store
from crawler.crawl import Crawl, read_summary
from crawler.ledger import SCHEMA, iter_ledger
from crawler.report import CrawlReport, make_report
from crawler.report_tally import make_shown


def read_report(store: Store, crawl_id: str | None = None, *, secrets: Iterable[str] = ()) -> CrawlReport:
    """The report of a crawl, be it at work, killed or ended; of the newest one without an id.

    secrets: texts that it must not show. Raises CrawlerError where there is no such crawl.
    """
    crawl = Crawl.resume(store, crawl_id or newest_crawl(store))
    try:
        summary = read_summary(store, crawl.crawl_id)
    except CrawlerError:
        summary = None
    return make_report(
        lambda names: iter_ledger(store, crawl.crawl_id, [name for name in names if name in SCHEMA.names]),
        crawl_id=crawl.crawl_id,
        card=crawl.card(),
        titles=crawl.numbers(),
        summary=summary,
        shown=make_shown([secret for secret in secrets if secret]),
        made_at=datetime.now(UTC),
    )


def write_report(report: CrawlReport, store: Store, out: Path | None = None) -> dict[str, str]:
    """Put `report.html` and `report.png` beside the crawl, and into the folder `out`. Returns where they are.

    Each is written whole or not at all. Raises StoreError.
    """
    from crawler.report_chart import draw_chart  # noqa: PLC0415  matplotlib takes its time
    from crawler.report_page import render_page  # noqa: PLC0415

    page, chart = render_page(report).encode(), draw_chart(report)
    places: list[tuple[Store, str]] = [(store, f"crawls/{report.crawl_id}/")]
    if out is not None:
        places.append((FolderStore(out), ""))
    for place, folder in places:
        place.put(f"{folder}report.html", page, content_type="text/html; charset=utf-8")
        place.put(f"{folder}report.png", chart, content_type="image/png")
    place, folder = places[-1]
    return {"html": place.url_of(f"{folder}report.html"), "png": place.url_of(f"{folder}report.png")}


def secrets_of(settings: Settings) -> list[str]:
    """The texts in the settings that nobody may be shown."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [secret for value in values if isinstance(value, SecretStr) and (secret := value.get_secret_value())]


def newest_crawl(store: Store) -> str:
    """The crawl in which something happened last. Raises CrawlerError where there is none."""
    found = []
    for crawl_id in store.folders("crawls/"):
        try:
            card = json.loads(store.get(f"crawls/{crawl_id}/catalog.json"))
        except KeyNotFoundError:
            continue  # its catalogue is not whole yet
        found.append((max(_moments(store, crawl_id, card)), crawl_id))
    if not found:
        raise CrawlerError(f"{store.url} has no crawl; start one with `onesheet crawl CATALOG`")
    return max(found)[1]


def _moments(store: Store, crawl_id: str, card: dict[str, Any]) -> list[float]:
    moments = [datetime.fromisoformat(card["saved_at"]).timestamp()]
    with contextlib.suppress(CrawlerError):  # it has not ended yet
        moments.append(datetime.fromisoformat(read_summary(store, crawl_id)["finished_at"]).timestamp())
    for key in store.list(f"crawls/{crawl_id}/ledger/"):
        # Segments of a crawl at work carry their time in their name; those of a merge are as old as the summary.
        stamp = key.rpartition("/")[2].partition("-")[0]
        try:
            moments.append(datetime.strptime(stamp, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return moments
