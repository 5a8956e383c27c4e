"""The rehearsal site as a server: in this process until Ctrl-C, or in one of its own for as long as a test needs it."""

from __future__ import annotations

import asyncio
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
from typing import IO, Any
from urllib.request import ProxyHandler, Request, build_opener

import uvicorn

from crawler.site.apis import ApiRules
from crawler.site.app import build_app
from crawler.site.content import SiteContent, SiteError
from crawler.site.faults import Faults

_ROOT = Path(__file__).resolve().parents[2]
# What uvicorn logs for each response of the fault `cut`, and for those that drip or wait when the site ends.
_ON_PURPOSE = ("ASGI callable returned without completing response.", "Cancel ")
_STOP_TIMEOUT_S = 10
_RULES = ApiRules()


def serve_site(
    content: SiteContent,
    faults: Faults | None = None,
    host: str = "127.0.0.1",
    port: int = 8900,
    *,
    rules: ApiRules | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C; `on_ready` gets the site's URL once it answers. Port 0 takes a free one.

    Raises SiteError when the port is in use or the host is not this machine's.
    """
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        build_app(content, faults or Faults(), rules),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    with listener, contextlib.suppress(KeyboardInterrupt):
        _Server(config, url, on_ready).run(sockets=[listener])


@dataclass(frozen=True, slots=True)
class Site:
    """A running rehearsal site, and what it was asked for."""

    url: str
    titles: int
    posters: int

    def requests(self) -> dict[str, int]:
        """How often each path was asked for since the start or the last reset, answered or not.

        OMDb's, which all have the path `/`, are told apart by id: `/?i=tt9900001`.
        """
        counts: dict[str, int] = self._ask("GET", "requests")
        return counts

    def times(self) -> dict[str, list[float]]:
        """When the newest 10,000 requests of each family came, in seconds of this machine's `time.monotonic()`.

        The families are title, image, tmdb, tmdb_image and omdb: the hosts that this site stands for.
        """
        times: dict[str, list[float]] = self._ask("GET", "times")
        return times

    def reset(self) -> None:
        """Count from zero again. Faults that spoil only a title's first request stay spent, and so does a quota."""
        self._ask("DELETE", "requests")

    def _ask(self, method: str, name: str) -> Any:
        # Without the environment's proxies, which cannot reach this machine's loopback.
        request = Request(f"{self.url}/_site/{name}", method=method)  # noqa: S310  http, to ourselves
        with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
            return json.load(response)


@contextlib.contextmanager
def running_site(
    *,
    titles: int = 400,
    catalog: Path | None = None,
    posters: Path | None = None,
    faults: Faults | None = None,
    write_catalog: Path | None = None,
    port: int = 0,
    revision: int = 0,
    tmdb_token: str = _RULES.tmdb_token,
    tmdb_rate: int = _RULES.tmdb_rate,
    omdb_key: str = _RULES.omdb_key,
    omdb_quota: int = _RULES.omdb_quota,
) -> Iterator[Site]:
    """A site in a process of its own, on a free port of this machine, which ends with the block.

    revision: another number than 0 changes every tenth poster. tmdb_rate: requests a second. omdb_quota: requests in
    all. It also ends when this process dies. Raises SiteError with the site's own sentence when it does not start.
    """
    faults = faults or Faults()
    options: dict[str, object] = {"port": port, "titles": titles, "revision": revision}
    options |= {"slow-s": faults.slow_s, "faults": str(faults)}
    options |= {"tmdb-token": tmdb_token, "tmdb-rate": tmdb_rate, "omdb-key": omdb_key, "omdb-quota": omdb_quota}
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


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not record.getMessage().startswith(_ON_PURPOSE)


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
