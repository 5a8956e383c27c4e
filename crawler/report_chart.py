"""A report as one picture, for a chat, a slide or an issue."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crawler.report import CrawlReport
from crawler.report_words import duration, figure, moment, percent, share, size, spoken, wait

_PAPER, _INK, _SOFT, _LINE = "#f7f5f1", "#24211d", "#6b655c", "#ddd8ce"
_COLORS = {"stored": "#3f6f8f", "lasting": "#b9b1a4", "passing": "#b4482f", "open": "#d9a441"}
_HOSTS = 6
_REASONS = 12


def draw_chart(report: CrawlReport) -> bytes:
    """The funnel, the pace, the errors and the slowest hosts, as a PNG of 1500 x 1050 pixels."""
    canvas = Figure(figsize=(10, 7), dpi=150, facecolor=_PAPER)
    FigureCanvasAgg(canvas)
    # Names from outside may hold a $, which is no formula.
    text: dict[str, Any] = {"parse_math": False, "color": _INK, "va": "baseline"}
    canvas.text(0.04, 0.945, _cut(report.crawl_id, 60), size=17, family="serif", **text)
    canvas.text(0.04, 0.91, _cut(f"{report.state}, {moment(report.made_at)}", 110), size=9, **text | {"color": _SOFT})
    stored = f"; {size(report.total_bytes)} stored" if report.stored else ""
    canvas.text(0.04, 0.87, report.sentence + stored, size=10.5, weight="bold", **text)
    _draw_funnel(canvas.add_axes((0.165, 0.06, 0.28, 0.74)), report)
    places = [(0.55, 0.55, 0.42, 0.25), (0.55, 0.38, 0.42, 0.1)]
    _draw_pace(canvas.add_axes(places[0]), canvas.add_axes(places[1]), report)
    _draw_hosts(canvas.add_axes((0.76, 0.07, 0.15, 0.2)), report)
    sink = io.BytesIO()
    # No date in the file: the same report is the same picture.
    canvas.savefig(sink, format="png", metadata={"Software": "onesheet"})
    return sink.getvalue()


def _draw_funnel(axes: Any, report: CrawlReport) -> None:
    rows = [("stored", report.stored, "stored", False), ("rejected, lasting", report.lasting, "lasting", False)]
    reasons = report.reasons[:_REASONS]
    rows += [(spoken(one.reason), one.titles, "lasting", True) for one in reasons if not one.is_passing]
    rows += [("rejected, passing", report.passing, "passing", False)]
    rows += [(spoken(one.reason), one.titles, "passing", True) for one in reasons if one.is_passing]
    rows += [("open", report.open, "open", False)]
    _bare(axes, "what became of each title")
    top = max(report.titles, 1)
    for place, (name, count, kind, is_part) in enumerate(rows):
        color = _SOFT if is_part else _INK
        axes.barh(
            -place, max(count, 0.004 * top) if count else 0, 0.62, color=_COLORS[kind], alpha=0.6 if is_part else 1
        )
        axes.text(-0.03 * top, -place, _cut(name, 22), ha="right", va="center", size=8.5, color=color, parse_math=False)
        words = f"{count:,}  {share(count, report.titles)}"
        axes.text(count + 0.02 * top, -place, words, va="center", size=8, color=color)
    axes.set_xlim(0, top * 1.02)
    axes.set_ylim(-max(len(rows), 9) + 0.4, 0.6)
    axes.set_xticks([])


def _draw_pace(above: Any, below: Any, report: CrawlReport) -> None:
    bins, pace = report.pace.bins, report.pace
    runs = f", {pace.runs} runs" if pace.runs > 1 else ""
    name = f"titles/s: {figure(report.images_per_s)} stored, over {duration(pace.active_s)}{runs}"
    _bare(above, name if bins else "titles/s")
    _bare(below, f"failed requests: {percent(report.error_rate)} of {report.requests:,}")
    if not bins:
        above.set_xticks([])
        below.set_xticks([])
        above.set_yticks([])
        below.set_yticks([])
        above.text(0.5, 0.5, "no outcome yet", transform=above.transAxes, ha="center", color=_SOFT, size=9)
        return
    starts = [0.0]
    for one in bins:
        starts.append(starts[-1] + one.seconds)
    edges, widths = starts[:-1], [one.seconds for one in bins]
    base = [0.0] * len(bins)
    for kind in ("stored", "lasting", "passing"):
        heights = [getattr(one, kind) / one.seconds for one in bins]
        above.bar(
            edges, heights, widths, base, align="edge", linewidth=0, antialiased=False, color=_COLORS[kind], label=kind
        )
        base = [low + height for low, height in zip(base, heights, strict=True)]
    above.legend(
        loc="lower right", bbox_to_anchor=(1.01, 1.13), ncols=3, frameon=False, fontsize=8, labelcolor=_SOFT,
        handlelength=0.9, columnspacing=1.2, borderpad=0,
    )  # fmt: skip
    rates = [100 * one.failed / one.requests if one.requests else 0 for one in bins]
    below.bar(edges, rates, widths, align="edge", linewidth=0, antialiased=False, color=_COLORS["passing"])
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    below.set_ylim(0, max(5, *rates) * 1.05)
    for axes in (above, below):
        axes.set_xlim(0, starts[-1])
        axes.yaxis.grid(visible=True, color=_LINE, linewidth=0.7)
        axes.locator_params(axis="y", nbins=4 if axes is above else 2)
        for place in range(1, len(bins)):
            if bins[place].run != bins[place - 1].run:
                axes.axvline(starts[place], color=_INK, linewidth=1, linestyle=(0, (2, 3)))
    above.set_xticks([])
    ticks = _ticks(report)
    below.set_xticks([edges[tick] for tick in ticks], [f"{bins[tick].start:%d %b %H:%M}" for tick in ticks])
    for label in below.get_xticklabels():
        label.set_ha("left")


def _ticks(report: CrawlReport) -> list[int]:
    """The bins to write a time below: where runs start, while there is room, else some in equal steps."""
    bins, pace = report.pace.bins, report.pace
    starts = [place for place, one in enumerate(bins) if place == 0 or one.run != bins[place - 1].run]
    steps = [round(part * (len(bins) - 1)) for part in (0, 0.33, 0.67)]
    apart_s = 0.25 * pace.active_s
    ticks: list[int] = []
    for place in sorted({*starts, *steps}, key=lambda place: (place not in starts, place)):
        at_s = sum(one.seconds for one in bins[:place])
        near = any(abs(at_s - sum(one.seconds for one in bins[:other])) < apart_s for other in ticks)
        if not near and at_s <= 0.8 * pace.active_s:
            ticks.append(place)
    return sorted(ticks)


def _draw_hosts(axes: Any, report: CrawlReport) -> None:
    slow = report.slow_hosts[:_HOSTS]
    _bare(axes, "")
    axes.set_xticks([])
    axes.set_yticks([])
    place = {"x": -1.4, "y": 1.05, "size": 9, "color": _INK, "weight": "bold", "transform": axes.transAxes}
    if slow:
        axes.text(s="slowest hosts: 95% of answers within", **place)
        values = [host.p95_ms or 0 for host in slow]
        words = [wait(host.p95_ms) for host in slow]
    else:
        axes.text(s="hosts by requests", **place)
        slow = report.hosts[:_HOSTS]
        values = [host.requests for host in slow]
        words = [f"{host.requests:,}" for host in slow]
    top = max([*values, 1])
    for row, (host, value, word) in enumerate(zip(slow, values, words, strict=True)):
        axes.barh(-row, value, 0.62, color=_COLORS["stored"])
        axes.text(
            -0.06 * top, -row, _cut(host.name, 34), ha="right", va="center", size=8, color=_SOFT, parse_math=False
        )
        axes.text(value + 0.05 * top, -row, word, va="center", size=8, color=_INK)
    axes.set_xlim(0, top)
    axes.set_ylim(-_HOSTS + 0.4, 0.6)


def _bare(axes: Any, title: str) -> None:
    axes.set_facecolor(_PAPER)
    axes.set_title(title, loc="left", size=9, color=_INK, weight="bold", pad=8)
    axes.tick_params(colors=_SOFT, labelsize=8, length=0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title.startswith("what became"):
        axes.set_yticks([])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
