"""`onesheet crawl` and `onesheet crawls`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crawler.site.server import running_site
from onesheet import app
from tests.crawler.harvests import last_json

Finish = Callable[..., subprocess.CompletedProcess[str]]
Crawled = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory, finish: Finish) -> Crawled:
    """A store with one crawl, and the command's run."""
    folder = tmp_path_factory.mktemp("crawled")
    with running_site(titles=10, write_catalog=folder / "films.csv") as site:
        arguments = ("crawl", folder / "films.csv", "--store", folder / "store", "--json")
        return folder / "store", finish("onesheet", *arguments, rehearsal=site.url)


def test_crawl_ends_with_its_summary_as_one_line_of_json(crawled: Crawled) -> None:
    _, run = crawled
    summary = last_json(run)
    assert run.returncode == 0, run.stderr
    assert (summary["titles"], summary["stored"], summary["rejected"], summary["open"]) == (10, 9, 1, 0)
    assert summary["finished"] is True


def test_crawl_tells_its_progress_and_no_log_where_nobody_watches_a_terminal(crawled: Crawled) -> None:
    _, run = crawled
    assert run.stderr.splitlines()[-1].startswith("titles 10/10: stored 9, rejected 1 in this run")
    assert "INFO" not in run.stderr
    assert "Warning" not in run.stderr


def test_crawl_without_json_ends_with_what_to_do_next(crawled: Crawled, finish: Finish) -> None:
    """Nothing is open, so nothing is asked: the site is gone by now."""
    store, first = crawled
    crawl_id = last_json(first)["crawl_id"]
    run = finish("onesheet", "crawl", "--crawl-id", crawl_id, "--store", store, rehearsal="http://127.0.0.1:1")
    assert run.returncode == 0, run.stderr
    assert run.stderr.splitlines()[-1] == f"what became of each title: onesheet crawl report {crawl_id}"
    shown = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    assert (shown["titles"], shown["stored"], shown["open"]) == ("10", "9", "0")


def test_crawls_lists_the_crawl_as_a_table_and_as_json(crawled: Crawled) -> None:
    store, run = crawled
    listed = CliRunner().invoke(app, ["crawls", "--store", str(store)])
    assert listed.exit_code == 0
    assert last_json(run)["crawl_id"] in listed.output
    (found,) = last_json(_listed(store))["crawls"]
    assert {key: found[key] for key in ("crawl_id", "titles", "stored")} == {
        key: last_json(run)[key] for key in ("crawl_id", "titles", "stored")
    }


def test_a_store_without_crawls_lists_none(tmp_path: Path) -> None:
    assert last_json(_listed(tmp_path)) == {"crawls": []}


def _listed(store: Path) -> subprocess.CompletedProcess[str]:
    shown = CliRunner().invoke(app, ["crawls", "--store", str(store), "--json"])
    return subprocess.CompletedProcess([], shown.exit_code, shown.stdout, "")


@pytest.mark.parametrize("command", ["crawl", "crawls", "site"])
def test_help_shows_examples(command: str) -> None:
    arguments = ["crawl", "run", "--help"] if command == "crawl" else [command, "--help"]
    shown = CliRunner().invoke(app, arguments).stdout
    assert "Examples:" in shown
    assert f"onesheet {command}" in shown


def test_help_names_every_option_of_a_crawl() -> None:
    shown = CliRunner().invoke(app, ["crawl", "run", "--help"], env={"COLUMNS": "200"}).stdout
    options = "store crawl-id sources images height format kinds adult refresh max-titles max-bytes max-minutes workers"
    assert [name for name in options.split() if f"--{name}" not in shown] == []
