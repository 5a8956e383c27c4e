"""Who of a fleet may ask how hard, and begin how many titles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.fleet_rules import LEASE_S, Beat, Coordinator, Orders


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Shard:
    """A shard as `crawler.heartbeat` is one, without Scrapy: it keeps to what it is told."""

    def __init__(self, number: int, coordinator: Coordinator, clock: Clock, attempt: str = "") -> None:
        self.number, self.coordinator, self.clock = number, coordinator, clock
        self.attempt = attempt or f"{number}.0"
        self.share = self.begun = 0
        self.may_begin: int | None = 0
        self.lease_ends = 0.0

    def write(self, **known: object) -> Beat:
        if self.clock() >= self.lease_ends:
            self.share = 0
        given = {"shard": self.number, "attempt": self.attempt, "node": "here", "share": self.share}
        return Beat(**given | {"begun": self.begun} | known)  # type: ignore[arg-type]

    def beat(self, *, is_lost: bool = False, **known: object) -> Orders:
        sent_at = self.clock()
        orders = self.coordinator.beat(self.write(**known))
        if not is_lost:
            self.lease_ends = sent_at + LEASE_S
            self.share = orders.share
            self.may_begin = orders.may_begin if orders.share else 0
        return orders

    @property
    def part(self) -> float:
        return 1 / self.share if self.share and self.clock() < self.lease_ends else 0.0


def test_a_lone_shard_has_all_of_a_limit_at_once() -> None:
    assert Shard(0, Coordinator(clock=Clock()), Clock()).beat() == Orders(1, None, is_last=False, stop=None)


def test_a_newcomer_asks_nothing_until_the_others_keep_to_a_smaller_part() -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    first, second = Shard(0, fleet, clock), Shard(1, fleet, clock)
    first.beat()
    assert second.beat() == Orders(0, 0, is_last=False, stop=None)
    assert first.beat().share == 2, "told, but it may have been lost on the way"
    assert second.beat().share == 0
    first.beat()
    assert second.beat().share == 2


def test_the_part_of_a_shard_that_has_ended_goes_to_the_others_at_once() -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    first, second = Shard(0, fleet, clock), Shard(1, fleet, clock)
    for shard in (first, second, first, first, second):
        shard.beat()
    assert (first.share, second.share) == (2, 2)
    first.beat(ended="finished")
    assert second.beat().share == 1


def test_a_silent_shard_keeps_its_part_until_its_lease_ends_and_then_waits_like_a_newcomer() -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    first, second = Shard(0, fleet, clock), Shard(1, fleet, clock)
    first.beat()
    late = first.write()
    clock.now = LEASE_S - 0.1
    assert second.beat().share == 0
    clock.now = LEASE_S + 0.1
    assert second.beat().share == 1
    assert fleet.beat(late).share == 0, "what it wrote before it lost its lease gives it nothing back"
    assert [shard.state for shard in fleet.view().shards] == ["waits for its share", "crawls"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["beat", "lost", "end", "wait", "rest"])), max_size=120))
@settings(max_examples=300, deadline=None)
def test_the_parts_never_add_up_to_more_than_the_whole(steps: list[tuple[int, str]]) -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    shards = [Shard(number, fleet, clock) for number in range(4)]
    for count, (number, what) in enumerate(steps):
        if what in ("beat", "lost"):
            shards[number].beat(is_lost=what == "lost")
        elif what == "end":
            shards[number].beat(ended="finished")
            shards[number] = Shard(number, fleet, clock, f"{number}.{count + 1}")
        else:
            clock.now += 0.5 if what == "wait" else 3.0
        assert sum(shard.part for shard in shards) <= 1 + 1e-9


@pytest.mark.parametrize("titles", [1, 7, 250])
def test_titles_are_handed_out_to_the_last_and_never_one_too_many(titles: int) -> None:
    clock = Clock()
    fleet = Coordinator(max_titles=titles, clock=clock)
    shards, own = [Shard(number, fleet, clock) for number in range(3)], [titles // 5, titles, titles]
    running = set(range(3))
    for _ in range(20 * titles + 50):
        for number in sorted(running):
            shard = shards[number]
            orders = shard.beat()
            shard.begun = min(shard.may_begin or 0, own[number]) if orders.share else shard.begun
            assert sum(each.begun for each in shards) <= titles
            if shard.begun == own[number] or (orders.is_last and shard.begun == orders.may_begin):
                shard.beat(ended="finished")
                running.discard(number)
    assert sum(each.begun for each in shards) == titles
    assert not running
    assert fleet.view().is_used_up


def test_bytes_are_counted_over_all_shards_also_those_that_were_killed() -> None:
    clock = Clock()
    fleet = Coordinator(max_bytes=100, clock=clock)
    assert Shard(0, fleet, clock).beat(stored_bytes=60).stop is None
    assert Shard(0, fleet, clock, "0.1").beat(stored_bytes=30).stop is None
    assert Shard(1, fleet, clock).beat(stored_bytes=10).stop == "budget"


@pytest.mark.parametrize("reason", ["blocked", "wrong_key", "store_failed"])
def test_what_ends_one_shard_ends_all_and_is_told_in_its_own_sentence(reason: str) -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    first, second = Shard(0, fleet, clock), Shard(1, fleet, clock)
    first.beat()
    second.beat(ended=reason, sentence="correct the key")
    assert first.beat().stop == reason
    assert (fleet.view().stopped, fleet.view().sentence) == (reason, "correct the key")


@pytest.mark.parametrize("reason", ["finished", "shutdown"])
def test_a_shard_that_is_through_or_was_told_to_leave_ends_alone(reason: str) -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    Shard(0, fleet, clock).beat(ended=reason)
    assert Shard(1, fleet, clock).beat().stop is None


def test_the_view_adds_up_all_processes_and_tells_a_remark_once() -> None:
    clock = Clock()
    fleet = Coordinator(clock=clock)
    Shard(0, fleet, clock).beat(counts={"stored": 2}, requests={"host": 3}, said=("slow",))
    Shard(0, fleet, clock, "0.1").beat(counts={"stored": 1, "not_found": 1}, requests={"host": 2})
    view = fleet.view()
    assert (view.counts, view.requests) == ({"stored": 3, "not_found": 1}, {"host": 5})
    assert [(shard.shard, shard.attempt, shard.titles) for shard in view.shards] == [(0, "0.1", 2)]
    assert (view.said, fleet.view().said) == (("slow",), ())
