"""Which requests a replica lets in, and whose turn it is: a burst waits, an overload is turned away at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from serving.problems import ProblemError

# An overload is over when nobody was turned away for so long.
CALM_S = 5.0
# Then a caller may try again: the queue of a moment ago is done.
RETRY_AFTER_S = 1
# By it a proxy in front knows this 503 from that of a replica without a model.
OVERLOAD_HEADER = "Onesheet-Overload"
BUSY = "more requests than this server can answer; ask again later"


class Admission:
    """Counts the requests of one event loop that are inside, and lets so many at a time do their work.

    A queue that is full is no burst but an overload. Whoever came in then would wait long, and so would all after it:
    so the queue is turned away with it, and only `max_in_overload` are inside from then on, which answers them quickly,
    until nobody had to be turned away for five seconds.
    """

    def __init__(
        self,
        *,
        max_ongoing: int = 16,
        max_queued: int = 64,
        max_in_overload: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """max_ongoing: that work at once. max_queued: that wait for their turn, uploads under way among them."""
        self.max_ongoing = max_ongoing
        self.max_queued = max_queued
        self.max_in_overload = max_in_overload
        self.inside = 0
        self._clock = clock
        self._working = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._refused_at: float | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(not turn.done() for turn in self._waiting)

    @property
    def is_overloaded(self) -> bool:
        """Whether somebody was turned away just now."""
        return self._refused_at is not None and self._clock() - self._refused_at < CALM_S

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside within the block; enter before anything of a request is read. Raises ProblemError: 503."""
        most = self.max_in_overload if self.is_overloaded else self.max_ongoing + self.max_queued
        if self.inside >= most:
            self._turn_away_the_queue()
            self._refused_at = self._clock()
            raise _busy()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Work within the block, when it is one's turn: first come, first served. Raises ProblemError: 503."""
        if self._working >= self.max_ongoing:
            await self._next()
        else:
            self._working += 1
        try:
            yield
        finally:
            self._leave()

    async def _next(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # It was given the turn in the moment in which its caller went away.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                # The turn is handed on, and `_working` stays.
                turn.set_result(None)
                return
        self._working -= 1

    def _turn_away_the_queue(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(_busy())
        self._waiting.clear()


def _busy() -> ProblemError:
    return ProblemError(503, BUSY, retry_after_s=RETRY_AFTER_S, headers={OVERLOAD_HEADER: "1"})
