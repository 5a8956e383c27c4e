from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cluster.store import FolderStore
from tests.training.conftest import DRAWN, crawled
from training.dataset import Card, DatasetError, PrepareOptions, newest_dataset, prepare, read_card, split_of

LOOSE = PrepareOptions(min_posters=1)


def jpeg(colour: str, size: tuple[int, int] = (40, 60)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, colour).save(sink, "JPEG")
    return sink.getvalue()


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGBA", (40, 60), (200, 0, 0, 128)).save(sink, "PNG")
    return sink.getvalue()


def some_titles(count: int = 40) -> dict[str, list[str]]:
    return {f"tt{number:07}": ["Drama"] if number % 2 else ["Drama", "War"] for number in range(1, count + 1)}


def rows_of(store: FolderStore, card: Card) -> pd.DataFrame:
    shards = [key for keys in card.shards.values() for key in keys]
    return pd.concat([pd.read_parquet(io.BytesIO(store.get(key))) for key in shards])


def test_the_funnel_adds_up_and_every_dropped_title_has_its_reason(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    genres = some_titles()
    posters = {imdb_id: jpeg("red") for imdb_id in genres}
    del posters["tt0000001"]
    posters["tt0000002"] = b"<html>not a picture"
    genres["tt0000003"] = ["N/A"]
    genres["tt0000004"] = ["Short"]
    crawl_id = crawled(store, tmp_path / "c.csv", posters, genres)
    store.put("posters/tt0000005.jpg", jpeg("blue"))
    store.delete("posters/tt0000006.jpg")
    card = prepare(store, crawl_id, PrepareOptions(min_posters=2))
    assert card.dropped == {
        "no poster": 1,
        "no genre": 1,
        "only genres of fewer than 2 posters": 1,
        "poster changed since the crawl": 1,
        "poster missing": 1,
        "poster html": 1,
    }
    assert card.funnel["titles"] == len(genres) == sum(card.posters.values()) + sum(card.dropped.values())
    dropped = pd.read_parquet(io.BytesIO(store.get(f"datasets/{card.dataset_id}/dropped.parquet")))
    assert dict(dropped.itertuples(index=False))["tt0000004"] == "only genres of fewer than 2 posters"
    rows = rows_of(store, card)
    assert sorted([*rows["imdb_id"], *dropped["imdb_id"]]) == sorted(genres)
    assert card.genres == ["Drama", "War"]


def test_rows_of_one_title_are_merged(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    catalog = tmp_path / "c.csv"
    crawl_id = crawled(store, catalog, {i: jpeg("red") for i in some_titles()}, some_titles())
    catalog.write_text(catalog.read_text() + "tt0000001,['Western']\n")
    # The same crawl by name: its catalogue grew by a second row for one title.
    from crawler.catalogs import open_catalog
    from crawler.crawl import Crawl

    with open_catalog(str(catalog)) as opened:
        Crawl.open(opened, store, crawl_id).save_titles(opened)
    card = prepare(store, crawl_id, LOOSE)
    row = rows_of(store, card).set_index("imdb_id").loc["tt0000001"]
    assert list(row["genres"]) == ["Drama", "Western"]


def test_the_same_crawl_and_options_give_the_same_id_and_bytes(make_dataset: Callable[[], tuple[FolderStore, Card]]):
    (store, card), (other_store, other) = make_dataset(), make_dataset()
    assert card == other
    for keys in card.shards.values():
        for key in keys:
            assert store.get(key) == other_store.get(key)


def test_another_option_gives_another_id_and_leaves_the_first_alone(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    crawl_id = crawled(store, tmp_path / "c.csv", {i: jpeg("red") for i in some_titles()}, some_titles())
    first = prepare(store, crawl_id, LOOSE)
    second = prepare(store, crawl_id, PrepareOptions(min_posters=1, test_share=0.3))
    assert first.dataset_id != second.dataset_id
    assert read_card(store, first.dataset_id) == first


def test_a_title_keeps_its_split_as_the_catalogue_grows():
    options = PrepareOptions()
    splits = [split_of(f"tt{number:07}", options) for number in range(10_000)]
    shares = {split: splits.count(split) / len(splits) for split in set(splits)}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.02)
    assert split_of("tt0111161", options) == "train"


def test_small_plain_jpegs_stay_byte_for_byte_and_others_become_small_jpegs(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    genres = some_titles()
    posters = {imdb_id: jpeg("red") for imdb_id in genres}
    posters["tt0000001"] = png()
    posters["tt0000002"] = jpeg("green", (600, 1200))
    card = prepare(store, crawled(store, tmp_path / "c.csv", posters, genres), LOOSE)
    stored = {row.imdb_id: row.image["bytes"] for row in rows_of(store, card).itertuples()}
    assert stored["tt0000003"] == posters["tt0000003"]
    assert Image.open(io.BytesIO(stored["tt0000001"])).format == "JPEG"
    assert Image.open(io.BytesIO(stored["tt0000002"])).size == (256, 512)


def test_the_newest_crawl_and_its_dataset_are_the_defaults(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    assert prepare(store, None, PrepareOptions()) == newest_dataset(store) == card
    assert sum(card.posters.values()) + sum(card.dropped.values()) == DRAWN


def test_what_no_dataset_can_be_made_of_is_said(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    with pytest.raises(DatasetError, match="no crawl with posters; run `scrapy crawl posters"):
        prepare(store, None, LOOSE)
    with pytest.raises(DatasetError, match="has no dataset; run `onesheet prepare`"):
        newest_dataset(store)
    crawl_id = crawled(store, tmp_path / "c.csv", {"tt0000001": jpeg("red")}, {"tt0000001": ["Drama"]})
    with pytest.raises(DatasetError, match="none with a genre of at least 10 posters; crawl more titles"):
        prepare(store, crawl_id, PrepareOptions())
    with pytest.raises(DatasetError, match="1 are too few"):
        prepare(store, crawl_id, LOOSE)
    with pytest.raises(DatasetError, match="leave some to train"):
        PrepareOptions(test_share=0.95)
    assert not [key for key in store.list("datasets/") if key.endswith("card.json")]
