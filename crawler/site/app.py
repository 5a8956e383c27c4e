"""The rehearsal site's ASGI application: pages and images of every source, the catalogue, and what was asked for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from itertools import islice

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from crawler.site import omdb, tmdb
from crawler.site.apis import ApiAnswer, ApiRules
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.pages import (
    NO_PICTURE_URL,
    SUFFIXES,
    BlockPage,
    block_page,
    captcha_page,
    consent_page,
    error_page,
    index_page,
    title_page,
)
from crawler.site.sizes import size_suffix
from crawler.site.spoiling import Picture, no_picture, spoiled
from crawler.site.traffic import MOVED, OWN, Traffic, TrafficMiddleware
from crawler.site.transport import CutResponse, dripping
from crawler.titles import Title
from crawler.titles import imdb_id as as_imdb_id

_INDEX_TITLES = 60
_ROBOTS = "User-agent: *\nDisallow: /search/\nDisallow: /private/\nAllow: /title/\nAllow: /images/\n"
_FIRST_REQUEST_ONLY = {Fault.RATE_LIMITED: 429, Fault.UNAVAILABLE: 503}
_BLOCKS: dict[Fault, BlockPage] = {
    Fault.BLOCKED: block_page(202),
    Fault.FORBIDDEN: block_page(403),
    Fault.CAPTCHA: captcha_page(),
    Fault.CONSENT: consent_page(),
}
_GIVEN_SUFFIXES = (*SUFFIXES, omdb.POSTER_SUFFIX)


class _Site:
    """The endpoints, over one content and its faults."""

    def __init__(self, content: SiteContent, faults: Faults, rules: ApiRules, traffic: Traffic) -> None:
        self._content = content
        self._faults = faults
        self._rules = rules
        self._tmdb = tmdb.Tmdb(rules)
        self._omdb = omdb.Omdb(rules)
        self._traffic = traffic
        self._has_failed_once: set[str] = set()

    async def index(self, request: Request) -> Response:
        if "i" in request.query_params:
            return await self.omdb_title(request)
        titles = list(islice(self._content.titles.values(), _INDEX_TITLES))
        shown = [(title, self._content.image_url(title.imdb_id)) for title in titles]
        return HTMLResponse(index_page(shown, len(self._content.titles)))

    async def title(self, request: Request) -> Response:
        try:
            imdb_id = as_imdb_id(request.path_params["imdb_id"])
        except ValueError:
            return _error(404, "No such title.")
        return await self._with_faults(request, imdb_id, self._title)

    async def title_without_slash(self, request: Request) -> Response:
        return RedirectResponse(f"/title/{request.path_params['imdb_id']}/", status_code=301)

    async def image(self, request: Request) -> Response:
        path = request.scope["path"]
        imdb_id = self._content.owner(path) or self._content.owner(path.removeprefix(MOVED))
        if imdb_id is None:
            return _picture(no_picture(), request, 0) if "/nopicture/" in path else _error(404, "No such image.")
        return await self._with_faults(request, imdb_id, self._image)

    async def _title(self, _request: Request, imdb_id: str, fault: Fault | None) -> Response:
        title = self._content.titles.get(imdb_id)
        if title is None:
            return _error(404, "No such title.")
        image_url = NO_PICTURE_URL if fault is Fault.NO_PICTURE else self._content.image_url(imdb_id)
        return HTMLResponse(title_page(title, image_url))

    async def _image(self, request: Request, imdb_id: str, fault: Fault | None) -> Response:
        path = request.scope["path"]
        data = await run_in_threadpool(self._content.image, imdb_id, size_suffix(path))
        if data is None or (fault is Fault.UNSIZED and not self._is_given(path, imdb_id)):
            return _error(404, "No such image.")
        if fault is Fault.HTML:
            return _error(200, "Here would be an image.")
        if fault is Fault.CUT:
            return CutResponse(data, media_type="image/jpeg")
        picture = Picture(data) if fault is None else await run_in_threadpool(spoiled, fault, data)
        response = _picture(picture, request, self._content.modified_at(imdb_id))
        if fault is Fault.NO_AI:
            response.headers["X-Robots-Tag"] = "noai, noimageai"
        return response

    async def tmdb_find(self, request: Request) -> Response:
        refusal = self._tmdb.refusal(request.headers.get("authorization"), time.monotonic())
        if refusal is not None:
            return _json(refusal)
        if request.query_params.get("external_source") != "imdb_id":
            return _json(tmdb.wrong_source())
        title = self._known(request.path_params["imdb_id"])
        fault = self._faults.of(title.imdb_id) if title is not None else None
        if title is None or fault is Fault.UNLISTED:
            return _json(self._tmdb.find(None, has_poster=False))
        status = await self._passing_failure(title.imdb_id, fault)
        if status is not None:
            return _json(tmdb.offline() if status == 503 else tmdb.too_many(self._rules.tmdb_rate))
        has_poster = fault is not Fault.UNPICTURED and self._content.has_poster(title.imdb_id)
        return _json(self._tmdb.find(title, has_poster=has_poster))

    async def tmdb_image(self, request: Request) -> Response:
        size, imdb_id = request.path_params["size"], tmdb.owner(request.path_params["name"])
        if size not in tmdb.WIDTHS_PX or imdb_id is None or not self._content.has_poster(imdb_id):
            return _error(404, "File not Found")
        status = await self._passing_failure(imdb_id, self._faults.of(imdb_id))
        if status is not None:
            return _try_again(status)
        width_px = tmdb.WIDTHS_PX[size]
        if width_px is None:
            data = await run_in_threadpool(self._content.image, imdb_id, "")
        else:
            data = await run_in_threadpool(self._content.image_at_width, imdb_id, width_px)
        if data is None:
            return _error(404, "File not Found")
        return _picture(Picture(data), request, self._content.modified_at(imdb_id))

    async def omdb_title(self, request: Request) -> Response:
        refusal = self._omdb.refusal(request.query_params.get("apikey"))
        if refusal is not None:
            return _json(refusal)
        asked = request.query_params["i"]
        if not asked.startswith("tt") or not asked.removeprefix("tt").isdecimal():
            return _json(omdb.wrong_id())
        title = self._known(asked)
        fault = self._faults.of(title.imdb_id) if title is not None else None
        if title is None or fault is Fault.UNLISTED:
            return _json(self._omdb.find(None, None))
        status = await self._passing_failure(title.imdb_id, fault)
        if status is not None:
            return _json(omdb.offline(status))
        url = self._content.image_url(title.imdb_id, omdb.POSTER_SUFFIX) if fault is not Fault.UNPICTURED else None
        return _json(self._omdb.find(title, url))

    async def robots(self, _request: Request) -> Response:
        return PlainTextResponse(_ROBOTS)

    async def catalog(self, _request: Request) -> Response:
        return Response(self._content.catalog_csv(), media_type="text/csv; charset=utf-8")

    async def counts(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._traffic.clear()
        return JSONResponse(dict(self._traffic.counts))

    async def times(self, _request: Request) -> Response:
        return JSONResponse({family: list(times) for family, times in self._traffic.times.items()})

    def _known(self, text: str) -> Title | None:
        try:
            return self._content.titles.get(as_imdb_id(text))
        except ValueError:
            return None

    def _is_given(self, path: str, imdb_id: str) -> bool:
        """Whether an image is asked for by a URL that this site's catalogue, pages or OMDb give."""
        return path == self._content.listed_path(imdb_id) or path.endswith(_GIVEN_SUFFIXES)

    async def _with_faults(
        self, request: Request, imdb_id: str, answer: Callable[[Request, str, Fault | None], Awaitable[Response]]
    ) -> Response:
        """The answer, or that of a title whose fault concerns its page and its image alike."""
        fault = self._faults.of(imdb_id)
        if fault is None:
            return await answer(request, imdb_id, None)
        path = request.scope["raw_path"].decode("latin-1")
        if fault is Fault.NOT_FOUND:
            return _error(404, "This title is missing on purpose.")
        if fault in _BLOCKS:
            page = _BLOCKS[fault]
            return HTMLResponse(page.html, page.status, page.headers)
        if fault is Fault.LOOP:
            return RedirectResponse(path, status_code=302)
        if fault is Fault.MOVED and not path.startswith(MOVED):
            return RedirectResponse(MOVED + path, status_code=301)
        status = await self._passing_failure(imdb_id, fault)
        if status is not None:
            return _try_again(status)
        response = await answer(request, imdb_id, fault)
        return dripping(response) if fault is Fault.DRIP else response

    async def _passing_failure(self, imdb_id: str, fault: Fault | None) -> int | None:
        """The status of a title's first request where its fault is one that passes; waits for a slow title."""
        if fault is Fault.SLOW:
            await anyio.sleep(self._faults.slow_s)
        if fault in _FIRST_REQUEST_ONLY and imdb_id not in self._has_failed_once:
            self._has_failed_once.add(imdb_id)
            return _FIRST_REQUEST_ONLY[fault]
        return None


def build_app(content: SiteContent, faults: Faults, rules: ApiRules | None = None) -> ASGIApp:
    """The application over the content; what it was asked for, and OMDb's quota, live as long as it does."""
    traffic = Traffic()
    site = _Site(content, faults, rules or ApiRules(), traffic)
    routes = [
        Route("/", site.index),
        Route("/title/{imdb_id}/", site.title),
        Route("/title/{imdb_id}", site.title_without_slash),
        Route(f"{MOVED}/title/{{imdb_id}}/", site.title),
        Route("/robots.txt", site.robots),
        Route("/catalog.csv", site.catalog),
        Route("/3/find/{imdb_id}", site.tmdb_find),
        Route("/t/p/{size}/{name}", site.tmdb_image),
        Route(f"{OWN}requests", site.counts, methods=["GET", "DELETE"]),
        Route(f"{OWN}times", site.times),
        # Last: a catalogue's poster URLs may have any path.
        Route("/{name:path}", site.image),
    ]
    # In front: each route that does not match costs a microsecond, and most requests are for images.
    routes.insert(0, Route("/images/{name:path}", site.image))
    return TrafficMiddleware(Starlette(routes=routes), traffic)


def _picture(picture: Picture, request: Request, modified_at: int) -> Response:
    headers = {
        "ETag": f'"{hashlib.blake2b(picture.data, digest_size=16).hexdigest()}"',
        "Last-Modified": _http_date(modified_at),
        "Cache-Control": "public, max-age=31536000",
    }
    if _is_unchanged(request, headers["ETag"], headers["Last-Modified"]):
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media_type, headers=headers)


@lru_cache
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _is_unchanged(request: Request, etag: str, last_modified: str) -> bool:
    """Whether the client has this very image, by its ETag or, where it sends none, by its date (RFC 9110, 13.2.2)."""
    known = request.headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(last_modified)
    except (TypeError, ValueError):
        return False


def _json(answer: ApiAnswer) -> Response:
    return JSONResponse(answer.body, answer.status, dict(answer.headers))


def _try_again(status: int) -> Response:
    response = _error(status, "Try again soon.")
    response.headers["Retry-After"] = "1"
    return response


def _error(status: int, sentence: str) -> HTMLResponse:
    return HTMLResponse(error_page(status, sentence), status)
