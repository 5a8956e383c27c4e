"""The threads of endpoints stay, under an event loop such as Ray's too, which was started without a task."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
from fastapi import FastAPI

from serving.threads import done_by


def test_a_thread_outlives_the_request_that_it_was_started_for() -> None:
    api = FastAPI()
    held: list[threading.Thread] = []

    def hold(top: int) -> int:
        held.append(threading.current_thread())
        return top

    api.get("/anyio")(hold)
    api.get("/own")(done_by(ThreadPoolExecutor(1))(hold))

    async def ask(path: str) -> object:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://here") as client:
            return (await client.get(path, params={"top": "3"})).json()

    loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever)
    running.start()
    try:
        told = [asyncio.run_coroutine_threadsafe(ask(path), loop).result(20) for path in ("/own", "/own", "/anyio")]
        held[2].join(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        running.join()
        loop.close()
    assert told == [3, 3, 3], "its parameters are read as those of any endpoint"
    assert held[0] is held[1]
    assert [thread.is_alive() for thread in held] == [True, True, False]
