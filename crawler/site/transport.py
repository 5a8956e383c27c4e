"""Responses that go wrong on their way: cut in the middle, or dripping."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

# 20 KB take more than an hour, and a client that only waits for some byte never gives up.
DRIP_S = 0.2


class CutResponse(Response):
    """Promises all of its body and sends half; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, and return without an end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


def dripping(response: Response, pause_s: float = DRIP_S) -> StreamingResponse:
    """The same response, a byte at a time; it ends when its client goes away."""
    body = bytes(response.body)

    async def drops() -> AsyncIterator[bytes]:
        for place in range(len(body)):
            yield body[place : place + 1]
            await anyio.sleep(pause_s)

    return StreamingResponse(drops(), response.status_code, dict(response.headers))
