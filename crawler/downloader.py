"""Scrapy's downloader, with each request awaited from one end to the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Any, cast

from scrapy import signals
from scrapy.core.downloader import Downloader, Slot
from scrapy.http import Request, Response
from scrapy.utils.asyncio import call_later
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.log import logformatter_adapter

# Where Scrapy has its lines of requests, for those who turn them on or off.
log = logging.getLogger("scrapy.core.engine")

_ANSWERS = (Response, Request)
# A request that waits for its host's slot, and what is done once it is its turn.
Turns = deque[tuple[Request, "asyncio.Future[None]"]]


class AwaitedDownloader(Downloader):
    """Scrapy's slots, middlewares, handlers and signals, with two differences.

    A slot's room is taken at once. Scrapy takes it when the request's task has begun, so that of several that come in
    one turn of the event loop all pass a slot which has room for one.

    A request is one coroutine. Scrapy makes three tasks and as many Deferreds of it, and a coroutine for each method of
    each middleware: a third of what a poster costs.
    """

    async def get(self, request: Request) -> Response:
        """The answer, after all middlewares, their redirects and retries. Raises what they and the handler raise."""
        while True:
            self.active.add(request)
            try:
                said = await self._through(request)
            finally:
                self.active.remove(request)
            if isinstance(said, Response):
                return self._received(said, request)
            request = said

    async def _through(self, request: Request) -> Response | Request:
        """As the middlewares' own `download_async`, less a coroutine for each one that has nothing to wait for."""
        chain: Any = self.middleware
        said: Any = None
        try:
            for method in chain.methods["process_request"]:
                said = chain._handle_mw_method(method, request=request)
                if said is not None and not isinstance(said, _ANSWERS):
                    said = await ensure_awaitable(said)
                if said is not None:
                    break
            else:
                said = await self._enqueue_request(request)
        except Exception as error:  # noqa: BLE001, RUF100  which of them have an answer is for the middlewares to say
            said = await chain._process_exception(error, request)
        for method in chain.methods["process_response"]:
            if not isinstance(said, Response):
                break
            said = chain._handle_mw_method(method, request=request, response=said)
            if not isinstance(said, _ANSWERS):
                said = await ensure_awaitable(said)
        if not isinstance(said, _ANSWERS):
            raise TypeError(f"a downloader middleware made {type(said).__name__} of {request}")
        return said

    def _received(self, response: Response, request: Request) -> Response:
        spider = self.crawler.spider
        if response.request is None:
            response.request = request
        if log.isEnabledFor(logging.DEBUG) and self.crawler.logformatter and spider:
            said = self.crawler.logformatter.crawled(response.request, response, spider)
            if said is not None:
                log.log(*logformatter_adapter(said), extra={"spider": spider})
        if self.crawler.stats:
            self.crawler.stats.inc_value("response_received_count")
        self.signals.send_catch_log(
            signals.response_received, response=response, request=response.request, spider=spider
        )
        return response

    async def _enqueue_request(self, request: Request) -> Response:
        key, slot = self._get_slot(request)
        request.meta[self.DOWNLOAD_SLOT] = key
        slot.active.add(request)
        self.signals.send_catch_log(signals.request_reached_downloader, request=request, spider=self.crawler.spider)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns(slot).append((request, turn))
        self._process_queue(slot)
        try:
            await turn
            return await self._download(slot, request)
        finally:
            slot.active.remove(request)
            if request in slot.transferring:
                # Cancelled between its turn and its download: its room is another's.
                slot.transferring.remove(request)
                self._process_queue(slot)

    def _process_queue(self, slot: Slot) -> None:
        if slot.latercall:
            return
        while slot.queue and slot.free_transfer_slots() > 0:
            now, delay_s = monotonic(), slot.download_delay()
            if delay_s and (early_s := slot.lastseen + delay_s - now) > 0:
                slot.latercall = call_later(early_s, self._latercall, slot)
                return
            request, turn = turns(slot).popleft()
            if not turn.done():
                slot.lastseen = now
                slot.transferring.add(request)
                turn.set_result(None)


def turns(slot: Slot) -> Turns:
    """A slot's queue, as this downloader uses it."""
    return cast("Turns", slot.queue)
