"""The titles of a crawl in the store: its catalogue's rows as read, duplicates included, in Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyroaring import BitMap64

from cluster.errors import CrawlerError
from cluster.store import Store
from crawler.titles import Kind, Title, number_of

# A file is some megabytes, and is read whole; a group of rows is what is decoded or encoded at once.
_ROWS_A_FILE = 100_000
_ROWS_A_GROUP = 10_000
# Names the catalogue that a file belongs to, in its metadata.
_DIGEST = b"onesheet.catalog"
SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        pa.field("rating", pa.float32()),
        pa.field("poster_url", pa.string()),
        pa.field("page_url", pa.string()),
        pa.field("kind", pa.string()),
    ]
)
_values = attrgetter(*SCHEMA.names)
_KINDS: dict[str | None, Kind | None] = {None: None, **{kind.value: kind for kind in Kind}}


def write(store: Store, crawl_id: str, digest: str, titles: Iterator[Title]) -> BitMap64:
    """Write titles in place of what is there, in constant memory. Returns the numbers of the distinct ones.

    The same titles give the same bytes, so two starts of one catalogue may write at once.
    """
    distinct = BitMap64()
    schema = SCHEMA.with_metadata({_DIGEST: digest.encode()})
    written = 0
    while group := list(islice(titles, _ROWS_A_GROUP)):
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            rows = 0
            while group:
                distinct.update([number_of(title.imdb_id) for title in group])
                columns = zip(*map(_values, group), strict=True)
                arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))
                rows += len(group)
                group = list(islice(titles, _ROWS_A_GROUP)) if rows < _ROWS_A_FILE else []
        store.put(_key(crawl_id, written), sink.getvalue())
        written += 1
    for key in list(store.list(_folder(crawl_id))):
        if key >= _key(crawl_id, written):
            store.delete(key)  # of an earlier, longer version of the catalogue
    return distinct


def files(store: Store, crawl_id: str) -> Iterator[pq.ParquetFile]:
    """The files, open, in the catalogue's order. Raises CrawlerError where one is damaged."""
    for key in list(store.list(_folder(crawl_id))):
        try:
            file = pq.ParquetFile(io.BytesIO(store.get(key)))
        except (pa.ArrowException, OSError) as error:
            why, card = " ".join(str(error).split()), store.url_of(f"crawls/{crawl_id}/catalog.json")
            raise CrawlerError(
                f"{store.url_of(key)} is damaged ({why}); delete {card}, and start the crawl again with its catalogue"
            ) from error
        yield file


def digest_of(file: pq.ParquetFile) -> str | None:
    """The digest of the catalogue that a file belongs to."""
    digest = (file.schema_arrow.metadata or {}).get(_DIGEST)
    return digest.decode() if digest else None


def as_titles(batch: pa.RecordBatch) -> Iterator[Title]:
    """The titles of a batch with all columns; column by column, which is quicker than row by row."""
    columns = {name: batch.column(name).to_pylist() for name in SCHEMA.names}
    columns["genres"] = list(map(tuple, columns["genres"]))
    columns["kind"] = [_KINDS[kind] for kind in columns["kind"]]
    return map(Title, *columns.values())


def numbers_of(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The numbers of a batch's titles (`titles.number_of`)."""
    digits = pc.utf8_slice_codeunits(batch.column("imdb_id"), 2)
    numbers: npt.NDArray[np.int64] = pc.cast(digits, pa.int64()).to_numpy()
    return numbers


def _folder(crawl_id: str) -> str:
    return f"crawls/{crawl_id}/titles/"


def _key(crawl_id: str, number: int) -> str:
    return f"{_folder(crawl_id)}{number:05}.parquet"
