"""What a machine is like, gathered on it. Sent to the nodes by value, so that it also runs where onesheet is missing.

Imports nothing of onesheet but the store, which is one of the things that are tried.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("onesheet", "ray", "tensorflow", "keras", "numpy", "pyarrow", "scrapy")
_KNOCK_S = 3
_GPU_S = 60


def gather_facts(
    store_url: str | None, probe_key: str | None, others: list[tuple[str, str, int]], folder: str
) -> dict[str, Any]:
    """Everything about this machine, as plain values.

    store_url: of the store that should be reached, with probe_key, which another machine has just put there. others:
    (what, host, port) that should be reached. folder: where Ray keeps its files.
    """
    return {
        "versions": _versions(),
        "store": _try_store(store_url, probe_key) if store_url else None,
        "unreachable": _unreachable(others) if others else None,
        "disk": _disk(folder),
        "shared_memory": _disk("/dev/shm"),  # noqa: S108
        "memory": _memory(),
        "open_files": _open_files(),
        "gpus": _gpus(),
    }


class Examiner:
    """An actor on the node that is looked at."""

    def facts(self, *given: Any) -> dict[str, Any]:
        return gather_facts(*given)

    def now(self) -> float:
        return time.time()


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _try_store(url: str, probe_key: str | None) -> str:
    """Why the store cannot be used here; empty where it can."""
    try:
        from cluster.store import open_store  # noqa: PLC0415  may be missing here
    except ImportError as error:
        return f"onesheet cannot be imported: {error}"
    try:
        store = open_store(url)
        store.check()
        if probe_key and not store.exists(probe_key):
            return f"{store.url} is another place here: what was put into it elsewhere is not in it"
    except Exception as error:
        return str(error)
    return ""


def _unreachable(others: list[tuple[str, str, int]]) -> list[str]:
    return [f"{what} at {host}:{port}" for what, host, port in others if not _answers(host, port)]


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_KNOCK_S).close()
    except OSError:
        return False
    return True


def _disk(folder: str) -> dict[str, Any] | None:
    """Bytes in all and free; None where there is no such folder."""
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"folder": folder, "total": total, "free": free}


def _memory() -> dict[str, int]:
    """Bytes in all and available, within the limit of a container where there is one."""
    import psutil  # noqa: PLC0415  comes with Ray

    found = psutil.virtual_memory()
    total, available = int(found.total), int(found.available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        most = int(limit.read_text())
        total, available = min(total, most), min(available, most - int(used.read_text()))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return {"total": total, "available": available}


def _open_files() -> int:
    import resource  # noqa: PLC0415  not on Windows

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _gpus() -> dict[str, Any]:
    """The GPUs that the driver sees, and those that TensorFlow sees, which is asked only where there are any."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S607
        driver = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    except (OSError, subprocess.TimeoutExpired):
        driver = []
    if not driver:
        return {"driver": 0, "tensorflow": None, "said": ""}
    ask = "import tensorflow as tf; print('seen', len(tf.config.list_physical_devices('GPU')))"
    # Ray hides all GPUs from a task that asked for none.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        asked = subprocess.run(  # noqa: S603
            [sys.executable, "-c", ask], capture_output=True, text=True, timeout=_GPU_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"driver": len(driver), "tensorflow": None, "said": f"it did not start within {_GPU_S} s"}
    seen = [line.split()[1] for line in asked.stdout.splitlines() if line.startswith("seen ")]
    said = "" if seen else (asked.stderr.strip().splitlines() or ["it did not start"])[-1]
    return {"driver": len(driver), "tensorflow": int(seen[0]) if seen else None, "said": said}
