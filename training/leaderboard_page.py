"""Pure: the leaderboard of a search as one page of HTML that needs nothing else, and reads without its script too."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from crawler.report_style import ICON, STYLE
from crawler.report_words import duration
from training.leaderboard import NONE, Trial, has_score, in_words, ranked, told, varied
from training.leaderboard_charts import cost_chart, curves_chart
from training.leaderboard_marks import classes_of, shapes_of
from training.leaderboard_parallel import parallel_chart
from training.leaderboard_style import PAGE_STYLE, SCRIPT

_SIZES = {"height_px": "height", "width_px": "width"}
_METRICS = {
    "macro_map": "macro mAP",
    "micro_ap": "micro AP",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "top3_hit": "top-3 hit rate",
}


def leaderboard_page(
    name: str,
    trials: Sequence[Trial],
    *,
    space: Mapping[str, Any],
    winner: Trial | None,
    winner_metrics: Mapping[str, Any] | None,
    prior: float,
) -> str:
    """The page, for light and dark screens.

    space: as `Space.as_dict` gives it. winner: the trial that was refitted; while there is none, the best so far leads.
    winner_metrics: its metrics on the test split, as `training.metrics.measure` names them. prior: the prior baseline's
    validation macro mAP.
    """
    leader = winner or next(iter(trial for trial in ranked(trials) if has_score(trial)), None)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # Only this very script runs, whatever a setting or a run is called, and nothing is loaded.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    body = "".join(_parts(trials, space, leader, winner, winner_metrics or {}, prior))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>onesheet: the search {escape(name)}</title>
<style>{STYLE}{PAGE_STYLE}</style>
</head>
<body>
<header><p class="wordmark">{ICON} onesheet</p></header>
<main>
<div class="intro"><h1>{escape(name)}</h1><p>{in_words(trials)}.</p></div>
{body}
</main>
<footer><p>Made by <code>onesheet tune</code>. Scores are the macro mAP on the validation split, the best of a trial's
epochs.</p></footer>
<div id="told" hidden></div>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _parts(
    trials: Sequence[Trial],
    space: Mapping[str, Any],
    leader: Trial | None,
    winner: Trial | None,
    metrics: Mapping[str, Any],
    prior: float,
) -> Iterator[str]:
    if leader:
        yield _section("The winner" if winner else "Ahead so far", *_leader(leader, metrics, prior))
    if len(trials) > 1:
        yield _section("Settings and scores", *_parallel(trials, space, leader))
    if any(trial.history for trial in trials):
        chart = curves_chart(trials, leader, prior)
        note = "Validation macro mAP by epoch. Pale curves end where the search stopped their trial."
        yield _section("Learning curves", _frame(chart), _note(note))
    if any(has_score(trial) for trial in trials):
        yield _section("Cost against quality", *_cost(trials, leader))
    yield _section("All trials", _table(trials, leader))
    if space.get("settings"):
        yield _section("The space", *_space(space))


def _section(heading: str, *parts: str) -> str:
    return f"<section><h2>{heading}</h2>{''.join(parts)}</section>\n"


def _note(words: str) -> str:
    return f'<p class="note">{words}</p>'


def _frame(chart: str) -> str:
    return f'<div class="frame scroll">{chart}</div>'


def _leader(leader: Trial, metrics: Mapping[str, Any], prior: float) -> Iterator[str]:
    score = leader.score or 0.0
    tiles = [
        ("validation macro mAP", f"{score:.4f}", f"{score / prior:.1f} times the prior's {prior:.3f}" if prior else "")
    ]
    tiles += [
        (f"test {words}", f"{metrics[key]:.4f}", "")
        for key, words in _METRICS.items()
        if isinstance(metrics.get(key), float)
    ]
    tiles.append(("training", duration(leader.seconds), f"{leader.epochs:,} epochs, trial {leader.number}"))
    if leader.parameters:
        tiles.append(("parameters", f"{leader.parameters / 1e6:.2f} M", ""))
    inner = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{below}</small></dd></div>" for name, value, below in tiles)
    yield f'<dl class="tiles">{inner}</dl>'
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(told(value))}</dd></div>" for name, value in leader.settings.items()
    )
    whole = f'<div class="wide"><dt>architecture</dt><dd>{_breakable(leader.architecture)}</dd></div>'
    yield f'<dl class="settings">{whole}{pairs}</dl>'
    yield _note("To train it once more, with the weights that the search had:")
    yield f'<code class="command">{escape(_command(leader))}</code>'


def _command(trial: Trial) -> str:
    words = ["onesheet", "train", "--architecture", trial.architecture]
    for name, value in trial.settings.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += [f"--{_SIZES[name]}", text] if name in _SIZES else ["--set", f"{name}={text}"]
    return shlex.join(words)


def _breakable(architecture: str) -> str:
    return escape(architecture).replace("+", " + ")


def _parallel(trials: Sequence[Trial], space: Mapping[str, Any], leader: Trial | None) -> Iterator[str]:
    yield _frame(parallel_chart(trials, space, leader))
    yield ('<ul class="legend"><li>low<i class="ramp"></i>high score</li><li><i class="leader"></i>the best</li></ul>')
    yield _note(
        "A line a trial. Where a setting is a choice, a trial's line is the higher within it the better the trial. "
        f"Lines pass below an axis ({NONE}) where the trial has no such setting. Point at a trial to see it in all "
        "charts; click to keep it."
    )


def _cost(trials: Sequence[Trial], leader: Trial | None) -> Iterator[str]:
    yield _frame(cost_chart(trials, leader))
    marks = "".join(
        f'<li><svg viewBox="-7 -7 14 14" aria-hidden="true"><path d="{path}"/></svg>{_breakable(name)}</li>'
        for name, path in shapes_of(trials).items()
    )
    yield f'<ul class="legend">{marks}</ul>'
    yield _note(
        "The dashed line is the Pareto front; the trials on it are outlined and numbered: none other is both quicker "
        "and better. Pale trials were stopped early, so they cost less than they would have."
    )


def _table(trials: Sequence[Trial], leader: Trial | None) -> str:
    names = varied(trials)
    numbers = {name for name in names if all(_is_number(trial.settings.get(name)) for trial in trials)}
    heads = [("place", True), ("trial", True), ("score", True), ("state", False), ("epochs", True), ("minutes", True)]
    heads += [(name, name in numbers) for name in names]
    heads += [("architecture", False), ("parameters", True), ("run", False)]
    heads += [("remark", False)] if any(trial.remark for trial in trials) else []
    head = "".join(f"<th scope=col{' class=n' if is_number else ''}>{escape(name)}</th>" for name, is_number in heads)
    rows = []
    for place, trial in enumerate(ranked(trials), 1):
        cells = [
            _cell(place),
            _cell(trial.number),
            _cell(trial.score if has_score(trial) else None, "{:.4f}"),
            f"<td>{trial.state}</td>",
            _cell(trial.epochs),
            _cell(trial.seconds / 60, "{:.1f}"),
            *(_cell(trial.settings.get(name), is_number=name in numbers) for name in names),
            f"<td>{escape(trial.architecture)}</td>",
            _cell(trial.parameters, "{:,}"),
            f"<td>{escape(trial.run)}</td>",
            *([f'<td class="why">{escape(trial.remark)}</td>'] if heads[-1][0] == "remark" else []),
        ]
        rows.append(f'<tr class="{classes_of(trial, leader)}" data-trial="{trial.number}">{"".join(cells)}</tr>')
    return (
        f'<div class="all" tabindex="0" role="region" aria-label="All trials"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any, form: str | None = None, *, is_number: bool = True) -> str:
    """A cell; a number keeps its exact value to sort by."""
    if value is None:
        return f'<td{" class=n" if is_number else ""} data-value="">{NONE}</td>'
    text = form.format(value) if form else told(value)
    if is_number:
        return f'<td class=n data-value="{value!r}">{escape(text)}</td>'
    return f"<td>{escape(text)}</td>"


def _space(space: Mapping[str, Any]) -> Iterator[str]:
    rows = [("", name, spec) for name, spec in space["settings"].items()]
    for pattern, settings in space.get("for", {}).items():
        rows += [(pattern, name, spec) for name, spec in settings.items()]
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(_searched(spec))}</td><td>{escape(pattern)}</td></tr>"
        for pattern, name, spec in rows
    )
    head = "<th scope=col>setting</th><th scope=col>searched</th><th scope=col>only for</th>"
    yield f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _searched(spec: Mapping[str, Any]) -> str:
    match spec["kind"]:
        case "fixed":
            return f"always {told(spec['value'])}"
        case "choice":
            return " | ".join(map(told, spec["values"]))
    return f"{told(spec['from'])} to {told(spec['to'])}{', by its logarithm' if spec['log'] else ''}"
