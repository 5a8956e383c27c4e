"""`onesheet crawl` and `onesheet crawls`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crawler.site.server import running_site
from onesheet import app

Finish = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory, finish: Finish) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A store with one crawl, and the command's run."""
    folder = tmp_path_factory.mktemp("crawled")
    with running_site(titles=10, write_catalog=folder / "films.csv") as site:
        arguments = ("crawl", folder / "films.csv", "--store", folder / "store", "--json")
        return folder / "store", finish("onesheet", *arguments, rehearsal=site.url)


def test_crawl_ends_with_its_summary_as_one_line_of_json(
    crawled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, run = crawled
    summary = json.loads(run.stdout.splitlines()[-1])
    assert run.returncode == 0, run.stderr
    assert (summary["titles"], summary["stored"], summary["rejected"], summary["open"]) == (10, 9, 1, 0)
    assert summary["finished"] is True


def test_crawl_tells_its_progress_and_no_log_where_nobody_watches_a_terminal(
    crawled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, run = crawled
    assert run.stderr.splitlines()[-1].startswith("titles 10/10: stored 9, rejected 1 in this run")
    assert "INFO" not in run.stderr
    assert "Warning" not in run.stderr


def test_crawls_lists_the_crawl_as_a_table_and_as_json(
    crawled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    store, run = crawled
    summary = json.loads(run.stdout.splitlines()[-1])
    listed = CliRunner().invoke(app, ["crawls", "--store", str(store), "--json"])
    assert json.loads(listed.stdout.splitlines()[-1]) == {"crawls": [summary]}
    table = CliRunner().invoke(app, ["crawls", "--store", str(store)])
    assert table.exit_code == 0


def test_a_store_without_crawls_lists_none(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["crawls", "--store", str(tmp_path), "--json"])
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, {"crawls": []})


@pytest.mark.parametrize("command", ["crawl", "crawls", "site"])
def test_help_shows_examples(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    assert "Examples:" in shown
    assert f"onesheet {command}" in shown


@pytest.mark.parametrize("arguments", [["list"], ["check"], ["settings", "--get", "BOT_NAME"]])
def test_scrapys_own_commands_work_in_the_project(finish: Finish, arguments: list[str]) -> None:
    run = finish("scrapy", *arguments)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr


def test_scrapy_shell_fetches_through_the_projects_middlewares(finish: Finish) -> None:
    with running_site(titles=3) as site:
        run = finish("scrapy", "shell", f"{site.url}/title/tt9900001/", "-c", "response.status")
    assert (run.returncode, run.stdout.strip().splitlines()[-1]) == (0, "200"), run.stderr
