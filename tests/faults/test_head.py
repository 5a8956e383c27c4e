"""The head ends and comes back: its jobs are known, its nodes join again, and work is taken."""

from __future__ import annotations

import time

import pytest

from cluster.job_server import JobServer, job_client
from cluster.jobs import submit
from cluster.testbed.bed import HEAD
from tests.faults.conftest import Ground, measured

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(300)]

_ASK_A_WORKER = """
import ray
ray.init(log_to_driver=False)
here = ray.remote(num_cpus=1, resources={"node:%s": 0.01})(ray.util.get_node_ip_address)
print("ran on", ray.get(here.remote(), timeout=100))
"""


def ask(ground: Ground, node: str, job: str) -> str:
    """Run a task on a node, by a job."""
    said: list[str] = []
    program = _ASK_A_WORKER % ground.bed.node(node).address
    command = ["python", "-c", program]
    result = submit(command, server=JobServer(ground.bed.dashboard_url), job_id=job, write_log=said.append)
    assert result.status == "SUCCEEDED", "".join(said)
    return "".join(said)


def test_a_head_that_is_killed_comes_back_with_its_jobs_and_its_nodes(ground: Ground) -> None:
    bed = ground.bed
    if not bed.record.keeps_jobs:
        pytest.skip("this Ray keeps nothing of a head that ended")
    ask(ground, "worker1", "before")
    client = job_client(bed.dashboard_url)
    client.submit_job(entrypoint="sleep 1000", submission_id="under-way")
    while client.get_job_status("under-way") != "RUNNING":
        time.sleep(0.2)
    nodes = {name: each["node_id"] for name, each in bed.ray_nodes().items()}
    workers = {name: bed.processes(name) for name in bed.workers}

    bed.kill(HEAD)
    died = time.monotonic()
    bed.start(HEAD)
    back = time.monotonic()
    assert bed.address == ground.environment["ONESHEET_RAY_ADDRESS"]
    client = job_client(bed.dashboard_url)
    jobs = {job.submission_id: job.status for job in client.list_jobs()}
    assert jobs["before"] == "SUCCEEDED"
    assert "ran on" in client.get_job_logs("before"), "its log is there too"
    while client.get_job_status("under-way") == "RUNNING":
        assert time.monotonic() < back + 120, "a job whose driver died with the head is told to have failed"
        time.sleep(0.5)
    told_s = time.monotonic() - back
    assert client.get_job_status("under-way") == "FAILED"
    for name in bed.workers:
        assert bed.node(name).address in ask(ground, name, f"after-{name}")
    after = bed.ray_nodes()
    assert {name: after[name]["node_id"] for name in bed.workers} == {name: nodes[name] for name in bed.workers}
    assert all(workers[name] & bed.processes(name) for name in bed.workers), "they were not started anew"
    measured("jobs", "head killed", back_s=back - died, running_job_failed_s=told_s, works_s=time.monotonic() - died)
