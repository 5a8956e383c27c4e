"""What a pipeline has done so far, as it is kept in the store: pipelines/<name>/record.json."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import ClusterError, KeyNotFoundError
from cluster.store import Store

Status = Literal["running", "stopped", "failed", "done"]


class StageRecord(BaseModel):
    """A stage's last run. inputs: what its key is made of. seconds: of its last attempt. error: of a failed one."""

    model_config = ConfigDict(extra="forbid")

    key: str
    inputs: dict[str, str]
    status: Status = "running"
    attempts: int = 0
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float = 0.0
    result: dict[str, Any] = {}
    error: str = ""


class Record(BaseModel):
    """All stages' records by name. rounds: how often a stage was asked to be done anew with the same inputs."""

    model_config = ConfigDict(extra="forbid")

    stages: dict[str, StageRecord] = {}
    rounds: dict[str, int] = {}

    @classmethod
    def load(cls, store: Store, name: str) -> Record:
        """An empty one where the pipeline never ran. Raises ClusterError where it cannot be read."""
        try:
            return cls.model_validate_json(store.get(record_key(name)))
        except KeyNotFoundError:
            return cls()
        except ValidationError as error:
            where = store.url_of(record_key(name))
            raise ClusterError(
                f"{where} cannot be read; remove it, and the pipeline looks at every stage again (what a stage has "
                "done is in the store and is not done twice)"
            ) from error

    def save(self, store: Store, name: str) -> None:
        """Keep it."""
        store.put(record_key(name), self.model_dump_json(indent=2).encode(), content_type="application/json")


def record_key(name: str) -> str:
    """Where a pipeline's record is."""
    return f"{folder_of(name)}record.json"


def folder_of(name: str) -> str:
    """Where all that belongs to a pipeline is."""
    return f"pipelines/{name}/"


def now() -> datetime:
    """In UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
