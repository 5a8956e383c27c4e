"""Splits that exist already: a file of the user's, and those of earlier datasets, whose titles keep their side."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cluster.errors import TrainingError
from cluster.store import Store
from crawler.titles import imdb_id, number_of
from training.splits import NO_SIDE, SPLITS, Sides

Numbers = npt.NDArray[np.int64]


class SplitFileError(TrainingError):
    """A split that cannot be read."""


@dataclass(frozen=True, slots=True)
class KnownSides:
    """ids: int64 [titles], ascending. side: int8 [titles], an index into SPLITS."""

    ids: Numbers
    side: Sides

    @classmethod
    def of(cls, ids: Numbers, side: Sides) -> KnownSides:
        """Of a title that comes twice, the last counts."""
        order = np.argsort(ids, kind="stable")
        ids, side = ids[order], side[order]
        is_last = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.zeros(0, np.bool_)
        return cls(ids[is_last], side[is_last])

    def sides(self, ids: Numbers) -> Sides:
        """The side of each of these titles, or NO_SIDE."""
        if not len(self.ids):
            return np.full(len(ids), NO_SIDE, np.int8)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.side[place], NO_SIDE).astype(np.int8)

    def updated(self, newer: KnownSides) -> KnownSides:
        """Both; where they disagree the newer one counts."""
        return KnownSides.of(np.concatenate([self.ids, newer.ids]), np.concatenate([self.side, newer.side]))


NOBODY = KnownSides(np.zeros(0, np.int64), np.zeros(0, np.int8))


def read_split_file(path: Path) -> KnownSides:
    """A CSV or Parquet file with the columns imdb_id and split: train, validation (or val, valid) or test.

    Raises SplitFileError that names the file and the row.
    """
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pq.read_table(path, columns=["imdb_id", "split"])
        else:
            text = pa.csv.ConvertOptions(column_types={"imdb_id": pa.string(), "split": pa.string()})
            table = pa.csv.read_csv(path, convert_options=text).select(["imdb_id", "split"])
    except (OSError, pa.ArrowException, KeyError) as error:
        why = " ".join(str(error).split())
        raise SplitFileError(f"{path} is no split (a CSV or Parquet file with imdb_id and split): {why}") from error
    names = {name: index for index, name in enumerate(SPLITS)} | {"val": 1, "valid": 1, "dev": 1}
    ids, sides = np.zeros(len(table), np.int64), np.zeros(len(table), np.int8)
    for row, (title, split) in enumerate(zip(table["imdb_id"].to_pylist(), table["split"].to_pylist(), strict=True)):
        try:
            ids[row] = number_of(imdb_id(str(title)))
            sides[row] = names[str(split).strip().casefold()]
        except KeyError:
            raise SplitFileError(f"{path}, row {row + 1}: split {split!r} is none of {', '.join(SPLITS)}") from None
        except ValueError as error:
            raise SplitFileError(f"{path}, row {row + 1}: {error}") from None
    known = KnownSides.of(ids, sides)
    if len(known.ids) < len(ids) and not np.array_equal(known.sides(ids), sides):
        twice = ids[known.sides(ids) != sides][0]
        raise SplitFileError(f"{path} has tt{twice:07} in two splits; leave one")
    return known


def sides_table(imdb_ids: Any, side: Sides, groups: Numbers) -> pa.Table:
    """The table of a dataset from which the next one's `read_sides` reads: imdb_id, split, group."""
    names = pa.array(SPLITS).take(pa.array(side, mask=side == NO_SIDE))
    return pa.table({"imdb_id": imdb_ids, "split": names, "group": imdb_ids.take(pa.array(groups))})


def read_sides(store: Store, key: str) -> KnownSides:
    """The sides in a dataset's table. Raises KeyNotFoundError, as of a dataset of before there was one."""
    table = pq.read_table(io.BytesIO(store.get(key)), columns=["imdb_id", "split"])
    table = table.filter(pc.is_valid(table["split"]))
    ids = pc.cast(pc.utf8_slice_codeunits(table["imdb_id"], 2), pa.int64()).to_numpy()
    side = pc.index_in(table["split"], pa.array(SPLITS)).to_numpy().astype(np.int8)
    return KnownSides.of(ids, side)
