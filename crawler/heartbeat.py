"""A Scrapy extension: a shard tells its fleet how it stands, and does what the fleet says (`crawler.fleet_rules`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Request

from cluster.errors import CrawlerError, StoreError
from crawler.fleet_rules import BEAT_S, LEASE_S, Beat, Orders
from crawler.items import STORED_BYTES, TITLES
from crawler.redaction import SecretFilter
from crawler.spiders.posters import PostersSpider
from crawler.throttle import PoliteThrottle

log = logging.getLogger(__name__)

_LAST_BEAT_TIMEOUT_S = 2
_MOST_HOSTS = 50
_MOST_REMARKS = 20
_LONGEST_REMARK = 300


class HeartbeatExtension:
    """Beats every half second. Nothing is begun before the fleet has made room, nor while it is not heard."""

    def __init__(self, crawler: Crawler) -> None:
        name = crawler.settings["FLEET"]
        if not name:
            raise NotConfigured
        import ray  # noqa: PLC0415  a plain Scrapy crawl does without it

        self._fleet = ray.get_actor(name)
        self._node = ray.util.get_node_ip_address()
        self._attempt = crawler.settings["FLEET_ATTEMPT"]
        self._crawler = crawler
        self._share = 0
        self._requests: Counter[str] = Counter()
        self._remarks = _Remarks()
        self._is_stopping = False
        self._beating: asyncio.Task[None] | None = None
        self._lease: asyncio.TimerHandle | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls(crawler)
        crawler.signals.connect(extension._opened, signals.spider_opened)
        crawler.signals.connect(extension._sent, signals.request_left_downloader)
        crawler.signals.connect(extension._closed, signals.spider_closed)
        return extension

    def _opened(self) -> None:
        sources = self._spider.plan.sources
        keys = [secret for source in sources if source.credential for secret in source.credential.secrets]
        self._remarks.addFilter(SecretFilter(keys))
        logging.root.addHandler(self._remarks)
        self._hold()
        self._beating = asyncio.ensure_future(self._beat_regularly())

    def _sent(self, request: Request) -> None:
        self._requests[str(request.meta.get("download_slot"))] += 1

    async def _closed(self, spider: PostersSpider, reason: str) -> None:
        if self._beating:
            self._beating.cancel()
        if self._lease:
            self._lease.cancel()
        logging.root.removeHandler(self._remarks)
        sentence = str(spider.stopped) if spider.stopped else None
        with contextlib.suppress(Exception):  # the task's result says the same
            last = self._fleet.beat.remote(self._beat(ended=reason, sentence=sentence))
            await asyncio.wait_for(asyncio.wrap_future(last.future()), _LAST_BEAT_TIMEOUT_S)

    async def _beat_regularly(self) -> None:
        from ray.exceptions import ActorDiedError, RayError  # noqa: PLC0415  as above

        while True:
            sent_at, before = time.monotonic(), self._share
            try:
                orders: Orders = await asyncio.wrap_future(self._fleet.beat.remote(self._beat()).future())
            except ActorDiedError:
                self._spider.stop(CrawlerError("the fleet's coordinator is gone"), reason="shutdown")
                return
            except RayError:
                log.debug("no answer from the fleet", exc_info=True)
                await asyncio.sleep(BEAT_S)
                continue
            await self._obey(orders, sent_at)
            if self._share != before:
                continue
            if orders.may_begin and orders.may_begin > self._spider.allowance.begun:
                # The title that comes after the last allowed one asks for more at once.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._spider.allowance.is_wanted.wait(), BEAT_S)
            else:
                await asyncio.sleep(BEAT_S)

    async def _obey(self, orders: Orders, sent_at: float) -> None:
        if orders.stop and not self._is_stopping:
            self._is_stopping = True
            # At once: what stops a cluster's job kills it three seconds later.
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._spider.ledger.flush)
            if self._crawler.engine and self._crawler.engine.spider:
                _ = asyncio.ensure_future(self._crawler.engine.close_spider_async(reason=orders.stop))  # noqa: RUF006
        lease_s = sent_at + LEASE_S - time.monotonic()
        if not orders.share or lease_s <= 0:
            self._hold()
            return
        if self._lease:
            self._lease.cancel()
        self._lease = asyncio.get_running_loop().call_later(lease_s, self._hold)
        if orders.share != self._share:
            self._share = orders.share
            if throttle := self._crawler.get_extension(PoliteThrottle):
                throttle.share(orders.share)
        self._go_on()
        self._spider.allowance.allow(orders.may_begin, is_last=orders.is_last)

    def _go_on(self) -> None:
        engine = self._crawler.engine
        if engine and engine.paused:
            engine.unpause()
            if engine._slot:
                # A shard that found nothing to do while it was held ends now, not with Scrapy's next look in 5 s.
                engine._slot.nextcall.schedule()

    def _hold(self) -> None:
        """Ask nothing: the fleet has not made room yet, or may take this shard for dead and give its part away.

        The few requests that wait for their host's delay already are still sent.
        """
        self._share = 0
        if self._crawler.engine:
            self._crawler.engine.pause()
        self._spider.allowance.allow(0, is_last=False)

    def _beat(self, *, ended: str | None = None, sentence: str | None = None) -> Beat:
        # Counted there: Scrapy makes a task of each listener for each item.
        stats = self._crawler.stats.get_stats() if self._crawler.stats else {}
        return Beat(
            shard=self._spider.plan.options.shard,
            attempt=self._attempt,
            node=self._node,
            share=self._share,
            begun=self._spider.allowance.begun,
            counts={name.removeprefix(TITLES): count for name, count in stats.items() if name.startswith(TITLES)},
            stored_bytes=stats.get(STORED_BYTES, 0),
            requests=dict(self._requests.most_common(_MOST_HOSTS)),
            said=self._remarks.take(),
            ended=ended,
            sentence=sentence,
        )

    @property
    def _spider(self) -> PostersSpider:
        if not isinstance(self._crawler.spider, PostersSpider):
            raise TypeError("a fleet is one of posters spiders")
        return self._crawler.spider


class _Remarks(logging.Handler):
    """The newest warnings, for the one place where the fleet is watched."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[str] = deque(maxlen=_MOST_REMARKS)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()[:_LONGEST_REMARK]
        if record.exc_info and record.exc_info[1]:
            said += f": {record.exc_info[1]!r}"[:_LONGEST_REMARK]
        self._lines.append(said)

    def take(self) -> tuple[str, ...]:
        """The remarks since the last call."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return tuple(lines)
