from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cluster.settings import load_settings
from cluster.store import FolderStore
from crawler.catalogs import open_catalog
from crawler.crawl import Crawl
from crawler.site.drawing import draw_poster
from crawler.site.invention import invent_titles
from tests.training.conftest import DRAWN, blurred, crawled, write_catalog
from training.dataset import (
    FRESH,
    SPLITS,
    Card,
    DatasetError,
    PrepareOptions,
    list_datasets,
    newest_dataset,
    prepare,
    read_card,
)
from training.known_sides import KnownSides

LOOSE = PrepareOptions(min_posters=1)


def png() -> bytes:
    sink = io.BytesIO()
    Image.open(io.BytesIO(blurred(1))).convert("RGBA").save(sink, "PNG")
    return sink.getvalue()


def some_titles(count: int = 40, first: int = 1) -> dict[str, list[str]]:
    numbers = range(first, first + count)
    return {f"tt{number:07}": ["Drama"] if number % 2 else ["Drama", "War"] for number in numbers}


def some_posters(genres: dict[str, list[str]]) -> dict[str, bytes]:
    return {imdb_id: blurred(int(imdb_id[2:])) for imdb_id in genres}


def crawl_of(store: FolderStore, folder: Path, count: int = 40, crawl_id: str | None = None) -> str:
    genres = some_titles(count)
    return crawled(store, folder / f"{count}.parquet", some_posters(genres), genres, crawl_id=crawl_id)


def rows_of(store: FolderStore, card: Card, split: str | None = None) -> pd.DataFrame:
    shards = [key for name, keys in card.shards.items() for key in keys if split in (None, name)]
    return pd.concat([pd.read_parquet(io.BytesIO(store.get(key))) for key in shards])


def split_of(store: FolderStore, card: Card) -> dict[str, str]:
    return {imdb_id: split for split in SPLITS for imdb_id in rows_of(store, card, split)["imdb_id"]}


def table_of(store: FolderStore, card: Card, name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(store.get(f"datasets/{card.dataset_id}/{name}.parquet")))


def test_the_funnel_adds_up_and_every_dropped_title_has_its_reason(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    genres = some_titles()
    posters = some_posters(genres)
    del posters["tt0000001"]
    posters["tt0000002"] = b"<html>not a picture"
    genres["tt0000003"] = ["N/A"]
    genres["tt0000004"] = ["Short"]
    crawl_id = crawled(store, tmp_path / "c.parquet", posters, genres)
    store.put("posters/tt0000005.jpg", blurred(99))
    store.delete("posters/tt0000006.jpg")
    card = prepare(store, crawl_id, PrepareOptions(min_posters=2))
    assert card.dropped == {
        "no poster: not crawled yet": 1,
        "no genre": 1,
        "only genres of fewer than 2 posters": 1,
        "poster changed since the crawl": 1,
        "poster missing": 1,
        "poster unusable: html": 1,
    }
    assert card.funnel["titles"] == len(genres) == sum(card.posters.values()) + sum(card.dropped.values())
    assert list(card.funnel.values())[:4] == [40, 39, 37, 34]  # titles, posters, labelled, verified
    dropped = table_of(store, card, "dropped")
    assert dict(dropped.itertuples(index=False))["tt0000004"] == "only genres of fewer than 2 posters"
    rows = rows_of(store, card)
    assert sorted([*rows["imdb_id"], *dropped["imdb_id"]]) == sorted(genres)
    assert card.genres == ["Drama", "War"]
    assert np.diag(card.co_occurrence).tolist() == [sum(genre in of for of in rows["genres"]) for genre in card.genres]


def test_rows_of_one_title_are_merged_and_spellings_folded(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    crawl_id = crawl_of(store, tmp_path)
    # The same crawl by name: its catalogue grew by more rows for one title.
    catalog = tmp_path / "more.parquet"
    rows: list[tuple[str, str | None, list[str]]] = [(i, None, genres) for i, genres in some_titles().items()]
    more: list[tuple[str, str | None, list[str]]] = [
        ("tt0000001", "First", ["western", "SciFi"]),
        ("tt0000001", None, ["Science Fiction", "Kids"]),
    ]
    write_catalog(catalog, [*rows, *more])
    with open_catalog(str(catalog)) as opened:
        Crawl.open(opened, store, crawl_id).save_titles(opened)
    card = prepare(store, crawl_id, PrepareOptions(min_posters=1, synonyms=("Kids=Western",)))
    row = rows_of(store, card).set_index("imdb_id").loc["tt0000001"]
    assert list(row["genres"]) == ["Drama", "Sci-Fi", "Western"]
    assert row["title"] == "First"
    assert card.folded["Kids → Western"] == 1


def test_the_same_crawl_and_options_give_the_same_id_and_bytes(make_dataset: Callable[[], tuple[FolderStore, Card]]):
    (store, card), (other_store, other) = make_dataset(), make_dataset()
    assert card == other
    keys = [key for key in store.list("datasets/") if not key.endswith("/made.json")]
    assert len(keys) > 6
    for key in keys:
        assert store.get(key) == other_store.get(key), key


def test_another_option_gives_another_id_and_leaves_the_first_alone(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    crawl_id = crawl_of(store, tmp_path)
    first = prepare(store, crawl_id, LOOSE)
    second = prepare(store, crawl_id, PrepareOptions(min_posters=1, test_share=0.3))
    assert first.dataset_id != second.dataset_id
    assert read_card(store, first.dataset_id) == first
    assert newest_dataset(store) == second
    assert prepare(store, crawl_id, LOOSE) == first
    assert len(list_datasets(store)) == 2


def test_copies_of_a_poster_under_other_ids_never_leak_into_another_split(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    titles = list(invent_titles(24))
    posters, genres, original = {}, {}, {}

    def add(number: int, data: bytes, of: int) -> None:
        imdb_id = f"tt{number:07}"
        posters[imdb_id], genres[imdb_id], original[imdb_id] = data, ["Drama"] if number % 2 else ["War"], of

    for place, title in enumerate(titles):
        poster = Image.open(io.BytesIO(draw_poster(title)))
        width, height = poster.size
        cut = (width // 100, height // 100, width - width // 100, height - height // 100)
        copies = [poster, poster.resize((width // 2, height // 2)), poster.crop(cut), poster.convert("L")]
        for copy, quality in zip(copies, (90, 80, 85, 70), strict=True):
            sink = io.BytesIO()
            copy.save(sink, "JPEG", quality=quality)
            add(len(posters) * 977 % 9973 + 1, sink.getvalue(), place)
    card = prepare(store, crawled(store, tmp_path / "c.parquet", posters, genres), LOOSE)
    splits = split_of(store, card)
    assert len(splits) == len(posters) == 96
    sides = pd.DataFrame({"original": original, "split": splits}).groupby("original")["split"].nunique()
    assert sides.max() == 1, f"{(sides > 1).sum()} of {len(titles)} posters have copies in several splits"
    assert card.near_duplicates["on_several_sides"] == 0
    # Without grouping they do leak: the test can fail.
    torn = prepare(store, None, PrepareOptions(min_posters=1, near_duplicates=0), split_from=FRESH)
    sides = pd.DataFrame({"original": original, "split": split_of(store, torn)}).groupby("original")["split"].nunique()
    assert sides.max() > 1


def test_titles_that_read_the_same_stay_together(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    genres = some_titles(60)
    names = {imdb_id: f"Film {number // 2}" + " (Re-release)" * (number % 2) for number, imdb_id in enumerate(genres)}
    crawl_id = crawled(store, tmp_path / "c.parquet", some_posters(genres), genres, names=names)
    splits = split_of(store, prepare(store, crawl_id, LOOSE))
    assert all(splits[f"tt{number:07}"] == splits[f"tt{number + 1:07}"] for number in range(1, 60, 2))


def test_no_title_changes_splits_as_the_crawl_grows(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    small = prepare(store, crawl_of(store, tmp_path, 60, crawl_id="all"), LOOSE)
    large = prepare(store, crawl_of(store, tmp_path, 150, crawl_id="all"), LOOSE)
    before, after = split_of(store, small), split_of(store, large)
    assert {imdb_id: after[imdb_id] for imdb_id in before} == before
    assert large.posters == {"train": 105, "validation": 15, "test": 30}
    # Another crawl of the store keeps them too, unless it is told not to.
    wide = prepare(store, crawl_of(store, tmp_path, 151), LOOSE)
    assert after.items() <= split_of(store, wide).items()
    fresh = prepare(store, None, PrepareOptions(min_posters=1, max_height_px=80), split_from=FRESH)
    assert before.items() - split_of(store, fresh).items()
    assert newest_dataset(store) == fresh


def test_a_given_split_is_taken_as_it_is(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    crawl_id = crawl_of(store, tmp_path)
    ids = np.arange(1, 31)
    card = prepare(store, crawl_id, LOOSE, given=KnownSides.of(ids, (ids % 3).astype(np.int8)))
    assert split_of(store, card) == {f"tt{number:07}": SPLITS[number % 3] for number in range(1, 31)}
    assert card.dropped == {"not in the given split": 10}
    with pytest.raises(DatasetError, match="no poster falls into train: 2 are too few in the given split"):
        prepare(store, crawl_id, LOOSE, given=KnownSides.of(ids[:2], np.array([1, 2], np.int8)))


def test_a_sample_is_a_part_of_the_whole_with_the_same_splits(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    crawl_id = crawl_of(store, tmp_path, 80)
    part = prepare(store, crawl_id, PrepareOptions(min_posters=1, sample=40))
    whole = prepare(store, crawl_id, LOOSE)
    assert part.posters == {"train": 28, "validation": 4, "test": 8}
    assert part.dropped == {"not in the sample": 40}
    assert split_of(store, part).items() <= split_of(store, whole).items()
    with pytest.raises(DatasetError, match=r"--sample 81: crawl .* has 80 labelled posters"):
        prepare(store, crawl_id, PrepareOptions(min_posters=1, sample=81))


def test_small_plain_jpegs_stay_byte_for_byte_and_others_become_small_jpegs(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    genres = some_titles()
    posters = some_posters(genres)
    posters["tt0000001"] = png()
    posters["tt0000002"] = blurred(2, (700, 1400))
    card = prepare(store, crawled(store, tmp_path / "c.parquet", posters, genres), LOOSE)
    stored = {row.imdb_id: row.image["bytes"] for row in rows_of(store, card).itertuples()}
    assert stored["tt0000003"] == posters["tt0000003"]
    assert Image.open(io.BytesIO(stored["tt0000001"])).format == "JPEG"
    assert Image.open(io.BytesIO(stored["tt0000002"])).size == (320, 640)
    assert card.sizes["total_bytes"] == sum(map(len, stored.values()))


def test_the_newest_crawl_and_its_dataset_are_the_defaults(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    assert prepare(store, None, PrepareOptions()) == newest_dataset(store) == card
    assert sum(card.posters.values()) + sum(card.dropped.values()) == DRAWN
    assert min(card.posters.values()) >= 6


def test_hugging_face_datasets_opens_the_folder_and_the_shards_as_they_are(
    dataset: tuple[FolderStore, Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    store, card = dataset
    folder = store.root / "datasets" / card.dataset_id
    files = {split: str(folder / split / "*.parquet") for split in SPLITS}
    by_files = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "files"))
    by_folder = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "folder"))
    for opened in (by_files, by_folder):
        assert {split: len(opened[split]) for split in SPLITS} == card.posters
        row = opened["test"][0]
        assert row["image"].size == (300, 444)
        assert row["image"].convert("RGB").getextrema() != ((0, 0),) * 3
        assert set(row["genres"]) <= set(card.genres)
    dropped = datasets.load_dataset("parquet", data_files=str(folder / "splits.parquet"), cache_dir=str(tmp_path))
    assert dropped["train"].column_names == ["imdb_id", "split", "group"]


def test_what_no_dataset_can_be_made_of_is_said(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    with pytest.raises(DatasetError, match="no crawl with posters; run `scrapy crawl posters"):
        prepare(store, None, LOOSE)
    with pytest.raises(DatasetError, match="has no dataset; run `onesheet prepare`"):
        newest_dataset(store)
    crawl_id = crawl_of(store, tmp_path, 1)
    with pytest.raises(DatasetError, match="none with a genre of at least 10 posters; crawl more titles"):
        prepare(store, crawl_id, PrepareOptions())
    with pytest.raises(DatasetError, match="1 are too few"):
        prepare(store, crawl_id, LOOSE)
    with pytest.raises(DatasetError, match="leave some to train"):
        PrepareOptions(test_share=0.95)
    with pytest.raises(DatasetError, match="a distance from 0 to 16"):
        PrepareOptions(near_duplicates=20)
    assert not [key for key in store.list("datasets/") if key.endswith("card.json")]


@pytest.mark.slow
def test_ray_workers_make_the_same_bytes_and_say_what_went_wrong(
    make_dataset: Callable[[], tuple[FolderStore, Card]],
):
    from cluster.nodes import connect

    store, card = make_dataset()
    ours = {key: store.get(key) for keys in card.shards.values() for key in keys}
    for key in list(store.list("datasets/")):
        store.delete(key)
    with connect(load_settings(ray_address="local"), num_cpus=2):
        assert prepare(store, card.crawl_id, PrepareOptions(), workers=2) == card
        assert {key: store.get(key) for key in ours} == ours
        for key in [*store.list("datasets/"), *store.list("posters/")]:
            store.delete(key)
        with pytest.raises(DatasetError, match=r"no poster of train can be read: .* are lost; crawl"):
            prepare(store, card.crawl_id, PrepareOptions(), workers=2)


def test_the_commands_prepare_and_show_a_dataset(dataset: tuple[FolderStore, Card], tmp_path: Path):
    from typer.testing import CliRunner

    from onesheet import app

    store, card = dataset
    split = tmp_path / "split.parquet"
    split.write_bytes(store.get(f"datasets/{card.dataset_id}/splits.parquet"))
    where = ["--store", store.url, "--json"]
    made = CliRunner().invoke(app, ["prepare", "--sample", "40", "--synonym", "Drama=Comedy", *where])
    assert made.exit_code == 0, made.output
    sampled = json.loads(made.stdout.splitlines()[-1])
    assert sampled["funnel"]["verified"] == 40
    assert "Drama" not in sampled["genres"]
    assert Path(sampled["page"]).is_file()
    given = CliRunner().invoke(app, ["prepare", "--split", str(split), *where])
    assert given.exit_code == 0, given.output
    assert json.loads(given.stdout.splitlines()[-1])["funnel"] == card.funnel
    shown = CliRunner().invoke(app, ["datasets", card.dataset_id, *where])
    assert json.loads(shown.stdout.splitlines()[-1])["genres"] == card.genres
    for made_here in (sampled, json.loads(given.stdout.splitlines()[-1])):
        for key in list(store.list(f"datasets/{made_here['dataset_id']}/")):
            store.delete(key)  # other tests take the newest dataset of this store
