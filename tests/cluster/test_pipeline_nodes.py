"""`onesheet pipeline` on real posters over three nodes and an S3 server, with a node killed in every stage."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.console import parse_result
from cluster.nodes import LocalCluster, local_cluster
from crawler.site.faults import Faults
from crawler.site.server import running_site
from tests.cluster.pipelines import Nightly, outcomes
from tests.conftest import ROOT
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server, free_ports
from training.registry import Registry

pytestmark = [pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(900)]

STAGES = ("crawl", "prepare", "train", "evaluate", "promote")
POSTERS, WORKERS, CPUS, EPOCHS = 300, 2, 2, 60


class Workers:
    """The worker nodes of a cluster whose head has no CPU: what runs, runs on them."""

    def __init__(self, head: LocalCluster, folder: Path) -> None:
        self._head, self._folder = head, folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._starting: list[threading.Thread] = []
        # Two that start at once on one machine take each other's ports.
        self._one_at_a_time = threading.Lock()
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """One more node; returns once it has joined."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self._head.address}", "--block"]
        options = [f"--num-cpus={CPUS}", "--disable-usage-stats", "--object-store-memory=200000000"]
        with self._one_at_a_time:
            log = self._folder / f"node-{next(self._numbers)}.log"
            with log.open("wb") as said:
                node = subprocess.Popen(
                    [*command, *options],
                    env={**os.environ, **self._head.environment()},
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._running.append(node)
            deadline = time.monotonic() + 120
            while "Ray runtime started" not in log.read_text(errors="replace"):
                assert node.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, "a node did not join"
                time.sleep(0.2)

    def kill_one(self) -> None:
        """SIGKILL for the oldest, and another one in its place within seconds, as a cloud gives it."""
        self._kill(self._running.pop(0))
        self._starting.append(threading.Thread(target=self.start))
        self._starting[-1].start()

    def end(self) -> None:
        for thread in self._starting:
            thread.join()
        while self._running:
            self._kill(self._running.pop())

    def _kill(self, node: subprocess.Popen[bytes]) -> None:
        family = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()


@pytest.fixture
def store(swift_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """On a real S3 server; the nodes find its credentials in their environment."""
    return fresh_bucket(swift_server, monkeypatch) + "/films"


@pytest.fixture
def head(store: str) -> Iterator[LocalCluster]:
    with local_cluster(num_cpus=0) as cluster:
        yield cluster


@pytest.fixture
def workers(head: LocalCluster, tmp_path: Path) -> Iterator[Workers]:
    found = Workers(head, tmp_path)
    try:
        for _ in range(WORKERS):
            found.start()
        yield found
    finally:
        found.end()


def test_with_a_node_killed_in_every_stage_it_ends_in_a_model_and_an_endpoint_that_answers(
    store: str, head: LocalCluster, workers: Workers, real_data: Path, tmp_path: Path
) -> None:
    catalog, images = tmp_path / "train.csv", real_data / "posters" / "Images"
    with (real_data / "posters" / "train.csv").open() as whole:
        catalog.write_text("".join(line for _, line in zip(range(POSTERS + 1), whole, strict=False)))
    weights = real_data / "weights" / "mobilenet_v2_no_top.weights.h5"
    with running_site(catalog=catalog, posters=images, faults=Faults.parse("slow=1", slow_s=0.5)) as site:
        nightly = Nightly(tmp_path, store, catalog, {**head.environment(), "ONESHEET_REHEARSAL": site.url})
        nightly.write(
            {
                "crawl": {"shards": WORKERS},
                "prepare": {"workers": WORKERS},
                "train": {
                    "architecture": "mobilenet_v2@96x64",
                    "weights": str(weights),
                    "workers": WORKERS,
                    "cpus-per-worker": CPUS,
                    "epochs": EPOCHS,
                },
            }
        )
        call = nightly.start("--address", head.dashboard_url)
        is_midway = {"crawl": lambda: nightly.posters() > 10, "train": lambda: len(nightly.epochs()) > 1}
        for stage in STAGES:
            nightly.wait_for(call, stage, is_midway.get(stage, lambda: True), timeout_s=300)
            workers.kill_one()
            if stage == "train":
                # The pipeline itself, too: its job runs on, and the next call follows it.
                nightly.kill(call)
                call = nightly.start("--address", head.dashboard_url)
        told = nightly.finish(call=call, timeout_s=400)
        requests = {path: count for path, count in site.requests().items() if path.startswith("/images/")}
    assert (told["status"], told["exit_code"]) == ("done", 0), told
    after_the_kill = {"crawl": "skipped", "prepare": "skipped", "train": "continued"}
    assert outcomes(told) == {**dict.fromkeys(STAGES, "ran"), **after_the_kill}
    assert nightly.record.stages["train"].attempts == 1
    assert told["promoted"] is True
    assert Registry(nightly.store).production_or_raise().version == told["version"]
    assert sorted(nightly.epochs()) == list(range(1, EPOCHS + 1))
    # Titles that were in flight on the killed node are asked for again, and no others.
    assert sum(requests.values()) <= len(requests) + 64
    assert _answer(nightly, head, images, tmp_path) == told["version"]


def _answer(nightly: Nightly, head: LocalCluster, images: Path, folder: Path) -> str:
    """The version by which an endpoint on the same cluster answers for a poster."""
    (port,) = free_ports(1)
    environment = {**os.environ, **head.environment(), "ONESHEET_STORE": nightly.store.url}
    with (folder / "serve.log").open("w") as log:
        command = [sys.executable, str(ROOT / "onesheet.py"), "serve", "--port", str(port), "--json"]
        serving = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert serving.stdout
        # Ray tells of the nodes that died on standard output as well.
        ready = next((told for line in serving.stdout if "url" in (told := parse_result(line))), None)
        assert ready, (folder / "serve.log").read_text()[-3000:]
        poster = next(images.glob("*.jpg"))
        with poster.open("rb") as file:
            answer = httpx.post(f"{ready['url']}/v1/predict", files={"image": file}, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["version"])
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
