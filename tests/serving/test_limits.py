"""How often a caller may ask."""

from __future__ import annotations

import asyncio

import pytest

from cluster.errors import ServingError
from serving.limits import RateLimiter


def test_each_caller_has_its_own_count_and_hears_how_long_to_wait() -> None:
    limiter = RateLimiter("2/minute")

    async def ask(caller: str, times: int) -> list[float]:
        return [await limiter.wait_s(caller) for _ in range(times)]

    waits = asyncio.run(ask("alice", 3))
    assert waits[:2] == [0.0, 0.0]
    assert 50 < waits[2] <= 60
    assert asyncio.run(ask("bob", 1)) == [0.0]


def test_a_rate_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ServingError, match="the rate limit 'often' cannot be read; give one such as 100/minute"):
        RateLimiter("often")
