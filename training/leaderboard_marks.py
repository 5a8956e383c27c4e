"""Pure: what the charts of a search share: scales, a trial's marks and their tones, and the frame of an SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from training.leaderboard import NONE, Trial, has_score, ranked, told

WIDTH = 960
LEFT, RIGHT = 52, 24
# So small a share of the trials is drawn at the foot of the charts, so that a few hopeless ones do not press all
# others against the top.
_HOPELESS = 0.1
_SHAPES = (
    "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z",
    "M-4,-4h8v8h-8z",
    "M0,-5.2L5,3.8H-5z",
    "M0,-5.6L5.6,0L0,5.6L-5.6,0z",
    "M0,5.2L5,-3.8H-5z",
    "M-5,-1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z",
)
Place = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Scale:
    """The values that a chart shows; what is below `low` is drawn there."""

    low: float
    high: float
    cuts: bool

    def over(self, start: float, end: float) -> Place:
        """A value's place in px, `low` at start and `high` at end."""
        place = straight(self.low, self.high, start, end)
        return lambda value: place(max(value, self.low))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Values and their labels."""
        inside = [mark for mark in marks(self.low, self.high, 6) if self.low <= mark <= self.high]
        return [(mark, f"\u2264 {told(mark)}" if self.cuts and mark == self.low else told(mark)) for mark in inside]


def score_scale(trials: Sequence[Trial]) -> Scale:
    """A scale for the trials' scores, from near that of the worst but the hopeless to the best."""
    scores = sorted(trial.score or 0.0 for trial in trials if has_score(trial))
    high = scores[-1]
    low = scores[int(len(scores) * _HOPELESS)]
    low = min(marks(min(low, high - 0.005), high, 6))
    return Scale(low, high + 0.03 * (high - low), cuts=scores[0] < low)


def tones(trials: Sequence[Trial]) -> dict[int, float]:
    """A trial's number → how good its score is among them, from 0 to 1."""
    scored = [trial for trial in trials if has_score(trial)]
    if not scored:
        return {}
    tone = score_scale(scored).over(0.0, 1.0)
    return {trial.number: tone(trial.score or 0.0) for trial in scored}


def painted(trials: Iterable[Trial], leader: Trial | None) -> list[Trial]:
    """Worst first, so that the best lie on top, and the leader on all."""
    worst_first = ranked(trials)[::-1]
    return sorted(worst_first, key=lambda trial: leader is not None and trial.number == leader.number)


def classes_of(trial: Trial, leader: Trial | None) -> str:
    """The classes of a trial's marks."""
    return f"{trial.state}{' leader' if leader and trial.number == leader.number else ''}"


def line(trial: Trial, path: str, leader: Trial | None, tone: float) -> str:
    """The trial's line, and a wider one that nobody sees but that is easier to point at."""
    return (
        f'<g data-trial="{trial.number}"><path class="line {classes_of(trial, leader)}" '
        f'style="--s:{tone:.2f}" d="{path}"/><path class="near" d="{path}">{_title(trial)}</path></g>'
    )


def point(trial: Trial, x: float, y: float, shape: str, leader: Trial | None, tone: float, *, is_pareto: bool) -> str:
    """The trial's mark where minutes and scores cross."""
    return (
        f'<g data-trial="{trial.number}"><path class="point {classes_of(trial, leader)}{" pareto" * is_pareto}" '
        f'style="--s:{tone:.2f}" transform="translate({x:.1f} {y:.1f})" d="{shape}">{_title(trial)}</path></g>'
    )


def _title(trial: Trial) -> str:
    score = f"{trial.score:.4f}" if has_score(trial) else NONE
    return f"<title>trial {trial.number}: {score}, {escape(trial.architecture)}, {trial.state}</title>"


def shapes_of(trials: Iterable[Trial]) -> dict[str, str]:
    """The architectures → the path of their mark in the cost chart; from the sixth on they share one."""
    names = sorted({trial.architecture for trial in trials})
    return {name: _SHAPES[min(number, len(_SHAPES) - 1)] for number, name in enumerate(names)}


def straight(low: float, high: float, start: float, end: float) -> Place:
    """A value's place in px."""
    return lambda value: start + (end - start) * (value - low) / ((high - low) or 1.0)


def logarithmic(low: float, high: float, start: float, end: float) -> Place:
    """A positive value's place in px by its logarithm."""
    place = straight(math.log(low), math.log(high), start, end)
    return lambda value: place(math.log(value))


def marks(low: float, high: float, most: int) -> list[float]:
    """At most so many steps that read well, from at or below `low` to at or above `high`."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    return [round(float(mark), 12) for mark in MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)]


def log_marks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive values, and what lies between these where there are few."""
    steps = (1, 2, 5) if high < 30 * low else (1, 3) if high < 2000 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [mark for mark in found if low <= mark <= high]


def grid(ticks: Iterable[tuple[float, str]], place: Place) -> list[str]:
    """Lines across a chart, labelled at the left."""
    return [
        f'<line class="grid" x1="{LEFT}" y1="{place(value):.1f}" x2="{WIDTH - RIGHT}" y2="{place(value):.1f}"/>'
        f'<text class="value" x="{LEFT - 8}" y="{place(value) + 4:.1f}">{label}</text>'
        for value, label in ticks
    ]


def below(ticks: Iterable[float], place: Place, y: float, name: str) -> list[str]:
    """Labels below a chart, and what they measure."""
    parts = [f'<text class="centre" x="{place(mark):.1f}" y="{y}">{told(float(mark))}</text>' for mark in ticks]
    return [*parts, f'<text class="centre name" x="{WIDTH / 2}" y="{y + 20}">{name}</text>']


def svg(name: str, width: int, height: int, title: str, words: str, parts: Iterable[str]) -> str:
    """A chart that tells those who cannot see it what it is, and where the same is told in words."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-words" id="{name}" '
        f'class="chart" style="min-width:{width * 0.9:.0f}px"><title id="{name}-title">{title}</title>'
        f'<desc id="{name}-words">{words} The table below tells the same.</desc>{"".join(parts)}</svg>'
    )
