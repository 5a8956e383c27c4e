"""What `onesheet status` tells of the endpoint, the crawl, the dataset and the models, present and absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from cluster.status import status_of
from crawler.status import crawl_section
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.status import endpoint_section
from tests.s3_servers import free_ports
from tests.serving.conftest import Register, Site, running_app
from training.registry import Registry
from training.status import dataset_section, models_section

APP = typer.Typer()
APP.command()(status_of(crawl_section, dataset_section, models_section, endpoint_section))


def status(*words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(CliRunner().invoke(APP, [*words, "--json"], catch_exceptions=False).stdout)
    return told


def test_an_empty_store_and_no_endpoint(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    told = status("--store", str(tmp_path), "--endpoint", url)
    assert told["crawl"]["latest"] is None
    assert told["dataset"]["latest"] is None
    assert told["models"] == {"production": None, "latest": None, "registered": 0}
    assert told["endpoint"]["problem"].startswith(f"no endpoint answers at {url}")


def test_a_store_that_cannot_be_read_is_said_by_each_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = status("--store", "gs://bucket")
    for part in ("crawl", "dataset", "models"):
        assert "unknown scheme 'gs'" in told[part]["problem"]


def test_another_server_is_no_endpoint(site: Site, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{site.server_port}"
    assert "is no endpoint of ours" in status("--store", str(tmp_path), "--endpoint", url)["endpoint"]["problem"]


def test_a_registered_model_and_an_endpoint_that_is_ready_or_not(registry: Registry, register: Register) -> None:
    register("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with running_app(build_api(follower, Limits(max_upload_bytes=100_000))) as url:
        told = status("--store", registry.store.url, "--endpoint", url)
    assert told["models"] == {"production": None, "latest": "v1", "registered": 1}
    assert (told["endpoint"]["is_ready"], told["endpoint"]["status"]) == (False, 503)
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with running_app(build_api(follower, Limits(max_upload_bytes=100_000))) as url:
        told = status("--store", registry.store.url, "--endpoint", url)
        screen = CliRunner().invoke(APP, ["--store", registry.store.url, "--endpoint", url]).stdout
    assert told["models"]["production"] == "v1"
    assert (told["endpoint"]["is_ready"], told["endpoint"]["version"]) == (True, "v1")
    assert "ready, serves v1" in screen
