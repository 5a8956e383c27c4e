"""Scrapy's aiohttp download handler, which adds a source's key to a request on its way out, and nowhere before."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlencode, urlsplit

from scrapy.core.downloader.handlers._aiohttp import AiohttpDownloadHandler
from scrapy.http import Request, Response

from crawler.sources import Credential

CREDENTIAL = "credential"
# In a request's meta: a list of one number, how often it was sent. Its copies, for redirects and retries, share it.
SENT = "sent"


class PosterDownloadHandler(AiohttpDownloadHandler):
    """A request that names a source in `meta["credential"]` is sent with that source's key.

    Queues, logs, redirects to other hosts, the referrer and the response never see it: they have the request as the
    spider made it. Scrapy calls the base experimental; it is quicker than the default by half, and our tests of cut,
    slow, endless and hostile answers run over it.
    """

    experimental: ClassVar[bool] = False
    # Made at the first request: aiohttp wants a running event loop, and `scrapy shell` starts its own late.
    lazy = True

    async def download_request(self, request: Request) -> Response:
        if sent := request.meta.get(SENT):
            sent[0] += 1
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


def _with_key(request: Request, credential: Credential) -> Request:
    url = request.url
    if credential.query:
        url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(credential.query)}"
    keyed = request.replace(url=url, headers={**request.headers, **credential.headers})
    keyed.meta.pop(CREDENTIAL, None)
    return keyed
