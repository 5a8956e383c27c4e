"""A title: one row of a catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass

# tt and digits, or bare digits as Kaggle's MovieGenre.csv has them, without leading zeros.
_IMDB_ID = re.compile(r"(?:tt)?([0-9]{1,10})")

# Spellings of "this title has no genre".
_NO_GENRE = frozenset({"", "n/a", "\\n", "none", "null"})


@dataclass(frozen=True, slots=True)
class Title:
    """imdb_id is `tt` and at least 7 digits; what a catalogue does not tell is None or empty."""

    imdb_id: str
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    rating: float | None = None
    poster_url: str | None = None
    page_url: str | None = None


def imdb_id(text: str) -> str:
    """`tt0055850` from `tt0055850`, `tt55850` or `55850`. Raises ValueError for anything else."""
    match = _IMDB_ID.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise ValueError(f"{text!r} is not an IMDb id (expected tt and 7 or more digits)")
    return f"tt{int(match[1]):07d}"


def clean_genres(names: list[str]) -> tuple[str, ...]:
    """The names stripped, without doubles and without spellings of "no genre" such as `N/A`, in their order."""
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name.lower() not in _NO_GENRE))
