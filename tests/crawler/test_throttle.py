"""The throttle: a host's limits hold, whatever AutoThrottle finds, and whoever else asks the host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from scrapy.core.downloader import Slot
from scrapy.exceptions import NotConfigured
from scrapy.http import Request, Response
from scrapy.utils.test import get_crawler

from crawler.throttle import PoliteThrottle

HOST = "www.imdb.com"
OTHER = "image.tmdb.org"


def throttled() -> tuple[PoliteThrottle, dict[str, Slot], Any]:
    """A throttle over a downloader with these slots."""
    settings = {
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": 0.5,
        "AUTOTHROTTLE_TARGET_CONCURRENCY": 4.0,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
        "DOWNLOAD_SLOTS": {HOST: {"concurrency": 4, "delay": 2.0}},
    }
    crawler = get_crawler(settings_dict=settings)
    found = {HOST: Slot(4, 2.0, 0.0), OTHER: Slot(8, 0.5, 0.0)}
    downloader = SimpleNamespace(slots=found, per_slot_settings={}, domain_concurrency=8, _delay=0.5)
    crawler.engine = SimpleNamespace(downloader=downloader)  # type: ignore[assignment]
    throttle = PoliteThrottle(crawler)
    throttle._spider_opened(None)  # type: ignore[arg-type]
    return throttle, found, downloader


def answer(throttle: PoliteThrottle, host: str, latency_s: float = 0.01, status: int = 200) -> None:
    request = Request(f"https://{host}/", meta={"download_slot": host, "download_latency": latency_s})
    throttle._response_downloaded(Response(request.url, status=status), request, None)  # type: ignore[arg-type]


def test_quick_answers_never_bring_a_host_below_its_own_delay() -> None:
    throttle, slots, _ = throttled()
    for _ in range(20):
        answer(throttle, HOST)
        answer(throttle, OTHER)
    assert slots[HOST].delay == 2.0
    assert slots[OTHER].delay < 0.01


def test_a_block_page_slows_its_host_down_and_good_answers_forgive_it() -> None:
    throttle, slots, _ = throttled()
    throttle.slow_down(HOST)
    assert slots[HOST].delay == 5.0
    throttle.slow_down(HOST)
    assert slots[HOST].delay == 10.0
    assert slots[OTHER].delay == 0.5
    answer(throttle, HOST, status=202)
    assert slots[HOST].delay == 10.0
    for _ in range(30):
        answer(throttle, HOST)
    assert slots[HOST].delay == 2.0


def test_the_slowest_is_two_minutes() -> None:
    throttle, slots, _ = throttled()
    for _ in range(20):
        throttle.slow_down(HOST)
    assert slots[HOST].delay == 120


@pytest.mark.parametrize("shards", [1, 2, 4, 16])
def test_the_shards_of_a_fleet_share_a_hosts_rate(shards: int) -> None:
    throttle, slots, downloader = throttled()
    throttle.share(shards)
    answer(throttle, HOST)
    assert slots[HOST].delay == 2.0 * shards
    assert slots[HOST].concurrency == max(1, 4 // shards)
    assert slots[OTHER].concurrency == max(1, 8 // shards)
    assert downloader.per_slot_settings[HOST] == {"concurrency": max(1, 4 // shards), "delay": 2.0 * shards}


def test_a_shard_that_is_left_alone_has_the_whole_rate_again() -> None:
    throttle, slots, _ = throttled()
    throttle.share(4)
    throttle.share(1)
    for _ in range(10):
        answer(throttle, HOST)
    assert (slots[HOST].delay, slots[HOST].concurrency) == (2.0, 4)


def test_without_autothrottle_there_is_no_throttle() -> None:
    with pytest.raises(NotConfigured):
        PoliteThrottle(get_crawler(settings_dict={"AUTOTHROTTLE_ENABLED": False}))
