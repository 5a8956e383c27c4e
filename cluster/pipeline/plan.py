"""Pure: which command each stage is, the key of its inputs, and whether it is skipped, run or gone on with.

A stage's inputs are the catalogue's content, the options that shape its result, the files and settings that these
name, the version of onesheet, and what the stages before it came to. Options that only say how (over how many
processes, within which budget) are none: to crawl by four shards instead of one makes nothing anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cluster.pipeline.definition import Pipeline
from cluster.pipeline.record import StageRecord

Result = Mapping[str, Any]

# The input that is another one each time a stage is to be done anew.
_REDO = "redo"
# They change how a stage runs, and nothing of what it comes to.
_HOW = {
    "crawl": {"shards", "max-titles", "max-bytes", "max-minutes", "refresh"},
    "prepare": {"workers"},
    "train": {"cpus-per-worker", "gpus-per-worker"},
    "tune": {"cpus-per-worker", "gpus-per-worker"},
}
# What of a stage's result is kept, the first of it what the stages after it need.
KEPT = {
    "crawl": ("crawl_id", "titles", "stored", "rejected", "open", "finished", "finish_reason", "finished_at"),
    "prepare": ("dataset_id", "funnel", "page"),
    "train": ("version", "metrics", "prior_metrics"),
    "tune": ("version", "metrics", "prior_metrics", "search", "trials", "leaderboard"),
    "evaluate": ("version", "page"),
    "promote": (
        *("promoted", "changed", "version", "production", "against", "metric", "value", "against_value"),
        *("test_posters", "reason", "notes"),
    ),
}


class Action(StrEnum):
    """What is to happen to a stage."""

    SKIP = "skip"
    RUN = "run"
    CONTINUE = "continue"
    OPEN = "open"
    """Decided by what the stage before it comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is found around the pipeline's file.

    catalog: a digest of the catalogue's content, and catalog_path where the crawl reads it. files: digests by stage and
    option, of options that name files. settings: by stage, those that shape its result. code: the version of onesheet.
    """

    catalog: str
    catalog_path: str
    code: str
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A stage with what it starts from. inputs, key: None while a stage before it has not come to its result."""

    stage: str
    command: tuple[str, ...]
    inputs: dict[str, str] | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen, and why."""

    action: Action
    reason: str


def make_step(
    pipeline: Pipeline, stage: str, facts: Facts, results: Mapping[str, Result], rounds: Mapping[str, int]
) -> Step:
    """A stage's command and key. results: of the stages before it, as far as they have any."""
    upstream = _upstream(pipeline, stage, facts, results)
    inputs = None if upstream is None else {**upstream, **shaping(pipeline, stage, facts)}
    if inputs is not None and rounds.get(stage):
        inputs[_REDO] = str(rounds[stage])
    key = None if inputs is None else key_of(inputs)
    return Step(stage, tuple(_command(pipeline, stage, facts, results, key)), inputs, key)


def shaping(pipeline: Pipeline, stage: str, facts: Facts) -> dict[str, str]:
    """The inputs of a stage that are known before any other stage ran: options, files, settings, version."""
    contents = facts.files.get(stage, {})
    # Where a file lies does not count, what is in it does.
    left_out = {*_HOW.get(stage, ()), *contents}
    options, settings = pipeline.options_of(stage), facts.settings.get(stage, {})
    found = {f"option {name}": json.dumps(value) for name, value in options.items() if name not in left_out}
    found |= {f"setting {name}": value for name, value in settings.items() if name not in left_out}
    found |= {f"content of {name}": digest for name, digest in contents.items()}
    # A model has its version's code in its own key, and these two only look at a model.
    return found if stage in ("evaluate", "promote") else {**found, "onesheet": facts.code}


def key_of(inputs: Mapping[str, str]) -> str:
    """The inputs in a few letters: the same for the same inputs, whatever their order."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:12]


def judge(step: Step, record: StageRecord | None, at: datetime, refresh_days: float | None = None) -> Verdict:
    """Whether to run a stage. record: of its last run. refresh_days: after which a finished crawl is due again."""
    if step.inputs is None:
        return Verdict(Action.OPEN, "by what the stage before it comes to")
    if record is None:
        return Verdict(Action.RUN, "it never ran")
    if record.key != step.key:
        words = changed(record.inputs, step.inputs)
        return Verdict(Action.RUN, f"changed: {', '.join(words)}" if words else "asked to be done anew")
    if record.status != "done":
        how = {"failed": f"it failed: {record.error}", "stopped": "it was stopped"}
        return Verdict(Action.CONTINUE, how.get(record.status, "it was cut off"))
    if not record.result.get("finished", True):
        return Verdict(Action.CONTINUE, f"its budget ended with {record.result.get('open', 'some')} titles open")
    if refresh_days is not None and record.ended_at and at - record.ended_at > timedelta(days=refresh_days):
        return Verdict(Action.CONTINUE, f"it ended more than {refresh_days:g} days ago")
    return Verdict(Action.SKIP, f"done on {record.ended_at:%Y-%m-%d %H:%M}")


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The inputs that differ, short ones with both values."""
    words = []
    for name in sorted({*before, *after} - {_REDO}):
        old, new = before.get(name, "none"), after.get(name, "none")
        if old != new:
            words.append(f"{name} ({old} → {new})" if len(old) + len(new) < 60 and "content" not in name else name)
    return words


def kept(stage: str, result: Result) -> dict[str, Any]:
    """What of a command's result belongs into the record. Raises KeyError where the stages after it would miss it."""
    names = KEPT[stage]
    return {names[0]: result[names[0]], **{name: result[name] for name in names[1:] if name in result}}


def _upstream(pipeline: Pipeline, stage: str, facts: Facts, results: Mapping[str, Result]) -> dict[str, str] | None:
    """What the stages before it came to, as inputs; None while it is not known."""
    crawl, dataset, model = (results.get(name) for name in ("crawl", "prepare", pipeline.learner))
    if stage == "crawl":
        return {"catalog": facts.catalog}
    if stage == "prepare":
        return None if crawl is None else {"crawl": f"{crawl['crawl_id']} as of {crawl.get('finished_at')}"}
    if stage == pipeline.learner:
        return None if dataset is None else {"dataset": dataset["dataset_id"]}
    return None if model is None or dataset is None else {"model": model["version"], "dataset": dataset["dataset_id"]}


def _command(pipeline: Pipeline, stage: str, facts: Facts, results: Mapping[str, Result], key: str | None) -> list[str]:
    dataset = results.get("prepare", {}).get("dataset_id", "DATASET")
    version = results.get(pipeline.learner, {}).get("version", "VERSION")
    words = {
        "crawl": ["crawl", facts.catalog_path, "--crawl-id", pipeline.name],
        "prepare": ["prepare", "--crawl", pipeline.name],
        pipeline.learner: [pipeline.learner, "--dataset", dataset, "--name", f"{pipeline.name}-{key or 'KEY'}"],
        "evaluate": ["evaluate", version, "--dataset", dataset],
        "promote": ["models", "promote", version, "--if-better", "--dataset", dataset],
    }
    return ["onesheet", *words[stage], *pipeline.arguments(stage), "--json"]


def check_command(pipeline: Pipeline, stage: str) -> list[str] | None:
    """The command that checks a stage's options and does nothing; None where the stage itself says it at once."""
    words = {
        "prepare": ["prepare"],
        pipeline.learner: [pipeline.learner],
        "promote": ["models", "promote", "VERSION", "--if-better"],
    }
    return ["onesheet", *words[stage], *pipeline.arguments(stage), "--check", "--json"] if stage in words else None
