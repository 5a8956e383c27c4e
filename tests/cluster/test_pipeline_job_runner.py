"""A stage's command as a job on a real Ray cluster: followed, killed, stopped, found again."""

from __future__ import annotations

import secrets
import time

import pytest

from cluster import jobs
from cluster.errors import ClusterError
from cluster.job_server import JobServer
from cluster.job_table import find_job
from cluster.nodes import LocalCluster
from cluster.pipeline.job_runner import JobRunner
from cluster.pipeline.stage_log import Ended, StageLog

pytestmark = pytest.mark.slow

_PUT_BACK_WITHIN_S = 3.0


class StopError(Exception):
    """Somebody wants it to stop."""


@pytest.fixture(scope="module")
def runner(ray_head: LocalCluster) -> JobRunner:
    return JobRunner(ray_head.dashboard_url, {"ONESHEET_STORE": "s3://bucket"})


def run(runner: JobRunner, code: str, log: StageLog, job_id: str | None = None) -> Ended:
    return runner.run(["python", "-c", code], job_id or f"test-{secrets.token_hex(4)}", log, lambda: None)


def forget(server: JobServer, job_id: str) -> None:
    """Delete a job that has ended. Ray's own watch over it, every second, may put it back once, as failed."""
    deleted = time.monotonic()
    while time.monotonic() - deleted < _PUT_BACK_WITHIN_S:
        if find_job(server, job_id) is not None:
            server.client.delete_job(job_id)
            deleted = time.monotonic()
        time.sleep(0.2)


def test_a_job_tells_its_result_and_is_not_run_twice_under_its_name(runner: JobRunner):
    job_id = f"test-{secrets.token_hex(4)}"
    assert not runner.is_there(job_id)
    code = (
        "import json, os; print(json.dumps({'store': os.environ['ONESHEET_STORE'], 'pid': os.getpid()})); print('ok')"
    )
    first, again = StageLog(), StageLog()
    assert run(runner, code, first, job_id).exit_code == 0
    assert first.result["store"] == "s3://bucket"
    assert runner.is_there(job_id)
    assert run(runner, code, again, job_id).exit_code == 0
    assert again.result == first.result


def test_a_job_that_fails_is_told_from_one_that_dies(runner: JobRunner):
    log = StageLog()
    failed = 'print(\'{"error": "no space left"}\'); raise SystemExit(1)'
    assert run(runner, failed, log).exit_code == 1
    assert log.complaint == "no space left"
    assert run(runner, "import os; os.kill(os.getpid(), 9)", StageLog()).exit_code is None


def test_a_job_is_stopped_with_its_pipeline(runner: JobRunner):
    job_id, log = f"test-{secrets.token_hex(4)}", StageLog()

    def watch() -> None:
        if log.text:
            raise StopError

    code = "import time; print('there', flush=True); time.sleep(100)"
    with pytest.raises(StopError):
        runner.run(["python", "-c", code], job_id, log, watch)
    assert not runner.is_there(job_id)


def test_a_job_that_the_server_no_longer_knows_is_told_at_once(runner: JobRunner, ray_head: LocalCluster):
    job_id, log = f"test-{secrets.token_hex(4)}", StageLog()
    server = JobServer(ray_head.dashboard_url)

    def watch() -> None:
        if log.text:
            jobs.stop(server, job_id)
            forget(server, job_id)

    code = "import time; print('there', flush=True); time.sleep(100)"
    with pytest.raises(ClusterError, match=f"no longer knows job {job_id}"):
        runner.run(["python", "-c", code], job_id, log, watch)
