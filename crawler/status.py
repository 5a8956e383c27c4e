"""The crawler's part of `onesheet status`: the latest crawl."""

from __future__ import annotations

from cluster.overview import Part, Section, Where
from cluster.store import open_store


def _crawl(where: Where) -> Section:
    from crawler.crawl import list_crawls  # noqa: PLC0415  help stays quick

    store = open_store(where.settings.store)
    ended = list_crawls(store)
    known = {crawl["crawl_id"] for crawl in ended}
    unended = [name for name in store.folders("crawls/") if name not in known]
    lines = [("store", store.url)]
    for crawl in ended[:1]:
        counts = f"{crawl['stored']:,} of {crawl['titles']:,} titles stored, {crawl['rejected']:,} rejected"
        still = f", {crawl['open']:,} open" if crawl["open"] else ""
        lines.append((crawl["crawl_id"], f"{counts}{still}; ended {crawl['finished_at'][:16]}"))
    lines += [(name, "at work, or interrupted: see onesheet crawl report") for name in unended]
    if not known and not unended:
        lines.append(("", "no crawl yet: onesheet crawl CATALOG"))
    return Section("crawl", lines, {"store": store.url, "latest": ended[0] if ended else None, "not_ended": unended})


crawl_section = Part("crawl", _crawl)
