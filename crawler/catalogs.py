"""Catalogues: five forms, told apart by their columns or content, each read as titles in constant memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crawler.catalog_formats import Filters, titles_of
from crawler.catalog_layout import Form, FormatError, Layout, layout_of
from crawler.catalog_lines import MAX_LINE_BYTES, Reading, RejectedRow, lines_of
from crawler.catalog_parquet import MAGIC as PARQUET_MAGIC
from crawler.catalog_parquet import check_parquet, parquet_titles
from crawler.catalog_source import CatalogError, on_disk, unpacked
from crawler.titles import Kind, Title

__all__ = [
    "Catalog",
    "CatalogError",
    "Form",
    "Reading",
    "RejectedRow",
    "default_kinds",
    "kinds_in",
    "open_catalog",
]

_SUFFIXES = re.compile(r"(\.(gz|csv|tsv|txt|lst|parquet|pq))+$", re.IGNORECASE)
# What a pass over a catalogue depends on beside the kinds; adult titles are told by IMDb's own file only.
_WITH_KINDS = (Form.IMDB_BASICS, Form.PARQUET)


def default_kinds(form: Form) -> frozenset[Kind]:
    """The kinds that are read unless others are asked for.

    Of IMDb's own list films and series, for those have posters: four in five of its rows are episodes, whose
    pictures are stills, and games have box covers. Of a list that somebody made, all.
    """
    return frozenset({Kind.FILM, Kind.SERIES}) if form is Form.IMDB_BASICS else frozenset(Kind)


def kinds_in(text: str) -> frozenset[Kind]:
    """The kinds in `film,series`. Raises CatalogError."""
    names = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in set(Kind)]:
        raise CatalogError(f"kinds {text!r}: {unknown[0]!r} is no kind; use one or more of {','.join(Kind)}")
    return frozenset(map(Kind, names))


@dataclass(frozen=True)
class Catalog:
    """An open catalogue; made by `open_catalog`, and good as long as that is open.

    name: to show. slug: lower-case, for names in a store. form: how it is read. size_bytes: of the file as it is.
    """

    name: str
    slug: str
    size_bytes: int
    is_gzip: bool
    _path: Path
    _layout: Layout
    _filters: Filters

    @property
    def form(self) -> Form:
        """The form that was recognised or asked for."""
        return self._layout.form

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the file's bytes and of what else decides which titles it gives."""
        options: dict[str, object] = {"form": self.form}
        if self.form in _WITH_KINDS:
            options["kinds"] = sorted(self._filters.kinds)
        if self.form is Form.IMDB_BASICS:
            options["adult"] = self._filters.adult
        try:
            with self._path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._gone(error) from error
        return hashlib.sha256(f"{content} {json.dumps(options, sort_keys=True)}".encode()).hexdigest()

    def rows(self, reading: Reading | None = None) -> Iterator[Title | RejectedRow]:
        """Each row that names a title of the wanted kinds, and each that names none, in the file's order.

        Duplicates are included. May be called again, for another pass. `reading` learns what the rows do not say.
        """
        reading = reading if reading is not None else Reading()
        try:
            if self.form is Form.PARQUET:
                yield from parquet_titles(self._path, self._filters, reading)
                return

            def tell(position: int) -> None:
                reading.bytes_read = position

            with unpacked(self._path, tell) as (buffered, raw):
                yield from titles_of(self._layout, lines_of(buffered, raw), self._filters, reading)
                reading.damage = raw.damage
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: OSError) -> CatalogError:
        return CatalogError(f"catalogue {self.name} cannot be read any more: {error.strerror or error}")


@contextlib.contextmanager
def open_catalog(
    source: str, *, form: Form | None = None, kinds: frozenset[Kind] | None = None, adult: bool = False
) -> Iterator[Catalog]:
    """Open a path, `s3://bucket/key` or `-` (standard input), plain or gzipped.

    form: instead of the one that its columns or content tell. kinds: instead of `default_kinds`; titles whose kind
    the catalogue does not tell are always read. adult: with the titles that IMDb's own list marks as such.
    Raises CatalogError, before the first row, when there is no such file or it is of no known form.
    """
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(on_disk(source))
        try:
            with unpacked(path) as (buffered, raw):
                head, is_gzip, damage = buffered.read(MAX_LINE_BYTES), raw.is_gzip, raw.damage
            size_bytes = path.stat().st_size
            if head.startswith(PARQUET_MAGIC) and form in (None, Form.PARQUET):
                if is_gzip:
                    path = stack.enter_context(_gunzipped(path))
                check_parquet(path)
                layout = Layout(Form.PARQUET)
            else:
                layout = layout_of(head, form)
        except FormatError as error:
            why = f"is a damaged gzip file, of which what can be read {error}" if damage else str(error)
            raise CatalogError(f"catalogue {_shown(source)} {why}") from error
        except OSError as error:
            raise CatalogError(
                f"catalogue {source}: {error.strerror or error}; give a file that can be read"
            ) from error
        filters = Filters(kinds if kinds is not None else default_kinds(layout.form), adult)
        yield Catalog(_name(source), _slug(source), size_bytes, is_gzip, path, layout, filters)


@contextlib.contextmanager
def _gunzipped(path: Path) -> Iterator[Path]:
    """Parquet is read from its end, so a gzipped one is unpacked first."""
    with tempfile.NamedTemporaryFile(prefix="onesheet-catalog-") as file, unpacked(path) as (buffered, _):
        shutil.copyfileobj(buffered, file)
        file.flush()
        yield Path(file.name)


def _shown(source: str) -> str:
    return "on standard input" if source == "-" else source


def _name(source: str) -> str:
    return "standard input" if source == "-" else source.rstrip("/").rpartition("/")[2]


def _slug(source: str) -> str:
    if source == "-":
        return "stdin"
    return re.sub(r"[^a-z0-9]+", "-", _SUFFIXES.sub("", _name(source)).lower()).strip("-")[:60].strip("-") or "catalog"
