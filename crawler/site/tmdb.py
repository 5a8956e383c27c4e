"""TMDB over the site's titles: its search by IMDb id with its token and rate, and the names of its images.

Bodies as api.themoviedb.org gives them: https://developer.themoviedb.org/reference/find-by-id and /docs/errors.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from typing import Any

from crawler.site.apis import ApiAnswer, ApiRules
from crawler.titles import Kind, Title, number_of

# The sizes that TMDB's configuration names for posters; None is the picture as it was given.
WIDTHS_PX = {"w92": 92, "w154": 154, "w185": 185, "w342": 342, "w500": 500, "w780": 780, "original": None}
_GENRE_IDS = {
    "Action": 28, "Adventure": 12, "Animation": 16, "Comedy": 35, "Crime": 80, "Documentary": 99, "Drama": 18,
    "Family": 10751, "Fantasy": 14, "History": 36, "Horror": 27, "Music": 10402, "Mystery": 9648, "Romance": 10749,
    "Sci-Fi": 878, "Thriller": 53, "War": 10752, "Western": 37,
}  # fmt: skip
_RESULTS = ("movie_results", "person_results", "tv_results", "tv_episode_results", "tv_season_results")
_NAME = re.compile(r"[0-9a-f]{18}([0-9a-f]{9})\.jpg")


class Tmdb:
    """The API of one site: it remembers the last second's requests."""

    def __init__(self, rules: ApiRules) -> None:
        self._authorization = f"Bearer {rules.tmdb_token}"
        self._rate = rules.tmdb_rate
        self._answered: deque[float] = deque(maxlen=rules.tmdb_rate)

    def refusal(self, authorization: str | None, now_s: float) -> ApiAnswer | None:
        """401 for a wrong or missing token, 429 for more requests a second than the rate; None for a good request."""
        if authorization != self._authorization:
            return _error(401, 7, "Invalid API key: You must be granted a valid key.")
        if len(self._answered) == self._rate and now_s - self._answered[0] < 1:
            return too_many(self._rate)
        self._answered.append(now_s)
        return None

    def find(self, title: Title | None, *, has_poster: bool) -> ApiAnswer:
        """The titles with an IMDb id: in lists by kind, all of them empty where TMDB knows none. It has no games."""
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in _RESULTS}
        if title is not None:
            path = poster_path(title.imdb_id) if has_poster else None
            match title.kind:
                case Kind.SERIES:
                    results["tv_results"].append(_series(title, path))
                case Kind.EPISODE:
                    results["tv_episode_results"].append(_episode(title, path))
                case Kind.FILM | None:
                    results["movie_results"].append(_film(title, path))
        return ApiAnswer(200, results)


def too_many(rate: int) -> ApiAnswer:
    """429, as from TMDB's own limiter."""
    message = f"Your request count ({rate + 1}) is over the allowed limit of {rate}."
    return _error(429, 25, message, {"Retry-After": "1"})


def offline() -> ApiAnswer:
    """503, as TMDB answers when it rests."""
    return _error(503, 9, "Service offline: This service is temporarily offline, try again later.")


def wrong_source() -> ApiAnswer:
    """The answer to an id that is not said to be IMDb's."""
    return _error(422, 5, "Invalid parameters: Your request parameters are incorrect.")


def poster_path(imdb_id: str) -> str:
    """A title's picture at TMDB, always the same for a title: a slash, 27 characters that hold the id, `.jpg`."""
    return f"/{hashlib.sha256(imdb_id.encode()).hexdigest()[:18]}{number_of(imdb_id):09x}.jpg"


def owner(name: str) -> str | None:
    """The id of the title that has a picture of this name, without the slash; None for a name that is no title's."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    imdb_id = f"tt{int(match[1], 16):07d}"
    return imdb_id if poster_path(imdb_id) == f"/{name}" else None


def _film(title: Title, path: str | None) -> dict[str, Any]:
    return _common(title, path) | {
        "media_type": "movie",
        "title": title.title or title.imdb_id,
        "original_title": title.title or title.imdb_id,
        "release_date": _date(title),
        "video": False,
    }


def _series(title: Title, path: str | None) -> dict[str, Any]:
    return _common(title, path) | {
        "media_type": "tv",
        "name": title.title or title.imdb_id,
        "original_name": title.title or title.imdb_id,
        "first_air_date": _date(title),
        "origin_country": ["US"],
    }


def _episode(title: Title, path: str | None) -> dict[str, Any]:
    """An episode has a still of its own and no poster."""
    number = number_of(title.imdb_id)
    return {
        "id": number % 9_000_000,
        "name": title.title or title.imdb_id,
        "overview": "",
        "media_type": "tv_episode",
        "vote_average": title.rating or 0.0,
        "vote_count": number % 500,
        "air_date": _date(title),
        "episode_number": 1 + number % 12,
        "episode_type": "standard",
        "production_code": "",
        "runtime": 45,
        "season_number": 1 + number % 5,
        "show_id": 1 + number % 200_000,
        "still_path": path,
    }


def _common(title: Title, path: str | None) -> dict[str, Any]:
    number = number_of(title.imdb_id)
    return {
        "adult": False,
        "backdrop_path": None,
        "id": number % 9_000_000,
        "overview": "",
        "poster_path": path,
        "original_language": "en",
        "genre_ids": [_GENRE_IDS[genre] for genre in title.genres if genre in _GENRE_IDS],
        "popularity": number % 1000 / 10,
        "vote_average": title.rating or 0.0,
        "vote_count": number % 30_000,
    }


def _date(title: Title) -> str:
    return f"{title.year}-06-15" if title.year else ""


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> ApiAnswer:
    return ApiAnswer(status, {"success": False, "status_code": code, "status_message": message}, headers or {})
