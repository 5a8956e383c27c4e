"""How many cores there are for this process."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """The cores that this process may use: those that it is bound to, within the limit of a container; at least one.

    A part of a core is left out, as Ray does.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit(cgroups)
    return bound if limit is None else max(1, min(bound, int(limit)))


def _limit(cgroups: Path) -> float | None:
    """The cores' worth of time that a container may take, by cgroups' second version or their first."""
    first = cgroups / "cpu"
    try:
        if (both := cgroups / "cpu.max").is_file():
            quota, period = both.read_text().split()
        else:
            quota, period = ((first / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        most = int(quota) / int(period)
    except (OSError, ValueError):
        return None  # no container, or one that is `max`
    return most if most > 0 else None
