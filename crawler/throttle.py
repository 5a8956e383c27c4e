"""A Scrapy extension: AutoThrottle that never goes below a host's limits, and shares them among a fleet's shards."""

from __future__ import annotations

import logging
from typing import Any

from scrapy import Spider
from scrapy.core.downloader import Slot
from scrapy.crawler import Crawler
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import Request, Response

log = logging.getLogger(__name__)

_FIRST_PENALTY_S = 5.0
_LONGEST_DELAY_S = 120.0
# Each good answer takes this much off the penalty that a block page brought.
_FORGIVENESS = 0.8


class PoliteThrottle(AutoThrottle):
    """Scrapy's AutoThrottle lowers a slot's delay to DOWNLOAD_DELAY, also where DOWNLOAD_SLOTS asks for more.

    Here the delay of DOWNLOAD_SLOTS is a floor, a block page raises it, and a shard of a fleet takes its part only.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._slots: dict[str, dict[str, Any]] = crawler.settings.getdict("DOWNLOAD_SLOTS")
        self._whole_concurrency = self.target_concurrency
        self._penalties: dict[str, float] = {}
        self._shards = 1

    def share(self, shards: int) -> None:
        """From now on this process is one of `shards` that ask the same hosts at the same time."""
        self._shards = max(1, shards)
        self.target_concurrency = self._whole_concurrency / self._shards
        downloader = self.crawler.engine.downloader if self.crawler.engine else None
        if downloader is None:
            return
        settings = self.crawler.settings
        downloader.domain_concurrency = self._part(settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN"))
        downloader._delay = self._start_delay() * self._shards
        downloader.per_slot_settings = {
            host: {
                **slot,
                **({"concurrency": self._part(slot["concurrency"])} if "concurrency" in slot else {}),
                **({"delay": slot["delay"] * self._shards} if "delay" in slot else {}),
            }
            for host, slot in self._slots.items()
        }
        for host, slot in downloader.slots.items():
            slot.concurrency = self._part(self._whole(host))
            slot.delay = max(slot.delay, self._floor(host))

    def slow_down(self, host: str) -> None:
        """The host complains: double the time between two requests to it."""
        if self.crawler.engine is None or host not in self.crawler.engine.downloader.slots:
            return
        slot: Slot = self.crawler.engine.downloader.slots[host]
        self._penalties[host] = min(_LONGEST_DELAY_S, max(_FIRST_PENALTY_S, slot.delay * 2))
        slot.delay = self._floor(host)
        log.warning("%s complains: from now on a request each %.0f s", host, slot.delay)

    def _part(self, whole: int) -> int:
        return max(1, whole // self._shards)

    def _whole(self, host: str) -> int:
        default = self.crawler.settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN")
        return int(self._slots.get(host, {}).get("concurrency", default))

    def _turn_s(self, host: str, latency_s: float) -> float:
        """The delay that lets more shards than a host takes requests at a time take turns, on average."""
        whole = self._whole(host)
        return latency_s * self._shards / whole if self._shards > whole else 0.0

    def _floor(self, host: str) -> float:
        own = float(self._slots.get(host, {}).get("delay", 0.0)) * self._shards
        return max(own, self._penalties.get(host, 0.0))

    def _response_downloaded(self, response: Response, request: Request, spider: Spider) -> None:
        super()._response_downloaded(response, request, spider)
        host, slot = self._get_slot(request, spider)
        if host is None or slot is None:
            return
        if host in self._penalties and response.status == 200:
            self._penalties[host] *= _FORGIVENESS
        turn_s = self._turn_s(host, request.meta.get("download_latency", 0.0))
        slot.delay = max(slot.delay, self._floor(host), turn_s)
