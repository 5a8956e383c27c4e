"""The files that GitHub reads, by its schemas; and that CI runs what everyone runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests import command_lines
from tests.conftest import ROOT
from tests.infra.schemas import problems

GITHUB = ROOT / ".github"


def load(name: str) -> Any:
    return yaml.safe_load((GITHUB / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("workflows/ci.yml", "github-workflows"),
        ("dependabot.yml", "dependabot"),
        ("ISSUE_TEMPLATE/config.yml", "github-issue-config"),
        ("ISSUE_TEMPLATE/bug.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/idea.yml", "github-issue-forms"),
    ],
)
def test_github_would_read_it(name: str, schema: str):
    document = load(name)
    if schema == "github-workflows":
        document = {"on" if key is True else key: value for key, value in document.items()}  # YAML 1.1's `on`
    assert problems(schema, document) == []
    assert problems(schema, {**document, "colour": "red"})


def test_ci_runs_make_targets_that_there_are_and_nothing_else_but_the_image():
    steps = [step["run"] for job in load("workflows/ci.yml")["jobs"].values() for step in job["steps"] if "run" in step]
    make = [step for step in steps if step.startswith("make ")]
    for step in make:
        command_lines.check(step)
    assert {"make check", "make docs", "make test", "make faults"} <= set(make)
    assert all(step.startswith("docker ") for step in set(steps) - set(make))


def test_every_job_ends_and_may_only_read():
    workflow = load("workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())


def test_what_security_promises_is_tested_where_it_says():
    paths = re.findall(r"`((?:tests|infra)/[^`]*)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
