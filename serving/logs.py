"""Where a replica's log goes: the access lines to a file of their own, all else into Serve's log of the replica."""

from __future__ import annotations

import logging
from collections.abc import Callable
from logging.handlers import BufferingHandler, MemoryHandler, RotatingFileHandler
from pathlib import Path

from serving import access

_SERVE = "ray.serve"
_OURS = ("cluster", "crawler", "training", "serving")
# Of access lines that wait to be written: of some seconds.
_MOST_LINES = 1_000


class _IntoServes(logging.Handler):
    """Hands records to Serve's own logger, whatever its handlers are by then."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(_SERVE).handle(record)


class _Together(BufferingHandler):
    """Keeps lines and writes them together: a line at a time took a twenty-fifth of all requests.

    A write gives Python's lock away, and the event loop then waits for it.
    """

    def __init__(self, file: logging.Handler) -> None:
        super().__init__(_MOST_LINES)
        self._file = file

    def flush(self) -> None:
        """Write what there is."""
        self.acquire()
        try:
            lines = [self.format(record) for record in self.buffer]
            self.buffer.clear()
        finally:
            self.release()
        if lines:
            self._file.handle(logging.makeLogRecord({"msg": "\n".join(lines)}))


def log_beside_serve() -> Callable[[], None]:
    """For a replica, once: Serve gives handlers to its own logger alone, and Python drops what no handler takes.

    Lines of JSON can be read as such where nothing else stands in the file: beside Serve's `replica_….log` each replica
    has its `access_….log`, of the same size at most and with as many older ones. The access lines come there together:
    what is returned writes those that there are.
    """
    into_serves = _IntoServes()
    for name in _OURS:
        logging.getLogger(name).handlers = [into_serves]
        logging.getLogger(name).propagate = False
    logging.getLogger("serving").setLevel(logging.INFO)
    serves = _serves_file()
    if serves is None:
        return lambda: None
    path = Path(serves.baseFilename)
    file = RotatingFileHandler(
        path.with_name("access_" + path.name.removeprefix("replica_")),
        maxBytes=serves.maxBytes,
        backupCount=serves.backupCount,
        encoding="utf-8",
    )
    lines = _Together(file)
    access.log.handlers = [lines]
    access.log.propagate = False
    return lines.flush


def _serves_file() -> RotatingFileHandler | None:
    """What writes Serve's log of this replica."""
    for handler in logging.getLogger(_SERVE).handlers:
        target = handler.target if isinstance(handler, MemoryHandler) else handler
        if isinstance(target, RotatingFileHandler):
            return target
    return None
