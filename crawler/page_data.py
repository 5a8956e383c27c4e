"""Pure: the JSON inside a title page, linked data (since 2018) and Next.js's (since 2021) → its title's facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from crawler.page_values import TitleFacts, genres_of, poster_url_of, rating_of, text_of, year_of
from crawler.titles import Kind

_ID = re.compile(r"tt[0-9]{7,10}")
_MOST_SCRIPTS = 50

# schema.org's types as IMDb uses them; a type of None is a title of a kind that it does not tell.
_LINKED_TYPES: dict[str, Kind | None] = {
    "Movie": Kind.FILM,
    "TVSeries": Kind.SERIES,
    "TVMiniSeries": Kind.SERIES,
    "TVSeason": Kind.SERIES,
    "PodcastSeries": Kind.SERIES,
    "RadioSeries": Kind.SERIES,
    "TVEpisode": Kind.EPISODE,
    "PodcastEpisode": Kind.EPISODE,
    "RadioEpisode": Kind.EPISODE,
    "VideoGame": Kind.GAME,
    "MusicVideoObject": Kind.FILM,
    "CreativeWork": None,
}

# IMDb's own names of kinds, as in title.basics.tsv.
_TITLE_TYPES: dict[str, Kind] = {
    **dict.fromkeys(("movie", "short", "video", "tvMovie", "tvShort", "tvSpecial", "musicVideo"), Kind.FILM),
    **dict.fromkeys(("tvSeries", "tvMiniSeries", "podcastSeries"), Kind.SERIES),
    **dict.fromkeys(("tvEpisode", "tvPilot", "podcastEpisode"), Kind.EPISODE),
    "videoGame": Kind.GAME,
}


def linked_data(scripts: Sequence[str], imdb_id: str | None) -> TitleFacts | None:
    """The facts in a page's `application/ld+json`, None where it describes no title, or another than imdb_id."""
    for script in scripts[:_MOST_SCRIPTS]:
        for data in _linked_objects(_parsed(script)):
            kind_name = _linked_type(data)
            if kind_name is None or not _is_same(data.get("url") or data.get("@id"), imdb_id):
                continue
            rating = data.get("aggregateRating")
            return TitleFacts(
                poster_url=poster_url_of(data.get("image")),
                title=text_of(data.get("name")),
                # The day of its release in the reader's country, often years after the title's own year.
                year=year_of(data.get("datePublished")),
                genres=genres_of(_listed(data.get("genre"))),
                rating=rating_of(rating.get("ratingValue")) if isinstance(rating, dict) else None,
                kind=_LINKED_TYPES[kind_name],
            )
    return None


def next_data(scripts: Sequence[str], imdb_id: str | None) -> TitleFacts | None:
    """The facts in `__NEXT_DATA__`, None where it describes no title, or another than imdb_id.

    The same GraphQL answer lies in urqlState (2021) or in pageProps (since 2022), in several parts that share an id.
    """
    for script in scripts[:1]:
        props = _at(_parsed(script), "props")
        wanted = imdb_id or text_of(_at(props, "pageProps", "tconst"))
        facts = None
        for data in _next_objects(props):
            if not isinstance(data, dict) or data.get("id") != wanted or wanted is None:
                continue
            facts = merged(*filter(None, (facts, _next_facts(data))))
        return facts
    return None


def merged(*layers: TitleFacts) -> TitleFacts:
    """Field by field, what the first layer that knows it tells."""
    return TitleFacts(
        poster_url=next((layer.poster_url for layer in layers if layer.poster_url), None),
        title=next((layer.title for layer in layers if layer.title), None),
        year=next((layer.year for layer in layers if layer.year is not None), None),
        genres=next((layer.genres for layer in layers if layer.genres), ()),
        rating=next((layer.rating for layer in layers if layer.rating is not None), None),
        kind=next((layer.kind for layer in layers if layer.kind is not None), None),
    )


def _next_facts(data: dict[str, Any]) -> TitleFacts:
    genres = _listed(_at(data, "genres", "genres")) or [
        _at(genre, "genre") for genre in _listed(_at(data, "titleGenres", "genres"))
    ]
    type_name = _at(data, "titleType", "id")
    return TitleFacts(
        poster_url=poster_url_of(data.get("primaryImage")),
        title=text_of(_at(data, "titleText", "text")) or text_of(_at(data, "originalTitleText", "text")),
        year=year_of(_at(data, "releaseYear", "year")),
        genres=genres_of([_at(genre, "text") for genre in genres]),
        rating=rating_of(_at(data, "ratingsSummary", "aggregateRating")),
        kind=_TITLE_TYPES.get(type_name) if isinstance(type_name, str) else None,
    )


def _next_objects(props: object) -> Iterator[object]:
    page_props = _at(props, "pageProps")
    for name in ("aboveTheFoldData", "aboveTheFold", "mainColumnData", "data", "title"):
        yield _at(page_props, name)
        yield _at(page_props, name, "title")
    for state in (_at(props, "urqlState"), _at(page_props, "urqlState")):
        for answer in list(state.values())[:_MOST_SCRIPTS] if isinstance(state, dict) else ():
            data = _at(answer, "data")
            yield _at(_parsed(data) if isinstance(data, str) else data, "title")


def _linked_objects(data: object) -> Iterator[dict[str, Any]]:
    """The objects of one script: itself, or those of a list or `@graph`, unless it lists several titles."""
    graph = data.get("@graph") if isinstance(data, dict) else data
    objects = [item for item in graph if isinstance(item, dict)] if isinstance(graph, list) else []
    if sum(_linked_type(item) is not None for item in objects) == 1:
        yield from objects
    if isinstance(data, dict):
        yield data


def _linked_type(data: dict[str, Any]) -> str | None:
    names = _listed(data.get("@type"))
    return next((name for name in names if isinstance(name, str) and name in _LINKED_TYPES), None)


def _is_same(address: object, imdb_id: str | None) -> bool:
    found = _ID.search(address[:2000]) if isinstance(address, str) else None
    return not (found and imdb_id) or found[0] == imdb_id


def _at(data: object, *path: str) -> Any:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _parsed(script: str) -> Any:
    try:
        # Not strict: some pages of 2018 break lines inside of strings. NaN and Infinity are no JSON and no values.
        return json.loads(script, strict=False, parse_constant=lambda _: None)
    except (ValueError, RecursionError, MemoryError):
        return None
