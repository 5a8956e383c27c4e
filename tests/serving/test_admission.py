"""Who is let in, whose turn it is, and who is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.admission import Admission
from serving.app import ServeOptions
from serving.problems import ProblemError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def visit(admission: Admission, release: asyncio.Event, log: list[str], name: str) -> None:
    with admission.entered():
        async with admission.turn():
            log.append(name)
            await release.wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_burst_waits_and_is_answered_in_order() -> None:
    async def run() -> list[str]:
        admission = Admission(max_ongoing=2, max_queued=8, max_in_overload=1)
        release, log = asyncio.Event(), list[str]()
        visits = [asyncio.create_task(visit(admission, release, log, str(number))) for number in range(10)]
        await settled()
        assert log == ["0", "1"]
        assert (admission.inside, admission.waiting) == (10, 8)
        assert not admission.is_overloaded
        release.set()
        await asyncio.gather(*visits)
        assert (admission.inside, admission.waiting) == (0, 0)
        return log

    assert asyncio.run(run()) == [str(number) for number in range(10)]


def test_an_overload_turns_the_queue_away_and_lets_few_in_until_it_is_calm() -> None:
    async def run() -> None:
        clock = Clock()
        admission = Admission(max_ongoing=2, max_queued=3, max_in_overload=2, clock=clock)
        release, log = asyncio.Event(), list[str]()
        visits = [asyncio.create_task(visit(admission, release, log, str(number))) for number in range(6)]
        await settled()
        ended = [it for it in visits if it.done()]
        assert len(ended) == 4, "the one too many, and the three that waited"
        for each in ended:
            error = each.exception()
            assert isinstance(error, ProblemError)
            assert (error.status_code, error.headers) == (503, {"Retry-After": "1", "Onesheet-Overload": "1"})
        assert admission.inside == 2
        with pytest.raises(ProblemError), admission.entered():
            pass
        release.set()
        await asyncio.gather(*visits, return_exceptions=True)
        await visit(admission, release, log, "one fits in")
        states = []
        for clock.now in (4.9, 5.1):
            states.append(admission.is_overloaded)
        assert states == [True, False]
        release.clear()
        visits = [asyncio.create_task(visit(admission, release, log, str(number))) for number in range(5)]
        await settled()
        assert admission.inside == 5, "a burst may wait again"
        release.set()
        await asyncio.gather(*visits)

    asyncio.run(run())


@pytest.mark.parametrize("when", ["while it waits", "as it gets its turn", "while it works"])
def test_a_caller_that_goes_away_leaves_its_place_to_the_next(when: str) -> None:
    async def run() -> None:
        admission = Admission(max_ongoing=1, max_queued=5, max_in_overload=1)
        release, log = asyncio.Event(), list[str]()
        first, second, third = (asyncio.create_task(visit(admission, release, log, name)) for name in "abc")
        await settled()
        gone = first if when == "while it works" else second
        if when == "as it gets its turn":
            release.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gone.cancel()
        await settled()
        release.set()
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert "c" in log
        assert (admission.inside, admission.waiting) == (0, 0)
        await visit(admission, release, log, "d")
        assert log[-1] == "d"

    asyncio.run(run())


def test_a_crash_gives_the_place_back() -> None:
    async def crash(admission: Admission) -> None:
        with admission.entered():
            async with admission.turn():
                raise ZeroDivisionError

    async def run(do: Callable[[Admission], Awaitable[None]]) -> None:
        admission = Admission(max_ongoing=1, max_queued=0, max_in_overload=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await do(admission)
        assert admission.inside == 0

    asyncio.run(run(crash))


@pytest.mark.parametrize(
    ("given", "working"),
    [
        ({}, 10),
        ({"cpus_per_replica": 8}, 40),
        ({"max_batch": 16}, 32),
        ({"max_ongoing_requests": 5, "max_batch": 16}, 5),
    ],
)
def test_a_replica_has_work_for_its_cpus_and_the_next_batch_in_hand(given: dict[str, int], working: int) -> None:
    assert ServeOptions.model_validate({"store": "s3://posters", **given}).working == working
