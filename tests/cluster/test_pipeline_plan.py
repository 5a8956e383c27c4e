"""What runs and what is skipped: keys change when an input does, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.pipeline.definition import Options, Pipeline
from cluster.pipeline.plan import Action, Facts, check_command, judge, kept, key_of, make_step
from cluster.pipeline.record import Record, StageRecord
from cluster.pipeline.run import plan_stages, redo
from cluster.pipeline.surroundings import catalog_digest, leave_in_store, look_around
from cluster.settings import load_settings
from cluster.store import FolderStore

NIGHT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
FACTS = Facts(catalog="c1", catalog_path="films.csv", code="1.0")
RESULTS: dict[str, dict[str, Any]] = {
    "crawl": {"crawl_id": "nightly", "finished_at": "2026-03-01T02:10:00+00:00", "finished": True},
    "prepare": {"dataset_id": "ds-1"},
    "train": {"version": "nightly-1"},
    "evaluate": {"version": "nightly-1"},
    "promote": {"promoted": True},
}
STAGES = tuple(RESULTS)


def pipeline(**options: Options) -> Pipeline:
    return Pipeline("pipeline.toml", "nightly", "films.csv", "train", options)


def keys(of: Pipeline, facts: Facts = FACTS, results: Mapping[str, Mapping[str, Any]] = RESULTS) -> dict[str, str]:
    return {stage: make_step(of, stage, facts, results, {}).key or "" for stage in of.stages}


def changed_by(of: Pipeline, facts: Facts = FACTS, results: Mapping[str, Mapping[str, Any]] = RESULTS) -> set[str]:
    before, after = keys(pipeline()), keys(of, facts, results)
    return {stage for stage in STAGES if before[stage] != after[stage]}


def done(of: Pipeline, results: Mapping[str, Mapping[str, Any]] = RESULTS) -> Record:
    """The record of a run that came to these results."""
    record = Record()
    for stage in of.stages:
        step = make_step(of, stage, FACTS, results, {})
        assert step.inputs is not None
        assert step.key is not None
        entry = StageRecord(key=step.key, inputs=step.inputs, status="done", started_at=NIGHT, ended_at=NIGHT)
        record.stages[stage] = entry.model_copy(update={"result": dict(results[stage])})
    return record


def test_the_same_inputs_have_the_same_keys():
    assert keys(pipeline()) == keys(pipeline())


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("crawl", {"height": 300}),
        ("crawl", {"sources": "page"}),
        ("prepare", {"min-posters": 5}),
        ("train", {"architecture": "cnn_small"}),
        ("train", {"set": ["heads=2"]}),
        ("promote", {"confidence": 0.9}),
    ],
)
def test_an_option_changes_the_key_of_its_stage_alone(stage: str, options: Options):
    assert changed_by(pipeline(**{stage: options})) == {stage}


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("crawl", {"shards": 4, "max-minutes": 60, "max-titles": 1000, "refresh": 30}),
        ("prepare", {"workers": 16}),
        ("train", {"cpus-per-worker": 2, "gpus-per-worker": 1}),
    ],
)
def test_how_a_stage_runs_changes_no_key(stage: str, options: Options):
    assert changed_by(pipeline(**{stage: options})) == set()


def test_each_stage_has_what_is_before_it_in_its_key():
    def with_result(stage: str, **changes: object) -> dict[str, dict[str, Any]]:
        return {**RESULTS, stage: {**RESULTS[stage], **changes}}

    assert changed_by(pipeline(), replace(FACTS, catalog="c2")) == {"crawl"}
    assert changed_by(pipeline(), results=with_result("crawl", finished_at="later")) == {"prepare"}
    assert changed_by(pipeline(), results=with_result("prepare", dataset_id="ds-2")) == {"train", "evaluate", "promote"}
    assert changed_by(pipeline(), results=with_result("train", version="nightly-2")) == {"evaluate", "promote"}


def test_another_version_and_another_setting_and_another_file_count():
    assert changed_by(pipeline(), replace(FACTS, code="1.1")) == {"crawl", "prepare", "train"}
    assert changed_by(pipeline(), replace(FACTS, settings={"crawl": {"page_url": "x"}})) == {"crawl"}
    assert changed_by(pipeline(), replace(FACTS, files={"train": {"weights": "abc"}})) == {"train"}


def test_where_a_file_lies_does_not_count():
    assert changed_by(pipeline(), replace(FACTS, catalog_path="s3://bucket/films.csv")) == set()
    facts = replace(FACTS, files={"train": {"weights": "abc"}})
    assert keys(pipeline(train={"weights": "a.h5"}), facts) == keys(pipeline(train={"weights": "b.h5"}), facts)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=6))
def test_a_key_does_not_depend_on_the_order_of_inputs(inputs: dict[str, str]):
    assert key_of(inputs) == key_of(dict(reversed(inputs.items())))
    assert key_of({**inputs, "one more": ""}) != key_of(inputs)


def test_a_stage_behind_one_that_runs_is_open():
    plan = plan_stages(pipeline(), FACTS, Record())
    assert [verdict.action for _, verdict in plan] == [Action.RUN, *[Action.OPEN] * 4]
    assert plan[2][0].command[:5] == ("onesheet", "train", "--dataset", "DATASET", "--name")


def test_all_is_skipped_where_nothing_changed_and_a_change_is_named():
    record = done(pipeline())
    assert [verdict.action for _, verdict in plan_stages(pipeline(), FACTS, record)] == [Action.SKIP] * 5
    plan = plan_stages(pipeline(train={"epochs": 9}), FACTS, record)
    actions = [verdict.action for _, verdict in plan]
    assert actions == [Action.SKIP, Action.SKIP, Action.RUN, Action.OPEN, Action.OPEN]
    assert plan[2][1].reason == "changed: option epochs (none → 9)"


def test_a_stage_can_be_done_anew_though_nothing_changed():
    record = done(pipeline())
    before = make_step(pipeline(), "train", FACTS, RESULTS, record.rounds).command
    redo(record, "train")
    plan = plan_stages(pipeline(), FACTS, record)
    assert (plan[2][1].action, plan[2][1].reason) == (Action.RUN, "asked to be done anew")
    assert plan[2][0].command != before, "a new run has a new name"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("running", "it was cut off"), ("stopped", "it was stopped"), ("failed", "it failed: no space left")],
)
def test_what_did_not_end_well_goes_on(status: str, reason: str):
    record = done(pipeline())
    record.stages["prepare"] = record.stages["prepare"].model_copy(
        update={"status": status, "error": "no space left" if status == "failed" else ""}
    )
    verdict = plan_stages(pipeline(), FACTS, record)[1][1]
    assert (verdict.action, verdict.reason) == (Action.CONTINUE, reason)


def test_a_crawl_whose_budget_ended_goes_on_at_the_next_call():
    results = {**RESULTS, "crawl": {**RESULTS["crawl"], "finished": False, "open": 230}}
    plan = plan_stages(pipeline(), FACTS, done(pipeline(), results))
    assert plan[0][1].action is Action.CONTINUE
    assert plan[0][1].reason == "its budget ended with 230 titles open"


def test_a_crawl_to_refresh_is_due_again_after_its_days():
    entry = done(pipeline()).stages["crawl"]
    step = make_step(pipeline(), "crawl", FACTS, {}, {})
    assert judge(step, entry, NIGHT + timedelta(days=29), 30).action is Action.SKIP
    assert judge(step, entry, NIGHT + timedelta(days=31), 30).action is Action.CONTINUE


def test_of_a_result_only_what_is_of_use_is_kept_and_what_is_needed_must_be_there():
    assert kept("prepare", {"dataset_id": "ds-1", "genres": ["Drama"]}) == {"dataset_id": "ds-1"}
    with pytest.raises(KeyError, match="version"):
        kept("train", {"metrics": {}})


def test_the_stages_that_come_late_are_checked_early():
    asked = {stage: check_command(pipeline(train={"epochs": 3}), stage) for stage in STAGES}
    assert [stage for stage, command in asked.items() if command] == ["prepare", "train", "promote"]
    assert asked["train"] == ["onesheet", "train", "--epochs=3", "--check", "--json"]


def test_the_surroundings_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    catalog, weights = tmp_path / "films.csv", tmp_path / "weights"
    catalog.write_text("tt0000001\n")
    weights.mkdir()
    (weights / "a.h5").write_text("a")
    monkeypatch.setenv("ONESHEET_WEIGHTS", str(weights))
    of = Pipeline("p.toml", "nightly", str(catalog), "train", {})
    before = look_around(of, load_settings())
    assert before == look_around(of, load_settings())
    (weights / "b.h5").write_text("b")
    after = look_around(of, load_settings())
    assert after.files["train"] != before.files["train"]
    catalog.write_text("tt0000002\n")
    assert look_around(of, load_settings()).catalog != after.catalog


def test_a_catalogue_in_s3_is_known_by_its_etag(s3_url: str, tmp_path: Path):
    from cluster.store import open_store

    open_store(s3_url).put("films.csv", b"tt0000001\n")
    first = catalog_digest(f"{s3_url}/films.csv")
    assert catalog_digest(f"{s3_url}/films.csv") == first
    open_store(s3_url).put("films.csv", b"tt0000002\n")
    assert catalog_digest(f"{s3_url}/films.csv") != first


def test_for_a_cluster_the_catalogue_is_left_in_the_store(tmp_path: Path):
    catalog, store = tmp_path / "my films!.csv", FolderStore(tmp_path / "store")
    catalog.write_text("tt0000001\n")
    of = Pipeline("p.toml", "nightly", str(catalog), "train", {})
    url = leave_in_store(of, replace(FACTS, catalog=catalog_digest(str(catalog))), store)
    assert Path(url).read_text() == "tt0000001\n"
    assert url.endswith("/my_films_.csv")
