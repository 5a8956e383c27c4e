"""Crawls as their users start them: in a process of their own, against a rehearsal site."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[str]]
Finished = subprocess.CompletedProcess[str]


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """This environment without the settings of the person who runs the tests, and with the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONESHEET_")}
    own = {"PYTHONPATH": str(ROOT), "SCRAPY_SETTINGS_MODULE": "crawler.settings", "NO_COLOR": "1", "COLUMNS": "200"}
    return kept | own | dict(given)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start `python -m <module> <arguments>`; keyword arguments are ONESHEET_ settings, in lower case.

    env: more of the environment. stdin: a file that is piped to the process, as `cat FILE | …` does.
    """
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(
        module: str,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        stdin: Path | None = None,
        **settings: object,
    ) -> subprocess.Popen[str]:
        given = {f"ONESHEET_{name.upper()}": str(value) for name, value in settings.items()}
        with ExitStack() as stack:
            source: int | object = subprocess.DEVNULL
            if stdin is not None:
                source = stack.enter_context(subprocess.Popen(["cat", str(stdin)], stdout=subprocess.PIPE)).stdout
            return subprocess.Popen(
                [sys.executable, "-m", module, *(str(argument) for argument in arguments)],
                stdin=source,  # type: ignore[arg-type]
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(given | dict(env or {})),
                cwd=folder,
            )

    return run


@pytest.fixture(scope="session")
def finish(start: Start) -> Callable[..., Finished]:
    """Like `start`, to the end."""

    def run(module: str, *arguments: object, **given: object) -> Finished:
        with _ended(start(module, *arguments, **given)) as process:
            out, remarks = process.communicate(timeout=200)
        return subprocess.CompletedProcess(process.args, process.returncode, out, remarks)

    return run


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
