"""Pure: the search for a title's poster along a chain of sources, step by step; `crawler.finder` takes the steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from crawler.outcomes import Reason, Rejected
from crawler.pages import TitlePage
from crawler.poster_urls import at_height, is_no_poster
from crawler.sources import Ended, Found, Lookup, Source
from crawler.titles import Title


@dataclass(frozen=True, slots=True)
class No:
    """A source that has no poster for a title, and why."""

    source: str
    rejected: Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """How far the search for a title's poster has come. Immutable.

    position: of the source in the chain that is asked now. urls: the addresses of its poster that are still to try,
    the next one first. tried: addresses that gave none. row: the ledger row of a stored poster that is asked for anew.
    """

    title: Title
    position: int = 0
    urls: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    page: TitlePage | None = None
    noes: tuple[No, ...] = ()
    row: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """The next request of a search: for a lookup, or for the poster itself."""

    trail: Trail
    source: str
    url: str
    is_lookup: bool


@dataclass(frozen=True, slots=True)
class End:
    """A search without a poster."""

    trail: Trail
    source: str
    rejected: Rejected


class Chain:
    """The sources in their order, and which of them answer no more in this run."""

    def __init__(self, sources: Iterable[Source], *, height_px: int) -> None:
        self.sources = tuple(sources)
        self._height_px = height_px
        self._ended: dict[str, Rejected] = {}

    def step(self, trail: Trail) -> Ask | End:
        """What to ask next, or the end where every source has said no."""
        while not trail.urls and trail.position < len(self.sources):
            source = self.sources[trail.position]
            if source.name in self._ended:
                trail = self._refused(trail, self._ended[source.name])
                continue
            place = source.locate(trail.title)
            if isinstance(place, Lookup):
                return Ask(trail, source.name, place.url, is_lookup=True)
            trail = self.found(trail, place) if isinstance(place, Found) else self._refused(trail, place)
        if trail.urls:
            return Ask(trail, self.source_of(trail), trail.urls[0], is_lookup=False)
        return End(trail, trail.noes[-1].source if trail.noes else "none", _verdict(trail))

    def found(self, trail: Trail, place: Found) -> Trail:
        """The trail with the addresses of the poster, those of the wanted height first."""
        urls = []
        for url in place.urls:
            if not is_no_poster(url):
                urls += [at_height(url, self._height_px) or url, url] if self._height_px else [url]
        if not urls:
            return self._refused(trail, Rejected(Reason.PLACEHOLDER, "the drawing that stands for no poster"))
        untried = tuple(url for url in dict.fromkeys(urls) if url not in trail.tried)
        trail = replace(trail, urls=untried, page=place.page or trail.page)
        if not untried:
            reason = trail.noes[-1].rejected.reason if trail.noes else Reason.NO_POSTER
            return self._refused(trail, Rejected(reason, "the same poster as before"))
        return trail

    def refused(self, trail: Trail, rejected: Rejected) -> Trail | End:
        """After a no to the last request: the trail to go on with, or the end where the no is a passing one."""
        if rejected.reason.is_passing:
            return End(trail, self.source_of(trail), rejected)
        trail = replace(trail, urls=trail.urls[1:], tried=trail.tried + trail.urls[:1])
        return trail if trail.urls else self._refused(trail, rejected)

    def end(self, name: str, ended: Ended) -> None:
        """Ask this source no more in this run. A title that only it could serve stays open for the next."""
        self._ended[name] = Rejected(ended.reason, ended.sentence)

    def has_ended(self, name: str) -> bool:
        """Whether this source is asked no more."""
        return name in self._ended

    def source_of(self, trail: Trail) -> str:
        """The name of the source that the trail has reached."""
        if trail.position < 0 and trail.row:
            return str(trail.row["source"])
        return self.sources[trail.position].name

    def _refused(self, trail: Trail, rejected: Rejected) -> Trail:
        noes = (*trail.noes, No(self.source_of(trail), rejected))
        return replace(trail, position=trail.position + 1, urls=(), noes=noes)


def refresh(row: dict[str, Any]) -> Trail:
    """The search for a stored poster's newer version: first where it was found, then along the whole chain."""
    return Trail(title=Title(imdb_id=row["imdb_id"]), position=-1, urls=(row["url"],), row=row)


def _verdict(trail: Trail) -> Rejected:
    """What all the noes come to: a passing one if there is any, else the last one; `detail` tells them all."""
    if not trail.noes:
        return Rejected(Reason.NO_POSTER, "no source is left to ask")
    if len(trail.noes) == 1:
        return trail.noes[0].rejected
    passing = (no.rejected.reason for no in trail.noes if no.rejected.reason.is_passing)
    reason = next(passing, trail.noes[-1].rejected.reason)
    return Rejected(reason, "; ".join(f"{no.source}: {no.rejected.detail or no.rejected.reason}" for no in trail.noes))
