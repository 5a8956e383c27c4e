"""What the rehearsal site was asked for: how often each path, and when each family of paths."""

from __future__ import annotations

import time
from collections import Counter, deque
from enum import StrEnum
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

# The site's own paths, which are not counted.
OWN = "/_site/"
# What the fault `moved` puts before a path.
MOVED = "/moved"
_KEPT_TIMES = 10_000
_NO_FAMILY = frozenset({"/robots.txt", "/catalog.csv", "/favicon.ico"})


class Family(StrEnum):
    """The hosts that the site stands for, told apart by path, as a rehearsal sends all of them to one host."""

    TITLE = "title"  # www.imdb.com
    IMAGE = "image"  # Amazon's image hosts
    TMDB = "tmdb"  # api.themoviedb.org
    TMDB_IMAGE = "tmdb_image"  # image.tmdb.org
    OMDB = "omdb"  # www.omdbapi.com


class Traffic:
    """Counts by path, and the newest 10,000 arrivals of each family in seconds of this machine's monotonic clock."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times: dict[Family, deque[float]] = {family: deque(maxlen=_KEPT_TIMES) for family in Family}

    def record(self, path: str, query: bytes) -> None:
        """One request has come; whether its client waits for the answer does not matter. OMDb's count by id."""
        if path == "/" and query and (ids := parse_qs(query.decode("latin-1"), keep_blank_values=True).get("i")):
            self.counts[f"/?i={ids[-1]}"] += 1
            self.times[Family.OMDB].append(time.monotonic())
            return
        self.counts[path] += 1
        family = family_of(path)
        if family is not None:
            self.times[family].append(time.monotonic())

    def clear(self) -> None:
        """Begin again from zero."""
        self.counts.clear()
        for times in self.times.values():
            times.clear()


class TrafficMiddleware:
    """Records each request before it is answered."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record, and pass on."""
        if scope["type"] == "http" and not scope["path"].startswith(OWN):
            self._traffic.record(scope["path"], scope["query_string"])
        await self._app(scope, receive, send)


def family_of(path: str) -> Family | None:
    """The family of a path without OMDb, which shares its path with the index; None for what is no source's."""
    path = path.removeprefix(MOVED)
    if path.startswith("/title/"):
        return Family.TITLE
    if path.startswith("/3/"):
        return Family.TMDB
    if path.startswith("/t/p/"):
        return Family.TMDB_IMAGE
    return None if path == "/" or path in _NO_FAMILY else Family.IMAGE
