"""Callers that cost little: HTTP/1.1 over asyncio, each with one connection, a request ready as bytes.

Closed loop: so many callers, each asks again once it was answered. Open loop: requests come when they come, whether
the server keeps up or not, and each is timed from the moment at which it was due, so a late caller hides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

_TIMEOUT_S = 60.0
# What a request is answered with that is not answered.
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request. at_s: when it was due, from the start. ms: from then to the answer's last byte. late_ms: of its
    first byte. status: NO_ANSWER where the connection broke."""

    at_s: float
    ms: float
    status: int
    late_ms: float
    is_problem: bool
    retry_after: str | None


class Caller:
    """One connection, opened when it is needed, and again where the server closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, due: float, began: float) -> Answer:
        """Send the request and read its answer. due, began: as time.perf_counter, the latter of all requests."""
        late_ms = (time.perf_counter() - due) * 1000
        status = NO_ANSWER
        headers: dict[str, str] = {}
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                status, headers = await self._asked(request)
        if status == NO_ANSWER:
            self.close()
        return Answer(
            at_s=due - began,
            ms=(time.perf_counter() - due) * 1000,
            status=status,
            late_ms=late_ms,
            is_problem=headers.get("content-type") == "application/problem+json",
            retry_after=headers.get("retry-after"),
        )

    async def _asked(self, request: bytes) -> tuple[int, dict[str, str]]:
        # The server closes a connection that was idle for long, and a caller that looks does not ask on it.
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(*self._place)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split()[1]), headers

    def close(self) -> None:
        """Leave the connection; the next request opens another."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


def requests_of(posters: Sequence[bytes], host: str, port: int) -> list[bytes]:
    """The bytes of a request to /v1/predict for each poster."""
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: image/jpeg\r\nContent-Length: "
    return [f"{head}{len(poster)}\r\n\r\n".encode() + poster for poster in posters]


async def closed_loop(host: str, port: int, requests: Sequence[bytes], *, callers: int, seconds: float) -> list[Answer]:
    """So many callers for so long."""
    began = time.perf_counter()
    found: list[Answer] = []

    async def one(seed: int) -> None:
        rng, caller = random.Random(seed), Caller(host, port)
        while (now := time.perf_counter()) < began + seconds:
            found.append(await caller.ask(rng.choice(requests), now, began))
        caller.close()

    await asyncio.gather(*(one(seed) for seed in range(callers)))
    return found


async def open_loop(host: str, port: int, requests: Sequence[bytes], *, rate: float, seconds: float) -> list[Answer]:
    """Requests at random moments, so many a second on average, for so long; then all are waited for."""
    rng = random.Random(0)
    free: list[Caller] = []
    found: list[Answer] = []
    began = due = time.perf_counter()

    async def one(request: bytes, due: float) -> None:
        caller = free.pop() if free else Caller(host, port)
        found.append(await caller.ask(request, due, began))
        free.append(caller)

    async with asyncio.TaskGroup() as asked:
        while due < began + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            asked.create_task(one(rng.choice(requests), due))
            due += rng.expovariate(rate)
    for caller in free:
        caller.close()
    return found
