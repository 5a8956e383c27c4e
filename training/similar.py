"""The index of a bundle: its dataset's posters by what the bundle's own model sees in them, and their titles.

    index.parquet      imdb_id, title, year, genres: a row a poster
    index.npy          int8 [posters, D]: the directions of their vectors, each scaled to its own largest part
    projection.npy     float32 [F + 1, D]: from a model's F features to D principal components; the last row is added

Plain arrays, whose shapes are checked, and no graph: a graph takes minutes to build, and the libraries that read one
follow its edges wherever a file says that they lead. Every vector is compared with (usearch's exact search, by SIMD,
over the file mapped into memory), so the answer is exact; it takes some milliseconds for each hundred thousand posters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.bundle import PROJECTION_FILE, TITLES_FILE, VECTORS_FILE, BundleError

DIMENSIONS = 256
SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string())),
    ]
)
# A vector whose largest part is below has no direction: its codes are zeros.
_LEAST = 1e-5

Floats = np.ndarray[Any, np.dtype[np.float32]]
Codes = np.ndarray[Any, np.dtype[np.int8]]


class IndexFileError(BundleError):
    """An index that is damaged, or is not that of its bundle's model."""


@dataclass(frozen=True, slots=True)
class SimilarPoster:
    """A poster of the dataset. similarity: the cosine to the poster that was asked for, 1 for the same one."""

    imdb_id: str
    title: str | None
    year: int | None
    genres: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class PosterIndex:
    """titles: of SCHEMA, a row a poster. codes: int8 [posters, D]. projection: float32 [F + 1, D]."""

    titles: pa.Table
    codes: Codes
    projection: Floats

    def __post_init__(self) -> None:
        if self.titles.schema.remove_metadata() != SCHEMA:
            raise IndexFileError(f"{TITLES_FILE} has the columns {', '.join(self.titles.schema.names)}")
        if self.codes.dtype != np.int8 or self.codes.ndim != 2 or len(self.codes) != len(self.titles):
            raise IndexFileError(
                f"{VECTORS_FILE} has {self.codes.dtype} of shape {self.codes.shape}, for {len(self.titles)} titles"
            )
        wanted = (self.projection.dtype == np.float32, self.projection.ndim == 2)
        if not all(wanted) or len(self.projection) < 2 or self.projection.shape[1] != self.codes.shape[1]:
            raise IndexFileError(
                f"{PROJECTION_FILE} has {self.projection.dtype} of shape {self.projection.shape}, "
                f"for vectors of {self.codes.shape[1]}"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def features(self) -> int:
        """How many features of a poster it reads."""
        return len(self.projection) - 1

    def nearest(self, features: Floats, top: int) -> list[list[SimilarPoster]]:
        """The most similar posters for each row of float32 [N, F], the most similar first.

        Raises IndexFileError for features of another model.
        """
        from usearch.index import MetricKind, search  # noqa: PLC0415

        if features.shape[1] != self.features:
            raise IndexFileError(f"the index is of a model with {self.features} features, not {features.shape[1]}")
        count = min(top, len(self))
        if not count or not len(features):
            return [[] for _ in features]
        asked = encode(features, self.projection)
        found = search(self.codes, asked, count, MetricKind.Cos, exact=True)
        keys, distances = (np.reshape(part, (len(asked), count)) for part in (found.keys, found.distances))
        return [self._told(rows, apart) for rows, apart in zip(keys, distances, strict=True)]

    def has(self, imdb_id: str) -> bool:
        """Whether a poster is one of the dataset's."""
        import pyarrow.compute as pc  # noqa: PLC0415

        return bool(pc.index(self.titles["imdb_id"], imdb_id).as_py() >= 0)

    def write(self, folder: Path) -> None:
        """Write its three files."""
        pq.write_table(self.titles, folder / TITLES_FILE, compression="zstd")
        np.save(folder / VECTORS_FILE, self.codes, allow_pickle=False)
        np.save(folder / PROJECTION_FILE, self.projection, allow_pickle=False)

    @classmethod
    def read(cls, folder: Path) -> PosterIndex:
        """The index in a folder, its vectors mapped into memory. No code of the files runs. Raises IndexFileError."""
        try:
            return cls(
                pq.read_table(folder / TITLES_FILE),
                np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False),
                np.load(folder / PROJECTION_FILE, allow_pickle=False),
            )
        except IndexFileError:
            raise
        except (OSError, ValueError, EOFError, pa.ArrowException) as error:
            raise IndexFileError(f"the index of similar posters cannot be read: {_reason(error)}") from error

    def _told(self, rows: Any, distances: Any) -> list[SimilarPoster]:
        told = self.titles.take(pa.array(rows.astype(np.int64))).to_pylist()
        return [
            SimilarPoster(
                row["imdb_id"],
                row["title"],
                row["year"],
                tuple(row["genres"] or ()),
                # A distance that is none comes of a vector of zeros.
                round(1 - float(distance), 4) if math.isfinite(distance) else 0.0,
            )
            for row, distance in zip(told, distances, strict=True)
        ]


def fit_projection(features: Floats) -> Floats:
    """A projection onto at most DIMENSIONS principal components of these posters: float32 [F + 1, D].

    features: float32 [N, F] of some posters; a few thousand of millions are enough.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415  a second that no other command needs

    # Posters that are all the same have no variance, whose shares scikit-learn then divides by zero.
    with np.errstate(invalid="ignore"):
        found = PCA(min(DIMENSIONS, *features.shape), random_state=0).fit(features)
    turned = found.components_.T
    return np.concatenate([turned, -(found.mean_ @ turned)[None]]).astype(np.float32)


def encode(features: Floats, projection: Floats) -> Codes:
    """The directions of features in the projection: int8 [N, D]. The largest part of each is 127 or -127."""
    vectors = features @ projection[:-1] + projection[-1]
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    return np.round(vectors * (127 / np.maximum(largest, _LEAST))).astype(np.int8)


def joined_titles(tables: Sequence[pa.Table]) -> pa.Table:
    """Titles one below the other, of SCHEMA."""
    return pa.concat_tables([table.select(SCHEMA.names).cast(SCHEMA) for table in tables])


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
