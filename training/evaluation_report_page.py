"""Pure: an evaluation as one page of HTML that needs nothing else: no script, and no font or picture from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from training.bootstrap import Difference
from training.comparison import Comparison
from training.comparison_part import TIPS, beside_part, signed
from training.evaluation_report import EvaluationReport
from training.evaluation_report_charts import Whisker, forest
from training.evaluation_report_detail import calibration_part, confusion_part, curves_part
from training.evaluation_report_parts import (
    difference_cell,
    figure,
    legend,
    note,
    page,
    section,
    span,
    table,
    verdict,
)
from training.evaluation_report_posters import looks_part, posters_part
from training.metrics import LOWER_IS_BETTER
from training.model_card import spoken_metric

_BITS = (
    "By how many bits the answer about a poster, over all its genres, is better than the prior&rsquo;s: a bit more is "
    "half the surprise. Bars are scores, in colour for the genres that the poster has."
)
_TILES = ("macro_map", "micro_ap", "micro_f1", "top3_hit", "calibration_error")


def render_page(report: EvaluationReport) -> str:
    """The page, for light and dark screens, and for paper."""
    bundle = report.bundle
    intro = (
        f"{escape(bundle.architecture)} at {bundle.height_px} &times; {bundle.width_px} px (height &times; width), on "
        f"the {report.evaluation.posters['test']:,} test posters of {escape(report.dataset_id)}, "
        f"{len(report.evaluation.genres)} genres."
    )
    made_by = (
        f"Made by <code>onesheet evaluate {escape(bundle.version)}</code>. Intervals: 95%, "
        f"{report.evaluation.resamples:,} bootstrap draws over posters."
    )
    return page(bundle.version, intro, "".join(_parts(report)), made_by, report.made_at)


def _parts(report: EvaluationReport) -> Iterator[str]:
    yield verdict(_verdict(report), report.notes)
    yield _tiles(report)
    yield section("What it is worth", *_metrics(report))
    if report.beside is not None:
        yield section("Beside the model in production", *beside_part(report.beside, explained=False))
    yield section("Genre by genre", *_genres(report))
    yield section("Precision and recall", *curves_part(report))
    yield section("What is taken for what", *confusion_part(report))
    yield section("What a score means", *calibration_part(report))
    yield section("Where it shines", note(_BITS), posters_part(report.best))
    yield section("Where it fails", posters_part(report.worst))
    yield section("What each genre&rsquo;s detector looks at", *looks_part(report.looks))


def _verdict(report: EvaluationReport) -> str:
    evaluation = report.evaluation
    value, prior = evaluation.metrics["macro_map"], evaluation.prior_metrics["macro_map"]
    gain = Difference(**evaluation.gains["macro_map"])
    words = (
        f"Macro mAP {figure(value)} {span(evaluation.intervals['macro_map'])}: {value / prior:.1f} times what guessing "
        f"by genre frequency reaches ({figure(prior)})."
        if gain.low > 0 and prior
        else f"Macro mAP {figure(value)}, and the prior&rsquo;s {figure(prior)} is within reach of chance: "
        "it is not known to be better than guessing by genre frequency."
    )
    if report.beside is not None:
        words += f" {_against(report.beside)}"
    return words


def _against(beside: Comparison) -> str:
    gap = beside.sides[1].differences["macro_map"]
    other = f"<code>{escape(beside.sides[0].version)}</code>, now in production"
    if not gap.is_sure:
        return f"Whether it is better than {other}, these posters do not tell: {signed(gap)}."
    word = "Better" if gap.low > 0 else "Worse"
    return f"{word} than {other}: {signed(gap)}."


def _tiles(report: EvaluationReport) -> str:
    evaluation = report.evaluation
    tiles = "".join(
        f"<div><dt>{spoken_metric(name)}</dt><dd>{figure(evaluation.metrics[name])}"
        f"<small>{evaluation.intervals[name][0]:.3f} to {evaluation.intervals[name][1]:.3f}</small>"
        f"<small>prior {figure(evaluation.prior_metrics[name])}</small></dd></div>"
        for name in _TILES
    )
    return f'<section><dl class="tiles">{tiles}</dl></section>'


def _metrics(report: EvaluationReport) -> Iterator[str]:
    evaluation = report.evaluation
    head = ["", "model", "prior baseline", "model &minus; prior", "better in"]
    rows = []
    for name, value in evaluation.metrics.items():
        gap = Difference(**evaluation.gains[name])
        rows.append(
            [
                f'{spoken_metric(name)}<span class="tip">{TIPS.get(name, "")}</span>',
                f"{figure(value)} {span(evaluation.intervals[name])}",
                f"{figure(evaluation.prior_metrics[name])} {span(evaluation.prior_intervals[name])}",
                difference_cell(gap, lower_is_better=name in LOWER_IS_BETTER),
                f"{gap.probability_better:.1%}",
            ]
        )
    yield table(head, rows)
    yield note(
        "The prior baseline gives every poster the genre frequencies of the train split, without looking at it. In "
        "brackets, 95% intervals: what the metric would be on other posters like these. Differences are taken on the "
        "same draws; <em>better in</em> is the share of draws in which the model beats the prior. Thresholds are tuned "
        f"on the {evaluation.posters['validation']:,} validation posters."
    )


def _genres(report: EvaluationReport) -> Iterator[str]:
    known = [row for row in report.evaluation.genres if row["average_precision"] is not None]
    known.sort(key=lambda row: -row["average_precision"])
    lines = [
        (
            row["genre"],
            f"{row['average_precision']:.3f} of {row['test_posters']:,}",
            [
                Whisker(
                    row["average_precision"],
                    row["low"],
                    row["high"],
                    "k0",
                    f"{row['genre']}: {row['average_precision']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
                )
            ],
            row["prior_average_precision"],
        )
        for row in known
    ]
    yield f'<div class="frame scroll">{forest(lines, "Average precision of each genre")}</div>'
    yield legend([("k0", "average precision with its 95% interval"), ("dash", "the prior: the genre&rsquo;s share")])
    head = [
        "genre",
        "test posters",
        "average precision",
        "prior",
        "threshold",
        "precision",
        "recall",
        "F1",
        "calibration error",
    ]
    rows = [
        [
            escape(row["genre"]),
            f"{row['test_posters']:,}",
            f"{figure(row['average_precision'])} {span((row['low'], row['high']))}",
            figure(row["prior_average_precision"]),
            figure(row["threshold"]),
            figure(row["precision"]),
            figure(row["recall"]),
            figure(row["f1"]),
            figure(row["calibration_error"]),
        ]
        for row in known
    ]
    yield f"<details><summary>The same as a table, with what the thresholds give</summary>{table(head, rows)}</details>"
    missing = [row["genre"] for row in report.evaluation.genres if row["average_precision"] is None]
    if missing:
        yield note(f"Without a test poster, and so not measured: {escape(', '.join(missing))}.")
