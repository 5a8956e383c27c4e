"""Pure: a search's settings and scores in parallel coordinates, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from training.leaderboard import NONE, Trial, has_score, ranked, told, varied
from training.leaderboard_marks import (
    WIDTH,
    line,
    log_marks,
    logarithmic,
    marks,
    painted,
    score_scale,
    straight,
    svg,
    tones,
)

_TOP, _FOOT = 52, 372
# Where a trial crosses the axis of a setting that it does not have.
_MISSING = _FOOT + 26.0
_NAMES, _RIGHT, _LEAST_APART = 178, 50, 82
# Whole numbers so few are told one by one, as choices are.
_FEW = 6


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis. place: where a trial crosses it, in px from the top; None: nowhere. ticks: px and label."""

    name: str
    place: Callable[[Trial], float | None]
    ticks: Sequence[tuple[float, str]]


def parallel_chart(trials: Sequence[Trial], space: Mapping[str, Any], leader: Trial | None) -> str:
    """A line a trial through its architecture, each setting that differs, and its score.

    space: as `Space.as_dict` gives it; ranges that are searched by their logarithm are drawn so.
    """
    specs = _specs(space)
    places = {trial.number: place for place, trial in enumerate(ranked(trials))}
    settings = varied(trials)
    axes = [_setting_axis(name, trials, specs.get(name, []), places) for name in ("architecture", *settings)]
    if any(has_score(trial) for trial in trials):
        axes.append(_score_axis(trials))
    apart = max(_LEAST_APART, (WIDTH - _NAMES - _RIGHT) / max(len(axes) - 1, 1))
    placed = [(_NAMES + apart * number, axis) for number, axis in enumerate(axes)]
    tone = tones(trials)
    parts = []
    for trial in painted(trials, leader):
        points = [(x, y) for x, axis in placed if (y := axis.place(trial)) is not None]
        parts.append(line(trial, _bent(points), leader, tone.get(trial.number, 0.0)))
    parts += [_drawn(x, axis, is_first=x == _NAMES) for x, axis in placed]
    words = f"Each line is a trial: its architecture, {len(settings)} settings, and its score."
    return svg("parallel", math.ceil(placed[-1][0] + _RIGHT), _FOOT + 44, "The settings of the trials", words, parts)


def _specs(space: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for table in (space.get("settings", {}), *space.get("for", {}).values()):
        for name, spec in table.items():
            found.setdefault(name, []).append(spec)
    return found


def _value(trial: Trial, name: str) -> Any:
    return trial.architecture if name == "architecture" else trial.settings.get(name)


def _setting_axis(
    name: str, trials: Sequence[Trial], specs: Sequence[Mapping[str, Any]], places: Mapping[int, int]
) -> _Axis:
    seen = [value for trial in trials if (value := _value(trial, name)) is not None]
    ranges = [spec for spec in specs if spec["kind"] == "range"]
    choices = [value for spec in specs if spec["kind"] == "choice" for value in spec["values"]]
    ends = [end for spec in ranges for end in (spec["from"], spec["to"])]
    values = [*ends, *choices, *seen]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        is_countable = all(isinstance(value, int) for value in values) and high - low < _FEW
        if (ranges or not choices) and not is_countable and low < high:
            return _number_axis(name, low, high, is_log=low > 0 and any(spec["log"] for spec in ranges), trials=trials)
        values = sorted(range(low, high + 1) if is_countable and ranges else values)
    return _word_axis(name, list(dict.fromkeys(map(told, values))), trials, places)


def _number_axis(name: str, low: float, high: float, *, is_log: bool, trials: Sequence[Trial]) -> _Axis:
    at = (logarithmic if is_log else straight)(low, high, _FOOT, _TOP)
    inside = log_marks(low, high) if is_log else [mark for mark in marks(low, high, 6) if low <= mark <= high]

    def place(trial: Trial) -> float:
        value = trial.settings.get(name)
        return _MISSING if value is None else at(value)

    return _Axis(name, place, [*((at(mark), told(float(mark))) for mark in inside), *_none(name, trials)])


def _word_axis(name: str, words: Sequence[str], trials: Sequence[Trial], places: Mapping[int, int]) -> _Axis:
    """Values as such, the first at the foot. Within one, lines are apart by their trials' places, the best on top."""
    band = (_FOOT - _TOP) / max(len(words), 1)
    centres = {word: _FOOT - band * (number + 0.5) for number, word in enumerate(words)}
    room = min(band * 0.62, 90)

    def place(trial: Trial) -> float:
        value = _value(trial, name)
        if value is None:
            return _MISSING
        return centres[told(value)] + room * (places[trial.number] / max(len(places) - 1, 1) - 0.5)

    return _Axis(name, place, [*((centre, word) for word, centre in centres.items()), *_none(name, trials)])


def _none(name: str, trials: Sequence[Trial]) -> list[tuple[float, str]]:
    return [(_MISSING, NONE)] if any(_value(trial, name) is None for trial in trials) else []


def _score_axis(trials: Sequence[Trial]) -> _Axis:
    scale = score_scale(trials)
    at = scale.over(_FOOT, _TOP)
    ticks = [(at(value), label) for value, label in scale.ticks]
    return _Axis("score", lambda trial: at(trial.score or 0.0) if has_score(trial) else None, ticks)


def _drawn(x: float, axis: _Axis, *, is_first: bool) -> str:
    parts = [f'<line class="axis" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_FOOT}"/>']
    words = [axis.name] if is_first else axis.name.split("_", 1)
    for number, word in enumerate(words):
        up = _TOP - 16 - 14 * (len(words) - 1 - number)
        anchor = "end" if is_first else "centre"
        parts.append(f'<text class="{anchor} name" x="{x:.1f}" y="{up}">{escape(word)}</text>')
    for y, label in axis.ticks:
        lines = label.replace("+", "\n+").split("\n") if is_first else [label]
        for number, text in enumerate(lines):
            down = y + 4 + 14 * (number - (len(lines) - 1) / 2)
            side = f'class="tick end" x="{x - 8:.1f}"' if is_first else f'class="tick" x="{x + 5:.1f}"'
            parts.append(f'<text {side} y="{down:.1f}">{escape(_short(text, 28 if is_first else 13))}</text>')
    return "".join(parts)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def _bent(points: Sequence[tuple[float, float]]) -> str:
    """A path that crosses each axis level, so that neighbours can be told apart between them."""
    parts = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (left, top), (x, y) in pairwise(points):
        reach = (x - left) * 0.42
        parts.append(f"C{left + reach:.1f},{top:.1f} {x - reach:.1f},{y:.1f} {x:.1f},{y:.1f}")
    return "".join(parts)
