"""Faults: parsed, and spread over titles."""

from __future__ import annotations

import pytest

from crawler.site.commands import site
from crawler.site.content import SiteError
from crawler.site.faults import Fault, Faults

IDS = [f"tt{number:07d}" for number in range(1, 4001)]


def test_each_fault_gets_its_share_of_the_titles_and_a_title_one_fault() -> None:
    faults = Faults.parse("not_found=0.05, slow=0.1,cut=0.25")
    found = [faults.of(imdb_id) for imdb_id in IDS]
    for fault, share in faults.shares.items():
        assert found.count(fault) / len(IDS) == pytest.approx(share, abs=0.02)
    assert found.count(None) / len(IDS) == pytest.approx(0.6, abs=0.03)


def test_a_share_of_one_takes_every_title_and_none_takes_none() -> None:
    assert {Faults.parse("blocked=1").of(imdb_id) for imdb_id in IDS} == {Fault.BLOCKED}
    assert {Faults.parse("").of(imdb_id) for imdb_id in IDS} == {None}


def test_a_named_title_does_what_is_written_whatever_the_shares() -> None:
    faults = Faults.parse("blocked=1,tt9900003=cut")
    assert faults.of("tt9900003") is Fault.CUT


def test_faults_as_text_parse_back_to_the_same_faults() -> None:
    faults = Faults({Fault.SLOW: 0.1, Fault.HTML: 1 / 3}, {"tt0055850": Fault.BLOCKED}, slow_s=1.5)
    assert Faults.parse(str(faults), slow_s=1.5) == faults


def test_shares_of_new_faults_leave_the_titles_of_the_old_ones_as_they_are() -> None:
    old, both = Faults.parse("slow=0.1,cut=0.2"), Faults.parse("bomb=0.3,slow=0.1,cut=0.2")
    hit = {imdb_id: old.of(imdb_id) for imdb_id in IDS if old.of(imdb_id)}
    assert hit == {imdb_id: both.of(imdb_id) for imdb_id in hit}


def test_the_help_of_the_command_names_every_fault() -> None:
    words = set((site.__doc__ or "").replace(",", " ").replace(".", " ").split())
    assert set(Fault) <= words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sluggish=0.1", "'sluggish=0.1' names no fault; known are slow, not_found"),
        ("tt9900003=sluggish", "names no fault; known are slow"),
        ("ttx=cut", "'ttx' is not an IMDb id"),
        ("slow", "'slow' has no share; write slow=0.1"),
        ("slow=often", "'slow=often' has no share"),
        ("slow=1.5", "slow=1.5 is not a share"),
        ("slow=nan", "slow=nan is not a share"),
        ("slow=0.7,cut=0.7", "add up to 1.4"),
    ],
)
def test_bad_faults_are_told_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SiteError) as caught:
        Faults.parse(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
