"""The fleet's metrics, through Ray's Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from crawler.fleet_rules import FleetView


class FleetMetrics:
    """Tells Prometheus what a fleet's views tell: each is the fleet since its start, a counter takes what is new.

    Ray puts `ray_` before the names, and `_total` after those of counters.
    """

    def __init__(self, crawl_id: str) -> None:
        self._crawl = {"crawl": crawl_id}
        self._titles = Counter(
            "onesheet_crawl_titles", "Titles by what became of them: `stored` or a reason.", ("crawl", "outcome")
        )
        self._bytes = Counter("onesheet_crawl_stored_bytes", "Bytes of the posters stored.", ("crawl",))
        self._requests = Counter("onesheet_crawl_requests", "Requests by host, retries included.", ("crawl", "host"))
        self._restarts = Counter("onesheet_crawl_restarts", "Shards that were started again.", ("crawl",))
        self._shards = Gauge("onesheet_crawl_shards", "Shards by what they are at.", ("crawl", "state"))
        self._seen: Tally[tuple[str, str]] = Tally()
        self._states: set[str] = set()

    def show(self, view: FleetView, states: Mapping[int, str], restarts: Mapping[int, int]) -> None:
        """The fleet as it is now; the arguments are those of FleetDisplay.show."""
        for outcome, titles in view.counts.items():
            self._add(self._titles, titles, outcome=outcome)
        for host, requests in view.requests.items():
            self._add(self._requests, requests, host=host)
        self._add(self._bytes, view.stored_bytes)
        self._add(self._restarts, sum(restarts.values()))
        found = Tally({**{shard.shard: shard.state for shard in view.shards}, **states}.values())
        # A state that nobody is in any more is told once more, as 0.
        for state in self._states | set(found):
            self._shards.set(found[state], {**self._crawl, "state": state})
        self._states |= set(found)

    def _add(self, counter: Counter, total: int, **labels: str) -> None:
        key = (counter.info["name"], *labels.values()) if labels else (counter.info["name"], "")
        if total > self._seen[key]:
            counter.inc(total - self._seen[key], {**self._crawl, **labels})
            self._seen[key] = total
