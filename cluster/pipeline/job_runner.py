"""Stages as jobs on a running Ray cluster. A job runs on when the pipeline is killed; the next call follows it."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import ClusterError
from cluster.job_server import JobServer, gist, is_unknown
from cluster.pipeline.lease import LostError
from cluster.pipeline.stage_log import Ended, StageLog

_LOOK_S = 1.0
_LOG_EVERY_S = 3.0
_SILENCE_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 25.0


class JobRunner:
    """Runs each command as a job of the job server at an address. environment: ONESHEET_ variables for the jobs."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self._server, self._environment = JobServer(address), dict(environment)
        self._client = self._server.client

    def run(self, command: list[str], job_id: str, log: StageLog, watch: Callable[[], None]) -> Ended:
        """As in `runners.Runner`."""
        if self._find(job_id) is None:
            with self._server.explained():
                self._client.submit_job(
                    entrypoint=shlex.join(command), submission_id=job_id, runtime_env={"env_vars": self._environment}
                )
        try:
            info = self._follow(job_id, log, watch)
        except LostError:  # the one who took over follows the same job
            raise
        except BaseException:
            self.stop(job_id)
            raise
        if info.status.value == "SUCCEEDED":
            return Ended(0, "it succeeded")
        # Without an exit code of its own, the job's process, its supervisor or its node is gone.
        own = info.driver_exit_code if info.status.value == "FAILED" else None
        code = own if own is not None and own > 0 and own not in (137, 143) else None
        return Ended(code, gist(info.message or info.status.value))

    def is_there(self, job_id: str) -> bool:
        """As in `runners.Runner`."""
        info = self._find(job_id)
        return info is not None and (not info.status.is_terminal() or info.status.value == "SUCCEEDED")

    def _find(self, job_id: str) -> Any:
        try:
            return self._client.get_job_info(job_id)
        except (OSError, RuntimeError) as error:
            if is_unknown(error):
                return None
            raise ClusterError(f"the job server at {self._server.address} does not answer: {gist(error)}") from error

    def _follow(self, job_id: str, log: StageLog, watch: Callable[[], None]) -> Any:
        """Its info at its end. A server that is away for a while costs nothing."""
        heard = time.monotonic()
        logged, read = 0.0, 0
        while True:
            watch()
            try:
                info = self._client.get_job_info(job_id)
                heard = time.monotonic()
                is_over = info.status.is_terminal()
                if is_over or time.monotonic() - logged > _LOG_EVERY_S:
                    # The log lies on the job's node, which may be gone.
                    with contextlib.suppress(OSError, RuntimeError):
                        text = self._client.get_job_logs(job_id)
                        log.write(text[read:])
                        read = len(text)
                    logged = time.monotonic()
                if is_over:
                    log.close()
                    return info
            except (OSError, RuntimeError) as error:
                if time.monotonic() - heard > _SILENCE_TIMEOUT_S:
                    raise ClusterError(
                        f"the job server at {self._server.address} no longer answers ({gist(error)}); job {job_id} "
                        "may run on: run the same command again to follow it"
                    ) from error
            time.sleep(_LOOK_S)

    def stop(self, job_id: str) -> None:
        """As in `runners.Runner`."""
        with contextlib.suppress(OSError, RuntimeError):
            self._client.stop_job(job_id)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            while not self._client.get_job_info(job_id).status.is_terminal() and time.monotonic() < deadline:
                time.sleep(_LOOK_S / 2)
