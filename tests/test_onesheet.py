"""The front door: help, errors in one sentence, exit codes, and JSON as the last line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from onesheet import app
from tests.conftest import ROOT


def onesheet(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = {name: value for name, value in os.environ.items() if not name.startswith(("ONESHEET_", "AWS_", "RAY_"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "onesheet.py"), *words],
        env={**here, "AWS_EC2_METADATA_DISABLED": "true", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def every_command() -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [(f"{path} {name}".strip(), below) for name, below in command.commands.items()]
        else:
            found[path] = command
    return found


@pytest.mark.parametrize("path", sorted(every_command()))
def test_every_command_has_examples_and_json(path: str):
    command = every_command()[path]
    assert "Examples" in (command.help or ""), "its --help shows no examples"
    # `onesheet crawl PATH` is how people write `onesheet crawl run PATH`.
    assert f"onesheet {path.removesuffix(' run')}" in (command.help or "")
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert all(getattr(parameter, "help", None) for parameter in command.params), "an option has no help"


def test_help_lists_the_commands_quickly():
    answer = onesheet("--help")
    assert answer.returncode == 0
    assert all(name in answer.stdout for name in ("crawl", "prepare", "train", "models", "serve", "submit"))


def test_a_command_imports_nothing_of_the_other_floors():
    code = (
        "import sys, onesheet; onesheet.app(['crawl', 'report', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "crawler" in packages
    assert not packages & {"training", "serving", "numpy", "PIL", "ray", "scrapy"}


def test_the_version_is_that_of_the_installation():
    answer = onesheet("--version")
    assert (answer.returncode, answer.stdout) == (0, f"onesheet {importlib.metadata.version('onesheet')}\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("crawl nowhere.csv", "catalogue nowhere.csv: No such file or directory"),
        ("crawl columns.csv", "unknown columns 'a, b'; expected MovieGenre.csv's imdbId, Genre, Poster"),
        ("prepare", "has no crawl with posters; run `scrapy crawl posters -a catalog=PATH` first"),
        ("prepare --crawl nope", "has no ended crawl 'nope'; see `onesheet crawls`"),
        ("train --store gs://bucket", "unknown scheme 'gs'; use s3://bucket/prefix or a folder"),
        ("predict poster.jpg", "no model is in production"),
        ("serve", "no model is in production"),
        ("models promote nope", "nope"),
        ("models rollback", "no model is in production"),
        ("demo --catalog columns.csv", "--catalog and --posters belong together"),
        ("demo --weights nowhere.h5", "nowhere.h5 does not exist"),
        ("submit --address http://127.0.0.1:9 train", "127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("columns.csv").write_text("a,b\n1,2\n")
    answer = onesheet(*words.split(), ONESHEET_STORE=str(tmp_path / "store"))
    assert answer.returncode == 1, answer.stderr
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) <= 2


def test_with_json_an_error_is_the_last_line_too(tmp_path: Path):
    answer = onesheet("models", "rollback", "--json", ONESHEET_STORE=str(tmp_path))
    assert answer.returncode == 1
    assert "no model is in production" in json.loads(answer.stdout.splitlines()[-1])["error"]


def test_a_bad_setting_names_its_variable():
    answer = onesheet("crawls", ONESHEET_REQUEST_TIMEOUT_S="soon")
    assert answer.returncode == 1
    assert "ONESHEET_REQUEST_TIMEOUT_S='soon' is not valid" in answer.stderr


def test_an_unreachable_store_is_said_within_seconds():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        answer = onesheet(
            "datasets",
            "--store",
            "s3://bucket/x",
            AWS_ENDPOINT_URL_S3=endpoint,
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
        )
    assert answer.returncode == 1
    assert endpoint in answer.stderr
    assert "Traceback" not in answer.stderr


def test_debug_adds_the_traceback():
    answer = onesheet("models", "rollback", ONESHEET_STORE="/nonexistent/x", ONESHEET_LOG_LEVEL="DEBUG")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
