"""What a pipeline shows: one line a stage, which lives while the stage runs, and a table of all at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.console import console, say
from cluster.pipeline.plan import Step, Verdict
from cluster.pipeline.run import StageReport, Watcher

_COLOURS = {"failed": "red", "stopped": "yellow", "skipped": "dim", "ran": "green", "continued": "green"}


@contextlib.contextmanager
def watching(*, quiet: bool, verbose: bool) -> Iterator[Watcher]:
    """A watcher that shows what happens on standard error.

    On a terminal the stage's last words stand beside its name; elsewhere a line tells of its start and one of its end.
    verbose: every line that a stage says stays. quiet: nothing at all.
    """
    if quiet:
        yield Watcher()
        return
    is_live = console.is_terminal
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[says]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not is_live) as bar:
        task = bar.add_task("", total=None, says="", visible=False)

        def begins(stage: str, verdict: Verdict) -> None:
            bar.reset(task, total=None, description=stage, says=f"[dim]{escape(verdict.reason)}[/]", visible=True)
            if not is_live:
                say(f"{stage}: {verdict.action}, since {escape(verdict.reason)}")

        def says(stage: str, line: str) -> None:
            if verbose:
                say(f"[dim]{stage} │[/] {escape(line)}")
            room = max(20, console.width - 30)
            bar.update(task, says=f"[dim]{escape(line[:room])}[/]")

        def ends(report: StageReport) -> None:
            bar.update(task, visible=False)
            if is_live or report.outcome != "skipped":
                colour = _COLOURS[report.outcome]
                say(
                    f"[{colour}]{report.stage}: {report.outcome}[/] {_seconds(report)}  {escape(gist(report))}".rstrip()
                )

        yield Watcher(begins, says, ends)


def report_table(reports: Sequence[StageReport]) -> Table:
    """A row a stage: what became of it, how long it took, what it came to."""
    table = Table("stage", "outcome", "", "what", box=None, pad_edge=False, header_style="dim")
    for report in reports:
        colour = _COLOURS.get(report.outcome, "bold")
        table.add_row(report.stage, f"[{colour}]{report.outcome}[/]", _seconds(report), escape(gist(report)))
    return table


def plan_table(planned: Sequence[tuple[Step, Verdict]]) -> Table:
    """A row a stage: what would happen, why, and the command."""
    table = Table("stage", "would", "why", "command", box=None, pad_edge=False, header_style="dim")
    table.columns[3].overflow = "fold"
    for step, verdict in planned:
        words = {"open": "depend"}.get(verdict.action, str(verdict.action))
        colour = "dim" if verdict.action == "skip" else "bold"
        table.add_row(step.stage, f"[{colour}]{words}[/]", escape(verdict.reason), escape(" ".join(step.command)))
    return table


def gist(report: StageReport) -> str:
    """What a stage came to, in a few words."""
    if report.error:
        return report.error
    found: dict[str, Any] = report.result
    if report.outcome in ("stopped", "failed") or not found:
        return report.reason
    if "crawl_id" in found:
        return f"{found.get('stored', 0):,} of {found.get('titles', 0):,} titles have a poster"
    if "dataset_id" in found:
        return str(found["dataset_id"])
    if "metrics" in found:
        worth, prior = (found.get(name, {}).get("macro_map") for name in ("metrics", "prior_metrics"))
        return f"{found['version']}" + (f"  macro mAP {worth:.3f}, prior {prior:.3f}" if worth and prior else "")
    return str(found.get("reason") or found.get("page") or "")


def _seconds(report: StageReport) -> str:
    return f"{report.seconds:.0f} s" if report.outcome != "skipped" else ""
