"""The search along the chain, without a network: sources of the tests' own."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar, Self

from crawler.outcomes import Reason, Rejected
from crawler.search import Ask, Chain, End, Trail, refresh
from crawler.sources import Ended, Found, Lookup, Setup, Source
from crawler.titles import Title

GONE = Rejected(Reason.NOT_FOUND, "HTTP 404")
SLOW = Rejected(Reason.TIMEOUT, "too slow")
SIZED = "https://m.media-amazon.com/images/M/a._V1_UX182_CR0,0,182,268_AL_.jpg"
AT_600 = "https://m.media-amazon.com/images/M/a._V1_SY600_.jpg"


class Direct(Source):
    """Has a poster at one address."""

    name: ClassVar[str] = "direct"

    def __init__(self, *urls: str) -> None:
        self.urls = urls

    @classmethod
    def of(cls, setup: Setup) -> Self:
        return cls()

    def locate(self, title: Title) -> Found | Rejected:
        return Found(self.urls) if self.urls else Rejected(Reason.NO_POSTER, "none listed")


class Asked(Direct):
    """Must be asked first."""

    name = "asked"

    def locate(self, title: Title) -> Any:
        return Lookup("https://api.org/1")


def chain(*sources: Source, height_px: int = 600) -> Chain:
    return Chain(sources, height_px=height_px)


def trail() -> Trail:
    return Trail(title=Title(imdb_id="tt0000001"))


def asked(step: Ask | End) -> Ask:
    assert isinstance(step, Ask)
    return step


def test_amazons_posters_are_asked_at_the_wanted_height_and_fall_back_to_the_listed_one() -> None:
    search = chain(Direct(SIZED))
    first = asked(search.step(trail()))
    assert (first.url, first.is_lookup) == (AT_600, False)
    again = search.refused(first.trail, GONE)
    assert isinstance(again, Trail)
    assert asked(search.step(again)).url == SIZED
    end = search.step(search.refused(again, GONE))  # type: ignore[arg-type]
    assert isinstance(end, End)
    assert end.rejected == GONE


def test_no_address_is_asked_twice_whoever_names_it() -> None:
    search = chain(Direct(SIZED), Direct(SIZED), height_px=0)
    gone = search.refused(asked(search.step(trail())).trail, GONE)
    assert isinstance(gone, Trail)
    end = search.step(gone)
    assert isinstance(end, End)
    assert end.rejected.detail == "direct: HTTP 404; direct: the same poster as before"


def test_height_0_takes_the_listed_size() -> None:
    assert asked(chain(Direct(SIZED), height_px=0).step(trail())).url == SIZED


def test_a_lasting_no_goes_on_to_the_next_source() -> None:
    search = chain(Direct(), Asked(), Direct("https://x.org/b.jpg"))
    first = asked(search.step(trail()))
    assert (first.source, first.is_lookup) == ("asked", True)
    second = search.refused(first.trail, GONE)
    assert isinstance(second, Trail)
    assert asked(search.step(second)).url == "https://x.org/b.jpg"
    end = search.step(search.refused(asked(search.step(second)).trail, GONE))  # type: ignore[arg-type]
    assert isinstance(end, End)
    assert end.rejected.detail == "direct: none listed; asked: HTTP 404; direct: HTTP 404"


def test_a_passing_no_ends_the_search_for_this_run() -> None:
    search = chain(Asked(), Direct("https://x.org/b.jpg"))
    end = search.refused(asked(search.step(trail())).trail, SLOW)
    assert isinstance(end, End)
    assert (end.source, end.rejected) == ("asked", SLOW)


def test_a_source_that_has_ended_is_passed_over_and_its_titles_stay_open() -> None:
    search = chain(Asked(), Direct("https://x.org/b.jpg"))
    search.end("asked", Ended(Reason.QUOTA, "used up"))
    found = asked(search.step(trail()))
    assert found.url == "https://x.org/b.jpg"
    end = search.step(search.refused(found.trail, GONE))  # type: ignore[arg-type]
    assert isinstance(end, End)
    assert end.rejected.reason is Reason.QUOTA


def test_a_drawing_for_no_poster_is_never_asked_for() -> None:
    nothing = "https://m.media-amazon.com/images/S/sash/N1QWYSqAfSJV62Y.png"
    end = chain(Direct(nothing)).step(trail())
    assert isinstance(end, End)
    assert end.rejected.reason is Reason.PLACEHOLDER


def test_a_refresh_asks_where_the_poster_was_and_then_the_whole_chain() -> None:
    row = {"imdb_id": "tt0000001", "url": "https://old.org/a.jpg", "source": "tmdb", "etag": "x"}
    search = chain(Asked())
    first = asked(search.step(refresh(row)))
    assert (first.url, first.source) == ("https://old.org/a.jpg", "tmdb")
    gone = search.refused(first.trail, GONE)
    assert isinstance(gone, Trail)
    assert asked(search.step(gone)).source == "asked"


def test_no_source_at_all_ends_at_once() -> None:
    end = chain().step(trail())
    assert isinstance(end, End)
    assert end.rejected.reason is Reason.NO_POSTER


def test_a_trail_can_wait_in_a_queue_on_disk() -> None:
    step = asked(chain(Direct(SIZED)).step(trail()))
    assert pickle.loads(pickle.dumps(step.trail)) == step.trail
