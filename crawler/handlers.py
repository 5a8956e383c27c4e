"""Scrapy's aiohttp download handler, which adds a source's key to a request on its way out, and nowhere before."""

from __future__ import annotations

import socket
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

import aiohttp
import yarl
from scrapy.core.downloader.handlers._aiohttp import AiohttpDownloadHandler, _ClientResponse
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadConnectionRefusedError, ResponseDataLossError
from scrapy.http import Headers, Request, Response
from scrapy.responsetypes import responsetypes

from crawler.addresses import is_trap
from crawler.failures import BadAddressError
from crawler.sources import Credential

CREDENTIAL = "credential"
# In a request's meta: a list of one number, how often it was sent. Its copies, for redirects and retries, share it.
SENT = "sent"


class PosterDownloadHandler(AiohttpDownloadHandler):
    """A request that names a source in `meta["credential"]` is sent with that source's key.

    Queues, logs, redirects to other hosts, the referrer and the response never see it: they have the request as the
    spider made it. Scrapy calls the base experimental; it is quicker than the default by half, and our tests of cut,
    slow, endless and hostile answers run over it. Answers are read whole or not at all: headers_received and
    bytes_received, by which others may stop a download, are not sent, and an answer that was cut is always an error.
    """

    experimental: ClassVar[bool] = False
    # Made at the first request: aiohttp wants a running event loop, and `scrapy shell` starts its own late.
    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        # An argument of aiohttp's connector, which Scrapy makes. A socket's address is the one that is connected to,
        # whatever the name means at another time.
        self._session.connector._socket_factory = _socket
        self._session: Any = _Bodiless(self._session)

    async def download_request(self, request: Request) -> Response:
        if sent := request.meta.get(SENT):
            sent[0] += 1
        try:
            return await self._download(request)
        except DownloadConnectionRefusedError as error:
            if isinstance(getattr(error.__cause__, "os_error", None), _TrapError):
                raise BadAddressError(f"{request.url} leads to an address that no poster comes from") from error
            raise

    async def _download(self, request: Request) -> Response:
        name = request.meta.get(CREDENTIAL)
        credential = self.crawler.spider.credential(name) if name and self.crawler.spider else None  # type: ignore[attr-defined]
        if credential is None or urlsplit(request.url).netloc != credential.host:
            return await super().download_request(request)
        try:
            response = await super().download_request(_with_key(request, credential))
        except Exception as error:
            text = str(error)
            for secret in credential.secrets:
                text = text.replace(secret, "…")
            raise type(error)(text) from None
        return response.replace(url=request.url)

    async def _read_response(self, response: _ClientResponse, request: Request) -> Response:
        limit: int = request.meta.get("download_maxsize", self._default_maxsize)
        expected = response.content_length
        if limit and expected and expected > limit:
            self._cancel_maxsize(expected, limit, request, expected=True)
        chunks, size = [], 0
        try:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if limit and size > limit:
                    self._cancel_maxsize(size, limit, request, expected=False)
        except Exception as error:
            if self._is_dataloss_exception(error):
                raise ResponseDataLossError(str(error)) from error
            raise
        body, headers = b"".join(chunks), _headers(response)
        is_image = response.content_type.startswith("image/")
        kind = Response if is_image else responsetypes.from_args(headers=headers, url=request.url, body=body)
        read = kind(url=request.url, status=response.status, body=body)
        read.headers = headers
        return read

    @staticmethod
    def _request_headers(request: Request) -> Headers:
        # Most requests need no copy to take this header out of.
        if "Proxy-Authorization" in request.headers:
            return AiohttpDownloadHandler._request_headers(request)
        return request.headers


class _TrapError(OSError):
    """A connection would have gone where no poster comes from."""


def _socket(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, _, where = info
    if is_trap(str(where[0])):
        # The same words for all addresses of a name, or asyncio makes one plain OSError of them.
        raise _TrapError("an address that no poster comes from")
    return socket.socket(family, kind, protocol)


class _Bodiless:
    """A session that sends no body where a request has none.

    Scrapy hands aiohttp the empty bytes, of which that makes a payload, a task that writes it, and `Content-Length: 0`.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, url: str | yarl.URL, *, data: bytes, **options: Any) -> aiohttp.ClientResponse:
        return await self._session.request(method, url, data=data or None, **options)

    async def close(self) -> None:
        await self._session.close()


def _headers(response: _ClientResponse) -> Headers:
    """The headers as Scrapy would have them, in a fraction of its time: they are bytes, and a list each, already."""
    headers = Headers()
    for name, value in response.raw_headers:
        dict.setdefault(headers, name.title(), []).append(value)
    return headers


def _with_key(request: Request, credential: Credential) -> Request:
    url = request.url
    if credential.query:
        url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(credential.query)}"
    keyed = request.replace(url=url, headers={**request.headers, **credential.headers})
    keyed.meta.pop(CREDENTIAL, None)
    return keyed
