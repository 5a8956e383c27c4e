"""Jobs on a real head node: a command line in, its log and its end out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cluster import jobs
from cluster.commands import SUBMIT_CONTEXT, submit
from cluster.errors import ClusterError
from cluster.jobs import JobStatus
from cluster.nodes import LocalCluster
from tests.s3_servers import free_ports


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("submit", context_settings=SUBMIT_CONTEXT)(submit)
    app.command("other")(lambda: None)
    return app


class TestBeforeAnythingIsSubmitted:
    def test_a_job_server_that_does_not_answer_is_said_within_seconds(self) -> None:
        address = f"http://127.0.0.1:{free_ports(1)[0]}"
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"no job server answers at {address} .*--address"):
            jobs.submit(["true"], address=address)
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("address", ["ray://head:10001", "http://", "ftp://head"])
    def test_an_address_of_another_kind_is_refused(self, address: str) -> None:
        with pytest.raises(ClusterError, match="is not a job server's address"):
            jobs.submit(["true"], address=address)

    def test_credentials_are_not_passed_on(self) -> None:
        with pytest.raises(ClusterError, match="AWS_SECRET_ACCESS_KEY is not passed on") as caught:
            jobs.submit(["true"], environment={"AWS_SECRET_ACCESS_KEY": "hidden"})
        assert "hidden" not in str(caught.value)

    def test_a_working_folder_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(ClusterError, match="the working folder /no/such does not exist"):
            jobs.submit(["true"], working_dir=Path("/no/such"))

    def test_help_shows_an_example(self, app: typer.Typer) -> None:
        result = CliRunner().invoke(app, ["submit", "--help"])
        assert result.exit_code == 0
        assert "onesheet submit train --architecture mobilenet_v2 --workers 2" in result.output

    def test_an_option_before_the_command_that_submit_does_not_know_is_refused(self, app: typer.Typer) -> None:
        result = CliRunner().invoke(app, ["submit", "--adress", "http://127.0.0.1:1", "train"])
        assert result.exit_code == 2


@pytest.mark.slow
class TestOnARealCluster:
    def test_a_command_that_succeeds_with_its_arguments_and_settings_intact(self, ray_head: LocalCluster) -> None:
        log: list[str] = []
        script = "import os, sys; print('given', sys.argv[1:], os.environ['ONESHEET_STORE'])"
        result = jobs.submit(
            ["python", "-c", script, "two words", "$HOME;*"],
            address=ray_head.dashboard_url,
            environment={"ONESHEET_STORE": "s3://bucket/prefix"},
            write_log=log.append,
        )
        assert result.status is JobStatus.SUCCEEDED
        assert result.exit_code == 0
        assert "given ['two words', '$HOME;*'] s3://bucket/prefix" in "".join(log).splitlines()

    def test_a_command_that_fails_with_its_exit_code_and_last_words(self, ray_head: LocalCluster) -> None:
        log: list[str] = []
        command = ["python", "-c", "import sys; print('last words'); sys.exit(3)"]
        result = jobs.submit(command, address=ray_head.dashboard_url, write_log=log.append)
        assert (result.status, result.exit_code) == (JobStatus.FAILED, 3)
        assert "last words" in "".join(log).splitlines()

    def test_a_job_runs_in_the_uploaded_folder_under_the_given_id(self, ray_head: LocalCluster, tmp_path: Path) -> None:
        (tmp_path / "note.txt").write_text("from the submitter's disk\n")
        log: list[str] = []
        given = {"address": ray_head.dashboard_url, "working_dir": tmp_path, "submission_id": "a-note"}
        result = jobs.submit(["cat", "note.txt"], **given, write_log=log.append)  # type: ignore[arg-type]
        assert (result.job_id, result.status) == ("a-note", JobStatus.SUCCEEDED)
        assert "from the submitter's disk" in "".join(log)
        with pytest.raises(ClusterError, match=r"refused: .*a-note"):
            jobs.submit(["true"], **given)  # type: ignore[arg-type]

    def test_the_given_address_wins_over_the_environment(
        self, ray_head: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
        result = jobs.submit(["true"], address=ray_head.dashboard_url, write_log=lambda _: None)
        assert result.status is JobStatus.SUCCEEDED

    @pytest.mark.fault
    def test_ctrl_c_stops_the_job_and_says_where_its_log_is(self, ray_head: LocalCluster) -> None:
        script = (
            "import sys; from cluster import jobs\n"
            "result = jobs.submit(['sh', '-c', 'echo started; sleep 1000'], address=sys.argv[1])\n"
            "print(result.job_id, result.status)"
        )
        command = [sys.executable, "-u", "-c", script, ray_head.dashboard_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as submitter:
            assert submitter.stdout
            assert submitter.stderr
            while (line := submitter.stdout.readline()) != "started\n":
                assert line, submitter.stderr.read()
            submitter.send_signal(signal.SIGINT)
            output, errors = submitter.communicate(timeout=60)
        job_id, status = output.split()[-2:]
        assert status == "STOPPED"
        assert f"stopping job {job_id}; its log stays: ray job logs --address" in errors

    def test_the_submit_command_ends_with_json_and_the_jobs_own_options_go_to_the_job(
        self, ray_head: LocalCluster, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        result = CliRunner().invoke(app, ["submit", "--json", "no-such-command", "--json", "--workers", "2"])
        assert result.exit_code == 1, result.output
        assert "onesheet no-such-command --json --workers 2" in result.stdout
        told = json.loads(result.stdout.splitlines()[-1])
        assert told["status"] == "FAILED"
        assert told["job_id"]

    def test_rays_own_submit_runs_the_same_command_line(self, ray_head: LocalCluster) -> None:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "job", "submit", "--address", ray_head.dashboard_url, "--", "onesheet", "--help"]
        environment = {**os.environ, **ray_head.environment()}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert "Usage: onesheet" in told.stdout
