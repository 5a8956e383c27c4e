"""`onesheet catalog inspect`: what it counts, what it shows, and its exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.generated_catalog import write
from crawler.catalog_commands import shown
from crawler.catalog_report import CatalogReport, report_on
from crawler.catalogs import Form, Kind, open_catalog
from tests.conftest import ROOT
from tests.crawler.test_catalog_formats import BASICS, KAGGLE, basics_row

ROWS = (
    b"1,,One (1961),7,Drama|War,http://h/1.jpg\n"
    b"1,,One (1961),7,Drama|War,http://h/1.jpg\n"
    b"nope,,Two,7,Drama,\n"
    b"3,,Caf\xc3\x83\xc2\xa9 (2001),7,Drama,\n"
    b"4,,,,,\n"
)


def inspect(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "onesheet.py"), "catalog", "inspect", *words]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def report_of(path: Path, data: bytes, **options: Any) -> CatalogReport:
    path.write_bytes(data)
    with open_catalog(str(path), **options) as catalog:
        return report_on(catalog)


def text_of(report: CatalogReport, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(shown(report))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_report_counts_distinct_titles_by_their_first_row(tmp_path: Path):
    report = report_of(tmp_path / "c.csv", KAGGLE + ROWS)
    assert (report.file_rows, report.rows, report.titles, report.duplicates, report.rejected_rows) == (5, 5, 3, 1, 1)
    assert report.genres == {"Drama": 2, "War": 1}
    assert (report.with_poster_url, report.without_name, report.without_genre, report.without_year) == (1, 1, 1, 1)
    assert (report.first_year, report.last_year, report.repaired_names) == (1961, 2001, 1)
    assert [row.line for row in report.first_rejected] == [4]


def test_what_the_filters_leave_out_is_counted_and_not_rejected(tmp_path: Path):
    rows = b"".join(basics_row(number, kind) for number, kind in enumerate(("movie", "tvEpisode", "tvSeries"), 1))
    report = report_of(tmp_path / "c", BASICS + rows + basics_row(4, adult=1))
    assert (report.file_rows, report.rows, report.titles, report.rejected_rows) == (4, 2, 2, 0)
    assert report.left_out == {"episode": 1, "adult": 1}
    assert report.kinds == {"film": 1, "series": 1}
    assert report_of(tmp_path / "c", BASICS + rows, kinds=frozenset(Kind)).left_out == {}


def test_only_the_first_twenty_rejected_rows_are_kept(tmp_path: Path):
    report = report_of(tmp_path / "c", b"tt0000001\n" * 60 + b"nope\n" * 50)
    assert (report.rejected_rows, len(report.first_rejected)) == (50, 20)
    assert "and 30 more" in text_of(report)


def test_the_report_shows_a_funnel_genres_and_the_rejected_rows(tmp_path: Path):
    text = text_of(report_of(tmp_path / "films.csv", KAGGLE + ROWS))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "films.csv is Kaggle's MovieGenre.csv (movie-genre)"
    for line in (
        "1 mangled name repaired",
        "rows 5",
        "- rejected 1 see below",
        "- duplicates 1",
        "= titles 3",
        "with a poster URL 1 33.3%",
        "with a year 2 66.7%, 1961 to 2001",
        "War 1 33.3% ███████████████",
        "4 'nope' is not an IMDb id (expected tt and 7 or more digits)",
    ):
        assert line in lines, text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_a_catalogue_says_is_never_taken_for_markup(tmp_path: Path, width: int):
    text = text_of(report_of(tmp_path / "[b].csv", KAGGLE + b"1,,A,,[red]x[/red]|[/],\n[/b],,A,,,\n"), width)
    assert "[/]" in text
    assert "[b].csv" in text
    assert "[red]x[/red]" in text


def test_the_last_line_of_json_has_every_count(tmp_path: Path):
    path = tmp_path / "c.csv"
    path.write_bytes(KAGGLE + ROWS)
    answer = inspect(str(path), "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["rows"] == found["titles"] + found["duplicates"] + found["rejected_rows"] == 5
    assert found["genres"] == {"Drama": 2, "War": 1}
    assert found["first_rejected"] == [
        {"line": 4, "detail": "'nope' is not an IMDb id (expected tt and 7 or more digits)"}
    ]
    assert answer.stderr == b""


def test_standard_input_and_the_options_are_taken():
    data = BASICS + basics_row(1) + basics_row(2, "tvEpisode") + basics_row(3, adult=1)
    answer = inspect("-", "--format", "imdb-basics", "--kinds", "film,episode", "--adult", "--json", stdin=data)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["name"], found["titles"], found["left_out"]) == ("standard input", 3, {})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.csv"], "catalogue none.csv: No such file or directory"),
        (["-", "--kinds", "movie"], "'movie' is no kind; use one or more of film,series,episode,game"),
        (["-"], "catalogue on standard input is empty"),
    ],
)
def test_a_bad_catalogue_is_one_sentence_and_exit_code_1(words: list[str], sentence: str):
    answer = inspect(*words)
    assert answer.returncode == 1
    assert sentence in " ".join(answer.stderr.decode().split())
    assert b"Traceback" not in answer.stderr
    assert answer.stdout == b""


def test_a_terminal_sees_progress_and_then_the_report(tmp_path: Path):
    write(tmp_path / "long.tsv.gz", Form.IMDB_BASICS, 150_000)
    main, terminal = pty.openpty()
    command = [sys.executable, str(ROOT / "onesheet.py"), "catalog", "inspect", str(tmp_path / "long.tsv.gz")]
    process = subprocess.Popen(
        command, stderr=terminal, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(main)
    assert process.stdout is not None
    report = process.stdout.read().decode()
    assert process.wait(60) == 0
    assert b"reading long.tsv.gz" in seen
    assert "= titles" in report
    assert "reading" not in report
