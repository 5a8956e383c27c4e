"""OMDb over the site's titles: one title by its IMDb id, a key, and a quota of requests.

Bodies as www.omdbapi.com gives them: errors of a key with 401, all others with 200, every value a string.
"""

from __future__ import annotations

from typing import Any

from crawler.site.apis import ApiAnswer, ApiRules
from crawler.titles import Kind, Title, number_of

# How OMDb's links ask Amazon's image host for a poster.
POSTER_SUFFIX = "._V1_SX300.jpg"
_NONE = "N/A"
_TYPES = {Kind.FILM: "movie", Kind.SERIES: "series", Kind.EPISODE: "episode", Kind.GAME: "game", None: "movie"}


class Omdb:
    """The API of one site: it counts the requests of its key as long as it lives."""

    def __init__(self, rules: ApiRules) -> None:
        self._key = rules.omdb_key
        self._left = rules.omdb_quota

    def refusal(self, key: str | None) -> ApiAnswer | None:
        """401 for no key, a wrong one, or one whose quota is used up; None for a request that counts."""
        if not key:
            return _error(401, "No API key provided.")
        if key != self._key:
            return _error(401, "Invalid API key!")
        if not self._left:
            return _error(401, "Request limit reached!")
        self._left -= 1
        return None

    def find(self, title: Title | None, poster_url: str | None) -> ApiAnswer:
        """All that OMDb tells of a title; for None that it has no such title."""
        if title is None:
            return _error(200, "Error getting data.")
        rating = f"{title.rating:.1f}" if title.rating is not None else _NONE
        body: dict[str, Any] = {
            "Title": title.title or title.imdb_id,
            "Year": _years(title),
            "Rated": "Not Rated",
            "Released": f"15 Jun {title.year}" if title.year else _NONE,
            "Runtime": "96 min",
            "Genre": ", ".join(title.genres) or _NONE,
            "Director": _NONE,
            "Writer": _NONE,
            "Actors": _NONE,
            "Plot": _NONE,
            "Language": "English",
            "Country": _NONE,
            "Awards": _NONE,
            "Poster": poster_url or _NONE,
            "Ratings": [{"Source": "Internet Movie Database", "Value": f"{rating}/10"}] if title.rating else [],
            "Metascore": _NONE,
            "imdbRating": rating,
            "imdbVotes": f"{1000 + number_of(title.imdb_id) % 90_000:,}",
            "imdbID": title.imdb_id,
            "Type": _TYPES[title.kind],
        }
        if title.kind is Kind.SERIES:
            body["totalSeasons"] = str(1 + number_of(title.imdb_id) % 9)
        return ApiAnswer(200, body | {"Response": "True"})


def wrong_id() -> ApiAnswer:
    """The answer to what is no IMDb id."""
    return _error(200, "Incorrect IMDb ID.")


def offline(status: int) -> ApiAnswer:
    """A passing failure."""
    return ApiAnswer(status, {"Response": "False", "Error": "Something went wrong."}, {"Retry-After": "1"})


def _years(title: Title) -> str:
    if title.year is None:
        return _NONE
    return f"{title.year}–" if title.kind is Kind.SERIES else str(title.year)  # noqa: RUF001  OMDb's own dash


def _error(status: int, sentence: str) -> ApiAnswer:
    return ApiAnswer(status, {"Response": "False", "Error": sentence})
