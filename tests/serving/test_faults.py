"""Replicas that are killed and servers that are ended while callers ask: what is lost, and what is not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx
import psutil
import pytest
from PIL import Image

from cluster.processes import Family
from cluster.store import FolderStore
from serving.client import Client
from tests.processes import titled
from tests.s3_servers import free_ports
from tests.serving.conftest import Poster, register_tiny
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]

CALLERS = 4


@dataclass(frozen=True)
class Server:
    proxy: str
    url: str
    family: Family
    process: Popen[bytes]

    def replicas(self) -> list[psutil.Process]:
        return titled("posters", titled("ServeReplica", self.family.members()))


@pytest.fixture(params=["ray", "haproxy"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """`onesheet serve` with two replicas."""
    registry = Registry(FolderStore(tmp_path / "store"))
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    [port] = free_ports(1)
    url, log = f"http://127.0.0.1:{port}", tmp_path / "serve.log"
    command = [sys.executable, "-m", "onesheet", "serve", "--store", registry.store.url, "--port", str(port)]
    replicas = ["--min-replicas", "2", "--max-replicas", "2", "--cpus-per-replica", "1"]
    options = [*replicas, "--proxy", request.param, "--json"]
    environment = {**os.environ, "ONESHEET_RAY_ADDRESS": "local"}
    with Family() as family:
        process = family.start([*command, *options], environment=environment, log=log)
        until = time.monotonic() + 180
        while f'"url": "{url}"' not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield Server(request.param, url, family, process)


def wait_for_replicas(server: Server, count: int) -> list[psutil.Process]:
    until = time.monotonic() + 120
    while len(found := server.replicas()) != count:
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found


def threads_of(process: psutil.Process) -> int:
    """Those that are left of one that was killed: until the last one ends, its sockets are open."""
    tasks = Path(f"/proc/{process.pid}/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


def test_a_replica_killed_under_load_costs_at_most_what_it_had_in_hand_and_a_client_that_retries_nothing(
    server: Server, poster: Poster
) -> None:
    over = threading.Event()
    answered: list[float] = []
    failed: list[tuple[float, str]] = []
    retried: list[str] = []

    def ask_once() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                began = time.monotonic()
                try:
                    status = client.post(f"{server.url}/v1/predict", files={"image": poster("red")}).status_code
                except httpx.HTTPError as error:
                    failed.append((began, repr(error)))
                    continue
                if status == 200:
                    answered.append(began)
                else:
                    failed.append((began, str(status)))

    def ask_as_the_client_does() -> None:
        client = Client(server.url)
        while not over.is_set():
            retried.append(client.predict([poster("red")]).version)

    victim, other = wait_for_replicas(server, 2)
    with ThreadPoolExecutor(2 * CALLERS) as callers:
        asking = [callers.submit(ask) for ask in (ask_once, ask_as_the_client_does) for _ in range(CALLERS)]
        time.sleep(3)
        victim.send_signal(signal.SIGKILL)
        # Until the kernel has freed a gigabyte, what is sent there still arrives.
        with contextlib.suppress(psutil.NoSuchProcess):
            while victim.status() != psutil.STATUS_ZOMBIE or threads_of(victim) > 1:
                time.sleep(0.005)
        killed = time.monotonic()
        time.sleep(10)
        over.set()
    for each in asking:
        each.result()
    assert [(began - killed, why) for began, why in failed if began > killed] == [], "only what was under way"
    assert len(failed) <= CALLERS
    if server.proxy == "haproxy":
        # It asks another replica, but of an answer that has begun nothing can be taken back.
        assert [why for _, why in failed if "without sending complete message body" not in why] == []
    assert set(retried) == {"v1"}
    assert len([began for began in answered if began > killed]) > 20
    assert other.is_running()
    wait_for_replicas(server, 2)


def test_an_ended_server_answers_what_it_has_in_hand(server: Server) -> None:
    sink = io.BytesIO()
    # Large to decode and small to send.
    Image.radial_gradient("L").resize((5000, 7500)).convert("RGB").save(sink, "JPEG", quality=50)
    files = [("image", sink.getvalue())] * 20
    assert sum(len(data) for _, data in files) < 15_000_000
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(httpx.post, f"{server.url}/v1/predict", files=files, timeout=120)
        time.sleep(1)
        assert not asked.done(), "it takes longer than that"
        server.process.send_signal(signal.SIGTERM)
        answer = asked.result()
    assert answer.status_code == 200
    assert len(json.loads(answer.content)["posters"]) == len(files)
    assert server.process.wait(120) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")
