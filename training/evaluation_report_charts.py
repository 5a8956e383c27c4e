"""Pure: the charts of an evaluation's report as SVG, in the colours of the page that they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from training.evaluation_report import Calibration, Curve

_ROW, _LEFT, _RIGHT, _WIDTH = 26, 132, 132, 960
_SMALL = 190


class Whisker:
    """One line of a forest: a value with its interval. kind: the class that colours it."""

    def __init__(self, value: float, low: float | None, high: float | None, kind: str, told: str) -> None:
        self.value, self.low, self.high, self.kind, self.told = value, low, high, kind, told


def forest(rows: Sequence[tuple[str, str, Sequence[Whisker], float | None]], label: str) -> str:
    """Values with their intervals, a row each: (name, words at the right, whiskers, the prior's value).

    The axis starts at 0, since that is what average precision starts at.
    """
    most = max([whisker.high or whisker.value for _, _, whiskers, _ in rows for whisker in whiskers], default=1.0)
    top = next((step for step in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if step >= most), 1.0)
    tall = max(_ROW, max((12 * len(whiskers) + 8 for _, _, whiskers, _ in rows), default=_ROW))
    bottom = 20 + tall * len(rows)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(value, top) / top

    parts = []
    ticks = 5 if round(top * 10) % 5 == 0 else round(top * 10) if top < 0.5 else 4
    for step in range(ticks + 1):
        at = x(top * step / ticks)
        parts.append(f'<line class="{"grid" if step else "axis"}" x1="{at:.1f}" y1="18" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="centre" x="{at:.1f}" y="11">{top * step / ticks:.2g}</text>')
    for place, (name, words, whiskers, prior) in enumerate(rows):
        middle = 20 + tall * place + tall / 2
        parts.append(f'<text class="row value" x="{_LEFT - 12}" y="{middle + 4:.1f}">{escape(name)}</text>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 14}" y="{middle + 4:.1f}">{escape(words)}</text>')
        if prior is not None:
            at = x(prior)
            parts.append(
                f'<line class="prior" x1="{at:.1f}" y1="{middle - tall / 2 + 4:.1f}" x2="{at:.1f}" '
                f'y2="{middle + tall / 2 - 4:.1f}"><title>{escape(name)}: prior {prior:.3f}</title></line>'
            )
        for line, whisker in enumerate(whiskers):
            y = middle + 12 * (line - (len(whiskers) - 1) / 2)
            inner = f"<title>{escape(whisker.told)}</title>"
            if whisker.low is not None and whisker.high is not None:
                inner += (
                    f'<line x1="{x(whisker.low):.1f}" y1="{y:.1f}" x2="{x(whisker.high):.1f}" y2="{y:.1f}" '
                    'stroke-width="2.5" stroke-linecap="round" opacity=".5"/>'
                )
            parts.append(
                f'<g class="{whisker.kind}">{inner}<circle cx="{x(whisker.value):.1f}" cy="{y:.1f}" r="4.5"/></g>'
            )
    return _svg(_WIDTH, bottom + 6, label, parts, "chart")


def precision_recall(curve: Curve, *, size: int = _SMALL) -> str:
    """Precision over recall, with the share of posters that have the genre as the line of chance."""
    place = _Square(size)
    line = _steps([place.at(recall, precision) for recall, precision in curve.points])
    below = place.at(0, 0), place.at(curve.points[-1][0], 0)
    parts = [
        *place.frame("recall", "precision"),
        f'<polygon class="under" points="{below[0]} {line} {below[1]}"/>',
        _dashed(place.at(0, curve.prior), place.at(1, curve.prior)),
        f'<polyline class="line" points="{line}"/>',
    ]
    told = f"{curve.name}: average precision {curve.average_precision:.3f}, prior {curve.prior:.3f}"
    if curve.precision is not None and curve.recall is not None:
        x, y = place.at(curve.recall, curve.precision).split(",")
        parts.append(f'<circle class="mark" cx="{x}" cy="{y}" r="4"/>')
        told += f"; at its threshold precision {curve.precision:.2f}, recall {curve.recall:.2f}"
    return _svg(size, size, told, [f"<title>{escape(told)}</title>", *parts], "small")


def reliability(calibration: Calibration, *, size: int = _SMALL) -> str:
    """The share of posters that have the genre over the score; on the diagonal, a score means what it says."""
    most = max([0.05, *(max(said, true) for said, true, _ in calibration.points)])
    top = next(step for step in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if step >= most or step == 1.0)
    place = _Square(size, top)
    points = [place.at(said, true) for said, true, _ in calibration.points]
    parts = [
        *place.frame("score", "share that has it"),
        _dashed(place.at(0, 0), place.at(top, top)),
        f'<polyline class="line" points="{" ".join(points)}"/>',
    ]
    for point, (said, true, count) in zip(points, calibration.points, strict=True):
        x, y = point.split(",")
        told = f"{count:,} answers around {said:.3f}: {true:.3f} true"
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3.2"><title>{told}</title></circle>')
    return _svg(size, size, f"{calibration.name}: calibration error {calibration.error:.3f}", parts, "small")


class _Square:
    """A square plot from 0 to `top` on both axes."""

    def __init__(self, size: int, top: float = 1.0) -> None:
        self.size, self.top = size, top
        self.left, self.bottom = 38, size - 26

    def at(self, x: float, y: float) -> str:
        """A point, as SVG writes it."""
        wide, high = self.size - self.left - 8, self.bottom - 8
        return f"{self.left + wide * min(x / self.top, 1):.1f},{self.bottom - high * min(y / self.top, 1):.1f}"

    def frame(self, across: str, up: str) -> list[str]:
        """Grid, ticks and the names of the axes."""
        parts = []
        for part in (0.0, 0.5, 1.0):
            x, y = self.at(self.top * part, self.top * part).split(",")
            kind = "grid" if part else "axis"
            parts.append(f'<line class="{kind}" x1="{self.left}" y1="{y}" x2="{self.size - 8}" y2="{y}"/>')
            parts.append(f'<line class="{kind}" x1="{x}" y1="8" x2="{x}" y2="{self.bottom}"/>')
            tick = f"{self.top * part:.3g}"
            anchor = "end" if part == 1 else "middle" if part else "start"
            parts.append(f'<text x="{x}" y="{self.bottom + 12}" text-anchor="{anchor}">{tick}</text>')
            if part:
                parts.append(f'<text x="{self.left - 5}" y="{float(y) + 4:.1f}" text-anchor="end">{tick}</text>')
        middle = (self.left + self.size - 8) / 2
        parts.append(f'<text class="axis-name" x="{middle}" y="{self.size - 2}" text-anchor="middle">{across}</text>')
        parts.append(
            f'<text class="axis-name" transform="translate(8 {self.bottom / 2 + 4}) rotate(-90)" '
            f'text-anchor="middle">{up}</text>'
        )
        return parts


def _steps(points: Sequence[str]) -> str:
    """A line that keeps each point's height up to the next, as average precision sums it."""
    corners: list[str] = []
    for before, point in zip([points[0], *points], points, strict=False):
        corners.append(f"{before.split(',')[0]},{point.split(',')[1]}")
        corners.append(point)
    return " ".join(corners)


def _dashed(start: str, end: str) -> str:
    (x1, y1), (x2, y2) = start.split(","), end.split(",")
    return f'<line class="chance" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _svg(width: int, height: float, name: str, parts: Sequence[str], kind: str) -> str:
    inner = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(name)}" class="{kind}">{inner}</svg>'
    )
