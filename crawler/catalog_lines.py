"""Lines and CSV records of a catalogue, each kept from spoiling the next."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from crawler.catalog_source import Unpacked

MAX_LINE_BYTES = 1 << 20
# A quoted cell may hold line ends, but no name or genre has more.
_MAX_RECORD_LINES = 20
_ID_CELL = re.compile(r'\s*("?)(?:tt)?[0-9]{1,10}(?:\.0)?\1\s*')


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that names no title; `line` counts from 1, the header included (in Parquet: rows from 1)."""

    line: int
    detail: str


@dataclass(slots=True)
class Reading:
    """What one pass over a catalogue tells beside its rows.

    left_out: rows that the filters leave out, by kind, or `adult`. latin_lines: lines that are ISO-8859-1 and no
    UTF-8. repaired_names: names that were mangled. bytes_read: the position in the file, of its size. damage: why a
    gzip file could not be read to its end; the last row, a rejected one, says it too.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    latin_lines: int = 0
    repaired_names: int = 0
    bytes_read: int = 0
    damage: str | None = None


def lines_of(buffered: IO[bytes], raw: Unpacked) -> Iterator[bytes | RejectedRow]:
    """Each line with its end, or why it cannot be read; so the n-th item is line n."""
    number = 0
    readline = buffered.readline
    while line := readline(MAX_LINE_BYTES):
        number += 1
        if line[-1] != 10:
            if len(line) == MAX_LINE_BYTES:
                while (more := readline(MAX_LINE_BYTES)) and more[-1] != 10:
                    pass
                yield RejectedRow(number, f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            if raw.damage:  # the line breaks off: half an id may be another title's id
                number -= 1
                break
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield line
    if raw.damage:
        yield RejectedRow(number + 1, raw.damage)


def decoded(line: bytes, reading: Reading) -> str:
    """A line as text: UTF-8 or, as here and there in MovieGenre.csv, ISO-8859-1."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        reading.latin_lines += 1
        return line.decode("iso-8859-1")


def csv_records(
    lines: Iterable[bytes | RejectedRow], *, first_line: int, width: int, id_at: int, reading: Reading
) -> Iterator[tuple[int, list[str]] | RejectedRow]:
    """Each CSV record with the number of its first line, or why there is none.

    A quote that is opened and never closed costs its own line only: the cell goes on over the next lines only if
    none of them looks like a row, that is, has an id where ids are, and the whole then has `width` cells.
    """
    source = _Source(lines, first_line, reading)
    for number, line in source:
        if isinstance(line, RejectedRow):
            yield line
            continue
        if line.isspace():
            continue
        if "\0" in line:
            yield RejectedRow(number, "the line holds a NUL byte")
            continue
        try:
            cells = next(csv.reader((line,)))
        except csv.Error as error:
            yield RejectedRow(number, _plainly(error))
            continue
        if _is_open(cells):
            continued = _continued(source, line, width, id_at)
            if continued is None:
                yield RejectedRow(number, "a quote is opened and not closed")
                continue
            cells = continued
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) == width:
            yield number, cells
        else:
            yield RejectedRow(number, f"{len(cells)} cells where the header has {width}")


def _plainly(error: csv.Error) -> str:
    return "a carriage return inside the row" if "new-line character" in str(error) else str(error)


class _Source:
    """Numbered, decoded lines, the last ones of which can be given back."""

    def __init__(self, lines: Iterable[bytes | RejectedRow], first_line: int, reading: Reading) -> None:
        self._lines = enumerate(lines, first_line)
        self._reading = reading
        self._back: deque[tuple[int, str | RejectedRow]] = deque()

    def __iter__(self) -> Iterator[tuple[int, str | RejectedRow]]:
        return self

    def __next__(self) -> tuple[int, str | RejectedRow]:
        if self._back:
            return self._back.popleft()
        number, line = next(self._lines)
        if isinstance(line, RejectedRow):
            return number, line
        return number, decoded(line, self._reading).rstrip("\r\n") + "\n"

    def give_back(self, taken: list[tuple[int, str | RejectedRow]]) -> None:
        """Let these be the next ones, in their order."""
        self._back.extendleft(reversed(taken))


def _continued(source: _Source, line: str, width: int, id_at: int) -> list[str] | None:
    """The cells of a record whose first line ends inside a quoted cell; None, and no line taken, if it is no record."""
    record: list[str] = [line]
    taken: list[tuple[int, str | RejectedRow]] = []
    for following in source:
        taken.append(following)
        text = following[1]
        if isinstance(text, RejectedRow) or "\0" in text or _looks_like_a_row(text, id_at):
            break
        record.append(text)
        try:
            if not _is_open(next(csv.reader(record))):
                # Strict: behind the quote that closes a cell comes the next cell, or it closed another row's.
                cells = next(csv.reader(record, strict=True))
                if len(cells) == width:
                    return cells
                break
        except csv.Error:
            break
        if len(record) == _MAX_RECORD_LINES:
            break
    source.give_back(taken)
    return None


def _looks_like_a_row(line: str, id_at: int) -> bool:
    cells = line.split(",", id_at + 1)
    return len(cells) > id_at + 1 and _ID_CELL.fullmatch(cells[id_at]) is not None


def _is_open(cells: list[str]) -> bool:
    return bool(cells) and cells[-1].endswith("\n")
