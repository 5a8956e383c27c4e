"""The files of a ledger: immutable segments that some append, some merge and others read, all at once.

    crawls/<crawl_id>/ledger/<time>-<token>.parquet                      appended while a crawl runs
    crawls/<crawl_id>/ledger/merged-<generation>-<token>-<part>.parquet  written by a merge, one row a title

No file is ever overwritten, and no name is used twice. A merge deletes exactly the files that it read, and only after
its own are in the store. So whatever is there at any moment holds every row that counts, be a merge killed where it
may; and a file that vanishes under a reader was merged into one of a later generation, which sorts behind it.
"""

from __future__ import annotations

import contextlib
import io
import re
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import KeyNotFoundError, StoreError
from cluster.store import Store
from crawler.ledger_merge import temporary_files

_MERGED = re.compile(r"merged-(?P<generation>[0-9]{6})-[0-9a-f]+-[0-9]{4}\.parquet")
_THREADS = 8
# A merged file is a few tens of megabytes to a few hundred, and an ordinary crawl has one.
_ROWS_A_FILE = 1_000_000

Read = Callable[[pq.ParquetFile], Iterator[pa.Table]]


class Segments:
    """The segments of one crawl's ledger."""

    def __init__(self, store: Store, crawl_id: str) -> None:
        self.store = store
        self.crawl_id = crawl_id
        self._folder = f"crawls/{crawl_id}/ledger/"
        # Those that tables() has read to their end.
        self.read_keys: list[str] = []

    def keys(self) -> list[str]:
        """The keys, merged ones first, so that rows of the same moment come in the order they were written in."""
        keys = [key for key in self.store.list(self._folder) if key.endswith(".parquet")]
        return sorted(keys, key=lambda key: (not self._merged(key), key))

    def merges(self, keys: list[str]) -> set[str]:
        """The merges that wrote some of these keys; one merge's files have no title twice."""
        return {key.rpartition("-")[0] for key in keys if self._merged(key)}

    def are_one_merge(self, keys: list[str]) -> bool:
        """Whether these keys are one row a title already."""
        return len(self.merges(keys)) == 1 and all(self._merged(key) for key in keys)

    def append(self, table: pa.Table) -> None:
        """Write a segment."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        # The name sorts by time; the token keeps two crawls at once apart.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.parquet"
        self.store.put(f"{self._folder}{name}", sink.getvalue())

    def tables(self, read: Read) -> Iterator[pa.Table]:
        """What `read` makes of each segment, while others may append and merge.

        Every row that was in storage when this began is in some table; one that is being merged may be in two.
        Raises StoreError that names the object where one is damaged.
        """
        seen: set[str] = set()
        keys = self.keys()
        while keys:
            seen.update(keys)
            yield from self._large([key for key in keys if self._merged(key)], read)
            yield from self._small([key for key in keys if not self._merged(key)], read)
            # A listing is not of one moment: what was merged while it went on can be missing in it.
            keys = [key for key in self.keys() if self._merged(key) and key not in seen]

    def delete(self, keys: list[str]) -> None:
        """Delete these keys; no error where one is gone."""
        with ThreadPoolExecutor(_THREADS) as pool:
            deque(pool.map(self.store.delete, keys), maxlen=0)

    def merged_files(self, schema: pa.Schema) -> MergedFiles:
        """Where a merge of what was read writes to."""
        names = [match for key in self.read_keys if (match := self._merged(key))]
        generation = 1 + max((int(match["generation"]) for match in names), default=0)
        return MergedFiles(self.store, f"{self._folder}merged-{generation:06}-{secrets.token_hex(8)}", schema)

    def _merged(self, key: str) -> re.Match[str] | None:
        return _MERGED.fullmatch(key.removeprefix(self._folder))

    def _small(self, keys: list[str], read: Read) -> Iterator[pa.Table]:
        """Many and small: fetched whole, several at a time, in their order."""

        def fetched(key: str) -> list[pa.Table] | None:
            with contextlib.suppress(KeyNotFoundError), self._told(key):
                return list(read(pq.ParquetFile(io.BytesIO(self.store.get(key)))))
            return None

        waiting: deque[tuple[str, Future[list[pa.Table] | None]]] = deque()
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for key in [*keys, None]:
                while waiting and (key is None or len(waiting) >= 2 * _THREADS):
                    oldest, future = waiting.popleft()
                    tables = future.result()
                    if tables is not None:
                        yield from tables
                        self.read_keys.append(oldest)
                if key is not None:
                    waiting.append((key, pool.submit(fetched, key)))
        finally:
            pool.shutdown(cancel_futures=True)

    def _large(self, keys: list[str], read: Read) -> Iterator[pa.Table]:
        """Few and large: read piece by piece, and only the columns that are asked for."""
        for key in keys:
            with contextlib.suppress(KeyNotFoundError), self._told(key), self.store.open(key) as file:
                yield from read(pq.ParquetFile(file))
                self.read_keys.append(key)

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, LookupError) as error:
            # pyarrow has OSError for much that is no fault of the disk's, then without its number.
            if isinstance(error, OSError) and error.errno:
                raise StoreError(f"cannot read {self.store.url_of(key)}: {error.strerror}") from error
            why = " ".join(str(error).split())
            raise StoreError(f"{self.store.url_of(key)} is damaged ({why}); delete it, and crawl again") from error


class MergedFiles:
    """The segments that a merge writes: a context manager, at whose end all are in the store."""

    def __init__(self, store: Store, stem: str, schema: pa.Schema) -> None:
        self._store, self._stem, self._schema = store, stem, schema
        self._stack = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._rows = self._parts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._stack:
            if kind is None:
                self._finish_file()

    def write(self, table: pa.Table) -> None:
        """Append rows, as one row group. Raises StoreError."""
        if not table.num_rows:
            return
        if self._writer is None:
            with temporary_files():
                self._file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        with temporary_files():
            self._writer.write_table(table)
        self._rows += table.num_rows
        if self._rows >= _ROWS_A_FILE:
            self._finish_file()

    def _finish_file(self) -> None:
        if self._writer is None:
            return
        with temporary_files():
            self._writer.close()
            self._file.flush()
        self._store.put_file(f"{self._stem}-{self._parts:04}.parquet", self._file)
        self._stack.close()
        self._writer, self._rows = None, 0
        self._parts += 1
