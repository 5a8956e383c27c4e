"""Pure: an IMDb title page → what it tells of the title, and whether the answer is a block page instead.

`application/ld+json` is read first, then Open Graph. A picture counts as the title's poster only where IMDb
keeps title pictures (`/images/M/`); its logo and share images lie elsewhere (`/images/G/`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from parsel import Selector

from crawler.titles import clean_genres

_TITLE_TYPES = frozenset({"Movie", "TVSeries", "TVEpisode", "TVMiniSeries", "VideoGame", "CreativeWork"})
_IMAGE_HOSTS = (".media-amazon.com", ".media-imdb.com", ".ssl-images-amazon.com")
_OG_TITLE = re.compile(r"^(?P<title>.*?)\s*\((?:[^()]*\s)?(?P<year>(?:18|19|20)\d\d)[^()]*\)")
# What AWS's WAF and IMDb's captcha put into the page that they answer instead.
_CHALLENGE_MARKS = (b"awswafcookiedomainlist", b"awswafintegration", b"captcha-container", b"/errors/validatecaptcha")


@dataclass(frozen=True, slots=True)
class TitlePage:
    """What a page tells; None and empty for what it does not."""

    poster_url: str | None = None
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    rating: float | None = None


def is_blocked(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a host refuses to talk to scripts: a WAF challenge or a captcha in place of the answer.

    headers: names in lower case.
    """
    if headers.get("x-amzn-waf-action", "").lower() in ("challenge", "captcha"):
        return True
    if status not in (200, 202, 403, 405):
        return False
    start = body[:20_000].lower()
    return (status == 202 and not body.strip()) or any(mark in start for mark in _CHALLENGE_MARKS)


def parse_title(html: str) -> TitlePage:
    """Read a title page. Never raises on any text."""
    if not html.strip():
        return TitlePage()
    page = Selector(body=html.encode(errors="replace"))
    data = _ld_json(page)
    og = {
        str(meta.attrib["property"]).removeprefix("og:"): str(meta.attrib.get("content", ""))
        for meta in page.css("meta[property^='og:']")
    }
    match = _OG_TITLE.match(og.get("title", ""))
    published = str(data.get("datePublished") or "")[:4]
    rating = data.get("aggregateRating")
    return TitlePage(
        poster_url=_poster(data.get("image")) or _poster(og.get("image")),
        title=_text(data.get("name")) or (match["title"] if match else None),
        year=int(published) if published.isascii() and published.isdigit() else int(match["year"]) if match else None,
        genres=clean_genres(_names(data.get("genre"))),
        rating=_number(rating.get("ratingValue")) if isinstance(rating, dict) else None,
    )


def _ld_json(page: Selector) -> dict[str, Any]:
    for script in page.css("script[type='application/ld+json']::text").getall():
        try:
            # Twice: "\ud800" is JSON, but the lone surrogate that it stands for can be neither sent nor stored.
            data = json.loads(json.dumps(json.loads(script), ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict) and _text(data.get("@type")) in _TITLE_TYPES:
            return data
    return {}


def _poster(value: object) -> str | None:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    is_title_picture = parts.path.startswith("/images/M/") and ("." + host).endswith(_IMAGE_HOSTS)
    return url if is_title_picture and parts.scheme in ("http", "https") else None


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
