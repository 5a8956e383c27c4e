"""Crawl and training tell Prometheus what they do, through a real Ray node."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.nodes import connect
from cluster.settings import load_settings
from crawler.fleet_metrics import FleetMetrics
from crawler.fleet_rules import FleetView, ShardView
from docs.generated import exported_metrics
from training.run_metrics import RunMetrics

pytestmark = pytest.mark.slow


def exported() -> dict[tuple[str, str], float]:
    """Our series of this node's only driver, by name and the labels that are ours."""
    import ray

    [node] = ray.nodes()
    text = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_onesheet_"):
                ours = {"crawl", "outcome", "host", "state", "run"} & sample.labels.keys()
                found[sample.name, " ".join(sample.labels[label] for label in sorted(ours))] = sample.value
    return found


def view(shard: str, **counts: int) -> FleetView:
    shards = (ShardView(0, "0.0", "node", shard, 1),)
    return FleetView(shards, Counter(counts), 30_000 * counts["stored"], Counter({"img": 9}), (), None, None, False)


def test_a_fleet_and_a_run_are_series_with_the_names_that_dashboards_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONESHEET_RAY_ADDRESS", raising=False)
    with connect(load_settings(ray_address="local"), num_cpus=1):
        fleet, run = FleetMetrics("films"), RunMetrics("cnn-1")
        fleet.show(view("crawls", stored=2, not_found=1), {1: "queued"}, {})
        fleet.show(view("finished", stored=5, not_found=1), {}, {1: 2})
        epoch: dict[str, Any] = {"epoch": 1, "loss": 0.5, "images_per_s": 40.0, "learning_rate": 1e-3}
        events: list[Any] = [
            "going on from the checkpoint of epoch 0",
            {"history": []},
            {"epoch": 1, "step": 3, "steps": 9, "loss": float("nan")},
            {**epoch, "validation_macro_map": 0.25},
            {"epoch": 2, "step": 1, "steps": 9, "loss": 0.4},
        ]
        for event in events:
            run(event)
        expected = {
            ("ray_onesheet_crawl_titles_total", "films stored"): 5,
            ("ray_onesheet_crawl_titles_total", "films not_found"): 1,
            ("ray_onesheet_crawl_stored_bytes_total", "films"): 150_000,
            ("ray_onesheet_crawl_requests_total", "films img"): 9,
            ("ray_onesheet_crawl_restarts_total", "films"): 2,
            ("ray_onesheet_crawl_shards", "films crawls"): 0,
            ("ray_onesheet_crawl_shards", "films queued"): 0,
            ("ray_onesheet_crawl_shards", "films finished"): 1,
            ("ray_onesheet_train_loss", "cnn-1"): 0.4,
            ("ray_onesheet_train_validation_macro_map", "cnn-1"): 0.25,
            ("ray_onesheet_train_images_per_s", "cnn-1"): 40,
            ("ray_onesheet_train_learning_rate", "cnn-1"): 1e-3,
            ("ray_onesheet_train_epoch", "cnn-1"): 2,
            ("ray_onesheet_train_epochs_total", "cnn-1"): 1,
        }
        deadline = time.monotonic() + 60
        while exported() != expected and time.monotonic() < deadline:
            time.sleep(0.5)
        assert exported() == expected
    # The endpoint's are read in tests/serving.
    others = [metric for metric in exported_metrics() if not metric.module.startswith("serving/")]
    ours = {series for metric in others for series in metric.series}
    assert {name for name, _ in expected} == ours
