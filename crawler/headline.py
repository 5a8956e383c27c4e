"""Pure: a title page's headline, such as `Mad Men (TV Series 2007-2015) - IMDb` → name, year and kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crawler.page_values import rating_of, text_of, year_of
from crawler.titles import Kind

_SUFFIXES = (" - IMDb", " - Reference View")
_STAR = re.compile(r"\) ⭐ (?P<rating>[0-9]{1,2}(?:[.,][0-9])?)(?: \|.*)?$")
# What closes a headline: 2008, 2014/II, TV Series 2007-2015 (with any dash), TV Episode 7 Nov 2010, ????.
_YEARS = re.compile(
    r"(?:.*? )??(?:(?P<year>(?:18|19|20)[0-9]{2})|\?{4})(?:/[IVXLC]+)?(?: ?[-–—] ?(?:[0-9]{4}|\?{4})?)?"  # noqa: RUF001
)
_KINDS_ALONE = frozenset({"TV", "V", "VG", "Video", "Short", "Video Game", "Music Video"})
_ROMAN = re.compile(r"[IVXLC]+")
# Series are quoted in IMDb's older headlines; an episode's name follows its series'.
_QUOTED = re.compile(r'["“](?P<series>[^"“”]+)["”] ?(?P<episode>.*)')
# In the languages that imdb.com speaks, a word of each; a miniseries is a series, a video game no video.
_LABELS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.EPISODE, re.compile(r"\b(?:[ée]pisode|epis[oó]dio|episodio|folge|tv-folge)\b", re.IGNORECASE)),
    (Kind.GAME, re.compile(r"\b(?:vg|video ?game|videogioco|videospiel|videojuego|jeu vid[ée]o)\b", re.IGNORECASE)),
    (Kind.SERIES, re.compile(r"(?:\b|mini|fernseh|tv)-?(?:series?|séries?)\b|\bminiseries?\b", re.IGNORECASE)),
    (
        Kind.FILM,
        re.compile(
            r"\b(?:movie|film|fernsehfilm|tv|v|video|short|tv special|tv short|music video|documentary)\b",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Headline:
    """What a headline tells. `series` is a name in quotation marks that it starts with: all of it or the first part."""

    title: str | None = None
    year: int | None = None
    rating: float | None = None
    kind: Kind | None = None
    series: str | None = None


def kind_of_label(label: str) -> Kind | None:
    """The kind behind IMDb's words for it: `TV Mini-Series`, `Episode aired`, `VG`."""
    return next((kind for kind, words in _LABELS if words.search(label[:200])), None)


def read_headline(value: object) -> Headline:
    """Take a headline apart. What stands in brackets at its end and is no year or kind belongs to the name."""
    text = text_of(value)
    if text is None:
        return Headline()
    for suffix in _SUFFIXES:
        text = text.removesuffix(suffix)
    star = _STAR.search(text)
    text = text[: star.start() + 1] if star else text
    year, kind, has_years = None, None, False
    while text.endswith(")") and (start := text.rfind("(")) > 0:
        label = text[start + 1 : -1].strip()
        if not has_years and (years := _YEARS.fullmatch(label)):
            year, has_years = year_of(years["year"]), True
        elif label not in _KINDS_ALONE and not label.startswith("TV ") and not _ROMAN.fullmatch(label):
            break
        kind = kind or kind_of_label(label)
        text = text[:start].rstrip()
    quoted = _QUOTED.fullmatch(text)
    rating = rating_of(star["rating"]) if star else None
    series = quoted["series"].strip() if quoted else None
    return Headline(series if quoted and not quoted["episode"] else text or None, year, rating, kind, series)


def own_name(headline: Headline) -> str | None:
    """An episode's own name, without its series' name before it.

    Only for titles known as episodes: `"Crocodile" Dundee` is a film.
    """
    quoted = _QUOTED.fullmatch(headline.title or "")
    return quoted["episode"].strip() if quoted and quoted["episode"] else headline.title
