"""One row a title out of many, on disk and in memory alike."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import StoreError
from crawler import ledger_merge
from crawler.ledger_merge import Spill, resolve, with_number

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema([("imdb_id", pa.string()), ("outcome", pa.string()), ("fetched_at", pa.timestamp("ms", tz="UTC"))])

# Few ids, so that most have several rows, of every length that an id can have.
ROWS = st.lists(
    st.tuples(
        st.builds(
            lambda front, zeros, back: f"tt{int(f'{front}{0:0{zeros}}{back}'):07d}",
            st.integers(1, 12),
            st.integers(1, 6),
            st.integers(0, 30),
        ),
        st.sampled_from(["stored", "rejected"]),
        st.integers(0, 5),
    ),
    max_size=120,
)
Row = tuple[str, str, int]


def _table(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    moments = [EPOCH + timedelta(milliseconds=moment) for moment in columns[2]]
    return with_number(pa.table([columns[0], columns[1], moments], schema=SCHEMA))


def _rows(tables: Iterator[pa.Table]) -> list[Row]:
    return [
        (row["imdb_id"], row["outcome"], (row["fetched_at"] - EPOCH) // timedelta(milliseconds=1))
        for table in tables
        for row in table.to_pylist()
    ]


def _expected(rows: list[Row]) -> list[Row]:
    """What the rule says, title by title."""
    best: dict[str, Row] = {}
    for row in rows:
        now = best.get(row[0])
        if now is None or (row[1] == "stored", row[2]) >= (now[1] == "stored", now[2]):
            best[row[0]] = row
    return [best[imdb_id] for imdb_id in sorted(best)]


@given(ROWS)
def test_stored_beats_rejected_then_the_newest_counts_and_ids_ascend_as_text(rows: list[Row]) -> None:
    assert _rows(iter([resolve(_table(rows))])) == _expected(rows)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, size=st.integers(1, 20), rows_a_range=st.integers(1, 30), most=st.integers(1, 5))
def test_what_goes_over_the_disk_is_what_one_table_would_be(
    rows: list[Row], size: int, rows_a_range: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, Spill() as spill:
        patch.setattr(ledger_merge, "RANGE_ROWS", rows_a_range)
        patch.setattr(ledger_merge, "_MAX_RANGES", most)
        for start in range(0, len(rows), size):
            spill.add(_table(rows[start : start + size]))
        assert _rows(spill.resolved()) == _expected(rows)


def test_all_columns_survive_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 2)
    table = _table([(f"tt{number:07}", "stored", number) for number in range(1, 10)])
    extra: list[Any] = [["Drama"], [], None, ["a", "b"], None, [], [], [], ["z"]]
    table = table.append_column("page_genres", pa.array(extra, pa.list_(pa.string())))
    with Spill() as spill:
        for start in range(0, 9, 2):
            spill.add(table.slice(start, 2))
        assert pa.concat_tables(spill.resolved()).equals(table)


@pytest.mark.parametrize("imdb_id", ["tt", "ttx", "55850000000000", "tt0000000", "tt99999999999", "tt-000001"])
def test_what_is_no_id_is_an_error_of_the_file(imdb_id: str) -> None:
    with pytest.raises(pa.ArrowInvalid):
        _table([(imdb_id, "stored", 1)])


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of 64 KB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    monkeypatch.undo()
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_temporary_folder_is_told_with_what_to_do_and_left_empty(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 1000)

    def overflow() -> None:
        with Spill() as spill:
            for _ in range(100):
                noise = [(f"tt{int.from_bytes(os.urandom(4)) % 10**9 + 1:07}", "stored", 1) for _ in range(1000)]
                spill.add(_table(noise))

    with pytest.raises(StoreError, match=rf"{small_disk} gives none \(No space left .*free some, or set TMPDIR"):
        overflow()
    assert list(small_disk.iterdir()) == []
    assert os.statvfs(small_disk).f_bfree > 10


def test_a_temporary_folder_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_merge, "RANGE_ROWS", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with Spill() as spill, pytest.raises(StoreError, match="set TMPDIR to a larger folder"):
        spill.add(_table([("tt0000001", "stored", 1)]))
