"""Pure: numbers of a report in words and figures, the same in the terminal, on the page and in the picture."""

from __future__ import annotations

from datetime import datetime

# In three digits or fewer before the unit, as storage is sold: 1 kB is 1000 bytes.
_NONE = "\u2013"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """`2.31 GB`."""
    for unit in _UNITS:
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            return f"{figure(count)} {unit}"
        count /= 1000
    raise AssertionError


def figure(value: float) -> str:
    """Three significant digits: `0.021`, `4.87`, `48.7`, `487`, `12,300`."""
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}".removesuffix(".0")
    text = f"{value:.2f}" if abs(value) >= 0.995 else f"{value:.3f}"
    return text.rstrip("0").rstrip(".")


def share(part: float, whole: float) -> str:
    """`95.3%`; never 0% for something, nor 100% for less than all."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "<0.1%"
    if 99.95 <= percent < 100:
        return ">99.9%"
    return f"{percent:.1f}%" if part else "0%"


def percent(rate: float | None) -> str:
    """An error rate, or a dash where there is none."""
    return _NONE if rate is None else share(rate, 1)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02} s" if whole < 600 and whole % 60 else "")
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def wait(milliseconds: int | None) -> str:
    """`85 ms`, `1.24 s`, or a dash."""
    if milliseconds is None:
        return _NONE
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{figure(milliseconds / 1000)} s"


def moment(at: datetime) -> str:
    """`2026-11-21 09:37 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def spoken(reason: str) -> str:
    """`not found` from `not_found`."""
    return reason.replace("_", " ")
