"""A family of child processes that is gone when we are: after `with`, after Ctrl-C, after a SIGKILL of us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

import psutil

_MARK = "ONESHEET_PROCESS_FAMILY"
_PR_SET_PDEATHSIG = 1


class Family:
    """Starts processes and, at the end of its `with` block, ends them and all that they started; nothing else.

    A descendant is known by a mark in its environment or by its parents, since daemons leave their parents and
    some programs (Ray's workers) overwrite their environment with their title.
    On Linux the processes get SIGTERM too when the thread that started them dies: start them in a thread that lasts.

    mark: given, the family is also that of an earlier process of ours that was killed; by default one of its own.
    """

    def __init__(self, *, grace_s: float = 10, mark: str | None = None) -> None:
        self.grace_s = grace_s
        self._mark = mark or secrets.token_hex(8)
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Family:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, so that a Ctrl-C reaches us first.

        Its output goes to `log`; without one, the caller reads it from the process's `stdout`, and errors are shown.
        """
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
            process = subprocess.Popen(  # noqa: S603
                [str(part) for part in command],
                env={**environment, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
                preexec_fn=_end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        self._started.append(process)
        return process

    def members(self) -> set[psutil.Process]:
        """The processes of this family that run now."""
        leaders = set()
        for child in self._started:
            # Until it is waited for, a child's process id is nobody else's.
            if child.poll() is None:
                with contextlib.suppress(psutil.Error):
                    leaders.add(psutil.Process(child.pid))
        return marked(_MARK, self._mark) | with_descendants(leaders)

    def has_failed(self) -> bool:
        """Whether a started process has ended by itself."""
        return any(child.poll() is not None for child in self._started)

    def end(self) -> None:
        """Ask politely, latest first, wait up to `grace_s`, then kill what is left."""
        members = self.members()
        for child in reversed(self._started):
            child.terminate()
        deadline = time.monotonic() + self.grace_s
        for child in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        kill_all(lambda: members | self.members())
        for child in self._started:
            child.wait()


def installed(command: Sequence[str]) -> list[str]:
    """A command line with the program of this installation, whatever the PATH says."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def marked(variable: str, value: str) -> set[psutil.Process]:
    """The processes that were given this variable of the environment, and have not overwritten it."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value:
                found.add(process)
    return found


def with_descendants(processes: set[psutil.Process]) -> set[psutil.Process]:
    """These, and all that they started and that still have them for ancestors."""
    found = set(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= set(process.children(recursive=True))
    return found


def kill_all(find: Callable[[], set[psutil.Process]]) -> None:
    """Kill what is found, until nothing is found that runs."""
    while left := {process for process in find() if _runs(process)}:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Within the block, SIGTERM raises SystemExit, so that `with` blocks clean up as they do after Ctrl-C.

    Takes the place of any other handler: the one that Ray sets on connecting aborts the process after 3 s, in the
    middle of the shutdown, and leaves Ray's agents behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        # Once: a second SIGTERM must not cut the cleaning up short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        # None stands for a handler that was not set from Python, and cannot be set again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _end_with_parent() -> Callable[[], None]:
    """For the child between fork and exec: the kernel sends it SIGTERM when its parent is gone."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
