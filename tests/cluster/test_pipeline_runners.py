"""A stage's command as a process: what it says and comes to, and that nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.pipeline.runners import LocalRunner, local_runner
from cluster.pipeline.stage_log import StageLog
from tests.processes import running

SLEEP = "import time; print('there', flush=True); time.sleep(100)"

IGNORES = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); "
    "time.sleep(100)"
)


class StopError(Exception):
    """Somebody wants it to stop."""


def nothing() -> None:
    """Nobody wants it to stop."""


def python(runner: LocalRunner, code: str, log: StageLog | None = None) -> int | None:
    return runner.run(["python", "-c", code], "job-1", log or StageLog(), nothing).exit_code


def test_a_command_tells_its_lines_and_its_result():
    lines: list[str] = []
    log = StageLog(lines.append)
    code = "print('one'); print('\\rtwo\\rthree'); print('{\"version\": \"v1\"}'); print('a remark')"
    with local_runner("here", {}) as runner:
        assert python(runner, code, log) == 0
    assert lines == ["one", "three", "a remark"]
    assert log.result == {"version": "v1"}


def test_a_command_that_fails_says_why():
    log = StageLog()
    with local_runner("here", {}) as runner:
        assert python(runner, 'print(\'{"error": "no space left"}\'); raise SystemExit(1)', log) == 1
    assert log.complaint == "no space left"


def test_a_command_that_was_killed_has_no_exit_code_of_its_own():
    with local_runner("here", {}) as runner:
        assert python(runner, "import os; os.kill(os.getpid(), 9)") is None


def test_the_environment_is_given_on(monkeypatch: pytest.MonkeyPatch):
    log = StageLog()
    with local_runner("here", {"ONESHEET_STORE": "s3://bucket"}) as runner:
        python(runner, "import os; print(os.environ['ONESHEET_STORE'])", log)
    assert log.text == "s3://bucket\n"


def test_a_command_ends_when_it_is_to_stop():
    log = StageLog()
    others = set(psutil.Process().children())
    children: set[psutil.Process] = set()

    def watch() -> None:
        if log.text:
            children.update(set(psutil.Process().children()) - others)
            raise StopError

    with pytest.raises(StopError), local_runner("here", {}) as runner:
        runner.run(["python", "-c", SLEEP], "job-1", log, watch)
    assert children
    assert not running(children)


def test_what_a_killed_pipeline_left_is_gone_before_anything_starts(tmp_path: Path):
    first = (
        "from cluster.pipeline.runners import local_runner\nfrom cluster.pipeline.stage_log import StageLog\n"
        "with local_runner('a store', {}) as runner:\n"
        f"    runner.run(['python', '-c', {IGNORES!r}], 'job-1', StageLog(print), lambda: None)\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.reconfigure(line_buffering=True)\n" + first],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout
    left = psutil.Process(int(killed.stdout.readline()))
    killed.kill()
    killed.communicate()
    time.sleep(0.2)
    assert left.is_running(), "it would not be told to end by the kernel alone"
    with local_runner("another store", {}):
        assert left.is_running()
    with local_runner("a store", {}, grace_s=0.5):
        assert not running([left])
