"""The form of a catalogue, told by its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from crawler.catalog_lines import Reading, decoded
from crawler.titles import imdb_id


class Form(StrEnum):
    """The forms of catalogues: Kaggle's MovieGenre.csv, one-hot CSV, IMDb's title.basics, ids or URLs, our Parquet."""

    MOVIE_GENRE = "movie-genre"
    ONE_HOT = "one-hot"
    IMDB_BASICS = "imdb-basics"
    IDS = "ids"
    PARQUET = "parquet"


class FormatError(ValueError):
    """A head of no known form; the message goes on where the catalogue's name ends."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A form and where its columns are, by their lower-case names; header_line 0: there is no header."""

    form: Form
    header_line: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    header: tuple[str, ...] = ()


ID_COLUMNS = ("id", "imdbid", "imdb_id", "tconst")
# What pandas leaves of an index.
INDEX_COLUMNS = ("", "unnamed: 0")
ZERO_OR_ONE = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

_BASICS_HEADER = (
    *("tconst", "titleType", "primaryTitle", "originalTitle", "isAdult"),
    *("startYear", "endYear", "runtimeMinutes", "genres"),
)
_BASICS_NEEDS = ("tconst", "titletype", "primarytitle", "isadult", "startyear", "genres")
_ID_LIST_HEADERS = {*ID_COLUMNS, "imdb link", "url", "link", "const"}
_SAMPLE_LINES = 100
_NEEDS = {
    Form.MOVIE_GENRE: "the columns imdbId and Genre, separated by commas",
    Form.ONE_HOT: "the columns Id and Genre, or Id and a column of 0 and 1 for each genre, separated by commas",
    Form.IMDB_BASICS: "IMDb's tconst, titleType, primaryTitle, isAdult, startYear and genres, separated by tabs",
    Form.PARQUET: "a Parquet file",
}
_MAGIC = {
    b"PK\x03\x04": "is a zip archive; unpack it and give the file inside",
    b"BZh": "is packed by bzip2; unpack it, or use gzip",
    b"\xfd7zXZ": "is packed by xz; unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "is packed by zstd; unpack it, or use gzip",
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8",
}
_IMDB_URL = re.compile(r"(?:https?://)?(?:[a-z]+\.)?imdb\.com(?:[/?#].*)?", re.IGNORECASE)
_TITLE_URL = re.compile(
    r"(?:https?://)?(?:[a-z]+\.)?imdb\.com/(?:[a-z]{2}(?:-[a-z]{2})?/)?title/(tt[0-9]{1,10})(?:[/?#].*)?", re.IGNORECASE
)


def layout_of(head: bytes, form: Form | None = None) -> Layout:
    """The layout of a text catalogue by its first bytes, or of the form that is given.

    Raises FormatError for what is no text, has no row, or lacks the columns.
    """
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise FormatError(what)
    lines = [line.strip() for line in decoded(head.removeprefix(b"\xef\xbb\xbf"), Reading()).split("\n")]
    first = next((at for at, line in enumerate(lines) if line), None)
    if first is None:
        raise FormatError("is empty; give a file with titles")
    if "\0" in lines[first]:
        raise FormatError("is UTF-16 text; save it as UTF-8" if _is_utf16(head[:200]) else "is binary and no catalogue")
    below = [line for line in lines[first + 1 :] if line]
    layout = _layout(lines[first], first + 1, below[:_SAMPLE_LINES], form)
    if layout is None:
        raise FormatError(_unknown(lines[first], form, head))
    if layout.header_line and not below:
        raise FormatError("has columns but no row; give a file with titles")
    if layout.form is Form.IDS and all(
        line.startswith("#") for line in (below if layout.header_line else lines) if line
    ):
        raise FormatError("has no id in it; give one id or URL a line")
    return layout


def id_in(text: str) -> str:
    """The id in `tt0055850`, `55850` or the URL of a title's page. Raises ValueError for anything else."""
    if match := _TITLE_URL.fullmatch(text):
        return imdb_id(match[1].lower())
    if _IMDB_URL.fullmatch(text):
        what = "a person's page" if "/name/nm" in text.lower() else "a page of IMDb"
        raise ValueError(f"{text[:120]!r} is {what}, but no title's (expected .../title/tt and 7 or more digits)")
    return imdb_id(text)


def bare_id(line: str) -> str:
    """A line of an id list without its comment, quotes and commas; empty for a comment."""
    if line.startswith("#"):
        return ""
    return re.split(r"\s#", line, maxsplit=1)[0].strip().removesuffix(",").strip("\"'")


def _layout(first: str, number: int, below: list[str], form: Form | None) -> Layout | None:
    wanted = (form,) if form else tuple(Form)
    if Form.IMDB_BASICS in wanted and (found := _imdb_basics(first, number)):
        return found
    header = tuple(name.strip() for name in _cells(first))
    columns = _columns(header)
    if Form.MOVIE_GENRE in wanted and columns.keys() >= {"imdbid", "genre"}:
        return Layout(Form.MOVIE_GENRE, number, columns, header)
    if Form.ONE_HOT in wanted and (columns.keys() >= {"id", "genre"} or _is_one_hot(columns, _cells(*below[:1]))):
        return Layout(Form.ONE_HOT, number, columns, header)
    if Form.IDS in wanted and bare_id(first).lower() in _ID_LIST_HEADERS:
        return Layout(Form.IDS, number)
    if form is Form.IDS or (form is None and _are_ids([first, *below])):
        return Layout(Form.IDS)
    return None


def _cells(*lines: str) -> list[str]:
    try:
        return next(csv.reader(lines), [])
    except csv.Error:
        return []


def _columns(header: Iterable[str]) -> dict[str, int]:
    """Of columns of the same name the first counts."""
    return {name.strip().lower(): at for at, name in reversed(list(enumerate(header)))}


def _imdb_basics(first: str, number: int) -> Layout | None:
    header = first.split("\t")
    columns = _columns(header)
    if columns.keys() >= set(_BASICS_NEEDS):
        return Layout(Form.IMDB_BASICS, number, columns, tuple(header))
    # Lines that grep or shuf took of the file have lost the header.
    if len(header) == len(_BASICS_HEADER) and re.fullmatch(r"tt[0-9]+", header[0]):
        return Layout(Form.IMDB_BASICS, 0, _columns(_BASICS_HEADER), _BASICS_HEADER)
    return None


def _is_one_hot(columns: dict[str, int], row: list[str]) -> bool:
    marks = {at for name, at in columns.items() if name not in (*ID_COLUMNS, *INDEX_COLUMNS)}
    return (
        any(name in columns for name in ID_COLUMNS)
        and len(marks) > 0
        and all(at < len(row) and row[at].strip().lower() in ZERO_OR_ONE for at in marks)
    )


def _are_ids(lines: list[str]) -> bool:
    """Whether at least half of the lines are ids or IMDb's URLs; comments are none of either."""
    bare = [text for line in lines if (text := bare_id(line))]
    return 2 * sum(map(_is_id_or_url, bare)) >= len(bare)


def _is_id_or_url(text: str) -> bool:
    if _IMDB_URL.fullmatch(text):
        return True
    try:
        imdb_id(text)
    except ValueError:
        return False
    return True


def _is_utf16(head: bytes) -> bool:
    odd, even = head[1::2], head[::2]
    return (odd.count(0) == len(odd)) != (even.count(0) == len(even))


def _unknown(first: str, form: Form | None, head: bytes) -> str:
    if b"\0" in head[:4096] or re.search(r"[\x00-\x08\x0e-\x1f\x7f]", first):
        return "is binary and no catalogue; give MovieGenre.csv, the one-hot CSV, title.basics.tsv.gz, ids or Parquet"
    if re.match(r"<(!doctype|html|\?xml)", first, re.IGNORECASE):
        return "is a web page and no catalogue; download the file itself"
    if "\r" in first:
        return "has lines that end in carriage returns alone; save it with newlines"
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        columns = _columns([name.strip('"') for name in first.split(delimiter)])
        right = "tabs" if columns.keys() >= set(_BASICS_NEEDS) else "commas"
        if right != name and (right == "tabs" or any(columns.keys() >= {id_} | {"genre"} for id_ in ID_COLUMNS)):
            return f"has its columns separated by {name}; save it with {right}"
    if form:
        return f"is no {form} catalogue: that is {_NEEDS[form]}"
    shown = ", ".join(first.split(",")[:8])[:200]
    return (
        f"has unknown columns {shown!r}; expected MovieGenre.csv's imdbId, Genre, Poster, the one-hot CSV's Id, Genre, "
        "IMDb's title.basics.tsv.gz, Parquet with imdb_id, or an id or URL a line"
    )
