"""The index of similar posters: exact, small, and read without trust."""

from __future__ import annotations

import io
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.similar import SCHEMA, IndexFileError, PosterIndex, encode, fit_projection

RNG = np.random.default_rng(0)


def index_of(features: np.ndarray[Any, Any]) -> PosterIndex:
    rows = [
        {"imdb_id": f"tt{place:07}", "title": f"Film {place}", "year": 1950 + place % 70, "genres": ["Drama"]}
        for place in range(len(features))
    ]
    projection = fit_projection(features)
    return PosterIndex(pa.Table.from_pylist(rows, schema=SCHEMA), encode(features, projection), projection)


def clouds(count: int, width: int) -> np.ndarray[Any, Any]:
    """Features as pooled feature maps are: not negative, alike, in clusters."""
    centres = RNG.normal(size=(20, width))
    return np.maximum(centres[RNG.integers(0, 20, count)] + RNG.normal(0, 0.6, (count, width)) + 0.5, 0).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def features() -> np.ndarray[Any, Any]:
    return clouds(600, 400)


@pytest.fixture(scope="module")
def index(features: np.ndarray[Any, Any]) -> PosterIndex:
    return index_of(features)


def test_each_poster_finds_itself_first_and_a_disturbed_one_its_original(
    index: PosterIndex, features: np.ndarray[Any, Any]
) -> None:
    assert index.codes.shape == (600, 256)
    for asked in (features, features + RNG.normal(0, 0.1, features.shape).astype(np.float32)):
        found = index.nearest(asked, 3)
        assert [poster[0].imdb_id for poster in found] == [f"tt{place:07}" for place in range(600)]
        assert min(poster[0].similarity for poster in found) > 0.95
        assert all(one.similarity >= other.similarity for posters in found for one, other in pairwise(posters))


def test_eight_bits_and_fewer_dimensions_hardly_change_who_is_near(
    index: PosterIndex, features: np.ndarray[Any, Any]
) -> None:
    centred = features - features.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    exact = np.argsort(-(centred @ centred.T), axis=1)[:, :10]
    told = [{int(poster.imdb_id[2:]) for poster in posters} for posters in index.nearest(features, 10)]
    shared = [len(told[place] & set(exact[place])) for place in range(600)]
    assert np.mean(shared) > 9


def test_more_posters_than_there_are_is_all_of_them() -> None:
    small = index_of(clouds(3, 8))
    [found] = small.nearest(clouds(1, 8), 10)
    assert len(found) == 3
    assert small.nearest(np.zeros((0, 8), np.float32), 10) == []
    assert small.has("tt0000002")
    assert not small.has("tt0000003")


def test_posters_that_all_look_the_same_are_no_error() -> None:
    same = np.ones((4, 8), np.float32)
    [found] = index_of(same).nearest(same[:1], 4)
    assert len(found) == 4
    assert all(np.isfinite(poster.similarity) for poster in found)


def test_an_index_is_the_same_after_it_was_written_and_read(
    index: PosterIndex, features: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    index.write(tmp_path)
    read = PosterIndex.read(tmp_path)
    assert isinstance(read.codes, np.memmap)
    assert read.nearest(features[:5], 4) == index.nearest(features[:5], 4)


def test_features_of_another_model_are_refused(index: PosterIndex) -> None:
    with pytest.raises(IndexFileError, match="a model with 400 features, not 8"):
        index.nearest(clouds(1, 8), 3)


def saved(array: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, **options)
    return sink.getvalue()


class Spring:
    """What would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("index.npy", lambda path: b""),
        ("index.npy", lambda path: b"not an array"),
        ("index.npy", lambda path: saved(np.zeros((599, 256), np.int8))),
        ("index.npy", lambda path: saved(np.zeros((600, 256), np.float32))),
        ("index.npy", lambda path: saved(np.zeros(600, np.int8))),
        ("index.npy", lambda path: saved(np.zeros((600, 256), np.int8))[:-1000]),
        ("index.npy", lambda path: saved(np.array([Spring(path)], dtype=object), allow_pickle=True)),
        ("index.npy", lambda path: pickle.dumps(Spring(path))),
        ("projection.npy", lambda path: pickle.dumps(Spring(path))),
        ("projection.npy", lambda path: saved(np.zeros((401, 255), np.float32))),
        ("projection.npy", lambda path: saved(np.zeros((401, 256), np.float64))),
        ("index.parquet", lambda path: b"PAR1 and nothing else"),
        ("index.parquet", lambda path: table_of({"imdb_id": ["tt0000001"] * 600})),
    ],
)
def test_files_that_are_no_index_are_refused_and_run_nothing(
    index: PosterIndex, tmp_path: Path, name: str, make: Any
) -> None:
    index.write(tmp_path)
    (tmp_path / name).write_bytes(make(tmp_path / "sprung"))
    with pytest.raises(IndexFileError):
        PosterIndex.read(tmp_path)
    assert not (tmp_path / "sprung").exists()


def table_of(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()
