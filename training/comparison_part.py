"""Pure: models side by side, as a part of a page: a table of every metric, and each genre's average precision."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from training.bootstrap import Difference
from training.comparison import Comparison
from training.evaluation_report_charts import Whisker, forest
from training.evaluation_report_parts import MINUS, difference_cell, figure, legend, note, span, table
from training.metrics import LOWER_IS_BETTER
from training.model_card import spoken_metric

TIPS = {
    "macro_map": "average precision, mean over genres: every genre counts the same",
    "micro_ap": "average precision of all answers in one ranking",
    "micro_f1": "at one threshold for all genres",
    "macro_f1": "at each genre's own threshold, mean over genres",
    "sample_f1": "of a poster's genres, mean over posters, at the one threshold",
    "top1_hit": "the highest score is a true genre",
    "top3_hit": "one of the three highest scores is",
    "top5_hit": "one of the five highest scores is",
    "exact_match": "all genres right and none too many, at the one threshold",
    "binary_accuracy": "at 0.5; saying no to everything scores high as well",
    "cross_entropy": "in nats; less is better",
    "calibration_error": "mean over genres, in ten bins of equally many posters; less is better",
}


def signed(gap: Difference) -> str:
    """`+0.021 (0.009 to 0.033)`."""
    words = f'{gap.difference:+.3f} <span class="span">({gap.low:+.3f} to {gap.high:+.3f})</span>'
    return words.replace("-", MINUS)


def beside_part(beside: Comparison, *, explained: bool = True) -> Iterator[str]:
    """Two or more models side by side, the first as the reference. explained: with what each metric means."""
    reference, *others = beside.sides
    head = ["", f"<code>{escape(reference.version)}</code>"]
    for side in others:
        head += [f"<code>{escape(side.version)}</code>", "difference", "better in"]
    rows = []
    for name in reference.metrics:
        better = min if name in LOWER_IS_BETTER else max
        best = better(side.metrics[name] for side in beside.sides)

        def cell(value: float, interval: tuple[float, float], best: float = best) -> str:
            shown = f'<span class="best">{figure(value)}</span>' if value == best else figure(value)
            return f"{shown} {span(interval)}"

        row = [
            spoken_metric(name) + (f'<span class="tip">{TIPS.get(name, "")}</span>' if explained else ""),
            cell(reference.metrics[name], reference.intervals[name]),
        ]
        for side in others:
            gap = side.differences[name]
            row += [
                cell(side.metrics[name], side.intervals[name]),
                difference_cell(gap, lower_is_better=name in LOWER_IS_BETTER),
                f"{gap.probability_better:.1%}",
            ]
        rows.append(row)
    yield table(head, rows)
    left_out = (
        f" Left out, since not all know them: {escape(', '.join(beside.left_out))}; so the figures differ from those "
        "over all of a model&rsquo;s genres."
        if beside.left_out
        else ""
    )
    yield note(
        f"On the same {beside.test_posters:,} test posters of {escape(beside.dataset_id)} and {len(beside.genres)} "
        f"genres, thresholds tuned on its validation split for each. Differences to the first model on the same "
        f"{beside.resamples:,} draws, in bold where the 95% interval leaves out 0.{left_out}"
    )
    yield f'<div class="frame scroll">{_side_forest(beside)}</div>'
    yield legend([(f"k{place % 4}", escape(side.version)) for place, side in enumerate(beside.sides)])
    if len(others) == 1:
        yield note("At the right, the difference and the share of draws in which the second model is better.")


def _side_forest(beside: Comparison) -> str:
    order = sorted(range(len(beside.genres)), key=lambda g: -(beside.sides[-1].genres[g].average_precision or 0))
    rows = []
    for g in order:
        whiskers = [
            Whisker(
                found.average_precision,
                *found.interval,
                f"k{place % 4}",
                f"{side.version}: {found.average_precision:.3f} ({found.interval[0]:.3f} to {found.interval[1]:.3f})",
            )
            for place, side in enumerate(beside.sides)
            if (found := side.genres[g]).average_precision is not None
        ]
        gap = beside.sides[1].genres[g].difference if len(beside.sides) == 2 else None
        words = "" if gap is None else f"{gap.difference:+.3f}, {gap.probability_better:.0%}".replace("-", MINUS)
        if whiskers:
            rows.append((beside.genres[g], words, whiskers, None))
    return forest(rows, "Average precision of each genre by model")
