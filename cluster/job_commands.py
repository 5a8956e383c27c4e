"""`onesheet submit` and `onesheet jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import jobs
from cluster.console import JsonFlag, finish, say
from cluster.job_server import ADDRESS_VARIABLE, DEFAULT_ADDRESS, JobServer
from cluster.job_table import Job, JobStatus, list_jobs, the_job
from cluster.settings import load_settings

# Options before COMMAND are submit's own, all behind it belong to the command that is submitted.
SUBMIT_CONTEXT = {"allow_interspersed_args": False}

_EXIT_CODES = {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 130}

AddressOption = Annotated[
    str, typer.Option(envvar=ADDRESS_VARIABLE, help="The job server: the Ray dashboard's address.")
]
JobArgument = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB", show_default=False)]

jobs_app = typer.Typer(no_args_is_help=True, help="List, follow, stop and wait for the jobs of a Ray cluster.")


def submit(
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="An onesheet command with its options.", show_default=False),
    ],
    address: AddressOption = DEFAULT_ADDRESS,
    job_id: Annotated[
        str | None,
        typer.Option(help="A name of your own: submitting it twice runs the job once.", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run a job that has ended once more.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the job is submitted.")] = False,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="The code to send; by default the project around this folder.", show_default=False),
    ] = None,
    no_working_dir: Annotated[
        bool, typer.Option("--no-working-dir", help="Send no code: run what is installed on the nodes.")
    ] = False,
    max_upload_mb: Annotated[float, typer.Option(min=0, help="Refuse to send more.")] = 50,
    env: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=VALUE, a variable for the job; never a secret.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run an onesheet command as a job on a running Ray cluster.

    The job gets the code of this working tree, without data, secrets and what .gitignore and .rayignore name, and the
    ONESHEET_ settings of this shell. It gets no credentials: each node has its own. The log is followed, also over a
    connection that breaks; Ctrl-C stops the job. Exits with 0 if the job succeeded, 1 if it failed, 130 if it was
    stopped.

    [bold]Examples[/]

        onesheet submit train --architecture mobilenet_v2 --workers 2

        onesheet submit --address http://ray-head:8265 --json crawl titles.csv

        onesheet submit --job-id nightly-2026-03-01 --no-wait crawl s3://bucket/titles.csv --workers 8

        onesheet submit --env AWS_PROFILE=posters --env ONESHEET_SECRETS_DIR=/run/secrets/onesheet tune
    """
    from cluster.job_upload import job_environment, packed, remarks  # noqa: PLC0415  help stays quick

    settings = load_settings()
    server = JobServer(address)
    environment = job_environment(settings, env or ())
    for remark in remarks(settings, environment, is_here=server.is_here):
        say(remark)
    most = int(max_upload_mb * 1e6)
    with packed(command, settings, working_dir, is_wanted=not no_working_dir, max_bytes=most) as package:
        job = jobs.submit(
            ["onesheet", *command],
            server=server,
            working_dir=package,
            environment=environment,
            job_id=job_id,
            again=again,
            wait=not no_wait,
        )
    _end(job, as_json=as_json)


@jobs_app.command("list")
def list_command(address: AddressOption = DEFAULT_ADDRESS, as_json: JsonFlag = False) -> None:
    """List the jobs of the cluster, the newest first.

    [bold]Examples[/]

        onesheet jobs list

        onesheet jobs list --address http://ray-head:8265 --json
    """
    found = list_jobs(JobServer(address))
    finish({"jobs": [job.to_dict() for job in found]}, as_json=as_json, table=None if as_json else jobs_table(found))


@jobs_app.command("logs")
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job's end.")] = False,
    address: AddressOption = DEFAULT_ADDRESS,
    as_json: JsonFlag = False,
) -> None:
    """Show a job's log; with --follow as it grows, also over a connection that breaks.

    Ctrl-C ends the following, not the job.

    [bold]Examples[/]

        onesheet jobs logs nightly-2026-03-01

        onesheet jobs logs nightly-2026-03-01 --follow
    """
    server = JobServer(address)
    found = the_job(server, job)
    if follow:
        found = jobs.follow(server, found)
    else:
        jobs.write_log(server, found)
    if as_json:
        finish(found.to_dict(), as_json=True)


@jobs_app.command("stop")
def stop(job: JobArgument, address: AddressOption = DEFAULT_ADDRESS, as_json: JsonFlag = False) -> None:
    """Stop a job, and wait until it has ended. A job that has ended already stays as it is.

    [bold]Examples[/]

        onesheet jobs stop nightly-2026-03-01
    """
    server = JobServer(address)
    _tell(jobs.stop(server, the_job(server, job).submission_id), as_json=as_json)


@jobs_app.command("wait")
def wait(
    job: JobArgument,
    timeout_s: Annotated[
        float | None, typer.Option(min=0, help="Give up after this many seconds; the job runs on.", show_default=False)
    ] = None,
    address: AddressOption = DEFAULT_ADDRESS,
    as_json: JsonFlag = False,
) -> None:
    """Wait for a job's end; exits as [bold]onesheet submit[/] does: 0, 1 if it failed, 130 if it was stopped.

    [bold]Examples[/]

        onesheet jobs wait nightly-2026-03-01

        onesheet jobs wait nightly-2026-03-01 --timeout-s 3600 --json
    """
    server = JobServer(address)
    _end(jobs.wait_for(server, the_job(server, job).submission_id, timeout_s=timeout_s), as_json=as_json)


def _end(job: Job, *, as_json: bool) -> None:
    """Tell how a job stands; leave with the exit code of its end."""
    _tell(job, as_json=as_json)
    raise typer.Exit(_EXIT_CODES.get(job.status, 0))


def _tell(job: Job, *, as_json: bool) -> None:
    told = {"job_id": job.job_id, "status": job.status.value, "exit_code": job.exit_code}
    reason = {"message": job.message.strip()} if job.status is JobStatus.FAILED and job.exit_code is None else {}
    finish(told | reason, as_json=as_json)


def jobs_table(found: list[Job]) -> Any:
    """Jobs as people look at them."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "status", "started (UTC)", "took"):
        table.add_column(name, no_wrap=True)
    table.add_column("command", overflow="ellipsis", no_wrap=True)
    colours = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "bold red", JobStatus.RUNNING: "bold"}
    for job in found:
        started = f"{job.started_at:%Y-%m-%d %H:%M:%S}" if job.started_at else ""
        code = f" ({job.exit_code})" if job.exit_code else ""
        status = f"[{colours.get(job.status, 'dim')}]{job.status.lower()}{code}[/]"
        table.add_row(job.submission_id, status, started, duration(job.seconds), job.command)
    return table


def duration(seconds: float | None) -> str:
    """12 s, 3 min 4 s, 2 h 5 min."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
