"""HAProxy in front: what is mended of Ray's configuration, and that it is gone when Ray is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.ports import free_ports
from serving import haproxy
from serving.proxy_rules import SECTION, rules, turned_away

pytestmark = pytest.mark.skipif(haproxy.why_not() is not None, reason=str(haproxy.why_not()))


def rays_configuration(folder: Path, port: int, *replica_ports: int, **settings: str | int) -> str:
    """As Ray writes it, by Ray's own template. settings: what Ray takes from its environment."""
    from ray.serve._private import haproxy as rays
    from ray.serve.config import HTTPOptions

    metrics_port, stats_port = free_ports(2)
    options = HTTPOptions(host="127.0.0.1", port=port)
    config = rays.HAProxyConfig(
        http_options=options,
        socket_path=str(folder / "admin.sock"),
        metrics_socket_path=str(folder / "metrics.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_port=metrics_port,
        stats_port=stats_port,
        **settings,
    )
    backend = rays.BackendConfig(
        name="app",
        path_prefix="/",
        app_name="app",
        servers=[
            rays.ServerConfig(name=f"replica{replica_port}", host="127.0.0.1", port=replica_port)
            for replica_port in replica_ports
        ],
    )
    file = folder / "haproxy.cfg"
    api = rays.HAProxyApi(cfg=config, config_file_path=str(file))
    api.backend_configs = {"app": backend}
    api._generate_config_file_internal()
    return file.read_text()


def test_only_what_callers_need_is_open_to_others(tmp_path: Path) -> None:
    written = rays_configuration(tmp_path, 8000, 30000)
    assert re.search(r"bind \*?:\d+", written), "Ray's own is open: were it not, there would be nothing to mend"
    mended = haproxy.mended(written)
    bound = re.findall(r"bind (\S+):\d+", mended)
    assert bound == ["127.0.0.1"] * 3
    assert re.findall(r"bind (\S+):8000", haproxy.mended(written, "0.0.0.0")) == ["0.0.0.0"]
    assert re.findall(r"bind (\S+):8000", haproxy.mended(written, "::")) == ["[::]"]


def test_errors_stay_what_they_are(tmp_path: Path) -> None:
    assert "errorfile" not in haproxy.mended(
        "defaults\n    errorfile 503 /tmp/500.http\n    balance leastconn\n" + rays_configuration(tmp_path, 8000, 30000)
    )


def test_a_server_whose_name_is_no_address_keeps_haproxy_from_nothing(tmp_path: Path) -> None:
    # Ray adds the head by its node's name.
    written = rays_configuration(tmp_path, 8000, 30000).replace("127.0.0.1:30000", "no-such-node.invalid:30000")
    file = tmp_path / "checked.cfg"

    def check(configuration: str) -> int:
        file.write_text(configuration)
        return subprocess.run([str(haproxy._binary()), "-c", "-f", str(file)], check=False).returncode

    assert (check(written), check(haproxy.mended(written))) == (1, 0)


def test_replicas_hear_the_callers_address_and_haproxy_ends_with_its_parent(tmp_path: Path) -> None:
    port, replica_port = free_ports(2)
    (tmp_path / "haproxy.cfg").write_text(rays_configuration(tmp_path, port, replica_port))
    replica = tmp_path / "replica.py"
    replica.write_text(
        f"""
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.headers.get_all("X-Forwarded-For")).encode())
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", {replica_port}), Handler).serve_forever()
"""
    )
    # Ray's stand-in: it starts HAProxy as Ray does, and is killed.
    command = [sys.executable, "-m", "serving.haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, time\n"
        f"child = subprocess.Popen({command!r})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(haproxy.__file__).parent.parent)}
    with (
        subprocess.Popen([sys.executable, str(replica)]) as served,
        subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, env=environment) as started,
    ):
        try:
            assert started.stdout is not None
            proxy = psutil.Process(int(started.stdout.readline()))
            assert answer(port) == '["203.0.113.7", "127.0.0.1"]', "the proxy's word is the right-most"
            started.send_signal(signal.SIGKILL)
            proxy.wait(10)
        finally:
            started.kill()
            served.kill()


def test_what_comes_after_an_overload_is_turned_away_until_it_is_calm(tmp_path: Path) -> None:
    port, replica_port = free_ports(2)
    written = rays_configuration(tmp_path, port, replica_port)
    (tmp_path / "haproxy.cfg").write_text(haproxy.mended(written, None, rules(most_in_overload=1), SECTION))
    replica = tmp_path / "replica.py"
    replica.write_text(
        f"""
import threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
room = threading.Semaphore(4)
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if not room.acquire(blocking=False):
            self.send_response(503)
            self.send_header("Onesheet-Overload", "1")
            self.end_headers()
            return
        time.sleep(float(self.path.rpartition("/")[2]))
        room.release()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"told")
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", {replica_port}), Handler).serve_forever()
"""
    )
    command = [sys.executable, "-m", "serving.haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]
    environment = {**os.environ, "PYTHONPATH": str(Path(haproxy.__file__).parent.parent)}
    poster = b"x" * 60_000

    def post(seconds: float) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{port}/v1/predict/{seconds}", content=poster, timeout=30)

    with (
        subprocess.Popen([sys.executable, str(replica)]) as served,
        subprocess.Popen(command, env=environment) as proxy,
    ):
        try:
            answer(port)
            with ThreadPoolExecutor(10) as callers:
                assert Counter(each.status_code for each in callers.map(post, [1.0] * 10)) == {200: 4, 503: 6}
                before = turned_away(tmp_path / "admin.sock")
                told = list(callers.map(post, [0.5] * 4))
                assert Counter(each.status_code for each in told) == {200: 1, 503: 3}
                assert before is not None
                assert turned_away(tmp_path / "admin.sock") == before + 3
                busy = next(each for each in told if each.status_code == 503)
                assert busy.headers["content-type"] == "application/problem+json"
                assert busy.headers["retry-after"] == "1"
                assert busy.json()["detail"].startswith("more requests than this server can answer")
                assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
                time.sleep(5.5)
                assert Counter(each.status_code for each in callers.map(post, [0.5] * 4)) == {200: 4}
        finally:
            proxy.kill()
            served.kill()


def test_what_a_replica_leaves_unanswered_is_asked_of_another_once_and_then_a_problem(tmp_path: Path) -> None:
    port, replica_port, other_port = free_ports(3)
    own = haproxy.ASKED_AGAIN
    again: dict[str, str | int] = {"retry_on": own["RETRY_ON"], "retries": int(own["RETRIES"])}
    again["bufsize"] = int(own["TUNE_BUFSIZE"])
    written = rays_configuration(tmp_path, port, replica_port, other_port, **again)
    (tmp_path / "haproxy.cfg").write_text(haproxy.mended(written, None, rules(most_in_overload=2), SECTION))
    replica = tmp_path / "replica.py"
    replica.write_text(
        """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
asked = Path(sys.argv[2])
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with asked.open("a") as file:
            file.write(self.path + "\\n")
        if self.path == "/first-dies" and len(asked.read_text().split()) > 1:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"told")
        self.close_connection = True
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
    )
    asked = tmp_path / "asked"
    command = [sys.executable, "-m", "serving.haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]
    environment = {**os.environ, "PYTHONPATH": str(Path(haproxy.__file__).parent.parent)}

    def post(path: str, size: int) -> httpx.Response:
        asked.write_text("")
        return httpx.post(f"http://127.0.0.1:{port}/{path}", content=b"x" * size, timeout=30)

    with (
        subprocess.Popen([sys.executable, str(replica), str(replica_port), str(asked)]) as served,
        subprocess.Popen([sys.executable, str(replica), str(other_port), str(asked)]) as other,
        subprocess.Popen(command, env=environment) as proxy,
    ):
        try:
            answer(port)
            answer(replica_port)
            answer(other_port)
            assert post("first-dies", 60_000).text == "told"
            for path, size, times in (("all-die", 60_000, 2), ("first-dies", 200_000, 1)):
                unanswered = post(path, size)
                assert asked.read_text().split() == [f"/{path}"] * times
                assert unanswered.status_code == 502
                assert unanswered.headers["content-type"] == "application/problem+json"
                assert unanswered.json()["detail"] == "the replica that had this request has ended; ask again"
            served.kill()
            other.kill()
            served.wait()
            other.wait()
            away = post("first-dies", 60_000)
            assert (away.status_code, away.headers["retry-after"]) == (503, "1")
            assert away.json()["detail"] == "no replica is there to answer; ask again later"
        finally:
            proxy.kill()
            served.kill()
            other.kill()


def answer(port: int) -> str:
    """What the replica heard of a caller who claims another address."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-For": "203.0.113.7"})
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as found:
                return str(found.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
