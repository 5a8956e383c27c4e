"""The load: so many callers, each of whom asks again as soon as it was answered, over connections that stay open."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

_BOUNDARY = "onesheet-benchmark"
_WARM_UP_S = 1.5


@dataclass(slots=True)
class Load:
    """What the callers saw. cpu_s: of the server. own_cpu_s: of the load. failures: other answers than 200, by kind."""

    latencies_ms: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    own_cpu_s: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    body: bytes
    content_type: str


def requests(posters: list[bytes], *, as_json: bool = False) -> list[Request]:
    """Each poster as a multipart body with the field `image`, or as base64 in JSON."""
    if as_json:
        texts = (base64.b64encode(poster).decode() for poster in posters)
        return [Request(json.dumps({"image": text}).encode(), "application/json") for text in texts]
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="poster.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()
    return [Request(head + poster + end, f"multipart/form-data; boundary={_BOUNDARY}") for poster in posters]


async def press(url: str, sent: list[Request], *, concurrency: int, seconds: float, cpu_s: Callable[[], float]) -> Load:
    """Ask for so long, after a second and a half that do not count. cpu_s: what the server has spent."""
    found = Load()
    began, ends_at = 0.0, time.perf_counter() + _WARM_UP_S + seconds
    places = itertools.cycle(sent)

    async def caller(session: aiohttp.ClientSession) -> None:
        while (start := time.perf_counter()) < ends_at:
            try:
                request = next(places)
                headers = {"Content-Type": request.content_type}
                async with session.post(url, data=request.body, headers=headers) as answer:
                    await answer.read()
                    said = "" if answer.status == 200 else str(answer.status)
            except aiohttp.ClientError as error:
                said = type(error).__name__
            if began and start >= began:
                if said:
                    found.failures[said] = found.failures.get(said, 0) + 1
                else:
                    found.latencies_ms.append((time.perf_counter() - start) * 1000)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        callers = [asyncio.create_task(caller(session)) for _ in range(concurrency)]
        await asyncio.sleep(_WARM_UP_S)
        before = cpu_s()
        own = _cpu_s()
        began = time.perf_counter()
        await asyncio.sleep(max(0.0, ends_at - began))
        found.wall_s, found.own_cpu_s = time.perf_counter() - began, _cpu_s() - own
        found.cpu_s = cpu_s() - before
        await asyncio.gather(*callers)
    return found


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
