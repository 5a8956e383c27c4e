"""The fleet on one screen: all titles in one bar, a line a shard, the hosts that are asked; or a line now and then."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cluster.console import console
from crawler.fleet_rules import FleetView, ShardView

_LINE_EVERY_S = 5.0
# Rates are those of the last seconds.
_WINDOW_S = 15.0
_MOST_SHARDS = 20
_MOST_HOSTS = 6
_MOST_REMARKS = 200


class FleetDisplay:
    """Shows what it is given, on standard error.

    total: titles of the catalogue; done_before: those that earlier runs brought to an outcome.
    """

    def __init__(self, crawl_id: str, *, shards: int, total: int, done_before: int) -> None:
        self._crawl_id, self._shards, self._total, self._done_before = crawl_id, shards, total, done_before
        self._seen: deque[tuple[float, FleetView]] = deque()
        self._told: set[str] = set()
        self._line_at = time.monotonic()
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), expand=True)
        self._id = self._bar.add_task(crawl_id, total=total)
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._seen:
            console.print(self._line(self._seen[-1][1]), markup=False)

    def say(self, remark: str) -> None:
        """A line above the display; the same from several shards only once. The rest is in Ray's logs."""
        if remark not in self._told and len(self._told) < _MOST_REMARKS:
            self._told.add(remark)
            console.print(remark, markup=False)

    def show(self, view: FleetView, states: Mapping[int, str], restarts: Mapping[int, int]) -> None:
        """The fleet as it is now. states: of shards without a process that tells; restarts: by shard."""
        for remark in view.said:
            self.say(remark)
        now = time.monotonic()
        self._seen.append((now, view))
        while self._seen[0][0] < now - _WINDOW_S:
            self._seen.popleft()
        if self._live:
            self._bar.update(self._id, completed=self._done(view))
            self._live.update(Group(self._bar, self._text(view), self._table(view, states, restarts)))
        elif now - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            console.print(self._line(view), markup=False)

    def _line(self, view: FleetView) -> str:
        crawling = sum(shard.state == "crawls" for shard in view.shards)
        rejected = view.counts.total() - view.counts["stored"]
        return (
            f"titles {self._done(view)}/{self._total}: stored {view.counts['stored']}, rejected {rejected} in this "
            f"run, {self._per_s(view.counts.total(), self._first().counts.total()):.0f} titles/s, "
            f"{view.stored_bytes / 1e6:.1f} MB" + (f", {crawling} of {self._shards} shards crawl" if crawling else "")
        )

    def _text(self, view: FleetView) -> Text:
        first = self._first()
        per_s = self._per_s(view.counts.total(), first.counts.total())
        left = self._total - self._done(view)
        eta = f"{left / per_s / 60:.0f} min left" if per_s else "-"
        rates = {host: self._per_s(count, first.requests[host]) for host, count in view.requests.items()}
        busiest = sorted(rates, key=lambda host: -rates[host])[:_MOST_HOSTS]
        rejected = view.counts.total() - view.counts["stored"]
        return Text(
            f"stored {view.counts['stored']}  rejected {rejected}  open {left}  {per_s:.1f} titles/s  "
            f"{view.stored_bytes / 1e6:.1f} MB  {eta}\n" + "  ".join(f"{host} {rates[host]:.1f}/s" for host in busiest)
        )

    def _table(self, view: FleetView, states: Mapping[int, str], restarts: Mapping[int, int]) -> Table:
        table = Table("shard", "node", "state", "titles", "titles/s", "restarts", box=None, header_style="dim")
        before = {shard.attempt: shard for shard in self._first().shards}
        found = {shard.shard: shard for shard in view.shards}
        for number in sorted({*found, *states})[:_MOST_SHARDS]:
            shard = found.get(number, ShardView(number, "", "", "", 0))
            earlier = before.get(shard.attempt)
            rate = self._per_s(shard.titles, earlier.titles if earlier else 0)
            state = states.get(number) or shard.state
            table.add_row(
                str(number), shard.node, state, str(shard.titles), f"{rate:.1f}", str(restarts.get(number, 0))
            )
        if self._shards > _MOST_SHARDS:
            table.caption = f"and {self._shards - _MOST_SHARDS} more shards"
        return table

    def _done(self, view: FleetView) -> int:
        # A shard that was killed had titles that its next process brings to an outcome again.
        return min(self._done_before + view.counts.total(), self._total)

    def _first(self) -> FleetView:
        return self._seen[0][1]

    def _per_s(self, now: int, before: int) -> float:
        return max(0, now - before) / max(self._seen[-1][0] - self._seen[0][0], 1.0)
