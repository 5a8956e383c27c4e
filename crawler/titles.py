"""A title: one row of a catalogue."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

# tt and digits, or bare digits as Kaggle's MovieGenre.csv has them, without leading zeros.
_IMDB_ID = re.compile(r"(?:tt)?([0-9]{1,10})")

# Spellings of "this title has no genre".
_NO_GENRE = frozenset({"", "n/a", "\\n", "none", "null"})


class Kind(StrEnum):
    """What a title is: a film of any length, on any screen; a series; one episode of a series; a game."""

    FILM = "film"
    SERIES = "series"
    EPISODE = "episode"
    GAME = "game"


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
    kind: Kind | None = None


def imdb_id(text: str) -> str:
    """`tt0055850` from `tt0055850`, `tt55850` or `55850`. Raises ValueError for anything else."""
    match = _IMDB_ID.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise ValueError(f"{text!r} is not an IMDb id (expected tt and 7 or more digits)")
    return f"tt{int(match[1]):07d}"


def number_of(imdb_id: str) -> int:
    """7 from `tt0000007`: what a set of millions of titles (`pyroaring.BitMap64`) holds in place of their ids."""
    return int(imdb_id[2:])


def shard_of(imdb_id: str, shards: int) -> int:
    """The shard, from 0, that a title belongs to: the same on every machine and in every version."""
    return zlib.crc32(imdb_id.encode()) % shards


def clean_genres(names: list[str]) -> tuple[str, ...]:
    """The names stripped, without doubles and without spellings of "no genre" such as `N/A`, in their order."""
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name.lower() not in _NO_GENRE))


def poster_key(imdb_id: str) -> str:
    """Where a title's poster lies in the store: the bytes as fetched, whatever their format."""
    return f"posters/{imdb_id}.jpg"
