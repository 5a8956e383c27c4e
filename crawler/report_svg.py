"""Pure: a report's charts as SVG, in the colours of the page that they stand in (`report_style`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from crawler.report_pace import Bin, Pace
from crawler.report_words import duration, figure, percent, size

_WIDTH, _LEFT, _RIGHT = 960, 64, 8
_PAUSE = 22
_LABEL_APART = 92


def pace_chart(pace: Pace) -> str:
    """Titles a second by outcome, the error rate and bytes a second, one below the other over the same time."""
    columns = _columns(pace)
    stacks = [(one.stored / one.seconds, one.lasting / one.seconds, one.passing / one.seconds) for one in pace.bins]
    rates = [(one.failed / one.requests if one.requests else 0.0,) for one in pace.bins]
    bytes_s = [(one.bytes / one.seconds,) for one in pace.bins]
    panels = (
        (26, 170, "titles/s", stacks, ("stored", "lasting", "passing"), figure, None),
        (238, 64, "failed requests", rates, ("passing",), _whole_percent, 1.0),
        (344, 64, "bytes/s", bytes_s, ("plain",), size, None),
    )
    parts = [_panel(columns, *panel) for panel in panels]
    parts += [_pauses(pace, columns, 408), _times(pace, columns, 428)]
    parts += [
        f'<rect class="hover" x="{x:.1f}" y="14" width="{width:.1f}" height="394"><title>{_told(one)}</title></rect>'
        for one, (x, width) in zip(pace.bins, columns, strict=True)
    ]
    return _svg(436, "The crawl over time", parts)


def shape_chart(shape: Sequence[tuple[int, int, int]]) -> str:
    """How the posters' sizes in bytes are distributed, on a logarithmic scale."""
    top, width = max(count for _, _, count in shape) or 1, (_WIDTH - 2 * _RIGHT) / len(shape)
    parts, told_to = [f'<line class="axis" x1="{_RIGHT}" y1="130" x2="{_WIDTH - _RIGHT}" y2="130"/>'], 0.0
    for place, (low, high, count) in enumerate(shape):
        x, height = _RIGHT + place * width, 116 * count / top
        title = f"<title>{size(low)} to {size(high)}: {count:,} posters</title>"
        parts.append(
            f'<rect class="stored" x="{x:.1f}" y="{130 - height:.1f}" width="{max(width - 1.5, 1):.1f}" '
            f'height="{height:.1f}">{title}</rect>'
        )
        if x >= told_to and x < _WIDTH - 60:
            parts.append(f'<text x="{x:.1f}" y="148">{size(low)}</text>')
            told_to = x + _LABEL_APART
    return _svg(154, "Posters by size in bytes", parts)


def _columns(pace: Pace) -> list[tuple[float, float]]:
    """The place and width of each bin: time at work is drawn to scale, pauses as a gap."""
    free = _WIDTH - _LEFT - _RIGHT - _PAUSE * (pace.runs - 1)
    if free < _WIDTH / 2:  # dozens of starts: their gaps shrink
        free = _WIDTH // 2
    gap = (_WIDTH - _LEFT - _RIGHT - free) / max(pace.runs - 1, 1)
    columns, at_s = [], 0
    for one in pace.bins:
        x = _LEFT + one.run * gap + free * at_s / pace.active_s
        columns.append((x, free * one.seconds / pace.active_s))
        at_s += one.seconds
    return columns


def _panel(
    columns: list[tuple[float, float]],
    y: int,
    height: int,
    name: str,
    stacks: Sequence[Sequence[float]],
    classes: Sequence[str],
    told: Callable[[float], str],
    most: float | None,
) -> str:
    top = _round_up(max(sum(stack) for stack in stacks), most)
    parts = [f'<text class="name" x="{_LEFT}" y="{y - 10}">{name}</text>']
    for part in (0.0, 0.5, 1.0):
        line = y + height * (1 - part)
        parts.append(
            f'<line class="{"grid" if part else "axis"}" x1="{_LEFT}" y1="{line}" x2="{_WIDTH - _RIGHT}" y2="{line}"/>'
        )
        parts.append(f'<text class="value" x="{_LEFT - 8}" y="{line + 4}">{told(top * part)}</text>')
    for (x, width), stack in zip(columns, stacks, strict=True):
        base = y + float(height)
        for value, kind in zip(stack, classes, strict=True):
            tall = height * value / top
            base -= tall
            if tall > 0.05:
                thick = max(width - (1.2 if width > 4 else 0), 0.6)
                parts.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{base:.1f}" width="{thick:.1f}" height="{tall:.1f}"/>'
                )
    return "".join(parts)


def _pauses(pace: Pace, columns: list[tuple[float, float]], bottom: int) -> str:
    if pace.runs > 12:
        return ""
    parts, before = [], None
    for one, (x, _) in zip(pace.bins, columns, strict=True):
        if before is not None and one.run != before.run:
            rest_s = (one.start - before.start).total_seconds() - before.seconds
            at = x - _PAUSE / 2
            parts.append(f'<line class="pause" x1="{at:.1f}" y1="14" x2="{at:.1f}" y2="{bottom}"/>')
            parts.append(f'<text class="centre" x="{at:.1f}" y="10">{duration(rest_s)} pause</text>')
        before = one
    return "".join(parts)


def _times(pace: Pace, columns: list[tuple[float, float]], y: int) -> str:
    parts, told_to, day = [], 0.0, None
    placed = list(zip(pace.bins, columns, strict=True))
    starts_at = [next(x for _, (x, _) in run) for _, run in groupby(placed, key=lambda pair: pair[0].run)]
    for place, (one, (x, _)) in enumerate(placed):
        is_start = place == 0 or one.run != placed[place - 1][0].run
        next_start = next((start for start in starts_at if start > x), math.inf)
        has_room = x >= told_to and x <= _WIDTH - 56 and (is_start or x + _LABEL_APART <= next_start)
        if has_room:
            date, clock = f"{one.start:%d %b}", f"{one.start:%H:%M:%S}" if pace.bin_s < 60 else f"{one.start:%H:%M}"
            words = clock if pace.bin_s < 86_400 else ""
            if date != day:
                words, day = f"{words} {date}".strip(), date
            parts.append(f'<text x="{x:.1f}" y="{y}">{words}</text>')
            told_to = x + _LABEL_APART * (1.25 if len(words) > 9 else 1)
    return "".join(parts)


def _told(one: Bin) -> str:
    rate = percent(one.failed / one.requests if one.requests else None)
    return (
        f"{one.start:%Y-%m-%d %H:%M:%S} UTC, {duration(one.seconds)}: {one.stored:,} stored, {one.lasting:,} rejected "
        f"for a lasting reason, {one.passing:,} for a passing one; {rate} of {one.requests:,} requests failed; "
        f"{size(one.bytes)}"
    )


def _round_up(value: float, most: float | None) -> float:
    """The next number that reads well as the top of an axis, and so does its half."""
    if value <= 0:
        return most or 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    top = next(step * unit for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * unit >= value * 0.999)
    return min(top, most) if most else top


def _whole_percent(value: float) -> str:
    return f"{figure(100 * value)}%"


def _svg(height: int, name: str, parts: Sequence[str]) -> str:
    inner = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}" class="chart">{inner}</svg>'
