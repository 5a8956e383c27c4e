"""Our own Parquet as a catalogue: the titles that a crawl leaves in the store, or a table like them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crawler.catalog_formats import KINDS, Filters
from crawler.catalog_layout import FormatError
from crawler.catalog_lines import Reading, RejectedRow
from crawler.names import repaired_name
from crawler.titles import Kind, Title, clean_genres, imdb_id

MAGIC = b"PAR1"
_ROWS_A_BATCH = 8192
_TEXT_COLUMNS = ("imdb_id", "title", "poster_url", "page_url", "kind")
_KINDS = {**{str(kind): kind for kind in Kind}, **KINDS}


def check_parquet(path: Path) -> None:
    """Raise FormatError unless the file is Parquet with a row and with our columns, in types that can be read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"is damaged Parquet: {_short(error)}; write or copy it anew") from error
    if "imdb_id" not in schema.names:
        shown = ", ".join(schema.names[:8])
        raise FormatError(f"is Parquet without a column imdb_id (it has {shown!r}); rename the column of ids")
    if len(schema.names) != len(set(schema.names)):
        raise FormatError("is Parquet with two columns of the same name; drop one")
    for column in schema:
        expected = _expected(column.name, column.type)
        if expected:
            raise FormatError(f"has {column.name} as {column.type}, but it must be {expected}; convert the column")
    if not rows:
        raise FormatError("has columns but no row; give a file with titles")


def parquet_titles(path: Path, filters: Filters, reading: Reading) -> Iterator[Title | RejectedRow]:
    """The titles of a checked file, a batch at a time; rows count from 1."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    size, row = path.stat().st_size, 0
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if _is_ours(name)]
        batches = file.iter_batches(_ROWS_A_BATCH, columns=columns)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                lost = file.metadata.num_rows - row
                yield RejectedRow(row + 1, f"the Parquet file is damaged here: {lost} rows are lost ({_short(error)})")
                return
            if batch is None:
                return
            for cells in _rows(batch):
                row += 1
                try:
                    title = _title(cells, reading) if isinstance(cells, dict) else None
                except ValueError as error:
                    yield RejectedRow(row, str(error))
                    continue
                if title is None:
                    yield RejectedRow(row, f"the row cannot be read: {cells}")
                elif title.kind is not None and title.kind not in filters.kinds:
                    reading.left_out[str(title.kind)] += 1
                else:
                    yield title
            reading.bytes_read = size * row // max(1, file.metadata.num_rows)


def _rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch, or why one is none: a text that is no UTF-8 spoils its own row only."""
    try:
        rows = batch.to_pylist()
    except ValueError:
        for at in range(batch.num_rows):
            try:
                rows = batch.slice(at, 1).to_pylist()
            except ValueError as error:
                yield _short(error)
            else:
                yield rows[0]
    else:
        yield from rows


def _title(cells: dict[str, Any], reading: Reading) -> Title:
    name, year, kind = cells.get("title"), cells.get("year"), cells.get("kind")
    if isinstance(year, float):
        year = int(year) if year.is_integer() else None  # pandas makes floats of years where one is missing
    if year is not None and not 0 < year < 10_000:
        raise ValueError(f"the year {year} is no year")
    if kind and kind not in _KINDS:
        raise ValueError(f"the kind {kind[:40]!r} is unknown (expected {', '.join(Kind)})")
    rating = cells.get("rating")
    name = (name or "").strip()
    mended = repaired_name(name)
    reading.repaired_names += mended != name
    return Title(
        imdb_id=imdb_id(cells["imdb_id"] or ""),
        title=mended or None,
        year=year,
        genres=clean_genres([genre for genre in cells.get("genres") or () if genre]),
        rating=None if rating is None or rating - rating else float(rating),
        poster_url=(cells.get("poster_url") or "").strip() or None,
        page_url=(cells.get("page_url") or "").strip() or None,
        kind=_KINDS[kind] if kind else None,
    )


def _is_ours(name: str) -> bool:
    return name in _TEXT_COLUMNS or name in ("year", "genres", "rating")


def _expected(name: str, kind: Any) -> str | None:
    """What a column of ours must be instead; None if it is."""
    from pyarrow import types  # noqa: PLC0415

    if types.is_null(kind) and name != "imdb_id":
        return None
    if name in _TEXT_COLUMNS:
        return None if _is_text(kind) else "text"
    if name == "year":
        return None if types.is_integer(kind) or types.is_floating(kind) else "a whole number"
    if name == "rating":
        return None if types.is_integer(kind) or types.is_floating(kind) else "a number"
    if name == "genres":
        is_list = types.is_list(kind) or types.is_large_list(kind)
        return None if is_list and (_is_text(kind.value_type) or types.is_null(kind.value_type)) else "a list of texts"
    return None


def _is_text(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _short(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:160].rstrip(".")
