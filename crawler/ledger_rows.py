"""A row of the ledger: its columns, and its way into a table and back."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow as pa

from crawler.outcomes import Reason

SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("url", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("phash", pa.string()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("format", pa.string()),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        # From sending the last request to the head of its answer.
        pa.field("download_ms", pa.int32()),
        # What the title page told, where one was asked.
        pa.field("page_title", pa.string()),
        pa.field("page_year", pa.int16()),
        pa.field("page_genres", pa.list_(pa.string())),
        pa.field("page_kind", pa.string()),
    ]
)


@cache
def passing_reasons() -> pa.Array:
    """The reasons after which another try may end otherwise, as `reason` has them."""
    return pa.array([reason.value for reason in Reason if reason.is_passing])


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """outcome: `stored` or `rejected`; reason and detail only where rejected.

    source: who gave the poster, or was asked last: listed, images, tmdb, omdb, page, store, or a third party's name.
    """

    imdb_id: str
    outcome: str
    source: str
    attempts: int
    fetched_at: datetime
    reason: str | None = None
    detail: str | None = None
    http_status: int | None = None
    url: str | None = None
    sha256: str | None = None
    phash: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    bytes: int | None = None
    format: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    download_ms: int | None = None
    page_title: str | None = None
    page_year: int | None = None
    page_genres: list[str] | None = None
    page_kind: str | None = None


def table_of(rows: list[LedgerRow]) -> pa.Table:
    """Rows as a table of SCHEMA."""
    try:
        return pa.table({name: [getattr(row, name) for row in rows] for name in SCHEMA.names}, schema=SCHEMA)
    except (pa.ArrowException, ValueError, OverflowError):
        # A lone surrogate or a number without measure, from a page or a header, must not hold up all other rows.
        return pa.table(
            {name: [getattr(row, name) for row in map(_storable, rows)] for name in SCHEMA.names}, schema=SCHEMA
        )


def _storable(row: LedgerRow) -> LedgerRow:
    """The row, with what no file can hold replaced by ? in texts and by None elsewhere."""

    def storable(name: str, value: Any) -> Any:
        if isinstance(value, str):
            return value.encode(errors="replace").decode()
        try:
            return pa.scalar(value, SCHEMA.field(name).type).as_py()
        except (pa.ArrowException, ValueError, OverflowError):
            return [storable(name, part) for part in value] if isinstance(value, list) else None

    return replace(row, **{one.name: storable(one.name, getattr(row, one.name)) for one in fields(row)})


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`, in its types; one that came later than the table is null there.

    Raises pa.ArrowException where a column that must be there is not, or is of another kind.
    """
    if table.schema.equals(schema):
        return table
    arrays = []
    for column in schema:
        if column.name not in table.column_names and not column.nullable:
            raise pa.ArrowInvalid(f"no column {column.name}")
        is_there = column.name in table.column_names
        arrays.append(table[column.name].cast(column.type) if is_there else pa.nulls(table.num_rows, column.type))
    return pa.table(arrays, schema=schema)
