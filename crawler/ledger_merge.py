"""One row a title out of any number of rows, in constant memory: an external partition by IMDb id.

Rows come in any order, are spilled to a temporary file in compressed batches, and counted by the first five digits
of their ids. The counts cut the ids into ranges of about `RANGE_ROWS` rows; a second temporary file holds the batches
cut by range, and each range is resolved by itself in Arrow. Neither file has a name, so the system removes them also
when the process is killed. A ledger of one range never leaves memory.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import StoreError

# A range and its resolved copy are in memory at once: about 30 MB of full ledger rows.
RANGE_ROWS = 25_000
# Beyond 5 million rows ranges grow instead, lest the batches of each become too small.
_MAX_RANGES = 200
_PREFIXES = 100_000

Integers = npt.NDArray[np.int64]


def with_number(table: pa.Table) -> pa.Table:
    """The rows with a column `number`, 7 where imdb_id is `tt0000007`. Raises pa.ArrowInvalid for what is no id."""
    numbers = pc.cast(pc.utf8_slice_codeunits(table["imdb_id"], 2), pa.int64())
    smallest, largest = pc.min_max(numbers).as_py().values()
    if table.num_rows and not 0 < smallest <= largest < 10**10:
        raise pa.ArrowInvalid(f"ids from tt{smallest} to tt{largest}")
    return table.append_column("number", numbers)


def resolve(table: pa.Table) -> pa.Table:
    """One row a title, ascending by imdb_id as text.

    A `stored` row beats any `rejected` one, for what is in the store stays there; among equals the newest fetched_at
    counts, and of the same millisecond the later row of the table. Needs the columns number, outcome and fetched_at.
    """
    order = _text_order(_integers(table, "number"))
    is_stored = pc.equal(table["outcome"], "stored").to_numpy().astype(np.int64)
    place = np.arange(len(order))
    # numpy's last key sorts first.
    best_last = np.lexsort((place, _integers(table, "fetched_at"), is_stored, order))
    order = order[best_last]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = order[1:] != order[:-1]
    return table.take(best_last[is_last])


class Spill:
    """Rows on their way to one a title; a context manager, to be filled once and read once."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._rows_by_prefix = np.zeros(_PREFIXES, np.int64)
        self._arrived: _Pile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._arrived:
            self._arrived.close()
            # Else a crawl would carry for hours what its start once needed.
            pa.default_memory_pool().release_unused()

    def add(self, table: pa.Table) -> None:
        """Take rows of one schema, with the columns that `resolve` needs. Raises StoreError where the disk is full."""
        if not table.num_rows:
            return
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        if self._waiting_rows > RANGE_ROWS:
            self._arrived = self._arrived or _Pile(table.schema)
            self._write(self._arrived)

    def resolved(self) -> Iterator[pa.Table]:
        """One row a title, in tables of about RANGE_ROWS rows at most, ascending by imdb_id as text."""
        if self._arrived is None:
            if self._waiting:
                yield resolve(self._take_waiting())
            return
        if self._waiting:
            self._write(self._arrived)
        yield from self._by_range(self._arrived)

    def _write(self, arrived: _Pile) -> None:
        table = self._take_waiting()
        prefixes = _prefix(_text_order(_integers(table, "number")))
        self._rows_by_prefix += np.bincount(prefixes, minlength=_PREFIXES)
        arrived.write(table)

    def _by_range(self, arrived: _Pile) -> Iterator[pa.Table]:
        ends = self._rows_by_prefix.cumsum()
        rows_a_range = max(RANGE_ROWS, int(ends[-1]) // _MAX_RANGES)
        # A range ends with the prefix that fills it.
        range_of_prefix = (ends - self._rows_by_prefix) // rows_a_range
        places: list[list[_Place]] = [[] for _ in range(int(range_of_prefix[-1]) + 1)]
        with contextlib.closing(_Pile(arrived.schema)) as sorted_pile:
            for place in arrived.places:
                table = arrived.read(place)
                ranges = range_of_prefix[_prefix(_text_order(_integers(table, "number")))]
                by_range = np.argsort(ranges, kind="stable")
                table = table.take(by_range)
                numbers, starts = np.unique(ranges[by_range], return_index=True)
                for number, start, end in zip(numbers, starts, [*starts[1:], len(ranges)], strict=True):
                    places[number].append(sorted_pile.write(table.slice(start, end - start)))
            arrived.close()
            for of_range in places:
                if of_range:
                    yield resolve(pa.concat_tables([sorted_pile.read(place) for place in of_range]).combine_chunks())

    def _take_waiting(self) -> pa.Table:
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._waiting_rows = [], 0
        return table


# Offset, size and size before compression.
_Place = tuple[int, int, int]


class _Pile:
    """Tables in a temporary file without a name, each read back by its place."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.places: list[_Place] = []
        self._codec = pa.Codec("zstd", compression_level=1)
        with temporary_files():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - close() closes it
        self._end = 0

    def close(self) -> None:
        self._file.close()

    def write(self, table: pa.Table) -> _Place:
        (batch,) = table.combine_chunks().to_batches()
        data = batch.serialize()
        packed = memoryview(self._codec.compress(data, asbytes=True))
        place = (self._end, len(packed), data.size)
        with temporary_files():
            self._file.seek(self._end)
            while packed:
                packed = packed[self._file.write(packed) :]
        self._end += place[1]
        self.places.append(place)
        return place

    def read(self, place: _Place) -> pa.Table:
        offset, size, raw_size = place
        with temporary_files():
            self._file.seek(offset)
            packed = self._file.read(size)
        batch = pa.ipc.read_record_batch(self._codec.decompress(packed, raw_size), self.schema)
        return pa.Table.from_batches([batch])


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    """Turn an OSError of a temporary file into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the ledger needs room for temporary files, and {tempfile.gettempdir()} gives none "
            f"({error.strerror or error}); free some, or set TMPDIR to a larger folder"
        ) from error


def _integers(table: pa.Table, column: str) -> Integers:
    integers: Integers = table[column].cast(pa.int64()).to_numpy()
    return integers


def _text_order(numbers: Integers) -> Integers:
    """Integers that sort as the ids do as text, where tt10000000 stands before tt1000001.

    An id has 7 to 10 digits: filled up to 10 from the right, and where that makes two the same, the shorter first.
    """
    missing = 3 - (numbers >= 10**7).astype(np.int64) - (numbers >= 10**8) - (numbers >= 10**9)
    return numbers * 10**missing * 4 + (3 - missing)


def _prefix(order: Integers) -> Integers:
    """The first five digits of the ids."""
    return order // (4 * 10**5)
