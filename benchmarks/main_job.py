"""The main job from catalogue to endpoint: seconds of each stage, peak memory, and what the model is worth.

    python -m benchmarks.main_job [options of `onesheet demo`]

Memory is the proportional set size (PSS) of every process that the demo started, sampled twice a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table


def pss_bytes(before: set[int]) -> int:
    """The PSS of all processes that are newer than `before`."""
    total = 0
    for process in psutil.process_iter():
        if process.pid not in before:
            with contextlib.suppress(psutil.Error):
                full = process.memory_full_info()
                total += getattr(full, "pss", full.rss)
    return total


def main(options: list[str]) -> None:
    console = Console()
    before = set(psutil.pids())
    peak = 0
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as folder:
        command = [str(Path(sys.executable).with_name("onesheet")), "demo", "--folder", folder, *options, "--json"]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ})
        ready = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ready.is_set():
                peak = max(peak, pss_bytes(before))
                time.sleep(0.5)

        watcher = threading.Thread(target=watch)
        watcher.start()
        line = process.stdout.readline() if process.stdout else b""
        seconds = time.monotonic() - began
        ready.set()
        watcher.join()
        if not line:
            sys.exit(process.wait())
        process.send_signal(signal.SIGINT)
        process.wait()
    result = json.loads(line)
    table = Table("stage", "seconds", title=f"$ onesheet demo {shlex.join(options)}")
    for name, stage_s in result["seconds"].items():
        table.add_row(name, f"{stage_s:.0f}")
    table.add_row("all, from start to an endpoint that answers", f"{seconds:.0f}")
    console.print(table)
    console.print(f"peak memory {peak / 2**30:.1f} GiB on {os.cpu_count()} cores")
    table = Table("metric (test split)", "model", "prior baseline", "ratio")
    for name, value in result["metrics"].items():
        prior = result["prior_metrics"][name]
        table.add_row(name, f"{value:.3f}", f"{prior:.3f}", f"{value / prior:.2f}" if prior else "")
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
