"""Where a stage's command runs: as a process here, or as a job on a Ray cluster."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from cluster.pipeline.stage_log import Ended, StageLog
from cluster.processes import Family, installed

_LOOK_S = 0.2
_GRACE_S = 20.0
# A shell's and Kubernetes' ways to say that a process was killed or told to end.
_KILLED = frozenset({137, 143})


class Runner(Protocol):
    """Runs commands to their end, one at a time. On any exception, SIGTERM's included, the command is stopped first."""

    def run(self, command: list[str], job_id: str, log: StageLog, watch: Callable[[], None]) -> Ended:
        """Run a command, its words to `log`. job_id: of this attempt; the same one goes on where it still runs.

        watch: is called now and then, and raises to stop it.
        """

    def is_there(self, job_id: str) -> bool:
        """Whether an attempt of before runs on without us, or has ended well without anyone to hear of it."""

    def stop(self, job_id: str) -> None:
        """Stop an attempt of before that may run on."""


class LocalRunner:
    """Processes of this machine."""

    def __init__(self, family: Family, folder: Path, environment: Mapping[str, str]) -> None:
        self._family, self._folder, self._environment = family, folder, environment

    def run(self, command: list[str], job_id: str, log: StageLog, watch: Callable[[], None]) -> Ended:
        """As in Runner."""
        path = self._folder / f"{job_id}.log"
        process = self._family.start(installed(command), environment=self._environment, log=path)
        with path.open(encoding="utf-8", errors="replace", newline="\n") as said:
            while process.poll() is None:
                watch()
                log.write(said.read())
                time.sleep(_LOOK_S)
            log.write(said.read())
        log.close()
        code = process.returncode
        if code < 0 or code in _KILLED:
            # What it had started is gone before it is started again.
            self._family.end()
            return Ended(None, f"it was killed ({-code if code < 0 else code - 128})")
        return Ended(code, f"it ended with exit code {code}")

    def is_there(self, job_id: str) -> bool:
        """Never: a process ends with the pipeline that started it."""
        return False

    def stop(self, job_id: str) -> None:
        """It has ended with the pipeline that started it."""


@contextlib.contextmanager
def local_runner(place: str, environment: Mapping[str, str], *, grace_s: float = _GRACE_S) -> Iterator[LocalRunner]:
    """A runner that leaves nothing behind.

    place: what this pipeline is called among all. What an earlier run of it left here, as it was killed, is told to end
    by the kernel, and gone before anything else begins: two trainings of one run would write into each other's.
    """
    mark = hashlib.sha256(place.encode()).hexdigest()[:16]
    with (
        tempfile.TemporaryDirectory(prefix="onesheet-pipeline-", ignore_cleanup_errors=True) as folder,
        Family(grace_s=grace_s, mark=mark) as family,
    ):
        psutil.wait_procs(family.members(), timeout=grace_s)
        family.end()
        yield LocalRunner(family, Path(folder), {**os.environ, **environment})
