"""What `onesheet status` tells of a store with a crawl and a dataset."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from cluster.status import status_of
from cluster.store import FolderStore
from crawler.status import crawl_section
from training.dataset import Card
from training.status import dataset_section


def test_the_latest_crawl_and_dataset(dataset: tuple[FolderStore, Card]) -> None:
    store, card = dataset
    app = typer.Typer()
    app.command()(status_of(crawl_section, dataset_section))
    told = json.loads(CliRunner().invoke(app, ["--store", store.url, "--json"]).stdout)
    assert told["crawl"]["latest"]["crawl_id"] == card.crawl_id
    assert told["dataset"]["latest"]["dataset_id"] == card.dataset_id
    screen = CliRunner().invoke(app, ["--store", store.url]).stdout
    assert f"{card.posters['train']:,} train" in " ".join(screen.split())
