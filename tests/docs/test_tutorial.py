"""The tutorial, typed in line by line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]

# What a person does by waiting for the line that says so.
WAIT = "curl --silent --show-error --fail --retry 120 --retry-delay 1 --retry-all-errors --output /dev/null {url}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def script(site_port: int, port: int) -> str:
    """The tutorial's blocks after the installation, with ports that are free here."""
    text = (ROOT / "docs" / "start" / "tutorial.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in re.findall(r"^ {4}(.+)$", text, re.MULTILINE)]
    typed = []
    for line in lines[lines.index("export ONESHEET_STORE=$PWD/onesheet-data") :]:
        typed.append(line.replace("8900", str(site_port)).replace("8000", str(port)))
        if line.startswith("onesheet site"):
            typed.append(WAIT.format(url=f"http://127.0.0.1:{site_port}/robots.txt"))
        if line.startswith("onesheet serve"):
            typed.append(WAIT.format(url=f"http://127.0.0.1:{port}/readyz"))
    return "\n".join(["set -euo pipefail", "set -x", *typed, "kill %1 %2", "wait || true"])


def test_the_tutorial_leads_to_an_endpoint_that_answers(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ONESHEET_", "RAY_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    # The checkout that is tested, also where another one is installed.
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        ["bash", "-c", script(free_port(), free_port())],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=500)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-5000:]
    assert '"predicted"' in said, said[-5000:]
    assert "Traceback" not in said
