"""A report as a page, as a picture and in the terminal, whatever a catalogue or a host may say."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from crawler.outcomes import Reason
from crawler.report import CrawlReport
from crawler.report_chart import draw_chart
from crawler.report_page import render_page
from crawler.report_terminal import render_terminal
from crawler.report_words import duration, figure, share, size
from crawler.reporting import read_report
from tests.crawler.report_ledgers import crawl_of, rejected, stored

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style><style>*{display:none}",
    "$\\frac{$ [bold red]markup[/] [/]",
    "javascript:alert(1)",
    "\x1b]0;owned\x07\x1b[2J\u202e\u2066",
    "]]>&lt;&#0;",
)


class Page(HTMLParser):
    """The elements of a page, and whatever could make a browser run or load something."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "an element is not closed"

    def handle_data(self, data: str) -> None:
        self.text += data


def in_terminal(report: CrawlReport) -> str:
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    console.print(render_terminal(report))
    return console.export_text()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CrawlReport:
    """Of a crawl with something of everything, and hostile texts wherever they can come from."""
    rows = [stored(number, width_px=300 + number % 7) for number in range(1, 60)]
    rows += [stored(number, sha256="c" * 64, source=HOSTILE[0], format=HOSTILE[1]) for number in range(60, 70)]
    for number, text in enumerate(HOSTILE, 70):
        reason = Reason.TIMEOUT if number % 2 else Reason.BAD_URL
        rows.append(rejected(number, reason, detail=text, url=f"https://{text}/p.jpg?token=hunter2"))
        rows.append(rejected(number + 50, reason, detail=text, url=text))
    rows.append(rejected(100, HOSTILE[0]))
    crawl = crawl_of(tmp_path_factory.mktemp("report"), 130, rows)
    return read_report(crawl.store)


def test_the_page_is_whole_and_runs_and_loads_nothing(report: CrawlReport) -> None:
    page = Page(render_page(report))
    assert page.open == []
    assert not page.tags & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert page.handlers == []
    assert page.addresses
    assert all(re.fullmatch(r"https://www\.imdb\.com/title/tt[0-9]+/", address) for address in page.addresses)
    assert "default-src 'none'" in render_page(report)


def test_the_page_shows_hostile_texts_as_texts(report: CrawlReport) -> None:
    text = Page(render_page(report)).text
    assert "<script>alert(1)</script>" in text
    assert "\"><img src=x onerror='alert(1)'>" in text
    assert "hunter2" not in render_page(report)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", render_page(report))


def test_the_page_says_the_sums(report: CrawlReport) -> None:
    text = Page(render_page(report)).text
    assert report.sentence in text
    assert report.rows_sentence in text
    assert f"onesheet crawl report {report.crawl_id}" in text


def test_the_charts_of_the_page_are_well_formed(report: CrawlReport) -> None:
    charts = re.findall(r"<svg .*?</svg>", render_page(report), re.DOTALL)
    assert len(charts) == 3, "the wordmark, the pace and the sizes"
    for chart in charts:
        ElementTree.fromstring(chart)


def test_the_picture_is_a_png_of_a_fixed_size(report: CrawlReport) -> None:
    with Image.open(io.BytesIO(draw_chart(report))) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (1500, 1050))


def test_the_terminal_shows_hostile_texts_as_texts_and_fits_80_columns(report: CrawlReport) -> None:
    text = in_terminal(report)
    assert report.sentence in text
    assert "<script>alert(1)</script>" in text
    assert "[bold red]markup[/]" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("render", [render_page, draw_chart, in_terminal])
@pytest.mark.parametrize("rows", [[], [stored(1)], [rejected(1)], [rejected(1, Reason.QUOTA, url=None, attempts=0)]])
def test_a_report_of_nearly_nothing_can_be_shown(rows: list, render: Callable[[CrawlReport], object], tmp_path: Path):
    assert render(read_report(crawl_of(tmp_path, 2, rows).store))


@settings(deadline=None)
@given(st.floats(0, 1e17, allow_nan=False))
def test_sizes_figures_and_durations_are_short(value: float) -> None:
    assert len(size(value)) <= 7 or value >= 1e15
    assert re.fullmatch(r"[0-9.,]+", figure(value))
    assert duration(value)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (size(0), "0 B"), (size(999), "999 B"), (size(999.7), "1 kB"), (size(2_314_000_000), "2.31 GB"),
        (figure(4.866), "4.87"), (figure(12_300), "12,300"), (figure(0.0213), "0.021"), (share(0, 5), "0%"),
        (share(1, 1_000_000), "<0.1%"), (share(999_999, 1_000_000), ">99.9%"), (share(5, 5), "100.0%"),
        (duration(45), "45 s"), (duration(90), "1 min 30 s"), (duration(7_500), "2 h 05 min"),
        (duration(273_600), "3 d 4 h"),
    ],
)  # fmt: skip
def test_numbers_read_well(shown: str, said: str) -> None:
    assert shown == said
