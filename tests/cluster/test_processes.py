"""Families of processes: whatever way we end, they are gone, and nobody else's is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.processes import Family

# A shell that leaves a daemon behind: another session, no parent, deaf to SIGTERM.
_DAEMON = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while true; do sleep 1; done' & sleep 0.3; exit 0"
_OWNER = """
import os, sys, time
from pathlib import Path
from cluster.processes import Family, sigterm_as_exit
with sigterm_as_exit(), Family(grace_s=1) as family:
    child = family.start(["sleep", "1000"], environment=os.environ, log=Path(sys.argv[1]))
    print(child.pid, flush=True)
    time.sleep(1000)
"""


def _wait_until(condition, what: str, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_daemon_that_left_its_parent_ends_with_the_family(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        with Family(grace_s=0.5) as family:
            family.start(["sh", "-c", _DAEMON], environment=os.environ, log=log)
            _wait_until(lambda: log.read_text().strip() and family.has_failed(), "the shell left its daemon behind")
            daemon = int(log.read_text())
            assert _runs(daemon)
        assert not _runs(daemon)
        assert _runs(stranger.pid)
        stranger.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_family_ends_when_a_signal_ends_its_owner(tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent was killed")
    command = [sys.executable, "-c", _OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        assert _runs(child)
        owner.send_signal(number)
        owner.wait(10)
    _wait_until(lambda: not _runs(child), "the child is gone")


def test_a_family_is_asked_before_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Family() as family:
        script = "trap 'echo bye; exit' TERM; echo up; while true; do sleep 0.1; done"
        family.start(["sh", "-c", script], environment=os.environ, log=log)
        _wait_until(lambda: "up" in log.read_text(), "the shell runs")
    assert log.read_text() == "up\nbye\n"
