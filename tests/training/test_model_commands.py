"""`onesheet models`: what is listed, shown, promoted and rolled back, for people and for scripts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.errors import TrainingError
from cluster.store import FolderStore
from training.bundle import BundleCard
from training.model_commands import models_app
from training.registry import Registry, RegistryError


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with v1 in production and v2 newer."""
    registry = Registry(FolderStore(tmp_path / "store"))
    for day, version in enumerate(("v1", "v2"), start=1):
        card = BundleCard(
            version=version,
            architecture="mobilenet_v2",
            created_at=datetime(2026, 1, day, tzinfo=UTC),
            genres=("Drama", "Horror"),
            thresholds=(0.5, 0.25),
            height_px=8,
            width_px=8,
            metrics={"macro_map": 0.3 + day / 100},
            prior_metrics={"macro_map": 0.1},
            lineage={"dataset_id": "d-7f3a"},
        )
        registry.register(tmp_path, card)
    registry.promote("v1")
    return registry.store.url


def run(*arguments: str) -> str:
    result = CliRunner().invoke(models_app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").splitlines()[-1])


def test_the_list_shows_the_production_mark_and_both_metrics(store: str) -> None:
    newest, production, caption = run("list", "--store", store).splitlines()[1:]
    assert newest.split() == ["v2", "mobilenet_v2", "d-7f3a", "0.320", "0.100", "2026-01-02"]
    assert production.split()[:3] == ["●", "v1", "mobilenet_v2"]
    assert caption.strip() == "● in production"


def test_the_list_for_scripts_is_one_line_of_json(store: str) -> None:
    answer = run_json("list", "--store", store)
    assert answer["production"] == "v1"
    assert [(model["version"], model["in_production"]) for model in answer["models"]] == [("v2", False), ("v1", True)]


def test_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    assert "train one with `onesheet train`" in run("list", "--store", str(tmp_path))
    assert run_json("list", "--store", str(tmp_path)) == {"production": None, "models": []}


def test_show_tells_the_thresholds_and_the_lineage(store: str) -> None:
    shown = run("show", "v1", "--store", store)
    assert "v1 (in production)" in shown
    assert "d-7f3a" in shown
    assert "0.25" in shown
    assert run_json("show", "latest", "--store", store)["version"] == "v2"


def test_promote_and_rollback_move_production(store: str) -> None:
    assert run_json("promote", "latest", "--store", store) == {"production": "v2", "rollback_to": "v1"}
    assert run_json("rollback", "--store", store) == {"production": "v1", "rollback_to": None}


def test_the_store_comes_from_the_environment(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESHEET_STORE", store)
    assert run_json("list")["production"] == "v1"


def test_an_unknown_version_is_an_error_that_names_the_known_ones(store: str) -> None:
    with pytest.raises(RegistryError, match="known: v2, v1"):
        run("promote", "v9", "--store", store)


def test_a_canary_is_started_listed_changed_and_stopped(store: str) -> None:
    started = {"production": "v1", "rollback_to": None, "candidate": "v2", "share": 0.1}
    assert run_json("canary", "latest", "--store", store) == started
    assert run_json("canary", "v2", "--share", "0.25", "--store", store) == started | {"share": 0.25}
    listed = run("list", "--store", store)
    assert [line.split()[:2] for line in listed.splitlines()[1:3]] == [["○", "v2"], ["●", "v1"]]
    assert "○ tried on 25% of the requests" in listed
    shares = {model["version"]: model["share"] for model in run_json("list", "--store", store)["models"]}
    assert shares == {"v2": 0.25, "v1": 0.75}
    assert run_json("canary", "--stop", "--store", store) == {"production": "v1", "rollback_to": None}
    for wrong in ((), ("v2", "--stop")):
        with pytest.raises(TrainingError, match="name the VERSION to try, or give --stop"):
            run("canary", *wrong, "--store", store)


@pytest.mark.parametrize("command", ["list", "show", "promote", "rollback", "canary"])
def test_every_command_shows_examples_in_its_help(command: str) -> None:
    assert f"onesheet models {command}" in run(command, "--help")
