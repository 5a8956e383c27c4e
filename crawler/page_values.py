"""Pure: a value as a title page writes it → one that can be stored and sent, or None where it is something else."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from crawler.poster_urls import is_no_poster, is_title_picture
from crawler.titles import Kind, clean_genres

_LONGEST_TITLE = 500
_LONGEST_GENRE = 40
_MOST_GENRES = 30
_LONGEST_URL = 2000

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_YEAR = re.compile(r"(?:18|19|20)[0-9]{2}")
_RATING = re.compile(r"[0-9]{1,2}(?:[.,][0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class TitleFacts:
    """What one layer of a page tells of its title; None and empty for what it does not."""

    poster_url: str | None = None
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    rating: float | None = None
    kind: Kind | None = None


def text_of(value: object, longest: int = _LONGEST_TITLE) -> str | None:
    """One line of encodable text, or None: lone surrogates become `?`, white space and controls one space.

    Entities are decoded, because IMDb's linked data holds them too (`Schindler&apos;s List`).
    """
    if not isinstance(value, str):
        return None
    # Cut twice: an entity is longer than what it stands for, and a page may hold a "title" of megabytes.
    decoded = _ENTITY.sub(lambda match: html.unescape(match[0]), value[: longest * 12])
    encodable = decoded.encode(errors="replace").decode()
    return " ".join(encodable.translate(_CONTROLS).split())[:longest].rstrip() or None


def year_of(value: object) -> int | None:
    """The first year in a number or text such as `2008`, `2008-07-18` or `TV Series 2007-2015`."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        return value if 1800 <= value < 2100 else None
    match = _YEAR.search(value[:500])
    return int(match[0]) if match else None


def rating_of(value: object) -> float | None:
    """A rating of 0 to 10 out of 10 from a number or text such as `8.3`, `8,3` or `8.3/10`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        match = _RATING.match(value.strip()[:20])
        value = float(match[0].replace(",", ".")) if match else None
    # Compared before float(): an integer may be too large for it. NaN fails each comparison.
    return float(value) if isinstance(value, int | float) and 0 <= value <= 10 else None


def genres_of(values: list[object]) -> tuple[str, ...]:
    """The names in the page's order, without doubles, links such as `See more` and whatever is no name."""
    names = (text_of(value, _LONGEST_GENRE + 1) for value in values[: _MOST_GENRES * 4])
    kept = (name.strip("| ,»") for name in names if name and len(name) <= _LONGEST_GENRE)
    return clean_genres([name for name in kept if not name.casefold().startswith("see ")])[:_MOST_GENRES]


def poster_url_of(value: object) -> str | None:
    """A picture's URL as found, `//host/…` completed, if it can be a title's poster by its host and folder."""
    url = value.get("url") or value.get("contentUrl") if isinstance(value, dict) else value
    if not isinstance(url, str) or len(url) > _LONGEST_URL:
        return None
    url = url.strip().encode(errors="replace").decode()
    url = f"https:{url}" if url.startswith("//") else url
    if any(character.isspace() or character in '<>"' or not character.isprintable() for character in url):
        return None
    return url if is_title_picture(url) and not is_no_poster(url) else None
