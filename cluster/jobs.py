"""Jobs on a running Ray cluster: submit a command line, follow it to its end, wait for it, stop it."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.console import say
from cluster.errors import ClusterError
from cluster.job_log import PATIENCE_S, follow_log
from cluster.job_server import JobServer, gist, is_unknown
from cluster.job_table import Job, JobStatus, find_job, metadata_of, read_job, view

_STOP_TIMEOUT_S = 30
_LOOK_S = 0.2
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


def submit(
    command: list[str],
    *,
    server: JobServer,
    working_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
    job_id: str | None = None,
    again: bool = False,
    wait: bool = True,
    write_log: Callable[[str], object] | None = None,
) -> Job:
    """Run a command line on the cluster, as `ray job submit` does, pass its log on, and wait for its end.

    working_dir: a folder or a zip file that is uploaded for the job to run in. environment: variables for the job;
    the caller keeps secrets out of it, since everyone who sees the cluster's dashboard can read them. job_id: a name of
    the caller's, under which a job runs once: where it runs already, it is followed; where it succeeded, that is the
    answer; where it failed, it runs again only with `again`. wait: False returns once it is submitted. write_log:
    standard output unless given.
    Ctrl-C stops a job that was started here, as it stops a local command. Raises ClusterError.
    """
    if job_id is not None and not _ID.fullmatch(job_id):
        raise ClusterError(f"job id {job_id!r}: use letters, digits, _ and -, at most 80, the first no mark")
    runtime_env: dict[str, Any] = {"env_vars": dict(environment or {})}
    if working_dir is not None:
        runtime_env["working_dir"] = str(working_dir)
    job, is_ours = _start(server, shlex.join(command), job_id, runtime_env, again=again)
    if job.status.is_end or not wait:
        return job
    try:
        return follow(server, job, write_log)
    except KeyboardInterrupt:
        if not is_ours:
            say(f"job {job.job_id} runs on, as it was started elsewhere: onesheet jobs stop {job.job_id}")
            raise
        say(f"stopping job {job.job_id}; its log stays: onesheet jobs logs {job.job_id}")
        return stop(server, job.submission_id)


def follow(server: JobServer, job: Job, write_log: Callable[[str], object] | None = None) -> Job:
    """Pass a job's log on from its beginning to the job's end. Returns the job as it ended."""
    follow_log(server.client, job.submission_id, write_log or _write_now)
    return read_job(server, job.submission_id)


def write_log(server: JobServer, job: Job, write: Callable[[str], object] | None = None) -> None:
    """Write what a job's log holds now."""
    with server.explained():
        text = server.client.get_job_logs(job.submission_id)
    (write or _write_now)(text)


def wait_for(
    server: JobServer,
    submission_id: str,
    *,
    timeout_s: float | None = None,
    patience_s: float = PATIENCE_S,
    look_s: float = _LOOK_S,
    on_look: Callable[[Job | None], None] = lambda job: None,
) -> Job:
    """Wait for a job's end, looking every look_s. Raises ClusterError after timeout_s, or after patience_s of silence.

    on_look: is told at each look, the last one too, how the job stands, and None while the server does not answer;
    what it raises ends the waiting.
    """
    began = heard = time.monotonic()
    while True:
        job = None
        try:
            job = view(server.client.get_job_info(submission_id))
            heard = time.monotonic()
        except (OSError, RuntimeError) as error:
            if is_unknown(error):
                raise ClusterError(f"the job server at {server.address} no longer knows job {submission_id}") from error
            if time.monotonic() - heard > patience_s:
                raise ClusterError(
                    f"the job server at {server.address} has not answered for {patience_s:.0f} s ({gist(error)}); "
                    f"job {submission_id} may run on: the same command again follows it"
                ) from error
        on_look(job)
        if job is not None and job.status.is_end:
            return job
        if timeout_s is not None and time.monotonic() - began > timeout_s:
            stands = f"is still {job.status.lower()}" if job else "has not been heard of"
            raise ClusterError(f"job {submission_id} {stands} after {timeout_s:g} s; it runs on")
        time.sleep(look_s)


def stop(server: JobServer, submission_id: str, *, timeout_s: float = _STOP_TIMEOUT_S) -> Job:
    """Tell a job to end, and wait until it has; one that has ended stays as it is."""
    with server.explained():
        server.client.stop_job(submission_id)
    return wait_for(server, submission_id, timeout_s=timeout_s)


def _start(
    server: JobServer, entrypoint: str, job_id: str | None, runtime_env: dict[str, Any], *, again: bool
) -> tuple[Job, bool]:
    """The job, and whether it was started by this call."""
    known = None if job_id is None else find_job(server, job_id)
    if known is not None:
        if known.command != entrypoint:
            raise ClusterError(f"job {job_id} is there and runs `{known.command}`; choose another --job-id")
        if not known.status.is_end:
            say(f"job {job_id} is {known.status.lower()} already: following it")
            return known, False
        if known.status is JobStatus.SUCCEEDED and not again:
            say(f"job {job_id} {known.how_it_stands()}; --again runs it once more")
            return known, False
        if not again:
            raise ClusterError(
                f"job {job_id} {known.how_it_stands()}: see `onesheet jobs logs {job_id}`; "
                "the same submit with --again runs it again"
            )
    attempt = known.attempt + 1 if known else 1
    wanted = job_id if attempt == 1 else f"{job_id}.{attempt}"
    try:
        with server.explained():
            submission_id = server.client.submit_job(
                entrypoint=entrypoint,
                runtime_env=runtime_env,
                submission_id=wanted,
                metadata=metadata_of(job_id, attempt),
            )
    except ClusterError:
        # Two that submit the same id at the same moment: the later one is refused.
        other = None if job_id is None else find_job(server, job_id)
        if other is None or other.submission_id != wanted or other.command != entrypoint:
            raise
        say(f"job {job_id} was started by another at this moment: following it")
        return other, False
    say(f"submitted job {job_id or submission_id}")
    return read_job(server, submission_id), True


def _write_now(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
