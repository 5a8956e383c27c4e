"""Headlines of title pages, old and new, and any other text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.headline import Headline, own_name, read_headline
from crawler.titles import Kind


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ("Die Hard (1988)", Headline("Die Hard", 1988)),
        ("Die Hard (1988) - Reference View - IMDb", Headline("Die Hard", 1988)),
        ("2012 (2009)", Headline("2012", 2009)),
        ("1917 (2019) ⭐ 8.2 | Action, Drama, War", Headline("1917", 2019, 8.2)),
        ("(500) Days of Summer (2009)", Headline("(500) Days of Summer", 2009)),
        ("Birdman or (The Unexpected Virtue of Ignorance) (2014)", None),
        ("Home (II) (2015)", Headline("Home", 2015)),
        ("Home (2015/II)", Headline("Home", 2015)),
        ("Duel (1971) (TV)", Headline("Duel", 1971, None, Kind.FILM)),
        ("Doom (1993) (VG)", Headline("Doom", 1993, None, Kind.GAME)),
        ("Mad Men (TV Series 2007–2015)", Headline("Mad Men", 2007, None, Kind.SERIES)),  # noqa: RUF001
        ("Mad Men (TV Series 2007– )", Headline("Mad Men", 2007, None, Kind.SERIES)),  # noqa: RUF001
        ("Roots (TV Mini-Series 1977)", Headline("Roots", 1977, None, Kind.SERIES)),
        ("Firefly (TV Series)", Headline("Firefly", None, None, Kind.SERIES)),
        ("Duel (TV Movie 1971)", Headline("Duel", 1971, None, Kind.FILM)),
        ("Doom (Video Game 1993)", Headline("Doom", 1993, None, Kind.GAME)),
        ("Avatar 5 (????)", Headline("Avatar 5")),
        ('"Lost" (2004)', Headline("Lost", 2004, None, None, "Lost")),
        ("(2010)", Headline("(2010)")),
        ("", Headline()),
        (None, Headline()),
    ],
)
def test_a_headline_is_taken_apart(text: str | None, headline: Headline | None) -> None:
    assert read_headline(text) == (headline or Headline("Birdman or (The Unexpected Virtue of Ignorance)", 2014))


@pytest.mark.parametrize(
    ("text", "name"),
    [('"Lost" Pilot: Part 1 (2004)', "Pilot: Part 1"), ('"Lost" (2004)', "Lost"), ("Pilot (TV Episode 2004)", "Pilot")],
)
def test_an_episodes_own_name_stands_behind_its_series(text: str, name: str) -> None:
    assert own_name(read_headline(text)) == name


@given(st.text(st.sampled_from('()"“”0129–-?/IVX⭐| TVSeriesa')))  # noqa: RUF001
def test_any_headline_is_read_without_an_error(text: str) -> None:
    headline = read_headline(text)
    assert headline.title is None or headline.title.strip() == headline.title
    assert own_name(headline) is None or headline.title
