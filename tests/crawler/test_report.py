"""What a report says of a ledger: the sums, the reasons, the copies, the hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from cluster.errors import CrawlerError
from crawler import report as report_module
from crawler.crawl import Crawl
from crawler.ledger import SCHEMA, LedgerRow
from crawler.outcomes import Reason
from crawler.report import CrawlReport, make_report
from crawler.report_tally import COLUMNS, make_shown
from crawler.reporting import newest_crawl, read_report
from tests.crawler.report_ledgers import START, crawl_of, imdb_id, rejected, stored


def made(rows: Sequence[LedgerRow], titles: int, *, piece: int = 3, **columns: list[Any]) -> CrawlReport:
    """The report of rows that need no store, in pieces of a few."""
    names = [name for name in COLUMNS if name in SCHEMA.names and name not in columns]
    table = pa.table(
        {name: [getattr(row, name) for row in rows] for name in names}, pa.schema(map(SCHEMA.field, names))
    )
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.int32()))

    def pieces(asked: Sequence[str]) -> Iterator[pa.Table]:
        there = table.select([name for name in asked if name in table.column_names])
        yield from (there.slice(at, piece) for at in range(0, table.num_rows, piece))

    return make_report(
        pieces,
        crawl_id="films",
        card=SimpleNamespace(
            name="films.csv", form="ids", rows=titles + 3, titles=titles, rejected_rows=2, first_rejected=[]
        ),
        titles=BitMap64(range(1, titles + 1)),
        summary=None,
        shown=make_shown(["sesame-key"]),
        made_at=START,
    )


OUTCOMES = st.one_of(
    st.just("stored"), st.just("open"), st.just("twin"), st.sampled_from([*Reason]), st.just("of_another_version")
)


@settings(deadline=None)
@given(st.lists(OUTCOMES, max_size=40), st.integers(0, 3), st.integers(1, 50))
def test_the_sum_equals_the_catalogue_whatever_the_ledger_says(outcomes: list[str], strangers: int, piece: int) -> None:
    rows = []
    for number, outcome in enumerate(outcomes, 1):
        if outcome in ("stored", "twin"):
            rows.append(stored(number, **{"sha256": "f" * 64} if outcome == "twin" else {}))
        elif outcome != "open":
            rows.append(rejected(number, outcome))
    rows += [stored(len(outcomes) + 1 + place) for place in range(strangers)]
    report = made(rows, len(outcomes), piece=piece)
    twins = outcomes.count("twin")
    assert report.titles == len(outcomes) == report.stored + report.rejected + report.open
    assert (report.stored, report.open) == (outcomes.count("stored") + twins, outcomes.count("open"))
    assert report.lasting + report.passing == report.rejected == sum(reason.titles for reason in report.reasons)
    assert report.rows == report.titles + report.duplicate_rows + report.rejected_rows
    assert report.strangers == strangers
    assert sum(one.stored + one.lasting + one.passing for one in report.pace.bins) == report.stored + report.rejected
    assert report.duplicates.titles == (twins if twins > 1 else 0)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_ledger_that_has_a_title_twice_is_an_error_and_no_wrong_sum() -> None:
    with pytest.raises(CrawlerError, match=r"the sums do not hold .*2 titles = 3 stored"):
        made([stored(1), stored(1), stored(2)], 2)


def test_the_report_says_its_sums() -> None:
    report = made([stored(1), stored(2), rejected(3), rejected(4, Reason.TIMEOUT)], 6)
    assert report.sentence == "6 titles = 2 stored + 2 rejected + 2 open"
    assert report.rows_sentence == "9 rows = 6 titles + 1 duplicates + 2 malformed"
    assert report.open_examples == (imdb_id(5), imdb_id(6))


def test_reasons_come_with_their_first_titles_and_whether_they_pass() -> None:
    rows = [rejected(number, Reason.TIMEOUT, detail="30 s", url=None) for number in range(1, 9)]
    timeout, not_found = made([*rows, rejected(9)], 9).reasons
    assert (timeout.reason, timeout.is_passing, timeout.titles, len(timeout.examples)) == ("timeout", True, 8, 5)
    assert timeout.examples[0] == {
        "imdb_id": imdb_id(1), "source": "page", "url": None, "detail": "30 s", "http_status": None
    }  # fmt: skip
    assert (not_found.reason, not_found.is_passing) == ("not_found", False)


@pytest.mark.parametrize("at_once", [1, 2, 99])
def test_copies_are_counted_by_their_whole_digest(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "_SUSPECTS", at_once)
    # The two have the same CRC-32, so the first pass takes them for one another.
    collision = ["plumless".ljust(64, "0"), "buckeroo".ljust(64, "0")]
    digests = ["a" * 64] * 3 + ["b" * 64] * 2 + collision
    found = made([stored(n, sha256=digest, bytes=100) for n, digest in enumerate(digests, 1)], 7).duplicates
    assert (found.groups, found.titles, found.extra_bytes) == (2, 5, 300)
    assert [(one.sha256[0], one.titles, one.examples[0]) for one in found.top] == [
        ("a", 3, imdb_id(1)), ("b", 2, imdb_id(4))
    ]  # fmt: skip


def test_hosts_have_their_requests_and_failures() -> None:
    rows = [
        stored(1, attempts=3),
        rejected(2, Reason.TIMEOUT, attempts=4, url="https://IMAGES.example/2"),
        rejected(3, Reason.NOT_FOUND, url="https://user:hunter2@images.example/3"),
        rejected(4, Reason.NO_POSTER, url=None, attempts=0),
        stored(5, url="file:///posters/tt5.jpg", source="images"),
    ]
    report = made(rows, 5)
    (host,) = report.hosts
    assert (host.name, host.requests, host.failed, host.stored, host.rejected) == ("images.example", 8, 6, 1, 2)
    assert host.p95_ms is None
    assert report.slow_hosts == ()
    assert report.error_rate == 6 / 9


def test_hosts_that_were_timed_are_named_the_slowest_first() -> None:
    rows = [stored(n, url=f"https://{'slow' if n % 2 else 'quick'}.example/{n}") for n in range(1, 9)]
    report = made(rows, 8, download_ms=[800, 20, 900, 30, None, 25, 1000, None])
    slow, quick = report.slow_hosts
    assert (slow.name, slow.timed, quick.name, quick.timed) == ("slow.example", 3, "quick.example", 3)
    assert slow.p50_ms == pytest.approx(900, rel=0.03)
    assert quick.p95_ms == pytest.approx(30, rel=0.03)
    assert report.to_dict()["slow_hosts"] == ["slow.example", "quick.example"]


def test_thousands_of_hosts_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.report_tally._MOST_HOSTS", 2)
    report = made([stored(n, url=f"https://{n}.example/") for n in range(1, 8)], 7)
    assert [(host.name, host.requests) for host in report.hosts] == [
        ("1.example", 1), ("2.example", 1), ("(other hosts)", 5)
    ]  # fmt: skip


def test_what_is_shown_has_no_secrets_and_no_control_characters() -> None:
    shown = make_shown(["sesame-key"])
    assert shown("https://u:p@h.example/p.jpg?X-Amz-Signature=abc#x") == "https://h.example/p.jpg?…"
    assert shown("see http://h.example/?apikey=1, then") == "see http://h.example/?… then"
    assert shown("the key sesame-key is wrong") == "the key … is wrong"
    assert shown("\x1b[2Ja\nb\u202ec\ud800") == "�[2Ja�b�c�"
    assert len(shown("x" * 10_000)) == 401


def test_a_crawl_at_work_or_killed_has_a_report(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 5, [stored(1), rejected(2, Reason.SERVER_ERROR), stored(2), stored(3)])
    report = read_report(crawl.store)
    assert report.sentence == "5 titles = 3 stored + 0 rejected + 2 open"
    assert (report.finish_reason, report.last_at) == (None, START + timedelta(seconds=3))
    assert report.state.startswith("not ended")
    assert report.first_rejected[0]["line"] == 7


def test_a_crawl_that_ended_says_why(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 2, [stored(1)])
    crawl.finish(started_at=datetime.now(UTC), finish_reason="budget")
    assert read_report(crawl.store).state.startswith("ended early (budget)")
    # It is resumed: its summary is of the start before.
    resumed = crawl_of(tmp_path, 2, [stored(2, fetched_at=datetime.now(UTC) + timedelta(seconds=5))])
    assert read_report(resumed.store).finish_reason is None


def test_an_empty_ledger_leaves_every_title_open(tmp_path: Path) -> None:
    report = read_report(crawl_of(tmp_path, 4).store)
    assert report.sentence == "4 titles = 0 stored + 0 rejected + 4 open"
    assert (report.error_rate, report.images_per_s, report.hosts, report.pace.bins) == (None, 0.0, (), ())
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_newest_crawl_is_the_one_in_which_something_happened_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_at(crawl: Crawl, moment: datetime) -> None:
        key = f"crawls/{crawl.crawl_id}/catalog.json"
        card = json.loads(crawl.store.get(key)) | {"saved_at": moment.isoformat()}
        crawl.store.put(key, json.dumps(card).encode())

    now = datetime.now(UTC)
    first, second = crawl_of(tmp_path, 1, name="first"), crawl_of(tmp_path, 1, name="second")
    saved_at(first, now - timedelta(hours=3))
    saved_at(second, now - timedelta(hours=2))
    assert newest_crawl(first.store) == second.crawl_id
    crawl_of(tmp_path, 1, [stored(1)], name="first")
    assert newest_crawl(first.store) == first.crawl_id


def test_a_crawl_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    store = crawl_of(tmp_path, 1).store
    with pytest.raises(CrawlerError, match="'nope'"):
        read_report(store, "nope")
