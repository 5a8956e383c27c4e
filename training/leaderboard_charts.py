"""Pure: a search's learning curves, and its cost against quality, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.leaderboard import Trial, has_score, pareto_front, told
from training.leaderboard_marks import (
    LEFT,
    RIGHT,
    WIDTH,
    Scale,
    below,
    grid,
    line,
    log_marks,
    logarithmic,
    marks,
    painted,
    point,
    score_scale,
    shapes_of,
    straight,
    svg,
    tones,
)

_TOP, _FOOT = 20, 300
_HEIGHT = _FOOT + 46
_LABEL = 38


def curves_chart(trials: Sequence[Trial], leader: Trial | None, prior: float) -> str:
    """Learning curves: the validation macro mAP by epoch, a line a trial, and the prior baseline."""
    drawn = {trial.number: _curve(trial) for trial in trials}
    values = [value for points in drawn.values() for _, value in points]
    last = max(2, *(points[-1][0] for points in drawn.values() if points), 2)
    scale = _curve_scale(trials, values, prior)
    x, y = straight(1, last, LEFT, WIDTH - RIGHT - _LABEL), scale.over(_FOOT, _TOP)
    parts = grid(scale.ticks, y)
    parts += below([mark for mark in marks(1, last, 8) if 1 <= mark <= last and mark == int(mark)], x, 320, "epoch")
    is_above = prior >= scale.low
    label = f"prior {told(prior)}{'' if is_above else ' ↓'}"
    parts.append(f'<text class="end" x="{WIDTH - RIGHT}" y="{y(prior) - 6:.1f}">{label}</text>')
    if is_above:
        parts.append(f'<line class="prior" x1="{LEFT}" y1="{y(prior):.1f}" x2="{WIDTH - RIGHT}" y2="{y(prior):.1f}"/>')
    tone = tones(trials)
    for trial in painted(trials, leader):
        points = [(x(epoch), y(value)) for epoch, value in drawn[trial.number]]
        if points:
            # A path of one point shows as its round caps.
            path = "M" + "L".join(f"{at:.1f},{high:.1f}" for at, high in points) + "h.01" * (len(points) == 1)
            parts.append(line(trial, path, leader, tone.get(trial.number, 0.0)))
        if points and leader and trial.number == leader.number:
            parts.append(f'<text class="lead" x="{points[-1][0] + 6:.1f}" y="{points[-1][1] + 4:.1f}">best</text>')
    words = f"The validation macro mAP of each trial by epoch; the prior baseline is at {told(prior)}."
    return svg("curves", WIDTH, _HEIGHT, "Learning curves", words, parts)


def _curve(trial: Trial) -> list[tuple[float, float]]:
    rows = [(row["epoch"], row.get("validation_macro_map")) for row in trial.history]
    return [(epoch, value) for epoch, value in rows if value is not None and math.isfinite(value)]


def _curve_scale(trials: Sequence[Trial], values: Sequence[float], prior: float) -> Scale:
    """As far below the scores as these differ, where the curves are still steep; no lower than prior and curves go."""
    lowest, highest = min([prior, *values]), max([prior, *values])
    if not any(has_score(trial) for trial in trials):
        return Scale(lowest, max(highest, lowest + 0.01), cuts=False)
    scale = score_scale(trials)
    low = min(marks(max(lowest, scale.low - (scale.high - scale.low)), scale.high, 6))
    return Scale(low, max(highest, scale.high), cuts=min(values, default=prior) < low)


def cost_chart(trials: Sequence[Trial], leader: Trial | None) -> str:
    """Cost against quality: minutes of training by score, a mark a trial, and the Pareto front.

    trials: of which at least one has a score.
    """
    scored = [trial for trial in trials if has_score(trial)]
    minutes = [_minutes(trial) for trial in scored]
    is_log = max(minutes) > 8 * min(minutes)
    first, last = min(minutes) / 1.2 if is_log else 0.0, max(minutes) * 1.06
    scale = score_scale(scored)
    x = (logarithmic if is_log else straight)(first, last, LEFT, WIDTH - RIGHT)
    y = scale.over(_FOOT, _TOP)
    ticks = log_marks(first, last) if is_log else [mark for mark in marks(first, last, 8) if 0 <= mark <= last]
    parts = [*grid(scale.ticks, y), *below(ticks, x, 320, "minutes of training")]
    front = pareto_front(scored)
    corners = [(x(_minutes(trial)), y(trial.score or 0.0)) for trial in front]
    steps = "".join(f"H{left:.1f}V{top:.1f}" for left, top in corners[1:])
    parts.append(f'<path class="front" d="M{corners[0][0]:.1f},{corners[0][1]:.1f}{steps}H{WIDTH - RIGHT}"/>')
    shapes, tone = shapes_of(trials), tones(trials)
    on_front = {trial.number for trial in front}
    for trial in painted(scored, leader):
        left, top, shape = x(_minutes(trial)), y(trial.score or 0.0), shapes[trial.architecture]
        is_pareto = trial.number in on_front
        parts.append(point(trial, left, top, shape, leader, tone[trial.number], is_pareto=is_pareto))
    free = 0.0
    for trial, (left, top) in zip(front, corners, strict=True):
        if left - 20 >= free:
            parts.append(f'<text class="tick end" x="{left - 7:.1f}" y="{top - 7:.1f}">{trial.number}</text>')
            free = left + 6
    words = f"{len(front)} trials are on the Pareto front: none is both quicker and better than one of these."
    return svg("cost", WIDTH, _HEIGHT, "Cost against quality", words, parts)


def _minutes(trial: Trial) -> float:
    return max(trial.seconds / 60, 0.01)
