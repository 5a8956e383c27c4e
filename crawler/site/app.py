"""The rehearsal site's ASGI application: title pages, images, robots.txt, the catalogue, and a count of requests."""

from __future__ import annotations

import hashlib
from collections import Counter
from email.utils import formatdate, parsedate_to_datetime
from itertools import islice

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.pages import block_page, error_page, index_page, title_page
from crawler.site.sizes import size_suffix
from crawler.titles import imdb_id as as_imdb_id

# One date for all images: a poster of this site never changes.
_LAST_MODIFIED = formatdate(1_700_000_000, usegmt=True)
_INDEX_TITLES = 60
_ROBOTS = "User-agent: *\nDisallow: /search/\nDisallow: /private/\nAllow: /title/\nAllow: /images/\n"
_COUNTS_PATH = "/_site/requests"
_FIRST_REQUEST_ONLY = {Fault.RATE_LIMITED: 429, Fault.UNAVAILABLE: 503}


class RequestCounter:
    """Counts the requests to each path, all but those for the counts themselves."""

    def __init__(self, app: ASGIApp, counts: Counter[str]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, and pass on."""
        if scope["type"] == "http" and scope["path"] != _COUNTS_PATH:
            self._counts[scope["path"]] += 1
        await self._app(scope, receive, send)


class CutResponse(Response):
    """Promises all of its body and sends half; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, and return without an end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


class _Site:
    """The endpoints, over one content and its faults."""

    def __init__(self, content: SiteContent, faults: Faults, counts: Counter[str]) -> None:
        self._content = content
        self._faults = faults
        self._counts = counts
        self._has_failed_once: set[str] = set()

    async def index(self, request: Request) -> Response:
        titles = list(islice(self._content.titles.values(), _INDEX_TITLES))
        shown = [(title, self._content.image_url(title.imdb_id)) for title in titles]
        return HTMLResponse(index_page(shown, len(self._content.titles)))

    async def title(self, request: Request) -> Response:
        try:
            imdb_id = as_imdb_id(request.path_params["imdb_id"])
        except ValueError:
            return _error(404, "No such title.")
        failure = await self._failure(imdb_id)
        if failure:
            return failure
        title = self._content.titles.get(imdb_id)
        if title is None:
            return _error(404, "No such title.")
        return HTMLResponse(title_page(title, self._content.image_url(imdb_id)))

    async def title_without_slash(self, request: Request) -> Response:
        return RedirectResponse(f"/title/{request.path_params['imdb_id']}/", status_code=301)

    async def image(self, request: Request) -> Response:
        path = request.scope["path"]
        imdb_id = self._content.owner(path)
        if imdb_id is None:
            return _error(404, "No such image.")
        failure = await self._failure(imdb_id)
        if failure:
            return failure
        data = await run_in_threadpool(self._content.image, imdb_id, size_suffix(path))
        if data is None:
            return _error(404, "No such image.")
        fault = self._faults.of(imdb_id)
        if fault is Fault.HTML:
            return _error(200, "Here would be an image.")
        if fault is Fault.TRUNCATED:
            return Response(data[: len(data) // 2], media_type="image/jpeg")
        if fault is Fault.CUT:
            return CutResponse(data, media_type="image/jpeg")
        return _image(data, request)

    async def robots(self, request: Request) -> Response:
        return PlainTextResponse(_ROBOTS)

    async def catalog(self, request: Request) -> Response:
        return Response(self._content.catalog_csv(), media_type="text/csv; charset=utf-8")

    async def counts(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._counts.clear()
        return JSONResponse(dict(self._counts))

    async def _failure(self, imdb_id: str) -> Response | None:
        """The answer of a title whose fault concerns its page and its image alike; waits for a slow one."""
        fault = self._faults.of(imdb_id)
        if fault is Fault.SLOW:
            await anyio.sleep(self._faults.slow_s)
        if fault is Fault.NOT_FOUND:
            return _error(404, "This title is missing on purpose.")
        if fault is Fault.BLOCKED:
            page = block_page(202)
            return HTMLResponse(page.html, page.status, page.headers)
        if fault in _FIRST_REQUEST_ONLY and imdb_id not in self._has_failed_once:
            self._has_failed_once.add(imdb_id)
            response = _error(_FIRST_REQUEST_ONLY[fault], "Try again soon.")
            response.headers["Retry-After"] = "1"
            return response
        return None


def build_app(content: SiteContent, faults: Faults) -> ASGIApp:
    """The application over the content; its counts of requests live as long as it does."""
    counts: Counter[str] = Counter()
    site = _Site(content, faults, counts)
    routes = [
        Route("/", site.index),
        Route("/title/{imdb_id}/", site.title),
        Route("/title/{imdb_id}", site.title_without_slash),
        Route("/robots.txt", site.robots),
        Route("/catalog.csv", site.catalog),
        Route(_COUNTS_PATH, site.counts, methods=["GET", "DELETE"]),
        # Last: a catalogue's poster URLs may have any path.
        Route("/{name:path}", site.image),
    ]
    return RequestCounter(Starlette(routes=routes), counts)


def _image(data: bytes, request: Request) -> Response:
    headers = {
        "ETag": f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"',
        "Last-Modified": _LAST_MODIFIED,
        "Cache-Control": "public, max-age=31536000",
    }
    if _is_unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


def _is_unchanged(request: Request, etag: str) -> bool:
    """Whether the client has this very image, by its ETag or, where it sends none, by its date (RFC 9110, 13.2.2)."""
    known = request.headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(_LAST_MODIFIED)
    except (TypeError, ValueError):
        return False


def _error(status: int, sentence: str) -> HTMLResponse:
    return HTMLResponse(error_page(status, sentence), status)
