"""Stages as jobs on a running Ray cluster. A job runs on when the pipeline is killed; the next call follows it."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Mapping

from cluster.errors import ClusterError
from cluster.job_server import JobServer, gist, is_unknown
from cluster.job_table import Job, JobStatus, view
from cluster.jobs import stop, wait_for
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

    def run(self, command: list[str], job_id: str, log: StageLog, watch: Callable[[], None]) -> Ended:
        """As in `runners.Runner`."""
        if self._find(job_id) is None:
            with self._server.explained():
                self._server.client.submit_job(
                    entrypoint=shlex.join(command), submission_id=job_id, runtime_env={"env_vars": self._environment}
                )
        try:
            job = self._follow(job_id, log, watch)
        except LostError:  # the one who took over follows the same job
            raise
        except BaseException:
            self.stop(job_id)
            raise
        if job.status is JobStatus.SUCCEEDED:
            return Ended(0, "it succeeded")
        # Without an exit code of its own, the job's process, its supervisor or its node is gone.
        own = job.exit_code if job.status is JobStatus.FAILED else None
        code = own if own is not None and own > 0 and own not in (137, 143) else None
        return Ended(code, gist(job.message or job.status))

    def is_there(self, job_id: str) -> bool:
        """As in `runners.Runner`."""
        job = self._find(job_id)
        return job is not None and (not job.status.is_end or job.status is JobStatus.SUCCEEDED)

    def _find(self, job_id: str) -> Job | None:
        try:
            return view(self._server.client.get_job_info(job_id))
        except (OSError, RuntimeError) as error:
            if is_unknown(error):
                return None
            raise ClusterError(f"the job server at {self._server.address} does not answer: {gist(error)}") from error

    def _follow(self, job_id: str, log: StageLog, watch: Callable[[], None]) -> Job:
        """The job at its end. A server that is away for a while costs nothing."""
        logged, read = 0.0, 0

        def on_look(job: Job | None) -> None:
            nonlocal logged, read
            watch()
            if job is None or not (job.status.is_end or time.monotonic() - logged > _LOG_EVERY_S):
                return
            # The log lies on the job's node, which may be gone.
            with contextlib.suppress(OSError, RuntimeError):
                text = self._server.client.get_job_logs(job_id)
                log.write(text[read:])
                read = len(text)
            logged = time.monotonic()

        ended = wait_for(self._server, job_id, patience_s=_SILENCE_TIMEOUT_S, look_s=_LOOK_S, on_look=on_look)
        log.close()
        return ended

    def stop(self, job_id: str) -> None:
        """As in `runners.Runner`."""
        with contextlib.suppress(ClusterError):
            stop(self._server, job_id, timeout_s=_STOP_TIMEOUT_S)
