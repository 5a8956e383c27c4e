"""Processes as tests look at them: while they start and end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil


def running(processes: Iterable[psutil.Process] | None = None) -> dict[psutil.Process, str]:
    """Those of `processes`, or of all on the machine, that run now, each with its command line.

    One that ends while it is looked at is left out, and so is one that has ended and that nobody has asked about yet.
    """
    found = {}
    for process in psutil.process_iter() if processes is None else processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found[process] = " ".join(process.cmdline())
    return found


def titled(title: str, processes: Iterable[psutil.Process] | None = None) -> list[psutil.Process]:
    """Those that run now and have `title` in their command line."""
    return [process for process, words in running(processes).items() if title in words]


def wait_until_gone(processes: Iterable[psutil.Process], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    processes = list(processes)
    while left := running(processes):
        assert time.monotonic() < deadline, f"still running after {timeout_s} s: {left}"
        time.sleep(0.1)
