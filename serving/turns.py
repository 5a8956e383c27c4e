"""Endpoints that posters are sent to: who comes in, whose turn it is, and the threads that do the work."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Concatenate, ParamSpec, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving import access
from serving.admission import Admission
from serving.fetching import Fetcher
from serving.threads import done_by
from serving.uploads import Upload, read_uploads

P = ParamSpec("P")
T = TypeVar("T")

# Whoever waited less is there still: to look takes a hundredth of what a poster does.
_LOOKED_FOR_MS = 100.0


class Turns:
    """Makes endpoints of plain functions of a request and its posters.

    A request comes in, its posters are read, and when it is its turn `threads` do the work, off the event loop. The
    turn ends with the work: a caller that reads its answer slowly keeps nobody waiting. What else FastAPI is to read,
    such as a query, is checked before, so that a wrong one costs no turn.
    """

    def __init__(self, threads: Executor, admission: Admission, *, max_posters: int, fetcher: Fetcher | None) -> None:
        """max_posters: of a request. fetcher: None where URLs are not fetched."""
        self._threads = threads
        self._admission = admission
        self._max_posters = max_posters
        self._fetcher = fetcher

    def __call__(
        self, work: Callable[Concatenate[Request, list[Upload], P], T]
    ) -> Callable[Concatenate[Request, P], Awaitable[T]]:
        """The endpoint; `work` calls its first two parameters `request` and `posters`."""
        in_thread = done_by(self._threads)(work)

        @functools.wraps(work)
        async def asked(request: Request, *args: P.args, **kwargs: P.kwargs) -> T:
            record = access.of(request.scope)
            with self._admission.entered():
                posters = await read_uploads(request, most=self._max_posters, fetcher=self._fetcher)
                record.posters = len(posters)
                record.queued = self._admission.waiting
                began = time.perf_counter()
                async with self._admission.turn():
                    record.queued_ms = (time.perf_counter() - began) * 1000
                    # Behind HAProxy nobody else looks, see `serving.haproxy`.
                    if record.queued_ms > _LOOKED_FOR_MS and await request.is_disconnected():
                        raise ClientDisconnect
                    return await in_thread(request, posters, *args, **kwargs)

        # By it FastAPI knows what it is to read.
        signature = inspect.signature(work)
        left = [parameter for name, parameter in signature.parameters.items() if name != "posters"]
        asked.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return asked
