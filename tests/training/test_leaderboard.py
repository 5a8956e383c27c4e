"""A search's leaderboard: who leads, the table in the terminal, and the page, whatever settings and runs are called."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from training.leaderboard import State, Trial, leaderboard_table, pareto_front, ranked, told, varied
from training.leaderboard_page import leaderboard_page

HOSTILE = "</script><img src=x onerror='alert(1)'>\"&"
ARCHITECTURES = ("small@64x64", "large@544x368+large@384x256+small@448x320")
CHROMIUM = Path("/usr/bin/chromium")
SPACE = {
    "settings": {
        "architecture": {"kind": "choice", "values": list(ARCHITECTURES)},
        "epochs": {"kind": "fixed", "value": 9},
        "learning_rate": {"kind": "range", "from": 1e-4, "to": 1e-2, "log": True, "whole": False},
        "heads": {"kind": "range", "from": 1, "to": 3, "log": False, "whole": True},
        "pooling": {"kind": "choice", "values": [["mean"], ["mean", "max"], "rich"]},
    },
    "for": {"large*": {"dropout": {"kind": "range", "from": 0.1, "to": 0.9, "log": False, "whole": False}}},
}


def trial(number: int, score: float | None = None, **changes: Any) -> Trial:
    facts: dict[str, Any] = {"run": f"run-{number}", "state": "ended", "architecture": ARCHITECTURES[0], "settings": {}}
    return Trial(number=number, score=score, **{**facts, **changes})


def search() -> list[Trial]:
    """Twenty trials with something of everything; trial 13 leads."""
    found = []
    for number in range(20):
        state: State = "stopped" if number % 3 == 0 else "ended"
        scores = [0.2 + 0.1 * epoch / 9 + 0.004 * (number % 14) for epoch in range(3 if state == "stopped" else 9)]
        rows = ({"epoch": e, "loss": 0.3, "validation_macro_map": v, "seconds": 2.0} for e, v in enumerate(scores, 1))
        drawn: dict[str, Any] = {"epochs": 9, "learning_rate": 1e-4 * 10 ** (number / 10), "heads": 1 + number % 3}
        drawn["pooling"] = (["mean"], ["mean", "max"], "rich")[number % 3]
        if number % 2:
            drawn["dropout"] = 0.1 + number / 25
        architecture = ARCHITECTURES[number % 2]
        facts = {"epochs": len(scores), "seconds": 60.0 * (1 + number % 5), "parameters": 4_000_000}
        found.append(
            trial(
                number,
                max(scores),
                state=state,
                architecture=architecture,
                settings=drawn,
                history=tuple(rows),
                **facts,
            )
        )
    found[7] = trial(7, state="failed", settings=found[7].settings, remark=f"out of memory {HOSTILE}")
    found[8] = trial(8, state="running", settings=found[8].settings)
    return found


def page_of(trials: list[Trial], **changes: Any) -> str:
    given: dict[str, Any] = {"space": SPACE, "winner": None, "winner_metrics": None, "prior": 0.11, **changes}
    return leaderboard_page(given.pop("name", "a search"), trials, **given)


def in_terminal(trials: list[Trial], width: int, **options: Any) -> str:
    console = Console(width=width, file=io.StringIO(), record=True, highlight=False)
    console.print(leaderboard_table(trials, **options))
    return console.export_text()


class Page(HTMLParser):
    """The elements of a page with what they carry, and its text outside of style and script."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "an element is not closed"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.script += data
        elif self.open[-1:] != ["style"]:
            self.text += data


def chart(html: str, name: str) -> ElementTree.Element:
    found = re.search(rf'<svg [^>]*id="{name}".*?</svg>', html, re.DOTALL)
    assert found, f"the page has no chart {name}"
    return ElementTree.fromstring(found[0])


def test_a_trial_survives_json():
    for one in search():
        assert Trial.from_row(json.loads(json.dumps(one.as_row()))) == one
    with pytest.raises(ValueError, match="running, ended, stopped, failed, not 'lost'"):
        Trial.from_row({**search()[0].as_row(), "state": "lost"})


def test_the_best_is_first_and_those_without_a_score_last():
    trials = [trial(0), trial(1, 0.3, seconds=9), trial(2, float("nan")), trial(3, 0.4), trial(4, 0.3, seconds=5)]
    assert [one.number for one in ranked(trials)] == [3, 4, 1, 0, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12))
def test_nothing_is_quicker_and_better_than_the_pareto_front(pairs: list[tuple[int, int]]):
    trials = [trial(number, score / 10, seconds=seconds) for number, (seconds, score) in enumerate(pairs)]
    front = {(one.seconds, one.score) for one in pareto_front(trials)}

    def is_beaten(one: Trial) -> bool:
        better = (t for t in trials if t.seconds <= one.seconds and (t.score or 0) >= (one.score or 0))
        return any((t.seconds, t.score) != (one.seconds, one.score) for t in better)

    assert front == {(one.seconds, one.score) for one in trials if not is_beaten(one)}


def test_only_settings_that_differ_count():
    assert varied(search()) == ["learning_rate", "heads", "pooling", "dropout"]
    assert varied(search()[:1]) == []


def test_settings_are_told_in_few_letters():
    values = [0.00123456, 512, True, ["mean", "max"], [], None, "rich"]
    assert [told(value) for value in values] == ["0.00123", "512", "yes", "mean, max", "none", "\u2013", "rich"]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_the_terminal_and_tells_what_differs(width: int):
    text = in_terminal(search(), width, top=4)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    places = [line.split()[:2] for line in lines if re.match(r" +[0-9]+ +0\.", line)]
    assert places == [[f"{n}", f"{one.score:.4f}"] for n, one in enumerate(ranked(search())[:4], 1)]
    assert ("learning_rate=0.002" in text) == (width == 80), "in columns where there is room"
    assert "small@448x320" in text
    assert "epochs=9" not in text, "the same in all trials"
    sentence = "20 trials: 11 ended, 7 stopped early, 1 running, 1 failed, of which the best 4 are shown"
    assert sentence in " ".join(text.split())
    assert "trial 7 failed: out of memory" in text


def test_the_page_has_every_trial_once_in_every_chart_and_in_the_table():
    html = page_of(search())
    page = Page(html)
    assert page.open == []
    numbers = [f"{one.number}" for one in search()]
    for name, with_marks in (("parallel", numbers), ("curves", [n for n in numbers if n not in ("7", "8")])):
        groups = [group for group in chart(html, name) if "data-trial" in group.attrib]
        assert sorted(group.attrib["data-trial"] for group in groups) == sorted(with_marks)
        for group in groups:
            assert len([path for path in group if path.attrib["class"].startswith("line")]) == 1
    points = [group.attrib["data-trial"] for group in chart(html, "cost") if "data-trial" in group.attrib]
    assert sorted(points) == sorted(n for n in numbers if n not in ("7", "8"))
    rows = [attrs["data-trial"] for tag, attrs in page.elements if tag == "tr" and "data-trial" in attrs]
    assert rows == [f"{one.number}" for one in ranked(search())]
    assert all(one.run in page.text for one in search())


def test_each_chart_says_what_it_shows():
    for name in ("parallel", "curves", "cost"):
        drawn = chart(page_of(search()), name)
        title, words = drawn[0], drawn[1]
        assert (title.tag, words.tag) == ("title", "desc")
        assert drawn.attrib["aria-labelledby"] == f"{title.attrib['id']} {words.attrib['id']}"
        assert "table below" in (words.text or "")


def test_the_page_loads_nothing_and_runs_only_its_own_script():
    html = page_of(search())
    page = Page(html)
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert not {tag for tag, _ in page.elements} & {"img", "iframe", "object", "link", "base", "form"}
    assert not [
        name for _, attrs in page.elements for name in attrs if name.startswith("on") or name in ("src", "href")
    ]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    policy = next(attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs)
    assert policy
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_hostile_names_stay_text():
    settings_ = [{HOSTILE: HOSTILE, "pooling": [HOSTILE]}, {HOSTILE: "other", "pooling": [HOSTILE, "b"]}]
    trials = [
        trial(n, 0.3, run=HOSTILE, architecture=f"{HOSTILE}{n}", settings=drawn, remark=HOSTILE)
        for n, drawn in enumerate(settings_)
    ]
    spec = {"kind": "choice", "values": [HOSTILE]}
    html = page_of(trials, name=HOSTILE, space={"settings": {HOSTILE: spec}, "for": {HOSTILE: {HOSTILE: spec}}})
    page = Page(html)
    assert HOSTILE in page.text
    assert "img" not in {tag for tag, _ in page.elements}
    assert page.open == []
    for name in ("parallel", "cost"):
        chart(html, name)


def test_a_setting_searched_by_its_logarithm_has_a_logarithmic_axis():
    rates = [1e-4, 1e-3, 1e-2]
    trials = [trial(n, 0.3 + n / 100, settings={"learning_rate": rate}) for n, rate in enumerate(rates)]
    drawn = chart(page_of(trials), "parallel")
    # A line ends each of its bends at an axis: architecture, learning rate, score.
    ends = [path.attrib["d"].split("C")[1].split()[-1] for path in drawn.iter("path") if path.attrib["class"] != "near"]
    heights = sorted(float(end.split(",")[1]) for end in ends)
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)


def test_the_winner_is_told_with_its_worth_and_how_to_train_it_again():
    best = ranked(search())[0]
    text = Page(page_of(search(), winner=best, winner_metrics={"macro_map": 0.3812, "micro_f1": 0.5555})).text
    assert "The winner" in text
    assert "0.3812" in text
    assert f"{best.score:.4f}" in text
    assert f"onesheet train --architecture {best.architecture} --set epochs=9" in text
    assert "--set pooling=mean,max" in text
    assert "Ahead so far" in Page(page_of(search())).text


@pytest.mark.parametrize(
    "trials",
    [[], [trial(0, state="running")], [trial(0, state="failed"), trial(1, state="failed")], [trial(0, 0.3)]],
    ids=["nothing", "one begun", "all failed", "one"],
)
@pytest.mark.parametrize("space", [{}, SPACE])
def test_a_search_of_nearly_nothing_can_be_shown(trials: list[Trial], space: dict[str, Any]):
    assert Page(page_of(trials, space=space)).open == []
    assert "trial" in in_terminal(trials, 100)


@pytest.fixture
def browser_page(tmp_path: Path) -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.html").write_text(page_of(search()), encoding="utf-8")
    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.goto((tmp_path / "page.html").as_uri())
        yield page
        browser.close()
    assert errors == []


@pytest.mark.slow
def test_pointing_at_a_trial_shows_it_everywhere_and_the_table_sorts(browser_page: Any):
    browser_page.locator('tr[data-trial="10"]').hover()
    for name in ("#parallel", "#curves", "#cost"):
        assert browser_page.locator(f'{name} g.shown.copy[data-trial="10"]').count() == 1
    assert "run-10" in browser_page.locator("#told").inner_text()
    browser_page.mouse.move(2, 2)
    assert browser_page.locator(".shown").count() == 0

    def column(at: int) -> list[str]:
        found: list[str] = browser_page.locator(f".all tbody td:nth-child({at})").all_inner_texts()
        return found

    for _ in range(2):
        browser_page.get_by_role("button", name="learning_rate").click()
    assert browser_page.locator("th[aria-sort=descending]").inner_text() == "learning_rate"
    assert [int(number) for number in column(2)] == list(range(19, -1, -1))
    browser_page.get_by_role("button", name="score").click()
    assert column(3)[-2:] == ["\u2013", "\u2013"], "those without a score are last either way"
