"""Calls of `onesheet pipeline` in processes of their own, as cron makes them, and what they left in the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.pipeline.record import Record
from cluster.store import Store, open_store
from tests.conftest import ROOT

Call = subprocess.Popen[str]


class Nightly:
    """A pipeline whose file can be written anew. environment: of each call, over this one without its settings."""

    def __init__(self, folder: Path, store: str, catalog: Path | str, environment: Mapping[str, str]) -> None:
        self.file = folder / "pipeline.toml"
        self.store: Store = open_store(store)
        self._catalog = catalog
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ONESHEET_", "RAY_"))}
        self.environment = {**kept, "NO_COLOR": "1", "ONESHEET_STORE": store, **environment}
        self._folder = folder
        self._calls = 0

    def write(self, tables: Mapping[str, Mapping[str, object]]) -> None:
        """Its file anew."""
        lines = ['name = "nightly"', f"catalog = {json.dumps(str(self._catalog))}"]
        for table, options in tables.items():
            lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
        self.file.write_text("\n".join(lines) + "\n")

    def start(self, *words: str) -> Call:
        """Start a call; its remarks go to a file of their own."""
        self._calls += 1
        with self.log(self._calls).open("w") as log:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "onesheet.py"), "pipeline", str(self.file), "--json", *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def log(self, call: int) -> Path:
        """A call's remarks, by its number from 1."""
        return self._folder / f"call-{call}.log"

    def finish(self, *words: str, call: Call | None = None, timeout_s: float = 300) -> dict[str, Any]:
        """What a call tells as its last line, its exit code among it; and nothing else on standard output."""
        process = call or self.start(*words)
        out, _ = process.communicate(timeout=timeout_s)
        remarks = self.log(self._calls).read_text()
        assert "Traceback" not in remarks, remarks[-3000:]
        (line,) = out.splitlines()
        told: dict[str, Any] = json.loads(line)
        assert told["exit_code"] == process.returncode, remarks[-3000:]
        return told

    @property
    def record(self) -> Record:
        """As it is now."""
        return Record.load(self.store, "nightly")

    def wait_for(self, call: Call, stage: str, is_so: Callable[[], object] = lambda: True, *, timeout_s: float) -> None:
        """Until a stage runs, and something more is so; fails where the call ends before."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.record.stages.get(stage)
            if found is not None and found.status == "running" and is_so():
                return
            assert call.poll() is None, f"it ended in front of {stage}: {self.log(self._calls).read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{stage} did not come: {self.log(self._calls).read_text()[-3000:]}"
            time.sleep(0.1)

    def kill(self, call: Call) -> None:
        """SIGKILL: no chance to leave anything in order."""
        call.send_signal(signal.SIGKILL)
        call.communicate()

    def epochs(self) -> list[int]:
        """The epochs of all runs, as their histories tell them."""
        keys = [key for key in self.store.list("runs/") if key.endswith("/history.json")]
        return [row["epoch"] for key in keys for row in json.loads(self.store.get(key))]

    def posters(self) -> int:
        """How many are stored now."""
        return sum(1 for _ in self.store.list("posters/"))


def outcomes(told: Mapping[str, Any]) -> dict[str, str]:
    """By stage."""
    return {report["stage"]: report["outcome"] for report in told["stages"]}
