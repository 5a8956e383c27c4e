"""`onesheet pipeline` over a real S3 server: killed in every stage, called twice, stopped, and given other inputs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crawler.site.faults import Faults
from crawler.site.server import Site, running_site
from tests.cluster.pipelines import Nightly, outcomes
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server
from training.registry import Registry

pytestmark = [pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(900)]

STAGES = ("crawl", "prepare", "train", "evaluate", "promote")
TITLES, AT_FIRST, EPOCHS = 90, 70, 30
IN_FLIGHT = 32
TABLES: dict[str, dict[str, object]] = {
    "crawl": {"height": 120},
    "prepare": {"min-posters": 2},
    "train": {"architecture": "cnn_small@48x32", "epochs": EPOCHS},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    catalog = tmp_path_factory.mktemp("site") / "all.csv"
    with running_site(titles=TITLES, faults=Faults.parse("slow=1", slow_s=0.4), write_catalog=catalog) as running:
        yield running


@pytest.fixture(scope="module")
def nightly(site: Site, swift_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nightly]:
    """A pipeline that has not run yet, on the first films of the site's."""
    folder = tmp_path_factory.mktemp("nightly")
    with pytest.MonkeyPatch.context() as patch:
        store = fresh_bucket(swift_server, patch) + "/films"
        catalog = folder / "films.csv"
        found = Nightly(folder, store, catalog, {"ONESHEET_REHEARSAL": site.url})
        found.write(TABLES)
        yield found


def images_asked(site: Site) -> dict[str, int]:
    """How often each poster was asked for."""
    return {path: count for path, count in site.requests().items() if path.startswith("/images/")}


def write_catalog(nightly: Nightly, site: Site, titles: int) -> None:
    import httpx

    lines = httpx.get(f"{site.url}/catalog.csv").text.splitlines(keepends=True)
    Path(nightly.file.parent, "films.csv").write_text("".join(lines[: titles + 1]))


def test_killed_in_every_stage_it_goes_on_and_does_nothing_twice(nightly: Nightly, site: Site) -> None:
    write_catalog(nightly, site, AT_FIRST)
    is_midway = {"crawl": lambda: nightly.posters() > 3, "train": lambda: len(nightly.epochs()) > 2}
    for stage in STAGES:
        call = nightly.start("--quiet")
        nightly.wait_for(call, stage, is_midway.get(stage, lambda: True), timeout_s=200)
        nightly.kill(call)
    told = nightly.finish()
    assert (told["status"], told["exit_code"]) == ("done", 0), told
    assert outcomes(told) == {**dict.fromkeys(STAGES, "skipped"), "promote": "continued"}
    assert told["promoted"] is True
    assert told["production"] == told["version"]
    assert [card.version for card in Registry(nightly.store).versions()] == [told["version"]]
    assert len(list(nightly.store.folders("datasets/"))) == 1
    assert nightly.epochs() == list(range(1, EPOCHS + 1))
    requests = images_asked(site)
    # Of those that were in flight when the crawl was cut off some are asked for again.
    assert max(requests.values()) <= 2
    assert sum(requests.values()) <= len(requests) + IN_FLIGHT
    assert nightly.posters() == nightly.record.stages["crawl"].result["stored"] > 50


def test_a_second_call_skips_every_stage(nightly: Nightly) -> None:
    before = nightly.record
    told = nightly.finish("--quiet")
    assert set(outcomes(told).values()) == {"skipped"}
    assert told["production"] == told["version"]
    assert nightly.record == before


def test_of_two_at_once_the_second_leaves_and_sigterm_stops_the_first_cleanly(nightly: Nightly) -> None:
    first = nightly.start("--redo", "evaluate")
    nightly.wait_for(first, "evaluate", timeout_s=60)
    second = nightly.finish()
    assert (second["status"], second["exit_code"]) == ("busy", 75)
    assert "pipeline nightly runs already" in second["error"]
    first.send_signal(signal.SIGTERM)
    stopped = nightly.finish(call=first)
    assert (stopped["status"], stopped["exit_code"]) == ("stopped", 143)
    assert outcomes(stopped)["evaluate"] == "stopped"
    told = nightly.finish()
    assert outcomes(told) == {**dict.fromkeys(STAGES, "skipped"), "evaluate": "continued"}


def test_another_rule_of_promotion_asks_only_that_stage_again_and_again_if_it_dies(nightly: Nightly) -> None:
    nightly.write({**TABLES, "promote": {"confidence": 0.9}})
    call = nightly.start()
    nightly.wait_for(call, "promote", lambda: psutil.Process(call.pid).children(), timeout_s=60)
    # Its process is killed, as by a machine without memory, and not the pipeline.
    psutil.Process(call.pid).children()[0].kill()
    told = nightly.finish(call=call)
    assert outcomes(told) == {**dict.fromkeys(STAGES, "skipped"), "promote": "ran"}
    assert told["stages"][-1]["attempts"] == 2
    assert told["promoted"] is True


def test_a_bad_option_is_said_before_hours_of_crawling(nightly: Nightly, site: Site) -> None:
    write_catalog(nightly, site, TITLES)
    nightly.write({**TABLES, "train": {"architecture": "cnn_smal"}})
    told = nightly.finish()
    assert (told["status"], told["exit_code"], told["stages"]) == ("failed", 1, [])
    assert "[train]" in told["error"]
    assert "cnn_small" in told["error"]


def test_a_grown_catalogue_makes_a_new_model_which_is_promoted_only_if_it_is_better(
    nightly: Nightly, site: Site
) -> None:
    production = Registry(nightly.store).production_or_raise().version
    before = images_asked(site)
    untrained = {"architecture": "cnn_small@48x32", "epochs": 1, "learning-rate": 1e-7}
    # On so few posters a network that has learned nothing may win by chance, and not by this much.
    nightly.write({**TABLES, "train": untrained, "promote": {"confidence": 0.95, "min-gain": 0.2}})
    told = nightly.finish()
    assert outcomes(told) == dict.fromkeys(STAGES, "ran"), told
    assert told["promoted"] is False
    assert told["reason"].startswith("not better: macro_map")
    assert told["production"] == production != told["version"]
    assert Registry(nightly.store).production_or_raise().version == production
    # Production was not trained on any poster that is for testing now: splits stay as a catalogue grows.
    assert nightly.record.stages["promote"].result["notes"] == []
    after = images_asked(site)
    assert {path: after[path] for path in before} == before, "what was fetched is not fetched again"
    assert len(after) > len(before)
