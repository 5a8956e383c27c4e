"""Processes that append, merge, read and are killed, all on one ledger: every row that was flushed is there once."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap64

from cluster.errors import StoreError
from cluster.store import FolderStore
from crawler import ledger_merge, segments
from crawler.ledger import Ledger, known, merge, read_ledger
from crawler.outcomes import Reason
from tests.crawler.test_ledger import CRAWL, _row, _write

# Appends titles first, first + step, …, each as a passing failure and later as stored, and notes what is in storage.
_APPEND = """
import random, sys
from pathlib import Path
from datetime import UTC, datetime
from cluster.store import FolderStore
from crawler.ledger import Ledger, LedgerRow
root, notes, first, step, end = sys.argv[1], open(sys.argv[2], "a"), *map(int, sys.argv[3:6])
ledger, waiting = Ledger(FolderStore(Path(root)), "films-1"), []
for number in range(first, end, step):
    facts = {"imdb_id": f"tt{number:07}", "source": "page", "attempts": 1}
    for outcome, reason in (("rejected", "timeout"), ("stored", None)):
        ledger.append(LedgerRow(outcome=outcome, reason=reason, fetched_at=datetime.now(UTC), bytes=1, **facts))
        if random.random() < 0.1:
            ledger.flush()
    waiting.append(number)
    if not ledger.waiting:
        notes.write("".join(f"{number}\\n" for number in waiting))
        notes.flush()
        waiting.clear()
ledger.flush()
notes.write("".join(f"{number}\\n" for number in waiting))
"""

_MERGE = """
import sys
from pathlib import Path
from cluster.store import FolderStore
from crawler import ledger_merge, segments
from crawler.ledger import merge
ledger_merge.RANGE_ROWS, segments._ROWS_A_FILE = 100, 300
print("merging", flush=True)
while True:
    merge(FolderStore(Path(sys.argv[1])), "films-1")
"""


def _start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _noted(folder: Path) -> set[int]:
    lines = [line for file in folder.glob("notes-*") for line in file.read_text().splitlines(keepends=True)]
    return {int(line) for line in lines if line.endswith("\n")}


@pytest.mark.fault
def test_processes_that_append_merge_read_and_die_lose_nothing_that_was_flushed(tmp_path: Path) -> None:
    store, chance = FolderStore(tmp_path / "store"), random.Random(7)
    end, starts, kills, reads = 4_000, 3, 0, 0
    with contextlib.ExitStack() as stack:

        def start(script: str, *arguments: object) -> subprocess.Popen[str]:
            process = stack.enter_context(_start(script, store.root, *arguments))
            stack.callback(process.kill)
            return process

        def append(first: int) -> subprocess.Popen[str]:
            # A killed process leaves its last line of notes unfinished, so each has a file of its own.
            return start(_APPEND, tmp_path / f"notes-{first}-{time.monotonic_ns()}", first, starts, end)

        appending = {first: append(first) for first in range(1, starts + 1)}
        merging = [start(_MERGE), start(_MERGE)]
        while any(process.poll() is None for process in appending.values()):
            noted = _noted(tmp_path)
            rows = read_ledger(store, CRAWL, ["imdb_id"])["imdb_id"].to_pylist()
            assert rows == sorted(set(rows))
            assert not {f"tt{number:07}" for number in noted} - set(rows)
            reads += 1
            victim = chance.choice([*appending, "merge", "merge"])
            if kills < 12 and isinstance(victim, int) and appending[victim].poll() is None and noted:
                appending[victim].send_signal(signal.SIGKILL)
                appending[victim].wait()
                appending[victim] = append(victim)
                kills += 1
            elif victim == "merge":
                dying = merging.pop(0)
                assert dying.stdout
                dying.stdout.readline()
                time.sleep(chance.uniform(0, 0.3))
                dying.send_signal(signal.SIGKILL)
                dying.wait()
                merging.append(start(_MERGE))
                kills += 1
        assert {process.returncode for process in appending.values()} == {0}
        for process in merging:
            process.kill()
            process.wait()
    assert kills > 5
    assert reads > 5
    numbers = range(1, end)
    assert merge(store, CRAWL, BitMap64(numbers)).stored == len(numbers)
    files = sorted((store.root / f"crawls/{CRAWL}/ledger").glob("*.parquet"))
    assert len({file.name.rpartition("-")[0] for file in files}) == 1
    assert all(file.name.startswith("merged-") for file in files)
    ids = [imdb_id for file in files for imdb_id in pq.read_table(file)["imdb_id"].to_pylist()]
    assert ids == [f"tt{number:07}" for number in numbers]


class Killed(BaseException):
    """What SIGKILL is to a process: nothing of it runs on."""


class Dying(FolderStore):
    """A folder whose process dies behind its n-th write or delete."""

    def __init__(self, root: Path, lives: int) -> None:
        super().__init__(root)
        self.lives = lives

    def put_file(self, *arguments: Any, **options: Any) -> None:
        """Write, perhaps for the last time."""
        super().put_file(*arguments, **options)
        self._die()

    def delete(self, key: str) -> None:
        """Delete, perhaps for the last time."""
        if self.lives > 0:
            super().delete(key)
            self._die()

    def _die(self) -> None:
        self.lives -= 1
        if self.lives <= 0:
            raise Killed


@pytest.mark.parametrize("lives", range(1, 8))
def test_a_merge_that_dies_behind_any_of_its_steps_leaves_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: int
) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 1)
    monkeypatch.setattr(segments, "_ROWS_A_FILE", 1)
    monkeypatch.setattr(segments, "_THREADS", 1)
    _write(FolderStore(tmp_path), [_row(1000), _row(2000, Reason.TIMEOUT)])
    merge(FolderStore(tmp_path), CRAWL)
    _write(FolderStore(tmp_path), [_row(2000), _row(3000)])
    # Three files are written and three deleted; the next merge, with a row more, does the same and deletes one more.
    with contextlib.suppress(Killed):
        merge(Dying(tmp_path, lives), CRAWL)
    _write(FolderStore(tmp_path), [_row(3000)])
    with contextlib.suppress(Killed):
        merge(Dying(tmp_path, lives), CRAWL)
    rows = read_ledger(FolderStore(tmp_path), CRAWL, ["imdb_id", "outcome"]).to_pylist()
    assert [(row["imdb_id"], row["outcome"]) for row in rows] == [
        (f"tt{number:07}", "stored") for number in (1000, 2000, 3000)
    ]
    assert merge(FolderStore(tmp_path), CRAWL).stored == 3
    assert len({key.rpartition("-")[0] for key in FolderStore(tmp_path).list()}) == 1


def test_no_file_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = FolderStore(tmp_path / "store")
    _write(store, [_row(number * 1000) for number in range(1, 10)])
    _write(store, [_row(number * 1000) for number in range(1, 10)])
    listed: list[list[str]] = []

    class Watched(FolderStore):
        def delete(self, key: str) -> None:
            listed.append([path.name for path in tmp_path.iterdir()])
            super().delete(key)

    merge(Watched(store.root), CRAWL)
    assert listed == [["store"], ["store"]]


def test_a_merge_on_a_full_temporary_folder_is_told_and_keeps_the_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, store = tmp_path / "disk", FolderStore(tmp_path / "store")
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        _write(store, [_row(number, sha256=np.random.bytes(32).hex()) for number in range(1, 3000)])
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(disk))
            with pytest.raises(StoreError, match=rf"{disk} gives none .*; free some, or set TMPDIR to a larger folder"):
                merge(store, CRAWL)
            assert list(disk.iterdir()) == []
        assert len(known(store, CRAWL, refresh_before=None).done) == 2999
        assert merge(store, CRAWL).stored == 2999
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    "damage",
    [b"", b"PAR1", b"<html>", b"PAR1" + bytes(40) + b"\x10\0\0\0PAR1"],
    ids=["empty", "cut", "a page", "no footer"],
)
@pytest.mark.parametrize("name", ["0.parquet", "merged-000001-00-0000.parquet"])
def test_a_damaged_segment_is_told_by_its_address_and_nothing_is_deleted(
    tmp_path: Path, name: str, damage: bytes
) -> None:
    store = FolderStore(tmp_path)
    _write(store, [_row(1)])
    key = f"crawls/{CRAWL}/ledger/{name}"
    store.put(key, damage)
    keys = list(store.list())
    for use in (
        lambda: read_ledger(store, CRAWL),
        lambda: merge(store, CRAWL),
        lambda: known(store, CRAWL, refresh_before=None),
    ):
        with pytest.raises(StoreError, match=rf"{key} is damaged .*; delete it, and crawl again"):
            use()
    assert list(store.list()) == keys


def test_a_segment_cut_in_the_middle_of_its_data_is_damaged(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    _write(store, [_row(number, url=np.random.bytes(40).hex()) for number in range(1, 200)])
    (key,) = store.list()
    data = bytearray(store.get(key))
    data[200:3000] = b"\xff" * 2800
    store.put(key, bytes(data))
    with pytest.raises(StoreError, match=rf"{key} is damaged"):
        read_ledger(store, CRAWL)


def test_what_is_no_segment_is_not_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put(f"crawls/{CRAWL}/ledger/notes.txt", b"mine")
    Ledger(store, CRAWL).flush()
    merge(store, CRAWL)
    assert read_ledger(store, CRAWL).num_rows == 0
    assert list(store.list()) == [f"crawls/{CRAWL}/ledger/notes.txt"]
