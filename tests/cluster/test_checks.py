"""What the doctor makes of facts: each check says what is wrong and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.checks import Finding, Level, Node, diagnose

WELL: dict[str, Any] = {
    "versions": {"python": "3.11.7", "onesheet": "0.1.0", "ray": "2.60.0", "tensorflow": "2.21.0", "keras": "3.15.1"},
    "store": "",
    "unreachable": [],
    "disk": {"folder": "/tmp/ray", "total": 100e9, "free": 60e9},
    "shared_memory": {"folder": "/dev/shm", "total": 10e9, "free": 10e9},
    "memory": {"total": 16e9, "available": 8e9},
    "open_files": 65536,
    "gpus": {"driver": 0, "tensorflow": None, "said": ""},
}


def node(name: str = "b", *, clock_s: float = 0.0, resources: dict[str, float] | None = None, **facts: Any) -> Node:
    return Node(name, {**WELL, **facts}, clock_s=clock_s, clock_error_s=0.01, resources=resources or {})


def findings(*nodes: Node) -> list[Finding]:
    return [finding for finding in diagnose([node("a"), *nodes]) if finding.level is not Level.FINE]


def test_all_is_well() -> None:
    found = diagnose([node("a"), node("b", resources={"object_store_memory": 5e9})])
    assert {finding.level for finding in found} == {Level.FINE}
    assert {finding.check for finding in found if finding.node == "b"} == {
        *("versions", "store", "ports", "clock", "disk", "shared memory", "memory"),
    }


@pytest.mark.parametrize(
    ("wrong", "check", "level", "what", "remedy"),
    [
        (
            node(versions={**WELL["versions"], "keras": "3.14.0", "tensorflow": ""}),
            *(
                "versions",
                Level.BROKEN,
                "tensorflow is not installed; keras 3.14.0, not 3.15.1 as on a",
                "requirements",
            ),
        ),
        (node(store="no credentials"), "store", Level.BROKEN, "no credentials", "ONESHEET_STORE"),
        (node(unreachable=["c's raylet at c:1"]), "ports", Level.BROKEN, "does not reach c's raylet at c:1", "open"),
        (node(clock_s=-5), "clock", Level.WARNING, "5.00 s behind", "NTP"),
        (node(clock_s=90), "clock", Level.BROKEN, "90.00 s ahead", "NTP"),
        (
            node(disk={"folder": "/x", "total": 100e9, "free": 4e9}),
            *("disk", Level.BROKEN, "4.0 GB free of 100 at /x", "--temp-dir"),
        ),
        (
            node(disk={"folder": "/x", "total": 50e9, "free": 9e9}),
            *("disk", Level.WARNING, "9.0 GB free of 50 at /x", "free some"),
        ),
        (
            node(
                shared_memory={"folder": "/dev/shm", "total": 64e6, "free": 64e6},
                resources={"object_store_memory": 5e9},
            ),
            *("shared memory", Level.WARNING, "shared memory of 0.1 GB, Ray's objects may take 5.0", "--shm-size=5g"),
        ),
        (
            node(memory={"total": 16e9, "available": 0.5e9}),
            *("memory", Level.BROKEN, "0.5 GB of 16.0 available", "larger"),
        ),
        (node(memory={"total": 8e9, "available": 0.9e9}), "memory", Level.WARNING, "0.9 GB of 8.0 available", "1 GB"),
        (node(open_files=1024), "open files", Level.WARNING, "at most 1024", "ulimit -n"),
        (
            node(gpus={"driver": 2, "tensorflow": 0, "said": ""}, resources={"GPU": 2}),
            *("GPUs", Level.BROKEN, "TensorFlow sees 0 of 2", "onesheet[gpu]"),
        ),
        (
            node(gpus={"driver": 2, "tensorflow": None, "said": "libcuda: bad"}, resources={"GPU": 2}),
            *("GPUs", Level.BROKEN, "libcuda: bad", "onesheet[gpu]"),
        ),
        (node(resources={"GPU": 1}), "GPUs", Level.BROKEN, "Ray offers 1, the driver sees 0", "--num-gpus"),
        (
            node(gpus={"driver": 1, "tensorflow": 1, "said": ""}, resources={"CPU": 8}),
            *("GPUs", Level.WARNING, "1 seen, none offered by Ray", "--num-gpus=1"),
        ),
    ],
)
def test_what_is_wrong_is_found_with_its_remedy(wrong: Node, check: str, level: Level, what: str, remedy: str) -> None:
    (found,) = findings(wrong)
    assert (found.check, found.node, found.level, found.what) == (check, "b", level, what)
    assert remedy in found.remedy


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert findings(Node("b", WELL, clock_s=3.0, clock_error_s=2.5)) == []


def test_a_node_that_does_not_answer_is_broken_and_hides_no_other() -> None:
    found = findings(Node("b", silence="it did not answer in time"), node("c", store="gone"))
    assert [(it.check, it.node, it.level) for it in found] == [
        ("answers", "b", Level.BROKEN),
        ("store", "c", Level.BROKEN),
    ]
