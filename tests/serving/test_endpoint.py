"""`onesheet serve` behind HAProxy: one open port, the caller's address, and nothing left when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.ports import free_ports
from cluster.store import FolderStore
from serving import haproxy
from tests.conftest import ROOT
from tests.processes import titled, wait_until_gone
from tests.serving.conftest import Poster, register_tiny
from training.registry import Registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.skipif(haproxy.why_not() is not None, reason=str(haproxy.why_not())),
]

# Ray Serve's: HAProxy's pages and replicas are among these, Ray's own ports are not.
REPLICA_PORTS = range(30000, 31001)


def test_one_port_is_open_callers_keep_their_address_and_nothing_is_left(tmp_path: Path, poster: Poster) -> None:
    registry = Registry(FolderStore(tmp_path / "store"))
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "onesheet", "serve", "--host", "0.0.0.0", "--port", str(port), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ONESHEET_STORE": registry.store.url}
    environment.pop("RAY_ADDRESS", None)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            assert said == {"url": f"http://127.0.0.1:{port}", "version": "v1"}
            files = {"image": ("a.jpg", poster("red"))}
            claim = {"X-Forwarded-For": "203.0.113.7"}
            answer = httpx.post(f"{said['url']}/v1/predict", files=files, headers=claim, timeout=60)
            assert answer.json()["posters"][0]["predicted"] == ["Red"]
            assert len(answer.headers.get_list("X-Request-ID")) == 1
            started = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            proxies, replicas = titled("haproxy", started), titled("ServeReplica", started)
            open_to = {
                (found.laddr.port, found.laddr.ip)
                for process in (*proxies, *replicas)
                for found in process.net_connections("tcp")
                if found.status == psutil.CONN_LISTEN and (found.laddr.port in REPLICA_PORTS or process in proxies)
            }
            assert (port, "0.0.0.0") in open_to
            assert {ip for other, ip in open_to if other != port} == {"127.0.0.1"}
            assert any(other in REPLICA_PORTS for other, _ in open_to), "the replica was among those looked at"
            [log] = [Path(found.path) for found in replicas[0].open_files() if "/access_" in found.path]
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        finally:
            server.kill()
    wait_until_gone(started)
    [line] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if "posters" in line]
    assert (line["path"], line["status"]) == ("/v1/predict", 200)
    assert line["request_id"] == answer.headers["X-Request-ID"]
