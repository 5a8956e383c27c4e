"""Run a command and measure it: wall and CPU seconds of it and all that it started, and their peak memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_INTERVAL_S = 0.1
# The kernel walks every page of a process to tell its PSS: of 10 GB that takes longer than the interval.
_MOST_OF_A_CORE = 0.02
# How long descendants may outlive the command before they are ended.
_GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `cpu_s` is what the kernel billed to every process of the tree; `peak_bytes` a sum of PSS, looked at now
    and then; `peak_process_bytes` the most that one of its processes had resident: the kernel misses no moment.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    peak_process_bytes: int
    exit_code: int


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit_s: float = 3600,
    not_ours: Collection[int] = (),
) -> Measured:
    """Run a command to its end, its output in `log`.

    CPU: wait4's rusage of the command, which includes the descendants that their parents waited for, and of each
    orphan, which becomes our child (a Linux subreaper's right), so that short-lived processes are counted too.
    Memory: the proportional set size (PSS: shared pages divided by their users) summed over the tree, each
    100 ms, or less often where looking takes long.
    not_ours: children of this process that are no part of the command (nginx).
    """
    _adopt_orphans()
    before = _children() | set(not_ours)
    with log.open("ab") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environment is None else environment),
            cwd=folder,
            start_new_session=True,
        )
        with _Memory(before, ends_at=began + limit_s) as memory:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                _kill(_tree(before))
                process.wait()
                raise
            wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime + _reap_orphans(before)
    return Measured(wall_s, cpu_s, memory.peak_bytes, usage.ru_maxrss * 1024, process.returncode)


class _Memory:
    """Watches the tree's memory while its block runs, and kills the tree when its time is over."""

    def __init__(self, before: Collection[int], *, ends_at: float) -> None:
        self.peak_bytes = 0
        self._before = before
        self._ends_at = ends_at
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        wait_s = _INTERVAL_S
        while not self._over.wait(wait_s):
            began = time.monotonic()
            processes = _tree(self._before)
            total = 0
            for process in processes:
                with contextlib.suppress(psutil.Error, OSError):
                    memory = process.memory_full_info()
                    total += getattr(memory, "pss", memory.rss)
            self.peak_bytes = max(self.peak_bytes, total)
            wait_s = max(_INTERVAL_S, (time.monotonic() - began) / _MOST_OF_A_CORE)
            if time.monotonic() > self._ends_at:
                _kill(processes)


def _tree(before: Collection[int]) -> list[psutil.Process]:
    """Our descendants, without the children in `before` and theirs."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        if child.pid not in before:
            with contextlib.suppress(psutil.Error):
                found += [child, *child.children(recursive=True)]
    return found


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _reap_orphans(before: Collection[int]) -> float:
    """Wait for what the command left behind, kill it after a while; its CPU seconds."""
    cpu_s = 0.0
    deadline = time.monotonic() + _GRACE_S
    while left := _children() - set(before):
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                ended, _, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    cpu_s += usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            _kill(_tree(before))
        time.sleep(0.02)
    return cpu_s


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
