"""Faults: which titles of the rehearsal site misbehave, and how; the same titles every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from crawler.site.content import SiteError
from crawler.titles import imdb_id as as_imdb_id


class Fault(StrEnum):
    """What a title's pages and images do instead of answering well.

    `page` is its title page, `image` its picture on Amazon's image hosts: a title that fails there still has its
    poster at TMDB. New faults go to the end, so that shares of the old ones hit the same titles as ever.
    """

    SLOW = "slow"  # everywhere: waits
    NOT_FOUND = "not_found"  # page and image: 404
    RATE_LIMITED = "rate_limited"  # everywhere, the title's first request: 429 with Retry-After: 1
    UNAVAILABLE = "unavailable"  # everywhere, the title's first request: 503
    TRUNCATED = "truncated"  # image: a complete response with half of the JPEG
    CUT = "cut"  # image: Content-Length promises all, the connection closes after half
    HTML = "html"  # image: 200 with a page of HTML
    BLOCKED = "blocked"  # page and image: 202 with a challenge, as imdb.com answers crawlers

    FORBIDDEN = "forbidden"  # page and image: 403 with a challenge
    CAPTCHA = "captcha"  # page and image: 200 with Amazon's "type the characters you see"
    CONSENT = "consent"  # page and image: 200 with a consent wall
    MOVED = "moved"  # page and image: 301 to another path, which answers well
    LOOP = "loop"  # page and image: 302 to itself
    DRIP = "drip"  # page and image: a byte now and then, far slower than any timeout
    NO_PICTURE = "no_picture"  # page: shows IMDb's drawing for "no poster", also in its linked data
    UNSIZED = "unsized"  # image: 404 for another size suffix than those that the catalogue, the page and OMDb give
    NO_AI = "no_ai"  # image: the poster, with X-Robots-Tag: noai, noimageai
    PLACEHOLDER = "placeholder"  # image: a JPEG of a single grey
    CORRUPT = "corrupt"  # image: a whole JPEG with garbage in its middle
    TINY = "tiny"  # image: Amazon's GIF of one pixel
    WIDE = "wide"  # image: a JPEG of 1600x40
    BOMB = "bomb"  # image: a PNG of 50,000x50,000 pixels in 310 KB
    PNG = "png"  # image: the poster as PNG, whatever its URL ends in; so the next three
    WEBP = "webp"
    GIF = "gif"
    CMYK = "cmyk"
    UNLISTED = "unlisted"  # TMDB and OMDb know no such title
    UNPICTURED = "unpictured"  # TMDB: poster_path null; OMDb: Poster N/A


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of titles from 0 to 1, by fault, that never overlap; titles in `named` do what is written there."""

    shares: Mapping[Fault, float] = field(default_factory=dict)
    named: Mapping[str, Fault] = field(default_factory=dict)
    slow_s: float = 2.0

    def __post_init__(self) -> None:
        """Raises SiteError for shares that are no shares."""
        for fault, share in self.shares.items():
            if not 0 <= share <= 1:
                raise SiteError(f"faults: {fault}={share:g} is not a share; give a number from 0 to 1")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise SiteError(f"faults: the shares add up to {sum(self.shares.values()):g}; give at most 1 in all")
        if not 0 <= self.slow_s < 3600:
            raise SiteError(f"slow-s={self.slow_s:g} is not valid; give seconds from 0 to 3599")

    @classmethod
    def parse(cls, text: str, slow_s: float = 2.0) -> Faults:
        """Faults from `not_found=0.05,slow=0.1`; `tt9900003=cut` names a title. Raises SiteError for anything else."""
        shares: dict[Fault, float] = {}
        named: dict[str, Fault] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name.startswith("tt"):
                try:
                    named[as_imdb_id(name)] = _fault(value, part)
                except ValueError as error:
                    raise SiteError(f"faults: {error}") from error
                continue
            fault = _fault(name, part)
            try:
                shares[fault] = float(value)
            except ValueError as error:
                raise SiteError(f"faults: {part!r} has no share; write {name}=0.1 for a tenth of the titles") from error
        return cls(shares, named, slow_s)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        pairs = [f"{fault}={share!r}" for fault, share in self.shares.items()]
        return ",".join(pairs + [f"{imdb_id}={fault}" for imdb_id, fault in self.named.items()])

    def of(self, imdb_id: str) -> Fault | None:
        """The fault of a title, or None for one that behaves."""
        if imdb_id in self.named:
            return self.named[imdb_id]
        if not self.shares:
            return None
        place = int.from_bytes(hashlib.sha256(imdb_id.encode()).digest()[:8]) / 2**64
        for fault in Fault:
            place -= self.shares.get(fault, 0)
            if place < 0:
                return fault
        return None


def _fault(name: str, part: str) -> Fault:
    try:
        return Fault(name)
    except ValueError as error:
        known = ", ".join(Fault)
        raise SiteError(f"faults: {part!r} names no fault; known are {known}") from error
