"""What a crawl left, as columns: its titles with a stored poster, their genres, and why the others have none.

All of it is NumPy and Arrow columns, somewhat over 100 bytes a title; a title is never a Python object of
its own for longer than its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

from cluster.store import Store
from crawler import title_files
from crawler.ledger import iter_ledger
from crawler.report_words import spoken
from training.genres import fold, vocabulary

_LEDGER_COLUMNS = ("imdb_id", "outcome", "reason", "sha256", "phash", "page_title", "page_year", "page_genres")
_CATALOG_COLUMNS = ["imdb_id", "title", "year", "genres"]
_ROWS_A_BATCH = 8_192

POSTERS = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("sha256", pa.binary(32)),
        pa.field("phash", pa.uint64()),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
    ]
)
DROPPED = pa.schema([pa.field("imdb_id", pa.string(), nullable=False), pa.field("reason", pa.string(), nullable=False)])

Numbers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """posters: a row of POSTERS a title with a stored poster, ascending by imdb_id; phash is null where the crawl did
    not compute one. ids: int64 [posters], their numbers. dropped: rows of DROPPED, the titles without a poster.

    labelling: row of `posters` (int64) and place in `spellings` (int32), a pair for each genre that a title is given.
    """

    posters: pa.Table
    ids: Numbers
    dropped: pa.Table
    titles: int
    labelling: tuple[Numbers, npt.NDArray[np.int32]]
    spellings: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Labels:
    """genres: the vocabulary. multi_hot: bool [posters, genres]. has_genre: bool [posters], also for a rare genre.

    folded: how many posters' labels were renamed, by `spelling → genre`.
    """

    genres: tuple[str, ...]
    multi_hot: Bools
    has_genre: Bools
    min_posters: int
    folded: dict[str, int]


def read_candidates(store: Store, crawl_id: str) -> Candidates:
    """Read the ledger and the catalogue of a crawl, once each. Raises StoreError or CrawlerError."""
    spellings = _Spellings()
    stored, rejected, page_rows, page_genres = [], [], [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    ledger_titles, rows = BitMap64(), 0
    for table in iter_ledger(store, crawl_id, _LEDGER_COLUMNS):
        ledger_titles.update(_numbers(table["imdb_id"]).astype(np.uint64))
        is_stored = pc.equal(table["outcome"], "stored")
        rejected.append(_rejected(table.filter(pc.invert(is_stored))))
        batch = table.filter(is_stored).combine_chunks()
        stored.append(_posters(batch))
        places, genres = spellings.pairs(batch["page_genres"])
        page_rows.append(places + rows)
        page_genres.append(genres)
        rows += batch.num_rows
    posters = pa.concat_tables([POSTERS.empty_table(), *stored]).combine_chunks()
    catalog = _Catalog(_numbers(posters["imdb_id"]), spellings)
    for file in title_files.files(store, crawl_id):
        for batch in file.iter_batches(_ROWS_A_BATCH, columns=_CATALOG_COLUMNS):
            catalog.add(batch)
    # What reading took and gave back stays with the process unless it is asked for.
    pa.default_memory_pool().release_unused()
    from_page = np.concatenate(page_rows)
    is_wanted = ~catalog.has_genres[from_page]  # the catalogue's genres go before the page's
    open_titles = catalog.titles - ledger_titles
    dropped = [DROPPED.empty_table(), *rejected, _open(np.array(open_titles.to_array(), np.int64))]
    return Candidates(
        posters=catalog.named(posters),
        ids=catalog.ids,
        dropped=pa.concat_tables(dropped),
        titles=len(catalog.titles | ledger_titles),
        labelling=(
            np.concatenate([*catalog.genre_rows, from_page[is_wanted]]),
            np.concatenate([*catalog.genre_names, np.concatenate(page_genres)[is_wanted]]),
        ),
        spellings=spellings.names,
    )


def label(candidates: Candidates, synonyms: Mapping[str, Sequence[str]], min_posters: int | None) -> Labels:
    """Fold the spellings, choose the vocabulary, and mark each poster's genres.

    min_posters: genres with fewer are no part of the vocabulary; None: 1% of the posters with a genre, at least 10.
    """
    rows, spelled = candidates.labelling
    counts = np.bincount(spelled, minlength=len(candidates.spellings))
    folded = fold(dict(zip(candidates.spellings, counts.tolist(), strict=True)), synonyms)
    names = sorted({name for genres in folded.values() for name in genres})
    column = {name: place for place, name in enumerate(names)}
    marks = np.zeros((len(candidates), len(names)), np.bool_)
    for place, spelling in enumerate(candidates.spellings):
        of_spelling = rows[spelled == place]
        for name in folded[spelling]:
            marks[of_spelling, column[name]] = True
    has_genre: Bools = np.any(marks, axis=1)
    least = min_posters or max(_MIN_POSTERS, round(_MIN_POSTERS_SHARE * int(has_genre.sum())))
    genres = vocabulary(dict(zip(names, marks.sum(axis=0).tolist(), strict=True)), min_posters=least)
    renamed = {
        f"{spelling} → {', '.join(folded[spelling]) or 'no genre'}": int(count)
        for spelling, count in sorted(zip(candidates.spellings, counts, strict=True))
        if folded[spelling] != (spelling,)
    }
    return Labels(genres, marks[:, [column[genre] for genre in genres]], has_genre, least, renamed)


# A genre that is rarer than this has too few posters to learn from and to be measured on.
_MIN_POSTERS = 10
_MIN_POSTERS_SHARE = 0.01


class _Spellings:
    """Each spelling of a genre gets a number, in the order in which they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def pairs(self, column: pa.ChunkedArray | pa.Array) -> tuple[Numbers, npt.NDArray[np.int32]]:
        """A list of genres a row → rows and numbers of spellings, a pair for each genre."""
        lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(lists, pa.ChunkedArray):
            lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], lists.type)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        encoded = pc.dictionary_encode(lists.flatten())
        numbers = np.array([self._number(name) for name in encoded.dictionary.to_pylist()], np.int32)
        if not len(numbers):
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        rows = np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
        return rows, numbers[encoded.indices.to_numpy(zero_copy_only=False)]

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


class _Catalog:
    """What the catalogue's rows say of the titles with a poster; a title's second row adds to its first."""

    def __init__(self, ids: Numbers, spellings: _Spellings) -> None:
        self.ids = ids
        self.titles = BitMap64()
        self.has_genres = np.zeros(len(ids), np.bool_)
        self.genre_rows: list[Numbers] = []
        self.genre_names: list[npt.NDArray[np.int32]] = []
        self._spellings = spellings
        # The ledger sorts ids as text.
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        self._named: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch) -> None:
        numbers = title_files.numbers_of(batch)
        self.titles.update(numbers.astype(np.uint64))
        if not len(self.ids):
            return
        place = np.minimum(np.searchsorted(self._sorted, numbers), len(self.ids) - 1)
        is_here = self._sorted[place] == numbers
        rows = self._order[place[is_here]]
        here = batch.filter(pa.array(is_here))
        places, genres = self._spellings.pairs(here.column("genres"))
        self.has_genres[rows[places]] = True
        self.genre_rows.append(rows[places])
        self.genre_names.append(genres)
        self._named.append(pa.table({"row": rows, "title": here.column("title"), "year": here.column("year")}))

    def named(self, posters: pa.Table) -> pa.Table:
        """The posters with the catalogue's names and years, where it has them, over the title page's."""
        if not self._named:
            return posters
        told = pa.concat_tables(self._named)
        for name in ("title", "year"):
            is_told = pc.is_valid(told[name])
            if name == "title":
                is_told = pc.and_kleene(is_told, pc.not_equal(told[name], ""))
            rows, values = told["row"].filter(is_told).to_numpy(), told[name].filter(is_told).combine_chunks()
            # Of several rows the last one counts: NumPy assigns in order.
            last = np.full(len(posters), -1, np.int64)
            last[rows] = np.arange(len(rows))
            found = pc.take(values, pa.array(last, mask=last < 0))
            whole = pc.coalesce(found, posters[name].combine_chunks())
            posters = posters.set_column(posters.schema.get_field_index(name), POSTERS.field(name), whole)
        return posters


def _posters(table: pa.Table) -> pa.Table:
    return pa.table(
        [
            table["imdb_id"],
            _hex(table["sha256"], 32),
            _unsigned(_hex(table["phash"], 8)),
            table["page_title"],
            table["page_year"],
        ],
        schema=POSTERS,
    )


def _hex(column: pa.ChunkedArray, width: int) -> pa.Array:
    """Hexadecimal text as binary(width); what is no such text is null."""
    is_hex = pc.match_substring_regex(column, f"^[0-9a-f]{{{2 * width}}}$")
    texts = pc.if_else(pc.fill_null(is_hex, False), column, "0" * 2 * width)
    data = bytes.fromhex("".join(texts.to_pylist()))
    mask = ~pc.fill_null(is_hex, False).to_numpy().astype(np.bool_)
    return pa.array([data[start : start + width] for start in range(0, len(data), width)], pa.binary(width), mask=mask)


def _unsigned(column: pa.Array) -> pa.Array:
    """binary(8), big-endian → uint64."""
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    data = b"".join(value or bytes(8) for value in column.to_pylist())
    return pa.array(np.frombuffer(data, ">u8").astype(np.uint64), mask=is_null)


def _rejected(table: pa.Table) -> pa.Table:
    reasons = pc.dictionary_encode(pc.fill_null(table["reason"], "unknown").combine_chunks())
    spoken_reasons = pa.array(
        [f"no poster: {spoken(reason)}" for reason in reasons.dictionary.to_pylist()], pa.string()
    )
    return pa.table([table["imdb_id"], spoken_reasons.take(reasons.indices)], schema=DROPPED)


def _open(numbers: Numbers) -> pa.Table:
    ids = imdb_ids(numbers)
    return pa.table([ids, pa.repeat(pa.scalar("no poster: not crawled yet"), len(ids))], schema=DROPPED)


def imdb_ids(numbers: Numbers) -> pa.Array:
    """`tt0000007` of 7."""
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers, pa.int64()), pa.string()), 7, "0")
    return pc.binary_join_element_wise("tt", digits, "")


def _numbers(imdb_ids: Any) -> Numbers:
    numbers: Numbers = pc.cast(pc.utf8_slice_codeunits(imdb_ids, 2), pa.int64()).to_numpy()
    return numbers
