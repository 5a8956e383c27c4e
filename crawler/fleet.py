"""A crawl as shards over the Ray cluster: each a Scrapy process, all together as polite as one."""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from cluster.errors import CrawlerError, OnesheetError, StoreError
from cluster.nodes import beside_driver, connect
from cluster.settings import as_environment
from crawler.fleet_display import FleetDisplay
from crawler.fleet_rules import SILENT, Coordinator, FleetView
from crawler.fleet_shard import ShardEnd, options_of, run_shard
from crawler.plan import Plan

log = logging.getLogger(__name__)

_LOOK_S = 0.25
_LOOK_TIMEOUT_S = 30
# After Ctrl-C the requests under way are waited for; a job that is stopped has three seconds until it is killed.
_GRACE_S = {signal.SIGINT: 60.0, signal.SIGTERM: 2.0}
# A shard that dies this often without a title in between will not get any further.
_MOST_DEATHS = 5
_MOST_SILENT_S = 180.0


def run_fleet(
    plan: Plan, shards: int, scrapy_settings: dict[str, Any] | None = None, *, cpus_per_worker: int = 1
) -> dict[str, Any]:
    """Crawl a plan's titles as `shards` processes. Returns the crawl's summary.

    scrapy_settings: over our own, for every shard. cpus_per_worker: what Ray keeps for each shard. Connects to Ray by
    the plan's settings. A shard whose process or node dies is started again, and goes on from the ledger. Ctrl-C,
    SIGTERM, the budget or a host that blocks end all shards cleanly; a second Ctrl-C ends at once. Raises OnesheetError
    where a shard met one, after all have ended.
    """
    started_at = datetime.now(UTC)
    done_before = len(plan.known().done)
    display = FleetDisplay(plan.crawl.crawl_id, shards=shards, total=plan.card.titles, done_before=done_before)
    with connect(plan.settings), _stop_signal() as stop_signal:
        fleet = _Fleet(plan, shards, scrapy_settings or {}, display, stop_signal, cpus_per_worker)
        with display:
            fleet.run()
        try:
            summary = plan.crawl.finish(started_at=started_at, finish_reason=fleet.reason)
        except StoreError as error:
            raise fleet.error or error from error
        if fleet.error:
            raise fleet.error
    return summary


@dataclass(slots=True)
class _StopSignal:
    """The signal that told this process to stop, and when."""

    number: signal.Signals | None = None
    at: float = 0.0


@contextlib.contextmanager
def _stop_signal() -> Iterator[_StopSignal]:
    """Within the block, the first SIGINT or SIGTERM is only noted; a second SIGINT raises KeyboardInterrupt."""
    found = _StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if found.number is None:
            found.number, found.at = signal.Signals(number), time.monotonic()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in _GRACE_S}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Fleet:
    """The shards' tasks, from their start to their end. `reason` and `error` tell how it ended."""

    def __init__(
        self,
        plan: Plan,
        shards: int,
        scrapy_settings: dict[str, Any],
        display: FleetDisplay,
        stop_signal: _StopSignal,
        cpus_per_worker: int,
    ) -> None:
        import ray  # noqa: PLC0415  slow to import

        from crawler.fleet_metrics import FleetMetrics  # noqa: PLC0415  as above

        self.reason = "finished"
        self.error: OnesheetError | None = None
        self._display, self._signal = display, stop_signal
        self._metrics = FleetMetrics(plan.crawl.crawl_id)
        self._minutes = plan.options.max_minutes
        self._began = time.monotonic()
        self._name = f"onesheet-crawl-{secrets.token_hex(4)}"
        self._coordinator = (
            ray.remote(Coordinator)
            .options(name=self._name, num_cpus=0, scheduling_strategy=beside_driver())
            .remote(max_titles=plan.options.max_titles, max_bytes=plan.options.max_bytes)
        )
        settings = plan.settings.model_copy(update={"store": plan.crawl.store.url})
        # Scrapy's reactor starts once in a process: max_calls. Started again from here, while it gets further: retries.
        environment = {"env_vars": as_environment(settings)}
        how = {"num_cpus": cpus_per_worker, "max_calls": 1, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._task = ray.remote(runtime_env=environment, **how)(run_shard)
        self._options, self._scrapy_settings = options_of(plan, shards), scrapy_settings
        self._running: dict[Any, tuple[int, str]] = {}
        self._restarts: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._heard: dict[str, int] = {}
        self._silent_since: dict[str, float] = {}
        self._deadline: float | None = None
        self._is_stopping = False
        cpus = ray.cluster_resources().get("CPU", 0)
        if shards * cpus_per_worker > cpus:
            wanted = f"{shards} workers of {cpus_per_worker} CPU"
            display.say(f"{wanted} on {cpus:g} CPUs: those that find none wait until others have ended")
        for shard in range(shards):
            self._start(shard)

    def run(self) -> None:
        """Until all shards have ended, or the time to stop is over."""
        import ray  # noqa: PLC0415  as above

        while self._running:
            ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=_LOOK_S)
            self._look()
            for ref in ended:
                self._end(ref)
            if self._signal.number is not None and self._deadline is None:
                self._display.say("stopping; what is under way is still recorded")
                self._stop("shutdown", grace_s=_GRACE_S[self._signal.number])
            if self._minutes and time.monotonic() - self._began > self._minutes * 60:
                self._stop("budget")
            if self._deadline is not None and time.monotonic() > self._deadline:
                for ref in self._running:
                    ray.cancel(ref, force=True)
                return
        self._look()

    def _start(self, shard: int) -> None:
        attempt = f"{shard}.{self._restarts[shard]}"
        task = self._task.options(name=f"crawl shard {shard}")
        ref = task.remote(self._options, shard, self._name, attempt, self._scrapy_settings)
        self._running[ref] = (shard, attempt)

    def _look(self) -> None:
        """Hear from the coordinator how the shards stand, show it, and stop where one of them said so."""
        import ray  # noqa: PLC0415  as above
        from ray.exceptions import RayError  # noqa: PLC0415  as above

        try:
            view: FleetView = ray.get(self._coordinator.view.remote(), timeout=_LOOK_TIMEOUT_S)
        except RayError as error:
            self._stop("failed", CrawlerError(f"the fleet's coordinator was lost ({_gist(error)})"), grace_s=30)
            return
        self._heard = {shard.attempt: shard.titles for shard in view.shards}
        told = {shard for shard, attempt in self._running.values() if attempt in self._heard}
        queued = {shard: "queued" for shard, _ in self._running.values() if shard not in told}
        self._display.show(view, queued, self._restarts)
        self._metrics.show(view, queued, self._restarts)
        self._end_silent({shard.attempt for shard in view.shards if shard.state == SILENT})
        if view.stopped and not self._is_stopping:
            self._stop(view.stopped, CrawlerError(view.sentence) if view.sentence else None)
        if view.is_used_up and not self._is_stopping:
            self.reason = "budget"
            self._cancel_queued()

    def _end_silent(self, attempts: set[str]) -> None:
        """Kill processes that hang, so that others go on with their titles."""
        import ray  # noqa: PLC0415  as above

        now = time.monotonic()
        self._silent_since = {attempt: self._silent_since.get(attempt, now) for attempt in attempts}
        for ref, (_, attempt) in self._running.items():
            if now - self._silent_since.get(attempt, now) > _MOST_SILENT_S:
                ray.cancel(ref, force=True)

    def _end(self, ref: Any) -> None:
        import ray  # noqa: PLC0415  as above
        from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError, TaskCancelledError  # noqa: PLC0415

        shard, attempt = self._running.pop(ref)
        try:
            end: ShardEnd = ray.get(ref)
        except TaskCancelledError:
            if attempt in self._silent_since:
                self._restart(shard, attempt, f"it said nothing for {_MOST_SILENT_S:.0f} s")
            return
        except (RayTaskError, RuntimeEnvSetupError) as error:
            log.debug("shard %d failed", shard, exc_info=True)
            self._stop("failed", CrawlerError(f"shard {shard} failed: {_gist(error)}"))
            return
        except RayError as error:  # the process or its node is gone
            self._restart(shard, attempt, _gist(error))
            return
        if end.error:
            self._stop("failed", end.error)
        elif end.reason == "shutdown" and not self._is_stopping:
            self._restart(shard, attempt, "its process was told to end")

    def _restart(self, shard: int, attempt: str, why: str) -> None:
        """A shard's process or node is gone: its titles in flight are asked again by the next."""
        if self._is_stopping:
            return
        self._deaths[shard] = 1 if self._heard.get(attempt) else self._deaths[shard] + 1
        if self._deaths[shard] >= _MOST_DEATHS:
            times = f"{_MOST_DEATHS} times without a title in between"
            self._stop("failed", CrawlerError(f"shard {shard} died {times}, the last time: {why}"))
            return
        self._restarts[shard] += 1
        self._display.say(f"shard {shard} is started again: {why}")
        self._start(shard)

    def _stop(self, reason: str, error: OnesheetError | None = None, *, grace_s: float | None = None) -> None:
        """Tell all shards to end; the first reason counts, and the first error."""
        self.error = self.error or error
        if grace_s is not None:
            self._deadline = min(self._deadline or float("inf"), time.monotonic() + grace_s)
        if self._is_stopping:
            return
        self._is_stopping, self.reason = True, reason
        self._coordinator.stop.remote(reason)
        self._cancel_queued()

    def _cancel_queued(self) -> None:
        """Shards that have not begun need not begin any more."""
        import ray  # noqa: PLC0415  as above

        for ref, (_, attempt) in self._running.items():
            if attempt not in self._heard:
                ray.cancel(ref)


def _gist(error: Exception) -> str:
    """The sentence in one of Ray's errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].startswith("\x1b") or "Traceback" in str(error) else lines[0]
