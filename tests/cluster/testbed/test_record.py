"""What a testbed consists of is kept where only its user reads it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.testbed.record import Node, Record, locked, names, read_record, root


@pytest.fixture
def record() -> Iterator[Record]:
    """Of a testbed that was planned and not started."""
    name = f"r{secrets.token_hex(4)}"
    made = Record(
        name, 7, 1, 0, 100, 6379, 10001, 8265, keeps_jobs=True, environment={"AWS_SECRET_ACCESS_KEY": "secret"}
    )
    made.folder.mkdir()
    yield made
    for path in made.folder.iterdir():
        path.unlink()
    made.folder.rmdir()


def test_it_is_read_as_it_was_saved(record: Record) -> None:
    node = Node("head", 1, "10.77.7.1", Path("/tmp/head"), 5000, has_disk=False)
    kept = Record(**{field: getattr(record, field) for field in record.__slots__} | {"nodes": (node,)})
    kept = kept.with_cut("worker1", is_cut=True).with_cut("worker1 worker2", is_cut=True)
    kept.save()
    assert read_record(record.name) == kept
    assert record.name in names()
    assert kept.with_cut("worker1", is_cut=False).is_cut == ("worker1 worker2",)


def test_nobody_else_reads_it(record: Record) -> None:
    record.save()
    (path,) = record.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(root().stat().st_mode) == 0o700
    assert root().stat().st_uid == os.getuid()


def test_one_that_was_not_started_and_a_bad_name_are_said() -> None:
    with pytest.raises(ClusterError, match=r"no cluster 'nowhere' was started here .* onesheet cluster up"):
        read_record("nowhere")
    for name in ("", "../etc", "Local", "a-name-too-long"):
        with pytest.raises(ClusterError, match="is no name for a cluster"):
            read_record(name)


def test_only_one_at_a_time_changes_a_testbed() -> None:
    name = f"l{secrets.token_hex(4)}"
    inside: list[int] = []

    def change() -> None:
        for _ in range(20):
            with locked(name):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    with ThreadPoolExecutor(4) as changers:
        for changed in [changers.submit(change) for _ in range(4)]:
            changed.result()
    assert not (root() / f"{name}.lock").exists()
