"""What a family of processes holds and uses while somebody asks it."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil

from cluster.processes import Family


@dataclass(slots=True)
class Watched:
    """Samples while its `with` block lasts. samples: seconds from the start, bytes of each kind of process."""

    family: Family
    every_s: float = 1.0
    samples: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    cpu_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.cpu_s = -self._cpu_s()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        self.cpu_s += self._cpu_s()

    def mean_mb(self, kind: str, first: float, last: float) -> float:
        """The mean of a kind's megabytes between two parts of the time, 0 to 1."""
        ends = self.samples[-1][0]
        found = [held.get(kind, 0) for at, held in self.samples if first * ends <= at <= last * ends]
        return sum(found) / max(1, len(found)) / 1e6

    def _watch(self) -> None:
        began = time.monotonic()
        members = self.family.members()
        while not self._over.wait(self.every_s):
            held: dict[str, int] = {}
            for process in members:
                with contextlib.suppress(psutil.Error):
                    # Unlike the PSS, this costs nothing to ask; what is shared does not grow.
                    kind = kind_of(process)
                    held[kind] = held.get(kind, 0) + process.memory_info().rss
            held["all"] = sum(held.values())
            self.samples.append((time.monotonic() - began, held))

    def _cpu_s(self) -> float:
        used = 0.0
        for process in self.family.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
        return used


def kind_of(process: psutil.Process) -> str:
    """What a process of the endpoint is: `replica`, `proxy` or `other`."""
    words = " ".join(process.cmdline())
    if "ServeReplica" in words and "posters" in words:
        return "replica"
    return "proxy" if "ProxyActor" in words or "HAProxy" in words or "haproxy" in words else "other"
