"""The parsers of text catalogues: lines in, a title or a rejected row out for each row that the filters want."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from crawler.catalog_layout import ID_COLUMNS, INDEX_COLUMNS, ZERO_OR_ONE, Form, Layout, bare_id, id_in
from crawler.catalog_lines import Reading, RejectedRow, csv_records, decoded
from crawler.names import repaired_kaggle_name, repaired_name
from crawler.titles import Kind, Title, clean_genres, imdb_id

# IMDb's titleTypes.
KINDS = {
    "movie": Kind.FILM,
    "short": Kind.FILM,
    "tvMovie": Kind.FILM,
    "tvShort": Kind.FILM,
    "tvSpecial": Kind.FILM,
    "video": Kind.FILM,
    "tvSeries": Kind.SERIES,
    "tvMiniSeries": Kind.SERIES,
    "tvEpisode": Kind.EPISODE,
    "tvPilot": Kind.EPISODE,
    "videoGame": Kind.GAME,
}
_YEAR_IN_TITLE = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>(?:18|19|20)\d\d)\)$")
_Cell = TypeVar("_Cell", str, bytes)
_Value = TypeVar("_Value")
_NULLS = frozenset({"", "n/a", "\\n", "nan", "none", "null"})


def _remembered(parse: Callable[[_Cell], _Value]) -> Callable[[_Cell], _Value]:
    """For what a few thousand short cells say in millions of rows."""
    cached = lru_cache(maxsize=4096)(parse)
    return lambda cell: cached(cell) if len(cell) <= 200 else parse(cell)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which titles are wanted, where a catalogue tells; a title of unknown kind always is."""

    kinds: frozenset[Kind]
    adult: bool


def titles_of(
    layout: Layout, lines: Iterator[bytes | RejectedRow], filters: Filters, reading: Reading
) -> Iterator[Title | RejectedRow]:
    """Every wanted row below the header, in its order; `reading` counts the others."""
    for _ in range(layout.header_line):
        next(lines, None)
    if layout.form is Form.IMDB_BASICS:
        return _imdb_basics(layout, lines, filters, reading)
    if layout.form is Form.IDS:
        return _ids(layout, lines, reading)
    if layout.form is Form.MOVIE_GENRE:
        return _from_csv(layout, lines, layout.columns["imdbid"], _movie_genre(layout, reading), reading)
    id_at = next(layout.columns[name] for name in ID_COLUMNS if name in layout.columns)
    return _from_csv(layout, lines, id_at, _one_hot(layout, id_at), reading)


def _from_csv(
    layout: Layout,
    lines: Iterable[bytes | RejectedRow],
    id_at: int,
    parse: Callable[[list[str]], Title],
    reading: Reading,
) -> Iterator[Title | RejectedRow]:
    first_line, width = layout.header_line + 1, len(layout.header)
    for record in csv_records(lines, first_line=first_line, width=width, id_at=id_at, reading=reading):
        if isinstance(record, RejectedRow):
            yield record
            continue
        line, cells = record
        try:
            yield parse(cells)
        except ValueError as error:
            yield RejectedRow(line, str(error))


def _movie_genre(layout: Layout, reading: Reading) -> Callable[[list[str]], Title]:
    """Kaggle's MovieGenre.csv: ids without leading zeros, genres joined by |, the year inside the title."""
    id_at, genre_at = layout.columns["imdbid"], layout.columns["genre"]
    # A column that is missing is read from the empty cell that every row gets at its end.
    link_at, title_at, score_at, poster_at = (
        layout.columns.get(name, -1) for name in ("imdb link", "title", "imdb score", "poster")
    )

    def parse(cells: list[str]) -> Title:
        cells.append("")
        name = _mended(cells[title_at].strip(), repaired_kaggle_name, reading)
        match = _YEAR_IN_TITLE.match(name)
        return Title(
            imdb_id=_id_of_cell(cells[id_at], cells[link_at]),
            title=(match["title"] if match else name) or None,
            year=int(match["year"]) if match else None,
            genres=_barred_genres(cells[genre_at]),
            rating=_number(cells[score_at]),
            poster_url=None if (url := cells[poster_at].strip()).lower() in _NULLS else url,
        )

    return parse


def _one_hot(layout: Layout, id_at: int) -> Callable[[list[str]], Title]:
    """The one-hot CSV of Wei-Ta Chu's posters: Genre is a Python list, and the columns behind it repeat it.

    Without that list, or where it is empty, the columns count.
    """
    genre_at = layout.columns.get("genre", -1)
    marks = [
        (at, name)
        for at, name in enumerate(layout.header)
        if at not in (id_at, genre_at) and name.lower() not in INDEX_COLUMNS
    ]

    def parse(cells: list[str]) -> Title:
        cells.append("")
        given = cells[genre_at].strip()
        if marks and given.lower() in _NULLS:
            genres = clean_genres([name for at, name in marks if _mark(name, cells[at])])
        else:
            genres = _listed_genres(given)
        return Title(imdb_id=_id_of_cell(cells[id_at]), genres=genres)

    return parse


def _imdb_basics(
    layout: Layout, lines: Iterator[bytes | RejectedRow], filters: Filters, reading: Reading
) -> Iterator[Title | RejectedRow]:
    """IMDb's title.basics.tsv: tab separated, never quoted, `\\N` for unknown.

    11 million rows, of which four in five are episodes: bytes are split, looked up and left before any are decoded.
    """
    width, left_out = len(layout.header), reading.left_out
    id_at, type_at, title_at, adult_at, year_at, genres_at = (
        layout.columns[name] for name in ("tconst", "titletype", "primarytitle", "isadult", "startyear", "genres")
    )
    # The kinds that are wanted as Kind, the others as text to count.
    kinds: dict[bytes, Any] = {
        name.encode(): kind if kind in filters.kinds else kind.value for name, kind in KINDS.items()
    }
    unknown = object()
    if genres_at != width - 1:  # else its parser strips the line end, of the wanted rows alone
        lines = (line if isinstance(line, RejectedRow) else line.rstrip(b"\r\n") for line in lines)
    no_adult = not filters.adult
    for number, line in enumerate(lines, layout.header_line + 1):
        if isinstance(line, RejectedRow):
            yield line
            continue
        cells = line.split(b"\t")
        if len(cells) == width:
            kind = kinds.get(cells[type_at], unknown)
            if kind.__class__ is str:
                left_out[kind] += 1
                continue
            if kind is not unknown and b"\0" not in line:
                if no_adult and cells[adult_at] == b"1":
                    left_out["adult"] += 1
                    continue
                try:
                    yield Title(
                        imdb_id=_id_of_bytes(cells[id_at]),
                        title=_name_of(cells[title_at], reading),
                        year=_year_of(cells[year_at]),
                        genres=_genres_of(cells[genres_at]),
                        kind=kind,
                    )
                except ValueError as error:
                    yield RejectedRow(number, str(error))
                continue
        if not line.isspace():
            yield RejectedRow(number, _why_not_basics(line, cells, layout))


def _why_not_basics(line: bytes, cells: list[bytes], layout: Layout) -> str:
    if len(cells) != len(layout.header):
        return f"{len(cells)} cells where the header has {len(layout.header)}"
    if b"\0" in line:
        return "the line holds a NUL byte"
    return f"the titleType {cells[layout.columns['titletype']][:40].decode(errors='replace')!r} is unknown"


def _name_of(cell: bytes, reading: Reading) -> str | None:
    if cell == b"\\N":
        return None
    if cell.isascii() and b"&" not in cell:
        return cell.decode() or None
    return _mended(decoded(cell, reading), repaired_name, reading) or None


def _id_of_bytes(cell: bytes) -> str:
    digits = cell[2:]
    # The usual id as it is, in a quarter of the time.
    if (
        cell[:2] == b"tt"
        and digits.isdigit()
        and (len(digits) == 7 or (7 < len(digits) <= 10 and digits[0] != 48))
        and digits != b"0000000"
    ):
        return cell.decode()
    return imdb_id(cell.decode(errors="replace"))


@_remembered
def _genres_of(cell: bytes) -> tuple[str, ...]:
    return clean_genres(cell.decode(errors="replace").split(","))


@_remembered
def _year_of(cell: bytes) -> int | None:
    return int(cell) if cell.isdigit() and len(cell) == 4 else None


def _ids(layout: Layout, lines: Iterator[bytes | RejectedRow], reading: Reading) -> Iterator[Title | RejectedRow]:
    """An id or a URL a line; comments begin with #."""
    for number, line in enumerate(lines, layout.header_line + 1):
        if isinstance(line, RejectedRow):
            yield line
            continue
        text = bare_id(decoded(line, reading).strip())
        if text:
            try:
                yield Title(imdb_id=id_in(text))
            except ValueError as error:
                yield RejectedRow(number, str(error))


def _id_of_cell(cell: str, link: str = "") -> str:
    text = cell.strip().removesuffix(".0")  # pandas makes floats of ids where one is missing
    if link and text.lower() in _NULLS:
        return id_in(link.strip())
    return imdb_id(text[:200])


def _mended(name: str, repair: Callable[[str], str], reading: Reading) -> str:
    mended = repair(name)
    if mended != name:
        reading.repaired_names += 1
    return mended


def _mark(name: str, cell: str) -> bool:
    found = ZERO_OR_ONE.get(cell.strip().lower())
    if found is None:
        raise ValueError(f"the column {name[:40]!r} is {cell[:40]!r} (expected 0 or 1)")
    return found


@_remembered
def _listed_genres(text: str) -> tuple[str, ...]:
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that Python's parser raises
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Genre {text[:80]!r} is not a list of names")
    "".join(names).encode()  # a lone surrogate, as in '\ud800', is a ValueError here and not in Parquet
    return clean_genres(names)


@_remembered
def _barred_genres(cell: str) -> tuple[str, ...]:
    return clean_genres([name for name in cell.split("|") if name.strip().lower() not in _NULLS])


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
