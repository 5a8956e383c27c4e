"""A small store with a finished crawl of drawn posters, and datasets of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.store import FolderStore, Store
from crawler import images, title_files
from crawler.catalogs import open_catalog
from crawler.crawl import Crawl
from crawler.ledger import Ledger, LedgerRow
from crawler.outcomes import PosterFacts
from crawler.site.drawing import draw_poster
from crawler.site.invention import invent_titles
from crawler.titles import poster_key
from training.dataset import Card, PrepareOptions, prepare

DRAWN = 80


@pytest.fixture(scope="session")
def drawn() -> dict[str, tuple[tuple[str, ...], bytes]]:
    """imdb_id → genres and a drawn poster."""
    return {title.imdb_id: (title.genres, draw_poster(title)) for title in invent_titles(DRAWN)}


def blurred(number: int, size: tuple[int, int] = (60, 90)) -> bytes:
    """A poster of coloured clouds that is like no other number's."""
    clouds = np.random.default_rng(number).integers(0, 256, (6, 4, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(clouds).resize(size, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def write_catalog(path: Path, rows: list[tuple[str, str | None, list[str]]]) -> None:
    """A catalogue of imdb_id, title and genres."""
    told = [{"imdb_id": imdb_id, "title": title, "genres": genres} for imdb_id, title, genres in rows]
    pq.write_table(pa.Table.from_pylist(told, schema=title_files.SCHEMA), path)


def crawled(
    store: Store,
    catalog: Path,
    posters: dict[str, bytes],
    genres: dict[str, list[str]],
    *,
    names: dict[str, str] | None = None,
    crawl_id: str | None = None,
) -> str:
    """Leave in the store what a crawl of these posters leaves; returns its id. names: of the titles that have one."""
    write_catalog(catalog, [(imdb_id, (names or {}).get(imdb_id), of) for imdb_id, of in genres.items()])
    with open_catalog(str(catalog)) as opened:
        crawl = Crawl.open(opened, store, crawl_id)
        crawl.save_titles(opened)
    ledger = Ledger(store, crawl.crawl_id)
    for imdb_id, data in posters.items():
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(poster_key(imdb_id), data)
        facts = images.inspect(data, max_pixels=50_000_000)
        ledger.append(
            LedgerRow(
                imdb_id=imdb_id,
                outcome="stored",
                source="listed",
                attempts=1,
                fetched_at=datetime.now(UTC),
                sha256=sha256,
                phash=facts.phash if isinstance(facts, PosterFacts) else None,
                bytes=len(data),
            )
        )
    ledger.flush()
    crawl.finish(started_at=datetime.now(UTC), finish_reason="finished")
    return crawl.crawl_id


@pytest.fixture(scope="session")
def make_dataset(
    drawn: dict[str, tuple[tuple[str, ...], bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], tuple[FolderStore, Card]]:
    def make() -> tuple[FolderStore, Card]:
        folder = tmp_path_factory.mktemp("dataset")
        store = FolderStore(folder / "store")
        posters = {imdb_id: data for imdb_id, (_, data) in drawn.items()}
        genres = {imdb_id: list(names) for imdb_id, (names, _) in drawn.items()}
        crawl_id = crawled(store, folder / "catalog.parquet", posters, genres)
        return store, prepare(store, crawl_id, PrepareOptions())

    return make


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[[], tuple[FolderStore, Card]]) -> tuple[FolderStore, Card]:
    """A store with a dataset of drawn posters; tests only read it."""
    return make_dataset()


def settle(model: Any) -> None:
    """Give BatchNorm statistics of some noise: without, what an untrained network says vanishes on its way up."""
    import keras

    def layers(model: Any) -> Iterator[Any]:
        for layer in model.layers:
            yield layer
            yield from layers(layer) if hasattr(layer, "layers") else ()

    norms = [layer for layer in layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(np.random.default_rng(0).uniform(-1, 255, (16, *model.input_shape[1:])).astype(np.float32), training=True)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `--weights` takes it, with weights of nobody's for `mobilenet_v2` and `efficientnet_lite0`."""
    import keras

    from training.architecture import BuildOptions, find

    folder = tmp_path_factory.mktemp("weights")
    application = keras.applications.MobileNetV2(input_shape=(48, 32, 3), include_top=False, weights=None)
    lite = find("efficientnet_lite0").build(BuildOptions(genres=3, height_px=64, width_px=48)).model
    for name, model in (("mobilenet_v2", application), ("efficientnet_lite0", lite)):
        settle(model)
        model.save_weights(folder / f"{name}_no_top.weights.h5")
    return folder
