"""Catalogue formats, recognised by their columns, each an iterator of titles in constant memory."""

from __future__ import annotations

import ast
import csv
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cluster.errors import CrawlerError
from crawler.titles import Title, clean_genres, imdb_id

_YEAR_IN_TITLE = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>(?:18|19|20)\d\d)\)$")
_Row = dict[str, str]


class CatalogError(CrawlerError):
    """A catalogue that cannot be opened or recognised."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that names no title; `line` counts from 1, the header included."""

    line: int
    detail: str


def read_catalog(path: Path) -> Iterator[Title | RejectedRow]:
    """Every row of a catalogue, in its order, duplicates included.

    Raises CatalogError, before the first row, when the file is missing, is no CSV, or has no known columns.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise CatalogError(
            f"catalogue {path}: {error.strerror or error}; give a CSV such as MovieGenre.csv or train.csv"
        ) from error
    with lines:
        rows = csv.reader(_decoded(lines))
        try:
            header = [name.strip() for name in next(rows)]
        except (StopIteration, csv.Error) as error:
            raise CatalogError(f"catalogue {path} is empty or not a CSV file") from error
        parse = _recognise(path, header)
        yield from _parsed(rows, header, parse)


def _parsed(reader: Any, header: list[str], parse: Callable[[_Row], Title]) -> Iterator[Title | RejectedRow]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RejectedRow(line, str(error))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            yield RejectedRow(line, f"{len(cells)} cells where the header has {len(header)}")
            continue
        try:
            yield parse(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            yield RejectedRow(line, str(error))


def _decoded(lines: IO[bytes]) -> Iterator[str]:
    """Text lines of a file whose lines are UTF-8 or, as in MovieGenre.csv, here and there ISO-8859-1."""
    for number, line in enumerate(lines):
        data = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        try:
            yield data.decode()
        except UnicodeDecodeError:
            yield data.decode("iso-8859-1")


def _recognise(path: Path, header: list[str]) -> Callable[[_Row], Title]:
    names = set(header)
    if {"imdbId", "Genre", "Poster"} <= names:
        return _movie_genre
    if {"Id", "Genre"} <= names:
        return _one_hot
    raise CatalogError(
        f"catalogue {path}: unknown columns {', '.join(header[:8])!r}; "
        "expected MovieGenre.csv's imdbId, Genre, Poster or the one-hot CSV's Id, Genre"
    )


def _movie_genre(row: _Row) -> Title:
    """Kaggle's MovieGenre.csv: ids without leading zeros, genres joined by |, the year inside the title."""
    name = row.get("Title", "").strip()
    match = _YEAR_IN_TITLE.match(name)
    return Title(
        imdb_id=imdb_id(row["imdbId"]),
        title=(match["title"] if match else name) or None,
        year=int(match["year"]) if match else None,
        genres=clean_genres(row["Genre"].split("|")),
        rating=_number(row.get("IMDB Score", "")),
        poster_url=row["Poster"].strip() or None,
    )


def _one_hot(row: _Row) -> Title:
    """The one-hot CSV of Wei-Ta Chu's posters: Genre is a Python list, the columns behind it repeat it."""
    try:
        names = ast.literal_eval(row["Genre"])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that Python's parser raises
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Genre {row['Genre'][:80]!r} is not a list of names")
    "".join(names).encode()  # a lone surrogate, as in '\ud800', is a ValueError here and not in Parquet
    return Title(imdb_id=imdb_id(row["Id"]), genres=clean_genres(names))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
