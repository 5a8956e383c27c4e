"""A report for the terminal, in 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crawler.report import CrawlReport, Host
from crawler.report_words import duration, figure, moment, percent, share, size, spoken, wait

_BAR_CELLS = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_CELLS = 66
_HOSTS = 8
_COPIES = 3
_EXAMPLES = 2
_STORED, _LASTING, _PASSING, _OPEN = "blue", "bright_black", "red", "yellow"


def render_terminal(report: CrawlReport) -> RenderableType:
    """The report to print with rich. Texts from outside are never read as markup."""
    return Group(*_parts(report))


def _parts(report: CrawlReport) -> Iterator[RenderableType]:
    yield Text.assemble((report.crawl_id, "bold"), ("  of ", "dim"), report.catalog, (f" ({report.form})", "dim"))
    yield Text(report.state, "" if not report.open else _OPEN)
    if report.last_at:
        ago = duration(max((report.made_at - report.last_at).total_seconds(), 0))
        yield Text(f"last outcome {moment(report.last_at)}, {ago} ago", "dim")
    yield from _headed("What became of each title", _funnel(report))
    yield Text(f"\n  {report.rows_sentence}")
    yield Text(f"  {report.sentence}", "bold")
    if report.strangers:
        yield Text(f"  {report.strangers:,} rows are of titles that the catalogue no longer has", "dim")
    if report.stored:
        yield from _headed("What is stored", _posters(report))
    if report.pace.bins:
        yield from _headed("Pace", _pace(report))
    if report.hosts:
        yield from _headed("Hosts", _hosts(report))
    if report.passing:
        yield from _headed("What a rerun tries again", _failures(report))
    yield Text()


def _headed(heading: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(heading, "bold")
    yield from (Padding(part, (0, 0, 0, 2)) for part in parts)


def _funnel(report: CrawlReport) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=22)
    table.add_column(justify="right", min_width=10)
    table.add_column(justify="right", min_width=6)
    table.add_column(no_wrap=True)

    def line(name: str, count: int, style: str = "", whole: int = report.titles, is_part: bool = False) -> None:
        bar = _bar(count / whole if whole else 0)
        color = "dim" if is_part else style
        table.add_row(Text(name, color), Text(f"{count:,}", color), Text(share(count, whole), color), Text(bar, style))

    table.add_row("catalogue rows", f"{report.rows:,}")
    if report.rejected_rows:
        table.add_row(Text("  malformed", "dim"), Text(f"- {report.rejected_rows:,}", "dim"))
    if report.duplicate_rows:
        table.add_row(Text("  duplicates", "dim"), Text(f"- {report.duplicate_rows:,}", "dim"))
    table.add_row(Text("distinct titles", "bold"), Text(f"{report.titles:,}", "bold"), "100%" if report.titles else "")
    line("stored", report.stored, _STORED)
    for name, count, style, is_passing in (
        ("rejected, lasting", report.lasting, _LASTING, False),
        ("rejected, passing", report.passing, _PASSING, True),
    ):
        line(name, count, style)
        for reason in report.reasons:
            if reason.is_passing is is_passing:
                line(f"  {spoken(reason.reason)}", reason.titles, style, is_part=True)
    line("open", report.open, _OPEN)
    return table


def _posters(report: CrawlReport) -> Table:
    table = _pairs()
    for name, counts in (("source", report.sources), ("format", report.formats)):
        parts = (f"{of} {share(count, report.stored)}" for of, count in counts.items())
        table.add_row(name, Text(" · ".join(parts)))
    sizes = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(6):
        sizes.add_column(justify="right")
    sizes.add_row(*(Text(name, "dim") for name in ("", "least", "5%", "median", "95%", "most")))
    for name, found, shown in (
        ("width", report.width_px, lambda value: f"{value:,} px"),
        ("height", report.height_px, lambda value: f"{value:,} px"),
        ("bytes", report.bytes, size),
    ):
        if found:
            values = (found.least, found.p5, found.p50, found.p95, found.most)
            sizes.add_row(Text(name, "dim"), *(shown(value) for value in values))
    table.add_row("together", f"{size(report.total_bytes)} in {report.stored:,} posters")
    table.add_row("each", sizes)
    copies = report.duplicates
    if copies.groups:
        words = f"{copies.titles:,} titles share {copies.groups:,} posters, byte for byte"
        table.add_row("copies", f"{words}: {size(copies.extra_bytes)} kept again")
        for one in copies.top[:_COPIES]:
            line = (
                f"{one.titles:,} x {one.sha256[:12]}…  {one.width_px} x {one.height_px} px, such as {one.examples[0]}"
            )
            table.add_row("", Text(line, "dim"))
    return table


def _pace(report: CrawlReport) -> Table:
    table, pace = _pairs(), report.pace
    resumed = f", in {pace.runs} runs" if pace.runs > 1 else ""
    table.add_row("time", f"{duration(pace.active_s)} at work{resumed}, from {moment(pace.bins[0].start)}")
    speeds = [one.stored / one.seconds for one in pace.bins]
    rates = [one.failed / one.requests if one.requests else 0 for one in pace.bins]
    table.add_row("images/s", f"{figure(report.images_per_s)}, at most {figure(max(speeds))}")
    table.add_row("", Text(_sparks(speeds), _STORED))
    table.add_row("bytes/s", f"{size(report.bytes_per_s)}/s")
    table.add_row(
        "errors", f"{percent(report.error_rate)} of {report.requests:,} requests, at most {percent(max(rates))}"
    )
    if max(rates):
        table.add_row("", Text(_sparks(rates), _PASSING))
    return table


def _hosts(report: CrawlReport) -> Table:
    is_timed = bool(report.slow_hosts)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("slowest first" if is_timed else "most requests first", overflow="fold", min_width=24)
    for name in ("requests", "errors", "stored", "rejected", *(["p50", "p95"] if is_timed else [])):
        table.add_column(name, justify="right", no_wrap=True)
    untimed = (host for host in report.hosts if host.p95_ms is None)
    hosts = [*report.slow_hosts, *untimed]
    for host in hosts[:_HOSTS]:
        table.add_row(*_host(host, is_timed))
    if len(hosts) > _HOSTS:
        table.add_row(Text(f"and {len(hosts) - _HOSTS:,} more", "dim"))
    return table


def _host(host: Host, is_timed: bool) -> list[RenderableType]:
    is_bad = (host.error_rate or 0) >= 0.05
    errors = Text(percent(host.error_rate), _PASSING if is_bad else "")
    times = [wait(host.p50_ms), wait(host.p95_ms)] if is_timed else []
    return [Text(host.name), f"{host.requests:,}", errors, f"{host.stored:,}", f"{host.rejected:,}", *times]


def _failures(report: CrawlReport) -> RenderableType:
    lines = []
    for reason in report.reasons:
        if reason.is_passing:
            lines.append(Text.assemble((spoken(reason.reason), _PASSING), f"  {reason.titles:,}"))
            lines += [line for example in reason.examples[:_EXAMPLES] for line in _example(example)]
    return Group(*lines)


def _example(example: dict[str, Any]) -> list[Text]:
    lines = [Text.assemble("  ", example["imdb_id"], "  ", (example["detail"], "dim"))]
    return [*lines, Text(f"    {example['url']}", "dim", overflow="fold")] if example["url"] else lines


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    return table


def _bar(part: float) -> str:
    eighths = round(part * _BAR_CELLS * 8)
    if part and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _sparks(values: list[float]) -> str:
    """The values as a line of small bars; neighbours are averaged where there are too many."""
    step = max(1, -(-len(values) // _SPARK_CELLS))
    means = [sum(part) / len(part) for part in (values[at : at + step] for at in range(0, len(values), step))]
    top = max(means) or 1
    return "".join(_SPARKS[min(int(mean / top * len(_SPARKS)), len(_SPARKS) - 1)] for mean in means)
