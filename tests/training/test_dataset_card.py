from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from cluster.store import FolderStore
from training.dataset import Card, read_card
from training.dataset_card import read_making
from training.dataset_page import render_page
from training.dataset_pictures import read_pictures
from training.dataset_readme import render_readme

CHROMIUM = Path("/usr/bin/chromium")


def stored(dataset: tuple[FolderStore, Card], name: str) -> str:
    store, card = dataset
    return store.get(f"datasets/{card.dataset_id}/{name}").decode()


def test_the_page_needs_nothing_from_anywhere_and_shows_all_there_is(dataset: tuple[FolderStore, Card]):
    _, card = dataset
    page = stored(dataset, "card.html")
    assert not re.findall(r"<(?:script|link|iframe)|url\(|src=\"(?!data:image/jpeg;base64,)", page)
    shown = {row["imdb_id"] for rows in card.samples.values() for row in rows}
    shown |= {imdb_id for group in card.near_duplicates["examples"] for imdb_id in group}
    assert len(set(re.findall(r'<img src="([^"]+)"', page))) == len(shown)
    for count in (*card.funnel.values(), *card.dropped.values()):
        assert f"<td class=n>{count:,}</td>" in page
    for genre in card.genres:
        assert page.count(f">{genre}</text>") == 2
    for reason in card.dropped:
        assert reason in page


def test_nothing_that_a_catalogue_says_becomes_markup(dataset: tuple[FolderStore, Card]):
    _, card = dataset
    hostile = "<img src=x onerror=alert(1)>"
    row = {"imdb_id": "tt0000001", "title": hostile, "year": 1999, "genres": [hostile]}
    page = render_page(dataclasses.replace(card, crawl_id=hostile, samples={**card.samples, "test": [row]}), {})
    assert "<img" not in page
    assert page.count("&lt;img src=x") == 4


def test_the_readme_says_to_the_hub_where_each_split_lies(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    readme = stored(dataset, "README.md")
    front = yaml.safe_load(readme.split("---\n")[1])
    (config,) = front["configs"]
    folder = store.root / "datasets" / card.dataset_id
    for files in config["data_files"]:
        found = [path.relative_to(store.root).as_posix() for path in sorted(folder.glob(files["path"]))]
        assert found == card.shards[files["split"]]
    assert front["size_categories"] == ["n<1K"]
    assert front["license"] == "other"
    assert [feature["name"] for feature in front["dataset_info"]["features"]] == [
        *("imdb_id", "title", "year", "genres", "image")
    ]
    for genre in card.genres:
        assert f"| {genre} | {card.genre_counts['train'][genre]:,} (" in readme
    given = dataclasses.replace(card, options={**card.options, "split": "given"})
    assert "The split was given. 0 groups" in render_readme(given)


def test_the_card_says_nothing_that_changes_from_run_to_run(dataset: tuple[FolderStore, Card]):
    store, card = dataset
    assert read_card(store, card.dataset_id) == card
    assert render_page(card, read_pictures(store, card)) == stored(dataset, "card.html")
    made = read_making(store, card.dataset_id)
    assert made["split_kept_from"] == []
    assert made["made_at"][:10] not in stored(dataset, "card.html") + stored(dataset, "card.json")


@pytest.mark.slow
def test_a_browser_shows_the_page_without_a_complaint(dataset: tuple[FolderStore, Card]):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    store, card = dataset
    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"file://{store.root}/datasets/{card.dataset_id}/card.html")
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        browser.close()
    assert said == []
    assert widths
    assert min(widths) > 100
    assert overflow <= 0
