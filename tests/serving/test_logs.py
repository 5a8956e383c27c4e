"""Where a replica's log goes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from logging.handlers import MemoryHandler, RotatingFileHandler
from pathlib import Path

import pytest

from serving import logs
from serving.access import Access, write_line

_NAMES = ("ray.serve", "cluster", "crawler", "training", "serving", "serving.access")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Path]:
    """Serve's log of a replica, whose handlers are as Serve makes them; afterwards all loggers are as before."""
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    file = tmp_path / "replica_onesheet_posters_x1.log"
    serves = loggers[0]
    writes = RotatingFileHandler(file, maxBytes=2_000, backupCount=2)
    serves.handlers = [MemoryHandler(1, target=writes)]
    serves.setLevel(logging.INFO)
    serves.propagate = False
    yield file
    for logger, handlers, level, propagate in before:
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    writes.close()


def ask(count: int = 1) -> None:
    for number in range(count):
        write_line(Access(f"id-{number}", "POST", "192.0.2.1", path="/v1/predict", status=200))


def ids(file: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in file.read_text().splitlines()]


def test_access_lines_have_a_file_of_their_own_and_all_else_is_in_serves(replica: Path) -> None:
    write_lines = logs.log_beside_serve()
    logging.getLogger("serving.follower").info("serving model version %s", "v1")
    logging.getLogger("training.export").warning("slower")
    ask(3)
    write_lines()
    assert replica.read_text().splitlines() == ["serving model version v1", "slower"]
    assert ids(replica.with_name("access_onesheet_posters_x1.log")) == ["id-0", "id-1", "id-2"]


def test_access_lines_are_written_together_and_none_twice(replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MOST_LINES", 4)
    access = replica.with_name("access_onesheet_posters_x1.log")
    write_lines = logs.log_beside_serve()
    ask(3)
    assert access.read_text() == ""
    ask(1)
    assert ids(access) == ["id-0", "id-1", "id-2", "id-0"], "as many as may wait"
    write_lines()
    write_lines()
    assert len(ids(access)) == 4


def test_the_file_of_access_lines_is_turned_over_as_serves_is(replica: Path) -> None:
    write_lines = logs.log_beside_serve()
    for _ in range(12):
        ask(4)
        write_lines()
    files = sorted(replica.parent.glob("access_*"))
    assert [file.suffix for file in files] == [".log", ".1", ".2"]
    assert all(file.stat().st_size <= 2_000 and ids(file) for file in files)


def test_where_serve_writes_no_file_the_lines_are_in_its_log(replica: Path, caplog: pytest.LogCaptureFixture) -> None:
    serves = logging.getLogger("ray.serve")
    serves.handlers = [caplog.handler]
    write_lines = logs.log_beside_serve()
    ask()
    write_lines()
    [record] = caplog.records
    assert json.loads(record.getMessage())["request_id"] == "id-0"
