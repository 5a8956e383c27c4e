"""A job's log, followed to its end: over cut connections and restarted job servers, no line lost, none twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from cluster.console import say
from cluster.errors import ClusterError
from cluster.job_server import gist, is_unknown

Write = Callable[[str], object]
# Behind a balancer a quiet connection may be gone without a word, and Ray's job server answers no pings.
_SILENCE_S = 120
_PAUSE_S = 1.0
PATIENCE_S = 300.0


def follow_log(client: Any, job_id: str, write: Write, *, patience_s: float = PATIENCE_S) -> None:
    """Pass the log on from its beginning, as it grows, until the job has ended and all of it is written.

    client: Ray's JobSubmissionClient. The server sends the log from its beginning each time, so after a cut what was
    written before is skipped. Raises ClusterError once the server has not answered for `patience_s`, or where it no
    longer knows the job.
    """
    import aiohttp  # noqa: PLC0415  help stays quick

    log = _Log(client, job_id, write)
    heard = time.monotonic()
    is_broken = False
    while True:
        try:
            asyncio.run(log.tail())
            # The end of what the server sends is the end of the log only if the job has ended.
            has_ended = client.get_job_info(job_id).status.is_terminal()
            log.catch_up()
            heard = time.monotonic()
            if is_broken:
                say(f"following job {job_id} again")
            is_broken = False
            if has_ended:
                return
        # Of requests (OSErrors), of aiohttp, and what Ray's client makes of an answer.
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            if is_unknown(error):
                raise ClusterError(
                    f"the job server no longer knows job {job_id}: its table of jobs was lost in a restart; "
                    "the same submit starts it again"
                ) from error
            if not is_broken:
                say(f"the log of job {job_id} broke off ({gist(error)}); the job runs on, trying again")
            is_broken = True
            if time.monotonic() - max(heard, log.heard) > patience_s:
                raise ClusterError(
                    f"the job server has not answered for {patience_s:.0f} s ({gist(error)}); job {job_id} may run on: "
                    f"onesheet jobs wait {job_id}"
                ) from error
        time.sleep(_PAUSE_S)


class _Log:
    """What of the log is written so far."""

    def __init__(self, client: Any, job_id: str, write: Write) -> None:
        self._client, self._job_id, self._write = client, job_id, write
        self._written = 0
        self.heard = time.monotonic()

    async def tail(self) -> None:
        """Until the server ends it, breaks off, or is silent for long."""
        skip = self._written
        chunks = self._client.tail_job_logs(self._job_id)
        try:
            while True:
                try:
                    text = await asyncio.wait_for(anext(chunks), _SILENCE_S)
                except (StopAsyncIteration, TimeoutError):
                    return
                self.heard = time.monotonic()
                self._put(text[skip:])
                skip = max(0, skip - len(text))
        finally:
            await chunks.aclose()

    def catch_up(self) -> None:
        """Write what the tail did not bring."""
        self._put(self._client.get_job_logs(self._job_id)[self._written :])

    def _put(self, text: str) -> None:
        if text:
            self._write(text)
            self._written += len(text)
