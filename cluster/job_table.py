"""The jobs that a job server knows: where each stands, found by the id that a person gave it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cluster.errors import ClusterError
from cluster.job_server import JobServer

# The id that a person gave, and how often the job was started: Ray takes an id only once.
_ID_KEY, _ATTEMPT_KEY = "onesheet_job_id", "onesheet_attempt"


class JobStatus(StrEnum):
    """Where a job stands; the last three are its end."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def is_end(self) -> bool:
        """Whether nothing changes any more."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the job server knows it.

    job_id: as it was given or drawn. submission_id: Ray's own, another one for each attempt. exit_code: the command's
    own; None while it runs, and where it ended without one, such as when it was stopped.
    """

    job_id: str
    submission_id: str
    attempt: int
    status: JobStatus
    command: str
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    message: str

    @property
    def seconds(self) -> float | None:
        """How long it ran, or has run by now."""
        if self.started_at is None:
            return None
        return ((self.ended_at or datetime.now(UTC)) - self.started_at).total_seconds()

    def how_it_stands(self) -> str:
        """For a sentence: `has failed with exit code 3 at 2026-03-01 12:00:00 UTC`."""
        if not self.status.is_end:
            return f"is {self.status.lower()}"
        verb = "was stopped" if self.status is JobStatus.STOPPED else f"has {self.status.lower()}"
        code = f" with exit code {self.exit_code}" if self.exit_code else ""
        return f"{verb}{code}" + (f" at {self.ended_at:%Y-%m-%d %H:%M:%S} UTC" if self.ended_at else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "job_id": self.job_id,
            "submission_id": self.submission_id,
            "attempt": self.attempt,
            "status": self.status.value,
            "exit_code": self.exit_code,
            "command": self.command,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "message": self.message,
        }


def metadata_of(job_id: str | None, attempt: int) -> dict[str, str]:
    """What a job is submitted with to be found again."""
    return {} if job_id is None else {_ID_KEY: job_id, _ATTEMPT_KEY: str(attempt)}


def list_jobs(server: JobServer) -> list[Job]:
    """The jobs that were submitted, each attempt of its own, the newest first."""
    with server.explained():
        found = [view(details) for details in server.client.list_jobs() if details.submission_id]
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda job: (job.started_at or earliest, job.attempt), reverse=True)


def find_job(server: JobServer, job_id: str) -> Job | None:
    """The newest attempt of a job, or the one of Ray's own id; None where there is none."""
    found = [job for job in list_jobs(server) if job_id in (job.job_id, job.submission_id)]
    return max(found, key=lambda job: job.attempt, default=None)


def the_job(server: JobServer, job_id: str) -> Job:
    """The newest attempt of a job. Raises ClusterError where there is none."""
    job = find_job(server, job_id)
    if job is None:
        raise ClusterError(f"the job server at {server.address} knows no job {job_id!r}; see onesheet jobs list")
    return job


def read_job(server: JobServer, submission_id: str) -> Job:
    """A job by Ray's id, as it stands now."""
    with server.explained():
        return view(server.client.get_job_info(submission_id))


def view(details: Any) -> Job:
    """Ray's JobDetails as ours."""
    metadata = details.metadata or {}
    return Job(
        job_id=metadata.get(_ID_KEY) or details.submission_id,
        submission_id=details.submission_id,
        attempt=int(metadata.get(_ATTEMPT_KEY, 1)),
        status=JobStatus(details.status.value),
        command=details.entrypoint,
        started_at=_time(details.start_time),
        ended_at=_time(details.end_time),
        exit_code=details.driver_exit_code,
        message=details.message or "",
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
