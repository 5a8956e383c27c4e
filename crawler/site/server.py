"""The rehearsal site as a server: in this process until Ctrl-C, or in one of its own for as long as a test needs it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.request import ProxyHandler, Request, build_opener

import uvicorn

from crawler.site.app import build_app
from crawler.site.content import SiteContent, SiteError
from crawler.site.faults import Faults

_ROOT = Path(__file__).resolve().parents[2]
# What uvicorn logs for each response of the fault `cut`.
_CUT_ON_PURPOSE = "ASGI callable returned without completing response."
_STOP_TIMEOUT_S = 10


def serve_site(
    content: SiteContent,
    faults: Faults | None = None,
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C; `on_ready` gets the site's URL once it answers. Port 0 takes a free one.

    Raises SiteError when the port is in use or the host is not this machine's.
    """
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        build_app(content, faults or Faults()),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() != _CUT_ON_PURPOSE)
    with listener, contextlib.suppress(KeyboardInterrupt):
        _Server(config, url, on_ready).run(sockets=[listener])


@dataclass(frozen=True, slots=True)
class Site:
    """A running rehearsal site, and what it was asked for."""

    url: str
    titles: int
    posters: int

    def requests(self) -> dict[str, int]:
        """How often each path was asked for since the start or the last reset."""
        return self._counts("GET")

    def reset(self) -> None:
        """Count from zero again. Faults that spoil only a title's first request stay spent."""
        self._counts("DELETE")

    def _counts(self, method: str) -> dict[str, int]:
        # Without the environment's proxies, which cannot reach this machine's loopback.
        request = Request(f"{self.url}/_site/requests", method=method)  # noqa: S310  http, to ourselves
        with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
            counts: dict[str, int] = json.load(response)
        return counts


@contextlib.contextmanager
def running_site(
    *,
    titles: int = 400,
    catalog: Path | None = None,
    posters: Path | None = None,
    faults: Faults | None = None,
    write_catalog: Path | None = None,
    port: int = 0,
) -> Iterator[Site]:
    """A site in a process of its own, on a free port of this machine, which ends with the block.

    It also ends when this process dies. Raises SiteError with the site's own sentence when it does not start.
    """
    faults = faults or Faults()
    options: dict[str, object] = {"port": port, "titles": titles, "slow-s": faults.slow_s, "faults": str(faults)}
    paths = {"catalog": catalog, "posters": posters, "write-catalog": write_catalog}
    options |= {name: path.resolve() for name, path in paths.items() if path is not None}
    command = [
        sys.executable,
        "-m",
        "crawler.site",
        "--json",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    search = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile() as remarks:
        process = subprocess.Popen(  # noqa: S603  this interpreter, this package
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=remarks,
            env={**os.environ, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1"},
            # Ctrl-C in a terminal goes to the caller alone, which then ends the block.
            start_new_session=True,
        )
        try:
            yield _ready(process, remarks)
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], remarks: IO[bytes]) -> Site:
    """The site's first line, which comes when it listens; the end of its output means that it did not start."""
    assert process.stdout is not None  # noqa: S101  a pipe, as asked for above
    line = process.stdout.readline()
    ready = json.loads(line) if line else {}
    if "url" not in ready:
        process.wait(_STOP_TIMEOUT_S)
        remarks.seek(0)
        lines = remarks.read().decode(errors="replace").strip().splitlines()
        raise SiteError(ready.get("error") or (lines[-1] if lines else "the rehearsal site ended without a word"))
    return Site(url=ready["url"], titles=ready["titles"], posters=ready["posters"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise SiteError(
            f"rehearsal site: cannot listen on {host}:{port} ({reason}); give another --port, or 0 for a free one"
        ) from error
    return listener


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, url: str, on_ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._url = url
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then tell."""
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready(self._url)
