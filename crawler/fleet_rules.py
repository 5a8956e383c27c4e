"""Pure: who of a fleet may ask how hard, and begin how many titles. One object for all shards, kept in a Ray actor.

The hosts' limits are the fleet's. A shard that was told the share 3 takes a third of each limit, and the parts of all
shards never add up to more than one whole: a newcomer waits until the others have confirmed their smaller part. A
part is a lease: a shard that hears nothing for `LEASE_S` stops asking, and only then do others take what it had.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# A shard tells how it stands this often, and at once when something changed.
BEAT_S = 0.5
SILENT = "silent"
LEASE_S = 5.0
# What a killed shard may have been allowed and not begun is lost to `max_titles`, so it is never much.
_MOST_TITLES_AT_ONCE = 100
# How a shard may end without the others: it is through, or its process was told to leave and is started elsewhere.
_ALONE = frozenset({"finished", "shutdown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """How a shard stands. Numbers count from the start of this process.

    attempt: names the process; a shard that is started again is another one. share: what it keeps to now, 0 while it
    asks nothing. begun: titles. counts: titles with an outcome, by `stored` or reason. requests: by host. ended: why
    it has, in its last beat; sentence: the same for people.
    """

    shard: int
    attempt: str
    node: str
    share: int
    begun: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    stored_bytes: int = 0
    requests: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    ended: str | None = None
    sentence: str | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What a shard does from now on.

    share: it is one of so many; 0: it asks nothing yet. may_begin: titles since its start, None for all of them.
    is_last: there will be no more than `may_begin`. stop: why it ends now.
    """

    share: int
    may_begin: int | None
    is_last: bool
    stop: str | None


@dataclass(frozen=True, slots=True)
class ShardView:
    """One shard's newest process, to show."""

    shard: int
    attempt: str
    node: str
    state: str
    titles: int


@dataclass(frozen=True, slots=True)
class FleetView:
    """The whole fleet, to show. said: the shards' new remarks. is_used_up: `max_titles` have been begun."""

    shards: tuple[ShardView, ...]
    counts: Counter[str]
    stored_bytes: int
    requests: Counter[str]
    said: tuple[str, ...]
    stopped: str | None
    sentence: str | None
    is_used_up: bool


@dataclass(slots=True)
class _Attempt:
    """One process of a shard. share: it may be taking the part 1 / share of each limit; 0: nothing."""

    newest: Beat
    heard_at: float
    is_live: bool
    share: int = 0
    allowed: int = 0


class Coordinator:
    """Answers each beat with orders. Neither lost answers nor lost shards let the fleet exceed a limit."""

    def __init__(
        self,
        *,
        max_titles: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._is_counted = max_titles is not None
        self._titles_left = max_titles or 0
        self._max_bytes = max_bytes
        self._attempts: dict[str, _Attempt] = {}
        self._said: list[str] = []
        self._stopped: str | None = None
        self._sentence: str | None = None

    def beat(self, beat: Beat) -> Orders:
        """Hear how a shard stands, and tell it how to go on."""
        now = self._expire()
        mine = self._attempts.setdefault(beat.attempt, _Attempt(beat, now, is_live=False))
        # After a silence its part belongs to others, whatever it kept to when it wrote.
        has = beat.share if mine.is_live else 0
        mine.newest, mine.heard_at, mine.is_live = beat, now, True
        self._said += beat.said
        share = 0
        if beat.ended is None:
            share = self._share(mine, has)
        else:
            self._leave(mine)
        if self._max_bytes and sum(each.newest.stored_bytes for each in self._attempts.values()) >= self._max_bytes:
            self.stop("budget")
        may_begin, is_last = self._allow(mine, is_waiting=not share)
        return Orders(share, may_begin, is_last, self._stopped)

    def stop(self, reason: str, sentence: str | None = None) -> None:
        """End the fleet; the first reason counts."""
        if self._stopped is None:
            self._stopped, self._sentence = reason, sentence

    def view(self) -> FleetView:
        """How the fleet stands; remarks are told once."""
        self._expire()
        counts: Counter[str] = Counter()
        requests: Counter[str] = Counter()
        newest = {}
        for each in self._attempts.values():
            counts.update(each.newest.counts)
            requests.update(each.newest.requests)
            newest[each.newest.shard] = each
        shards = [
            ShardView(shard, each.newest.attempt, each.newest.node, _state(each), sum(each.newest.counts.values()))
            for shard, each in sorted(newest.items())
        ]
        said, self._said = tuple(self._said), []
        stored_bytes = sum(each.newest.stored_bytes for each in self._attempts.values())
        is_used_up = self._is_counted and not self._titles_left and not self._unbegun(besides=None)
        return FleetView(tuple(shards), counts, stored_bytes, requests, said, self._stopped, self._sentence, is_used_up)

    def _expire(self) -> float:
        """Take their parts from the shards that were silent for too long. Returns the time."""
        now = self._clock()
        for each in self._attempts.values():
            if each.is_live and now - each.heard_at > LEASE_S:
                each.is_live, each.share = False, 0
        return now

    def _live(self) -> list[_Attempt]:
        return [each for each in self._attempts.values() if each.is_live]

    def _leave(self, mine: _Attempt) -> None:
        self._titles_left += mine.allowed - mine.newest.begun if self._is_counted else 0
        mine.is_live, mine.share, mine.allowed = False, 0, mine.newest.begun
        if mine.newest.ended not in _ALONE:
            self.stop(mine.newest.ended or "", mine.newest.sentence)

    def _share(self, mine: _Attempt, has: int) -> int:
        """The share that all are to have, once the others leave room for it. has: what it keeps to now."""
        live = self._live()
        told = len(live)
        taken = sum(1 / each.share for each in live if each is not mine and each.share)
        if taken + 1 / told > 1 + 1e-9:
            # A larger part than it has is not free yet; to take a smaller one is always right.
            told = max(has, told) if has else 0
        # Until it confirms a smaller part it may still be taking the larger one: the answer can get lost.
        mine.share = min(has, told) if has else told
        return told

    def _allow(self, mine: _Attempt, *, is_waiting: bool) -> tuple[int | None, bool]:
        if not self._is_counted:
            return (0 if is_waiting else None), False
        if not is_waiting and mine.newest.begun >= mine.allowed:
            some = min(self._titles_left, max(1, self._titles_left // (2 * len(self._live()))), _MOST_TITLES_AT_ONCE)
            mine.allowed += some
            self._titles_left -= some
        return mine.allowed, not self._titles_left and not self._unbegun(besides=mine)

    def _unbegun(self, *, besides: _Attempt | None) -> int:
        """The titles that live shards may still begin, and may give back."""
        return sum(each.allowed - each.newest.begun for each in self._live() if each is not besides)


def _state(each: _Attempt) -> str:
    if each.newest.ended is not None:
        return each.newest.ended
    if not each.is_live:
        return SILENT
    return "crawls" if each.share else "waits for its share"
