"""Jobs on a real head node: a command line in, its log and its end out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cluster import jobs
from cluster.errors import ClusterError
from cluster.job_commands import SUBMIT_CONTEXT, jobs_app, submit
from cluster.job_server import JobServer
from cluster.job_table import JobStatus, find_job, list_jobs
from cluster.nodes import LocalCluster
from tests.s3_servers import free_ports


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("submit", context_settings=SUBMIT_CONTEXT)(submit)
    app.add_typer(jobs_app, name="jobs")
    return app


@pytest.fixture(scope="module")
def server(ray_head: LocalCluster) -> JobServer:
    return JobServer(ray_head.dashboard_url)


def run(app: typer.Typer, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.stdout, str(result.exception or "")


class TestBeforeAnythingIsSubmitted:
    def test_a_job_server_that_does_not_answer_is_said_within_seconds(self) -> None:
        address = f"http://127.0.0.1:{free_ports(1)[0]}"
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"no job server answers at {address} .*--address"):
            JobServer(address)
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("address", ["ray://head:10001", "http://", "ftp://head"])
    def test_an_address_of_another_kind_is_refused(self, address: str) -> None:
        with pytest.raises(ClusterError, match="is not a job server's address"):
            JobServer(address)

    def test_help_shows_an_example(self, app: typer.Typer) -> None:
        assert "onesheet submit train --architecture mobilenet_v2 --workers 2" in run(app, "submit", "--help")[1]

    def test_an_option_before_the_command_that_submit_does_not_know_is_refused(self, app: typer.Typer) -> None:
        assert run(app, "submit", "--adress", "http://127.0.0.1:1", "train")[0] == 2


@pytest.mark.slow
class TestOnARealCluster:
    def test_a_command_that_succeeds_with_its_arguments_and_settings_intact(self, server: JobServer) -> None:
        log: list[str] = []
        script = "import os, sys; print('given', sys.argv[1:], os.environ['ONESHEET_STORE'])"
        job = jobs.submit(
            ["python", "-c", script, "two words", "$HOME;*"],
            server=server,
            environment={"ONESHEET_STORE": "s3://bucket/prefix"},
            write_log=log.append,
        )
        assert (job.status, job.exit_code) == (JobStatus.SUCCEEDED, 0)
        assert job.seconds is not None
        assert "given ['two words', '$HOME;*'] s3://bucket/prefix" in "".join(log).splitlines()

    @pytest.mark.fault
    def test_a_command_that_fails_with_its_exit_code_and_last_words(self, server: JobServer) -> None:
        log: list[str] = []
        command = ["python", "-c", "import sys; print('last words'); sys.exit(3)"]
        job = jobs.submit(command, server=server, write_log=log.append)
        assert (job.status, job.exit_code) == (JobStatus.FAILED, 3)
        assert "last words" in "".join(log).splitlines()

    def test_the_given_address_wins_over_the_environment(
        self, ray_head: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
        JobServer(ray_head.dashboard_url).client.list_jobs()

    def test_the_code_of_the_working_tree_wins_over_the_installed_one(
        self, ray_head: LocalCluster, app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "titles.csv").write_text("tt1\n")
        (tmp_path / ".env").write_text("X=1\n")
        module = "import os, sys\ndef main(): print('mine', sys.argv[1:], sorted(os.listdir('.')))\n"
        (tmp_path / "onesheet.py").write_text(module)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        code, out, _ = run(app, "submit", "--json", "crawl", "titles.csv")
        assert code == 0, out
        assert "mine ['crawl', 'titles.csv'] ['onesheet.py', 'pyproject.toml', 'titles.csv']" in out

    def test_a_job_id_runs_once_and_again_only_when_told(self, server: JobServer, tmp_path: Path) -> None:
        counted = tmp_path / "runs"
        command = ["sh", "-c", f"echo run >> {counted}; test $(wc -l < {counted}) -ge 2"]
        given = {"server": server, "job_id": "counted", "write_log": lambda _: None}
        assert jobs.submit(command, **given).status is JobStatus.FAILED  # type: ignore[arg-type]
        with pytest.raises(ClusterError, match=r"job counted has failed with exit code 1 .* --again runs it again"):
            jobs.submit(command, **given)  # type: ignore[arg-type]
        again = jobs.submit(command, again=True, **given)  # type: ignore[arg-type]
        assert (again.status, again.attempt, again.job_id) == (JobStatus.SUCCEEDED, 2, "counted")
        assert jobs.submit(command, **given) == again  # type: ignore[arg-type]
        assert counted.read_text() == "run\nrun\n"
        with pytest.raises(ClusterError, match=r"job counted is there and runs `sh .*choose another --job-id"):
            jobs.submit(["true"], **given)  # type: ignore[arg-type]
        assert [job.attempt for job in list_jobs(server) if job.job_id == "counted"] == [2, 1]

    @pytest.mark.fault
    def test_two_that_submit_the_same_id_at_once_follow_one_job(self, server: JobServer, tmp_path: Path) -> None:
        command = ["sh", "-c", f"echo run >> {tmp_path}/runs; sleep 2; echo done"]
        logs: list[list[str]] = [[], []]

        def start(place: int) -> jobs.Job:
            return jobs.submit(command, server=server, job_id="at-once", write_log=logs[place].append)

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(start, range(2))
        assert first.submission_id == second.submission_id
        assert (tmp_path / "runs").read_text() == "run\n"
        assert ["".join(log).splitlines()[-1] for log in logs] == ["done", "done"]

    @pytest.mark.parametrize("job_id", ["", "a b", "../x", "-x", "x" * 81])
    def test_an_id_that_is_none_is_refused(self, server: JobServer, job_id: str) -> None:
        with pytest.raises(ClusterError, match="use letters, digits, _ and -"):
            jobs.submit(["true"], server=server, job_id=job_id)

    def test_no_wait_stop_wait_list_and_logs(
        self, ray_head: LocalCluster, server: JobServer, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        command = ["sh", "-c", "echo started; sleep 1000"]
        job = jobs.submit(command, server=server, job_id="sleeper", wait=False)
        assert not job.status.is_end
        code, _, error = run(app, "jobs", "wait", "sleeper", "--timeout-s", "1")
        assert (code, "job sleeper is still" in error, "it runs on" in error) == (1, True, True)
        while "started" not in run(app, "jobs", "logs", "sleeper")[1]:
            time.sleep(0.2)
        code, out, _ = run(app, "jobs", "stop", "sleeper", "--json")
        assert (code, json.loads(out)["status"]) == (0, "STOPPED")
        assert run(app, "jobs", "stop", "sleeper")[0] == 0, "a job that has ended stays as it is"
        assert run(app, "jobs", "wait", "sleeper")[0] == 130
        code, out, _ = run(app, "jobs", "list", "--json")
        (told,) = [each for each in json.loads(out)["jobs"] if each["job_id"] == "sleeper"]
        assert told["status"] == "STOPPED"
        assert "sleep 1000" in told["command"]
        assert "sleeper" in run(app, "jobs", "list")[1]
        with pytest.raises(ClusterError, match=r"job sleeper was stopped .* --again"):
            jobs.submit(command, server=server, job_id="sleeper")

    @pytest.mark.parametrize("command", ["logs", "stop", "wait"])
    def test_an_id_that_is_not_known_is_one_sentence(
        self, ray_head: LocalCluster, app: typer.Typer, command: str
    ) -> None:
        _, _, error = run(app, "jobs", command, "nobody", "--address", ray_head.dashboard_url)
        assert error == f"the job server at {ray_head.dashboard_url} knows no job 'nobody'; see onesheet jobs list"

    @pytest.mark.fault
    def test_a_job_that_is_stopped_elsewhere_ends_its_submit_with_130(
        self,
        ray_head: LocalCluster,
        server: JobServer,
        app: typer.Typer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "onesheet.py").write_text("import time\ndef main(): time.sleep(1000)\n")
        monkeypatch.chdir(tmp_path)

        def stop_soon() -> None:
            while (job := find_job(server, "stopped-meanwhile")) is None or job.status is not JobStatus.RUNNING:
                time.sleep(0.2)
            jobs.stop(server, job.submission_id)

        thread = threading.Thread(target=stop_soon)
        thread.start()
        code, out, _ = run(app, "submit", "--json", "--job-id", "stopped-meanwhile", "train")
        thread.join()
        assert (code, json.loads(out.splitlines()[-1])["status"]) == (130, "STOPPED")

    @pytest.mark.fault
    @pytest.mark.parametrize("is_ours", [True, False])
    def test_ctrl_c_stops_the_job_that_was_started_here_only(
        self, ray_head: LocalCluster, server: JobServer, is_ours: bool
    ) -> None:
        name = f"interrupted-{is_ours}"
        words = ["sh", "-c", "echo started; sleep 1000"]
        if not is_ours:
            jobs.submit(words, server=server, job_id=name, wait=False)
        script = (
            "import sys; from cluster import jobs; from cluster.job_server import JobServer\n"
            f"result = jobs.submit({words!r}, server=JobServer(sys.argv[1]), job_id={name!r})\n"
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
        job = find_job(server, name)
        assert job
        if is_ours:
            assert output.split()[-2:] == [name, "STOPPED"]
            assert f"stopping job {name}; its log stays: onesheet jobs logs {name}" in errors
            assert job.status is JobStatus.STOPPED
        else:
            assert f"job {name} runs on" in errors
            assert job.status is JobStatus.RUNNING
            jobs.stop(server, job.submission_id)

    def test_the_submit_command_ends_with_json_and_the_jobs_own_options_go_to_the_job(
        self, ray_head: LocalCluster, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        code, out, _ = run(app, "submit", "--json", "--no-working-dir", "no-such-command", "--json", "--workers", "2")
        assert code == 1, out
        assert "onesheet no-such-command --json --workers 2" in out
        told = json.loads(out.splitlines()[-1])
        assert told["status"] == "FAILED"
        assert told["job_id"]

    def test_no_secret_of_the_shell_is_in_what_the_job_server_tells(
        self, ray_head: LocalCluster, server: JobServer, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard_url)
        hidden = "never-to-be-seen-anywhere"
        monkeypatch.setenv("ONESHEET_TMDB_TOKEN", hidden)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", hidden)
        run(app, "submit", "--job-id", "quiet", "--no-working-dir", "models", "list")
        answers = [server.client._do_request("GET", f"/api/jobs/{path}").text for path in ("", "quiet", "quiet/logs")]
        assert "models list" in answers[0]
        assert [hidden in text for text in answers] == [False, False, False]

    @pytest.mark.fault
    def test_rays_own_submit_runs_the_same_command_line(self, ray_head: LocalCluster) -> None:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "job", "submit", "--address", ray_head.dashboard_url, "--", "onesheet", "--help"]
        environment = {**os.environ, **ray_head.environment()}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert "Usage: onesheet" in told.stdout
