"""How often a caller may ask."""

from __future__ import annotations

import time
from typing import Protocol

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from cluster.errors import ServingError


class Limiter(Protocol):
    """Counts the requests of callers."""

    async def wait_s(self, caller: str) -> float:
        """0 where the caller may ask now, and this request counts; else the seconds until the next one may."""


class RateLimiter:
    """So many requests in any such span: `100/minute`, `5/second`, `1000 per 2 hours`. Counts in this process."""

    def __init__(self, rate: str) -> None:
        """Raises ServingError for a rate that cannot be read."""
        self._item = read_rate(rate)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def wait_s(self, caller: str) -> float:
        """See `Limiter`."""
        if self._window.hit(self._item, caller):
            return 0.0
        return max(0.01, self._window.get_window_stats(self._item, caller).reset_time - time.time())


def read_rate(rate: str) -> RateLimitItem:
    """A rate as people write it. Raises ServingError."""
    try:
        return parse(rate)
    except ValueError as error:
        raise ServingError(
            f"the rate limit {rate!r} cannot be read; give one such as 100/minute or 5/second"
        ) from error
