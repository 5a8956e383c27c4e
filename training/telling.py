"""How long work tells of itself: lines for people, events for a live line, and both from its workers by a queue."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

# A line for people.
Say = Callable[[str], None]
# How far the work is: {"what": str, "step": int, "steps": int, "loss": float or absent}.
Events = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def followed(events: Any, follow: Callable[[Any], None]) -> Iterator[None]:
    """Hand on what the workers put into the queue, as it comes."""
    ended = threading.Event()
    failures: list[Exception] = []

    def hand_on() -> None:
        while True:
            try:
                follow(events.get(timeout=0.5))
            except Empty:
                if ended.is_set():
                    return
            except Exception as error:
                # The run goes on, whose workers would wait for nobody; it is told of at its end.
                failures.append(error)

    thread = threading.Thread(target=hand_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
        events.shutdown()
    if failures:
        raise failures[0]
