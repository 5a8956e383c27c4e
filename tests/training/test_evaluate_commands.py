"""`onesheet evaluate` and `onesheet compare`: registered models measured and compared, for people and scripts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cluster.errors import ClusterError, TrainingError
from cluster.store import FolderStore
from tests.training.test_evaluate import model_of
from training.bundle import BundleCard, write_bundle
from training.dataset import Card
from training.evaluate_commands import compare, evaluate
from training.registry import Registry

CHROMIUM = Path("/usr/bin/chromium")
APP = typer.Typer()
APP.command("evaluate")(evaluate)
APP.command("compare")(compare)


@pytest.fixture(scope="module")
def measured(
    make_dataset: Callable[[], tuple[FolderStore, Card]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FolderStore, Card]:
    """A store with a dataset, v1 in production, and v2, which knows one genre less."""
    store, card = make_dataset()
    registry = Registry(store)
    for version, genres in (("v1", card.genres), ("v2", card.genres[1:])):
        folder = tmp_path_factory.mktemp(version)
        bundle = BundleCard(
            version=version,
            architecture="tiny",
            genres=tuple(genres),
            thresholds=(0.5,) * len(genres),
            height_px=24,
            width_px=16,
            lineage={"dataset_id": card.dataset_id},
        )
        model = model_of(len(genres), seed=len(genres))
        registry.register(folder, write_bundle(folder, model, bundle))
    registry.promote("v1")
    return store, card


@pytest.fixture(scope="module")
def evaluated(
    measured: tuple[FolderStore, Card], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What `evaluate latest` says to scripts, and its page."""
    page = tmp_path_factory.mktemp("pages") / "worth.html"
    return run_json("evaluate", "latest", "--report", str(page), store=measured[0]), page


def run(*arguments: str, store: FolderStore) -> str:
    result = CliRunner().invoke(APP, [*arguments, "--store", store.url], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str, store: FolderStore) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", store=store).splitlines()[-1])
    return found


def test_evaluate_tells_scripts_every_metric_beside_the_prior_and_production(
    evaluated: tuple[dict[str, Any], Path], measured: tuple[FolderStore, Card]
) -> None:
    (found, page), (store, card) = evaluated, measured
    assert (found["version"], found["dataset_id"]) == ("v2", card.dataset_id)
    assert set(found["metrics"]) == set(found["intervals"]) == set(found["prior_metrics"])
    beside = found["beside_production"]
    assert [side["version"] for side in beside["sides"]] == ["v1", "v2"]
    assert beside["left_out"] == card.genres[:1]
    assert set(beside["sides"][1]["differences"]["macro_map"]) == {"difference", "low", "high", "probability_better"}
    assert f"do not count: {card.genres[0]}." in found["notes"][0]
    assert found["page"] == str(page)
    assert store.get(f"runs/v2/evaluation/{card.dataset_id}.html") == page.read_bytes()


@pytest.mark.fault
def test_a_worker_elsewhere_measures_the_same(
    measured: tuple[FolderStore, Card], evaluated: tuple[dict[str, Any], Path]
) -> None:
    alone = evaluated[0]
    spread = run_json("evaluate", "latest", "--cpus-per-worker", "1", store=measured[0])
    assert spread["metrics"] == pytest.approx(alone["metrics"], abs=1e-6)
    assert spread["beside_production"]
    with pytest.raises(ClusterError, match="a worker of 1 CPU and 8 GPU does not fit into the cluster"):
        run_json("evaluate", "latest", "--gpus-per-worker", "8", store=measured[0])
    with pytest.raises(TrainingError, match="there is no model version 'nope'"):
        run_json("evaluate", "nope", "--cpus-per-worker", "1", store=measured[0])


def test_evaluate_production_says_that_it_is(measured: tuple[FolderStore, Card]) -> None:
    shown = run("evaluate", "production", store=measured[0])
    assert re.search(r"macro_map +0\.\d{3} +0\.\d{3} to 0\.\d{3} +0\.\d{3}", shown), shown
    assert run_json("evaluate", "production", store=measured[0])["notes"] == ["This is the model in production."]


def test_the_page_needs_nothing_and_runs_nothing(evaluated: tuple[dict[str, Any], Path]) -> None:
    text = evaluated[1].read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.findall(r"(?:src|href)=\"(?!data:image/(?:png|jpeg);base64,|https://www\.imdb\.com/title/)", text)
    assert "script-src" not in text
    assert "default-src 'none'" in text
    pictures = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", text)
    starts = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff"}
    assert len(pictures) > 12
    assert all(base64.b64decode(data).startswith(starts[kind]) for kind, data in pictures)
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]+", "", text))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_shows_every_part(
    chromium: Any, evaluated: tuple[dict[str, Any], Path], scheme: str
) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(evaluated[1].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    genres = len(evaluated[0]["genres"])
    assert page.locator(".looks .strip").count() == genres
    assert page.locator(".matrix tbody tr").count() == genres + 1
    assert page.locator("svg.small").count() >= genres
    assert page.locator(".look").first.evaluate("one => one.querySelector('img').naturalWidth") > 0
    page.close()
    assert complaints == []


def test_compare_uses_the_scores_that_are_kept(
    evaluated: tuple[dict[str, Any], Path], measured: tuple[FolderStore, Card], tmp_path: Path
) -> None:
    store, card = measured
    page = tmp_path / "compared.html"
    model = store.get("models/v2/model.keras")
    store.put("models/v2/model.keras", b"not asked again")
    found = run_json("compare", "production", "latest", "--report", str(page), store=store)
    store.put("models/v2/model.keras", model)
    assert [side["version"] for side in found["sides"]] == ["v1", "v2"]
    assert found["sides"] == evaluated[0]["beside_production"]["sides"]
    assert found["genres"] == card.genres[1:]
    assert "<h1>v1 and v2</h1>" in page.read_text(encoding="utf-8")
    assert "macro_map" in run("compare", "v2", "v1", store=store)


def test_what_cannot_be_measured_is_said_in_a_sentence(measured: tuple[FolderStore, Card]) -> None:
    store, _ = measured
    for arguments, sentence in (
        (["compare", "v1", "production"], "two different versions or more, not v1 production"),
        (["evaluate", "v3"], "there is no model version 'v3'"),
        (["evaluate", "v1", "--dataset", "ds-nope"], "has no dataset 'ds-nope'"),
    ):
        with pytest.raises(TrainingError, match=sentence):
            run(*arguments, store=store)
