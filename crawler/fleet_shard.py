"""One shard of a fleet: Scrapy in a Ray task's own process."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cluster.errors import OnesheetError
from crawler.options import read_options
from crawler.plan import Plan, make_plan


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a shard's process ended: Scrapy's reason, and the error that a person must know of."""

    reason: str
    error: OnesheetError | None


def options_of(plan: Plan, shards: int) -> dict[str, Any]:
    """What a shard is told of a plan. No secrets; each node has its own.

    The catalogue lies in the store by now, the budget is the fleet's, and the sources are those that the plan found
    here: a node without a key says so instead of leaving a source out.
    """
    given = plan.options
    told = {
        "catalog": None,
        "store": plan.crawl.store.url,
        "crawl_id": plan.crawl.crawl_id,
        "images": given.images.absolute() if given.images else None,
        "sources": given.sources or tuple(source.name for source in plan.sources),
        "max_titles": None,
        "max_bytes": None,
        "max_minutes": None,
        "shards": shards,
    }
    return given.model_copy(update=told).model_dump(mode="json", exclude_none=True, exclude={"shard"})


def run_shard(
    options: dict[str, Any], shard: int, fleet: str, attempt: str, scrapy_settings: dict[str, Any]
) -> ShardEnd:
    """Crawl one shard's titles to their end, or to where the fleet says."""
    from crawler.run import run_crawl  # noqa: PLC0415  Scrapy installs its reactor at import

    # Into this worker's own log.
    handler = logging.StreamHandler()
    # Its own level: Scrapy lowers that of the root.
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    try:
        plan = make_plan(read_options(**options, shard=shard))
        # A shard has one core: a decoder beside it would take another's.
        told = {"DECODERS": 0, "FLEET": fleet, "FLEET_ATTEMPT": attempt, **scrapy_settings}
        spider = run_crawl(plan, progress="none", **told)
    except OnesheetError as error:
        return ShardEnd("failed", error)
    stats = spider.crawler.stats
    return ShardEnd(str(stats.get_value("finish_reason") if stats else None), None)
