"""What `onesheet status` tells of the cluster, and how its parts stand apart."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cluster import jobs
from cluster.errors import ClusterError
from cluster.job_server import JobServer
from cluster.nodes import LocalCluster
from cluster.overview import Part, Section, Where, gather
from cluster.settings import load_settings
from cluster.status import jobs_section, nodes_section, status_of
from tests.s3_servers import free_ports


def where(address: str = "http://127.0.0.1:1") -> Where:
    return Where(load_settings(), address, "http://127.0.0.1:1")


def test_a_part_that_fails_breaks_or_hangs_says_so_and_the_others_stand() -> None:
    forever = threading.Event()

    def refuse(_: Where) -> Section:
        raise ClusterError("not today")

    def hang(_: Where) -> Section:
        forever.wait(60)
        return Section("hang")

    parts = [
        Part("refuse", refuse),
        Part("break", lambda _: Section(str(1 / 0))),
        Part("hang", hang),
        Part("stand", lambda _: Section("stand", [("well", "yes")])),
    ]
    began = time.monotonic()
    found = gather(parts, where(), timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert [section.problem for section in found] == [
        "not today",
        "ZeroDivisionError: division by zero",
        "no answer within 0.3 s",
        "",
    ]
    forever.set()


def test_without_a_cluster_both_parts_say_where_none_answers() -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    for section in gather([nodes_section, jobs_section], where(address)):
        assert f"no job server answers at {address}" in section.problem


@pytest.mark.slow
def test_nodes_resources_and_the_jobs_at_work(ray_head: LocalCluster, tmp_path: Path) -> None:
    server = JobServer(ray_head.dashboard_url)
    job = jobs.submit(["sh", "-c", "echo [bold]; sleep 1000"], server=server, job_id="shown", wait=False)
    app = typer.Typer()
    app.command()(status_of(nodes_section, jobs_section))
    words = ["--address", ray_head.dashboard_url, "--store", str(tmp_path)]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [node["state"] for node in told["cluster"]["nodes"]] == ["ALIVE"]
    assert told["cluster"]["total"]["CPU"] == 2
    assert [each["job_id"] for each in told["jobs"]["at_work"]] == ["shown"]
    screen = CliRunner().invoke(app, words).stdout
    assert "1 alive" in screen
    assert "echo [bold]" in screen
    jobs.stop(server, job.submission_id)
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert "shown" in {each["job_id"] for each in told["jobs"]["ended"]}
