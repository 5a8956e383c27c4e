"""The main job as a new user runs it, from catalogue to endpoint, over a real S3 server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.store import open_store
from tests.conftest import ROOT
from tests.fixtures_s3 import fresh_bucket
from tests.processes import running, titled
from tests.s3_servers import S3Server, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def with_environment(name: str, value: str) -> set[psutil.Process]:
    """The processes that have inherited a variable, whoever their parent is by now.

    One that writes its own title, as Ray's workers do, writes it over its environment.
    """
    found = set()
    for process in running():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.add(process)
    return found


@pytest.fixture(scope="module")
def demo(swift_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The demo with its endpoint up; when the tests are done it is stopped by Ctrl-C."""
    folder = tmp_path_factory.mktemp("demo")
    (port,) = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        store = fresh_bucket(swift_server, patch) + "/demo"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ONESHEET_", "RAY_"))}
        environment["STARTED_FOR"] = str(folder)
        command = [sys.executable, str(ROOT / "onesheet.py"), "demo", "--folder", str(folder), "--store", store]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--epochs", "10", "--port", str(port), "--json"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            assert process.stdout
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()[-3000:]
            started = {
                *psutil.Process(process.pid).children(recursive=True),
                *with_environment("STARTED_FOR", str(folder)),
            }
            assert titled("raylet", started)
            yield {**json.loads(line), "store": store, "log": folder / "log", "port": port}
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert process.wait(60) == 0, (folder / "log").read_text()[-3000:]
        assert not running(started | with_environment("STARTED_FOR", str(folder)))
        with socket.socket() as freed:
            freed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            freed.bind(("127.0.0.1", port))


def test_the_endpoint_answers_for_a_poster(demo: dict[str, Any]):
    with Path(demo["sample"]).open("rb") as poster:
        answer = httpx.post(f"{demo['url']}/v1/predict", files={"image": poster}, timeout=30)
    assert answer.status_code == 200
    assert answer.json()["version"] == demo["version"]
    assert answer.json()["posters"][0]["genres"]


def test_the_small_network_beats_the_prior_baseline(demo: dict[str, Any]):
    assert demo["metrics"]["macro_map"] > demo["prior_metrics"]["macro_map"] + 0.2
    assert demo["metrics"]["micro_f1"] > demo["prior_metrics"]["micro_f1"]


def test_every_stage_is_shown_as_its_command(demo: dict[str, Any]):
    said = demo["log"].read_text()
    for command in ("onesheet site", "scrapy crawl posters", "onesheet prepare", "onesheet train", "onesheet serve"):
        assert f"$ {command}" in said
    assert f"curl -F image=@{demo['sample']} {demo['url']}/v1/predict" in said
    assert "Traceback" not in said


def test_the_store_holds_what_the_design_says(demo: dict[str, Any], swift_server: S3Server, monkeypatch):
    for name, value in swift_server.environment().items():
        monkeypatch.setenv(name, value)
    kinds = {key.split("/")[0] for key in open_store(demo["store"]).list()}
    assert kinds == {"posters", "crawls", "datasets", "runs", "models"}
