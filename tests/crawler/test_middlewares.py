"""Retry-After, and hosts that only block."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.http import HtmlResponse, Request, Response
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from crawler.failures import BadAddressError, BlockedError, ClosingError, rejection_of_error
from crawler.middlewares import (
    BlockPageMiddleware,
    EveryRequestRobotsTxtMiddleware,
    LinkLocalMiddleware,
    PatientRetryMiddleware,
    retry_after_s,
)
from crawler.outcomes import Reason

NOW = datetime(2026, 10, 21, 7, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120),
        (b" 0 ", 0),
        (b"Wed, 21 Oct 2026 07:00:30 GMT", 30),
        (b"Wed, 21 Oct 2026 09:00:30 +0200", 30),
        (b"Wed, 21 Oct 2026 07:00:30 -0000", 30),
        (b"Wed, 21 Oct 2020 07:00:30 GMT", 0),
    ],
)
def test_seconds_and_dates_are_understood_and_the_past_is_now(value: bytes, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize("value", [None, b"", b"soon", b"-5", b"1.5", b"\xff\xb2", b"Wed, 99 Oct 2026 07:00:30 GMT"])
def test_garbage_asks_for_nothing(value: bytes | None) -> None:
    assert retry_after_s(value, NOW) is None


@given(st.binary())
@example(b"9" * 5000)
@example(b"Wed, 21 Oct 99999999999999999999 07:28:00 GMT")
@example(b"Wed, 21 Oct 2026 07:28:00 +999999999999999")
def test_any_retry_after_is_nothing_or_a_wait_that_is_not_negative(value: bytes) -> None:
    wait_s = retry_after_s(value, NOW)
    assert wait_s is None or wait_s >= 0


class _Engine:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def close_spider_async(self, *, reason: str) -> None:
        self.reasons.append(reason)


def _closings(answers: list[str], limit: int = 3) -> list[str]:
    """What the middleware closes the spider for; an answer is a host, with ! where it blocks."""
    engine = _Engine()
    crawler = SimpleNamespace(
        settings=Settings({"BLOCK_LIMIT": limit}), engine=engine, stats=None, get_extension=lambda kind: None
    )
    middleware = BlockPageMiddleware(cast("Crawler", crawler))

    async def answer_all() -> None:
        for answer in answers:
            url = f"https://{answer.rstrip('!')}/"
            response = HtmlResponse(url, status=202 if answer.endswith("!") else 200, body=b"")
            try:
                await middleware.process_response(Request(url), response)
            except BlockedError:
                assert answer.endswith("!")
            await asyncio.sleep(0)

    asyncio.run(answer_all())
    return engine.reasons


def test_a_host_that_only_blocks_ends_the_crawl_once() -> None:
    assert _closings(["a!"] * 5) == ["blocked"]


def test_a_host_that_answers_in_between_goes_on() -> None:
    assert _closings(["a!", "a!", "a", "a!", "a!"]) == []


def test_an_image_host_that_answers_well_does_not_hide_that_the_pages_are_blocked() -> None:
    assert _closings(["pages!", "images", "pages!", "images", "pages!"]) == ["blocked"]


def test_a_limit_below_one_is_refused_with_its_name_and_value() -> None:
    crawler: Any = SimpleNamespace(settings=Settings({"BLOCK_LIMIT": 0}))
    with pytest.raises(NotConfigured, match="BLOCK_LIMIT=0 must be at least 1"):
        BlockPageMiddleware(crawler)


def _after_a_429(retry_after: str, *, crawling: bool = True) -> tuple[Request | Response, float]:
    """What the patient middleware makes of a 429, and after how many seconds."""
    crawler = get_crawler(Spider, {"RETRY_AFTER_MAX_S": 120})
    crawler.spider = Spider.from_crawler(crawler, "films")
    crawler.crawling = crawling
    middleware = PatientRetryMiddleware(crawler)
    response = HtmlResponse("https://h/", status=429, headers={"Retry-After": retry_after})
    began = time.monotonic()
    result = asyncio.run(middleware.process_response(Request("https://h/"), response))
    return result, time.monotonic() - began


def test_a_retry_waits_as_long_as_the_host_asks() -> None:
    retry, waited_s = _after_a_429("1")
    assert isinstance(retry, Request)
    assert retry.meta["retry_times"] == 1
    assert 1 <= waited_s < 3


def test_a_longer_wait_than_allowed_is_left_for_the_next_run() -> None:
    answer, waited_s = _after_a_429("121")
    assert isinstance(answer, Response)
    assert waited_s < 1


def test_an_interrupted_crawl_leaves_the_title_to_the_next_run_instead_of_waiting_for_the_host() -> None:
    began = time.monotonic()
    with pytest.raises(ClosingError):
        _after_a_429("100", crawling=False)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254./",
        "http://2852039166/",
        "http://0xa9.0xfe.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
    ],
)
def test_no_poster_is_asked_from_where_clouds_keep_their_secrets(url: str) -> None:
    with pytest.raises(BadAddressError):
        LinkLocalMiddleware().process_request(Request(url))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8900/a.jpg", "https://m.media-amazon.com/a.jpg", "http://10.0.0.7/a"]
)
def test_other_hosts_are_the_users_choice(url: str) -> None:
    LinkLocalMiddleware().process_request(Request(url))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"User-agent: *\nAllow: /", None),
        (200, b"User-agent: *\nDisallow: /", Reason.ROBOTS),
        (404, b"User-agent: *\nDisallow: /", None),
        (503, b"", Reason.SERVER_ERROR),
    ],
)
def test_a_robots_txt_that_is_away_allows_nothing_and_one_that_is_not_there_all(
    status: int, body: bytes, reason: Reason | None
) -> None:
    crawler = get_crawler(settings_dict={"ROBOTSTXT_OBEY": True, "USER_AGENT": "onesheet/0.1"})

    async def download(request: Request) -> Response:
        return Response(request.url, status=status, body=body)

    crawler.engine = cast("Any", SimpleNamespace(download_async=download))
    middleware = EveryRequestRobotsTxtMiddleware(crawler)

    def refusal() -> Reason | None:
        try:
            asyncio.run(middleware.process_request(Request("https://a.org/poster.jpg")))
        except IgnoreRequest as error:
            return rejection_of_error(error).reason
        return None

    assert [refusal(), refusal()] == [reason, reason]
