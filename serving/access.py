"""What became of each request: an id for its caller, a line of JSON in the log, and a record for whoever counts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.addresses import Network, address_of
from serving.predictor import Prediction
from serving.problems import problem_response

log = logging.getLogger("serving.access")

REQUEST_ID = "X-Request-ID"
# A caller's own id is kept where it can do no harm in a log.
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# What a request without a route is counted under: paths of strangers' scanners are without number.
_UNKNOWN = "unknown"


@dataclass(slots=True)
class Access:
    """One request.

    address: whose it is, see `serving.addresses`. path: the route's, such as /v1/predict. ms: until the last byte of
    the answer. caller: the name of its key. posters: in the request. queued: requests that waited when it began to,
    for queued_ms. predictions: of the posters that were scored. status 499: the caller went away.
    """

    request_id: str
    method: str
    address: str
    path: str = _UNKNOWN
    status: int = 499
    ms: float = 0.0
    bytes_in: int = 0
    caller: str | None = None
    version: str | None = None
    posters: int = 0
    queued: int = 0
    queued_ms: float = 0.0
    predictions: Sequence[Prediction] = field(default=())


Listener = Callable[[Access], None]


def of(scope: Scope) -> Access:
    """The record of the request that is under way, for its endpoint to fill."""
    found: Access = scope["onesheet.access"]
    return found


class AccessMiddleware:
    """ASGI middleware: makes each request's record, and gives it to the listeners when the request has ended.

    timeout_s: a request that takes longer is answered with 504; what its thread does still ends. tells_id: whether the
    answer has the id, or a proxy in front puts it there. trusted_proxies: see `serving.addresses`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        listeners: Sequence[Listener],
        timeout_s: float,
        tells_id: bool = True,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self.app = app
        self.trusted_proxies = tuple(trusted_proxies)
        self.tells_id = tells_id
        self.listeners = tuple(listeners)
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        access = Access(request_id, scope["method"], address_of(scope, self.trusted_proxies))
        scope["onesheet.access"] = access
        began = time.perf_counter()
        has_begun = False

        async def counted() -> Message:
            message = await receive()
            access.bytes_in += len(message.get("body", b""))
            return message

        async def named(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                access.status = message["status"]
                if self.tells_id:
                    MutableHeaders(scope=message)[REQUEST_ID] = access.request_id
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_s):
                await self.app(scope, counted, named)
        except TimeoutError:
            if has_begun:
                raise
            answer = problem_response(504, f"not answered within {self.timeout_s:g} s; send fewer posters at once")
            await answer(scope, receive, named)
        except ClientDisconnect:
            # There is nobody to answer; the record says 499.
            pass
        except Exception:
            # Answered further out.
            access.status = 500
            raise
        finally:
            access.ms = (time.perf_counter() - began) * 1000
            access.path = getattr(scope.get("route"), "path", _UNKNOWN)
            for listener in self.listeners:
                listener(access)


def write_line(access: Access) -> None:
    """A listener: the record as a line of JSON, without a byte of any image. Quiet for probes that went well."""
    if access.path in ("/healthz", "/readyz") and access.status == 200:
        return
    line: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": access.request_id,
        "address": access.address,
        "method": access.method,
        "path": access.path,
        "status": access.status,
        "ms": round(access.ms, 1),
        "bytes_in": access.bytes_in,
    }
    if access.caller:
        line["caller"] = access.caller
    if access.posters:
        line |= {"posters": access.posters, "scored": len(access.predictions), "version": access.version}
        line["queued_ms"] = round(access.queued_ms, 1)
    log.info("%s", json.dumps(line))
