"""Jobs on a running Ray cluster: submit a command line, follow its log, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.console import say
from cluster.errors import ClusterError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_CONNECT_TIMEOUT_S = 5
_SILENCE_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
# Ray's clients prefer this variable to the address that they are given.
_RAY_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"


class JobStatus(StrEnum):
    """How a job ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that has ended."""

    job_id: str
    status: JobStatus
    exit_code: int | None
    """The command's own; None where the job ended without one, such as when it was stopped."""
    message: str


def submit(
    command: list[str],
    *,
    address: str = DEFAULT_ADDRESS,
    working_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
    submission_id: str | None = None,
    write_log: Callable[[str], object] | None = None,
) -> JobResult:
    """Run a command line on the cluster, as `ray job submit` does, pass its log on, and wait for its end.

    address: of the job server, http://host:8265. working_dir: a folder that is uploaded for the job to run in.
    environment: ONESHEET_… variables for the job; others are refused, since a job's environment can be read by
    everyone who sees the cluster's dashboard, and each node finds its own credentials. write_log: standard output
    unless given.
    Ctrl-C stops the job, as it stops a local command, and says how to see its log. Raises ClusterError.
    """
    for name in environment or {}:
        if not name.startswith("ONESHEET_"):
            raise ClusterError(f"{name} is not passed on to a job: only ONESHEET_ settings are; set it on the nodes")
    if working_dir is not None and not working_dir.is_dir():
        raise ClusterError(f"the working folder {working_dir} does not exist")
    address = checked_address(address)
    runtime_env: dict[str, Any] = {"env_vars": dict(environment or {})}
    if working_dir is not None:
        runtime_env["working_dir"] = str(working_dir)
    with _explained(address):
        client = job_client(address)
        job_id = client.submit_job(entrypoint=shlex.join(command), runtime_env=runtime_env, submission_id=submission_id)
    try:
        _follow(client, job_id, write_log or sys.stdout.write)
        return _wait_for_end(client, job_id, address)
    except KeyboardInterrupt:
        say(f"stopping job {job_id}; its log stays: ray job logs --address {address} {job_id}")
        with _explained(address):
            client.stop_job(job_id)
        return _wait_for_end(client, job_id, address, timeout_s=_STOP_TIMEOUT_S)


def _follow(client: Any, job_id: str, write_log: Callable[[str], object]) -> None:
    """Pass the log on until it ends; a cut connection only costs the rest of the log."""

    async def tail() -> None:
        async for text in client.tail_job_logs(job_id):
            write_log(text)
            sys.stdout.flush()

    try:
        asyncio.run(tail())
    except (OSError, RuntimeError) as error:
        say(f"the log of job {job_id} broke off ({_gist(error)}); waiting for the job's end")


def _wait_for_end(client: Any, job_id: str, address: str, *, timeout_s: float | None = None) -> JobResult:
    started = heard = time.monotonic()
    while True:
        try:
            info = client.get_job_info(job_id)
            heard = time.monotonic()
            if info.status.is_terminal():
                return JobResult(job_id, JobStatus(info.status.value), info.driver_exit_code, info.message or "")
        except (OSError, RuntimeError) as error:
            if time.monotonic() - heard > _SILENCE_TIMEOUT_S:
                raise ClusterError(
                    f"the job server at {address} no longer answers ({_gist(error)}); job {job_id} may run on: "
                    f"ray job status --address {address} {job_id}"
                ) from error
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise ClusterError(
                f"job {job_id} still runs {timeout_s:.0f} s after it was told to stop: "
                f"ray job status --address {address} {job_id}"
            )
        time.sleep(0.2)


def job_client(address: str) -> Any:
    """Ray's JobSubmissionClient for exactly this address, whatever the environment says."""
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    _use_token()
    before = os.environ.get(_RAY_ADDRESS_VARIABLE)
    os.environ[_RAY_ADDRESS_VARIABLE] = address
    try:
        return JobSubmissionClient(address)
    finally:
        if before is None:
            del os.environ[_RAY_ADDRESS_VARIABLE]
        else:
            os.environ[_RAY_ADDRESS_VARIABLE] = before


def _use_token() -> None:
    """Let Ray's clients send the token in ~/.ray/auth_token, as ray.init does by itself and they do not."""
    with contextlib.suppress(ImportError):  # Ray before 2.60 knows no such default
        from ray._private.authentication import authentication_token_setup as setup  # noqa: PLC0415

        setup.logger.setLevel(logging.ERROR)
        setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def checked_address(address: str) -> str:
    """The address with its scheme, after a knock: Ray's client would wait for minutes."""
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(f"{address!r} is not a job server's address: use the dashboard's, such as {DEFAULT_ADDRESS}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no job server answers at {url} ({error}); give the address of the Ray dashboard with --address or "
            f"{_RAY_ADDRESS_VARIABLE}, or start a cluster: ray start --head"
        ) from error
    return url


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    from ray.exceptions import RayError  # noqa: PLC0415

    try:
        yield
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ClusterError(f"the job server at {address} refused: {_gist(error)}") from error


def _gist(error: Exception) -> str:
    """The sentence in an error; the job server sends its whole traceback, whose last line it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")] or [type(error).__name__]
    return lines[-1] if "Traceback" in lines[0] else lines[0]
