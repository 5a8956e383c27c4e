"""A job's log over connections that are cut and job servers that are started again: no line lost, none twice."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from cluster import jobs
from cluster.errors import ClusterError
from cluster.job_log import follow_log
from cluster.job_server import JobServer
from cluster.job_table import JobStatus
from cluster.nodes import LocalCluster
from cluster.processes import Family
from tests.cluster.cut_proxy import CutProxy, cut_proxy
from tests.processes import titled
from tests.s3_servers import free_ports

pytestmark = pytest.mark.slow
_COUNT = "import time\nfor i in range({lines}):\n    print('line', i, flush=True)\n    time.sleep({pause})"


@pytest.fixture
def proxy(ray_head: LocalCluster) -> Iterator[CutProxy]:
    with cut_proxy(urlsplit(ray_head.dashboard_url).port or 0) as proxy:
        yield proxy


def counting(lines: int, pause_s: float) -> list[str]:
    return [sys.executable, "-c", _COUNT.format(lines=lines, pause=pause_s)]


def lines_of(log: list[str]) -> list[str]:
    """Those of the job; Ray's own at the beginning are none of them."""
    return [line for line in "".join(log).splitlines() if line.startswith("line ")]


class Watched(list[str]):
    """A log that does something when it has so many lines."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def append(self, text: str) -> None:
        super().append(text)
        if len(lines_of(self)) >= 5:
            self.seen.set()


def test_a_cut_connection_loses_no_line_and_tells_none_twice(
    proxy: CutProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    log = Watched()

    def cut_often() -> None:
        for pause in (0, 1):
            log.seen.wait(60)
            time.sleep(pause)
            proxy.cut()

    thread = threading.Thread(target=cut_often)
    thread.start()
    server = JobServer(f"http://127.0.0.1:{proxy.port}")
    job = jobs.submit(counting(40, 0.1), server=server, write_log=log.append)
    thread.join()
    assert job.status is JobStatus.SUCCEEDED
    assert lines_of(log) == [f"line {number}" for number in range(40)]
    assert "broke off" in capfd.readouterr().err


def test_a_server_that_stays_away_is_given_up_with_a_sentence(ray_head: LocalCluster, proxy: CutProxy) -> None:
    direct, cut = JobServer(ray_head.dashboard_url), JobServer(f"http://127.0.0.1:{proxy.port}")
    job = jobs.submit(["sleep", "1000"], server=direct, wait=False)
    proxy.cut(refuse=True)
    with pytest.raises(ClusterError, match=f"has not answered for 2 s .* may run on: onesheet jobs wait {job.job_id}"):
        follow_log(cut.client, job.submission_id, lambda _: None, patience_s=2)
    jobs.stop(direct, job.submission_id)


@pytest.mark.fault
def test_a_long_log_is_whole(ray_head: LocalCluster) -> None:
    log: list[str] = []
    jobs.submit(counting(20_000, 0), server=JobServer(ray_head.dashboard_url), write_log=log.append)
    assert lines_of(log) == [f"line {number}" for number in range(20_000)]


@pytest.mark.fault
def test_a_network_away_for_20_seconds(proxy: CutProxy) -> None:
    log = Watched()

    def cut() -> None:
        log.seen.wait(60)
        proxy.cut(refuse=True)
        time.sleep(20)
        proxy.mend()

    threading.Thread(target=cut).start()
    job = jobs.submit(counting(60, 0.1), server=JobServer(f"http://127.0.0.1:{proxy.port}"), write_log=log.append)
    assert job.status is JobStatus.SUCCEEDED
    assert lines_of(log) == [f"line {number}" for number in range(60)]


@pytest.mark.fault
def test_a_job_server_that_is_killed_and_started_again_by_ray(ray_head: LocalCluster) -> None:
    """The dashboard's process for jobs, which the dashboard starts again."""
    log = Watched()

    def kill() -> None:
        log.seen.wait(60)
        (process,) = titled("JobHead", _dashboard(ray_head).children(recursive=True))
        process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    job = jobs.submit(counting(100, 0.1), server=JobServer(ray_head.dashboard_url), write_log=log.append)
    thread.join()
    assert job.status is JobStatus.SUCCEEDED
    assert lines_of(log) == [f"line {number}" for number in range(100)]


@pytest.mark.fault
def test_a_dashboard_that_is_killed_and_started_again(ray_head: LocalCluster) -> None:
    """A second one of the cluster, since a head node that runs in the foreground ends with its own."""
    original = _dashboard(ray_head)
    (port,) = free_ports(1)
    command = [f"--port={port}" if word.startswith("--port=") else word for word in original.cmdline()]
    environment = original.environ()
    log = Watched()
    with Family() as family:
        first = family.start(command, environment=environment, log=ray_head.logs / "second.log")

        def restart() -> None:
            log.seen.wait(60)
            first.kill()
            time.sleep(3)
            family.start(command, environment=environment, log=ray_head.logs / "second.log")
            ended.wait(120)

        ended = threading.Event()
        thread = threading.Thread(target=restart)
        server = _answering(port)
        thread.start()
        try:
            job = jobs.submit(counting(200, 0.1), server=server, write_log=log.append)
        finally:
            ended.set()
            thread.join()
        assert first.poll() is not None
    assert job.status is JobStatus.SUCCEEDED
    assert lines_of(log) == [f"line {number}" for number in range(200)]


def _dashboard(cluster: LocalCluster) -> psutil.Process:
    folder = f"--temp-dir={cluster.logs.parent.parent}"
    (process,) = titled(folder, titled("dashboard/dashboard.py "))
    return process


def _answering(port: int) -> JobServer:
    deadline = time.monotonic() + 60
    while True:
        try:
            server = JobServer(f"http://127.0.0.1:{port}")
            server.client.list_jobs()
        except (ClusterError, RuntimeError, OSError):
            assert time.monotonic() < deadline, "the dashboard did not start"
            time.sleep(0.5)
        else:
            return server
