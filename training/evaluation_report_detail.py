"""Pure: the parts of an evaluation's page that go into detail: curves, confusion, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from training.evaluation_report import EvaluationReport, Pair
from training.evaluation_report_charts import precision_recall, reliability
from training.evaluation_report_parts import legend, note, table


def curves_part(report: EvaluationReport) -> Iterator[str]:
    """Precision over recall: all genres together, and each by itself."""
    ranked = sorted(report.curves, key=lambda curve: -curve.average_precision)
    small = "".join(
        f"<figure><figcaption><strong>{escape(curve.name)}</strong><span>{curve.average_precision:.3f}</span>"
        f"</figcaption>{precision_recall(curve)}</figure>"
        for curve in ranked
    )
    yield (
        f'<div class="whole-and-parts"><div class="frame">{precision_recall(report.whole, size=260)}</div><div>'
        f"<h3>All genres in one ranking: {report.whole.average_precision:.3f}</h3>"
        + note(
            "A curve starts at the highest score, at the left, and follows the ranking down: to find more of a "
            "genre&rsquo;s posters (recall), more others are taken in (precision falls). The area below it is the "
            "average precision. A model that does not look at posters stays on the dashed line. A curve that falls at "
            "once is sure of nothing; one that holds its height at the left can be trusted where it is sure."
        )
        + legend(
            [("ring", "at the genre&rsquo;s threshold"), ("dash", "chance: the share of posters that have the genre")]
        )
        + "</div></div>"
    )
    yield f'<div class="grid-of">{small}</div>'


def confusion_part(report: EvaluationReport) -> Iterator[str]:
    """What is predicted where it is absent, genre by genre, and pairs that come together too often or too seldom."""
    found = report.confusion
    names = [row["genre"] for row in report.evaluation.genres]
    posters = [row["test_posters"] for row in report.evaluation.genres]
    order = sorted(range(len(names)), key=lambda g: -posters[g])
    head = "<th></th>" + "".join(f"<th><span>{escape(names[j])}</span></th>" for j in order)
    body = ""
    for i in order:
        cells = "".join(
            _matrix_cell(
                found.wrong[i, j],
                found.anyhow[j],
                is_hit=i == j,
                told=f"of the {names[i]} posters {'' if i == j else 'without ' + names[j]}".strip()
                + f", {names[j]} is predicted for",
            )
            for j in order
        )
        body += f"<tr><th>{escape(names[i])}</th>{cells}</tr>"
    anyhow = "".join(f"<td>{_share(found.anyhow[j])}</td>" for j in order)
    yield (
        f'<div class="scroll"><table class="matrix"><thead><tr>{head}</tr></thead><tbody>{body}'
        f'<tr class="anyhow"><th>any poster</th>{anyhow}</tr></tbody></table></div>'
    )
    yield note(
        "A row is the posters that truly have a genre. A cell tells, of those of them that do <em>not</em> have the "
        "column&rsquo;s genre, for how many percent it is predicted anyway; outlined, on the diagonal, how many of the "
        "genre&rsquo;s posters are found (recall). The last row is the same over all posters without the genre: red "
        "cells are above it, so the row&rsquo;s genre is what draws the mistake; blue ones are below, so it protects "
        "from it."
    )
    pairs = _pairs("Predicted together too often", found.too_often)
    pairs += _pairs("Predicted together too seldom", found.too_seldom)
    yield f'<div class="columns">{pairs}</div>'
    yield note("How many times as often as by chance two genres come together: in what is predicted, and in truth.")


def _matrix_cell(wrong: float, anyhow: float, *, is_hit: bool, told: str) -> str:
    if math.isnan(wrong):  # no such poster
        return "<td></td>"
    if is_hit:
        color, strength = "stored", 45 * wrong
    else:
        color, strength = ("passing", 200 * (wrong - anyhow)) if wrong > anyhow else ("stored", 120 * (anyhow - wrong))
    style = f"background:color-mix(in srgb,var(--{color}) {min(strength, 85):.0f}%,var(--track))"
    title = escape(f"{told} {wrong:.1%} (of any without it: {anyhow:.1%})" if not is_hit else f"{told} {wrong:.1%}")
    return f'<td{" class=hit" if is_hit else ""} style="{style}" title="{title}">{_share(wrong)}</td>'


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.0f}"


def _pairs(heading: str, pairs: tuple[Pair, ...]) -> str:
    rows = [
        [f"{escape(pair.genre)} + {escape(pair.other)}", f"{pair.predicted:.1f} &times;", f"{pair.true:.1f} &times;"]
        for pair in pairs
    ]
    return f"<div><h3>{heading}</h3>{table(['', 'predicted', 'true'], rows)}</div>"


def calibration_part(report: EvaluationReport) -> Iterator[str]:
    """Whether a score means what it says: all genres together, and each by itself."""
    worst = sorted(report.calibrations, key=lambda one: -one.error)
    small = "".join(
        f"<figure><figcaption><strong>{escape(one.name)}</strong><span>{one.error:.3f}</span></figcaption>"
        f"{reliability(one)}</figure>"
        for one in worst
    )
    yield (
        f'<div class="whole-and-parts"><div class="frame">{reliability(report.calibration, size=260)}</div><div>'
        f"<h3>Mean over genres: {report.calibration.error:.3f}</h3>"
        + note(
            "Posters in ten bins by score, equally many in each. On the dashed line a score means what it says: of the "
            "posters scored 0.3, three in ten have the genre. Below it the model is too sure, above it too shy. The "
            "number is the expected calibration error, the mean distance from the line; the worst genres come first. "
            "The prior is calibrated almost by definition, and tells nothing apart."
        )
        + "</div></div>"
    )
    yield f"<details><summary>Genre by genre, the worst first</summary><div class=grid-of>{small}</div></details>"
