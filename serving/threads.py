"""The threads in which endpoints do their work."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def done_by(threads: Executor) -> Callable[[Callable[P, T]], Callable[P, Awaitable[T]]]:
    """Make an endpoint of a plain function, whose work `threads` do, off the event loop.

    FastAPI would take AnyIO's threads, which live as long as the task that the event loop was started with. Ray's loop
    was started with none: there each thread ends with its request, and with it the memory that a runtime has prepared
    for it.
    """

    def endpoint(work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(work)
        async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            call = functools.partial(contextvars.copy_context().run, work, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(threads, call)

        return asked

    return endpoint
