"""`onesheet pipeline` as its callers see it: plans, refusals, exit codes, and one result on standard output."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.errors import ClusterError
from cluster.pipeline.lease import Lease
from cluster.store import FolderStore
from onesheet import app


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a catalogue and a pipeline for it, to be called in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONESHEET_STORE", "store")
    Path("films.csv").write_text("tt0000001\n")
    Path("pipeline.toml").write_text('name = "nightly"\ncatalog = "films.csv"\n[train]\nepochs = 3\n')
    return tmp_path


def test_the_example_is_printed_to_be_edited():
    result = CliRunner().invoke(app, ["pipeline", "--example"])
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["name"] == "nightly"


def test_a_plan_starts_nothing_and_leaves_nothing(here: Path):
    result = CliRunner().invoke(app, ["pipeline", "--dry-run", "--json"], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert [stage["action"] for stage in told["stages"]] == ["run", "open", "open", "open", "open"]
    assert told["stages"][2]["command"][-2:] == ["--epochs=3", "--json"]
    assert not (here / "store").exists()


def test_a_plan_is_a_table_for_people(here: Path):
    result = CliRunner().invoke(app, ["pipeline", "--dry-run"], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert "onesheet crawl films.csv --crawl-id nightly --json" in result.stdout
    assert "it never ran" in result.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("nowhere.toml", "nowhere.toml does not exist; make one"),
        ("--redo tune", "--redo tune: the stages of pipeline.toml are crawl, prepare, train, evaluate, promote"),
        ("--store gs://bucket", "unknown scheme 'gs'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(here: Path, words: str, sentence: str):
    with pytest.raises(ClusterError) as refused:
        CliRunner().invoke(app, ["pipeline", *words.split()], catch_exceptions=False)
    assert sentence in str(refused.value)


def test_a_catalogue_that_is_not_there_is_said_before_anything_starts(here: Path):
    Path("films.csv").unlink()
    with pytest.raises(ClusterError, match=r"catalogue films\.csv is no file"):
        CliRunner().invoke(app, ["pipeline"], catch_exceptions=False)


def test_while_another_call_runs_the_exit_code_is_75_and_nothing_happens(here: Path):
    with Lease(FolderStore(here / "store"), "pipelines/nightly/lease/", what="pipeline nightly"):
        result = CliRunner().invoke(app, ["pipeline", "--json"], catch_exceptions=False)
    assert result.exit_code == 75
    told = json.loads(result.stdout)
    assert (told["status"], told["stages"]) == ("busy", [])
    assert not (here / "store" / "crawls").exists()


def test_a_job_server_that_is_not_there_is_said(here: Path):
    words = ["pipeline", "--address", "http://127.0.0.1:9", "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 1
    assert "no job server answers at http://127.0.0.1:9" in json.loads(result.stdout)["error"]


def test_a_record_that_is_damaged_is_named(here: Path):
    key = here / "store" / "pipelines" / "nightly" / "record.json"
    key.parent.mkdir(parents=True)
    key.write_text("{")
    with pytest.raises(ClusterError, match=r"record\.json cannot be read; remove it"):
        CliRunner().invoke(app, ["pipeline", "--dry-run"], catch_exceptions=False)
