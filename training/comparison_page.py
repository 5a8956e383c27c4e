"""Pure: models side by side as one page of HTML, in the manner of an evaluation's."""

from __future__ import annotations

from datetime import datetime
from html import escape

from training.comparison import Comparison
from training.comparison_part import beside_part, signed
from training.evaluation_report_parts import figure, page, section, span, table, verdict


def render_comparison(found: Comparison, made_at: datetime) -> str:
    """The page, for light and dark screens, and for paper."""
    versions = [side.version for side in found.sides]
    intro = (
        f"{len(versions)} models on the same {found.test_posters:,} test posters of {escape(found.dataset_id)}, in the "
        f"{len(found.genres)} genres that all of them know."
    )
    body = (
        verdict(_verdict(found), found.notes)
        + section("Side by side", *beside_part(found))
        + section("Genre by genre", _genres(found))
    )
    made_by = f"Made by <code>onesheet compare {escape(' '.join(versions))}</code>."
    return page(" and ".join(versions), intro, body, made_by, made_at)


def _verdict(found: Comparison) -> str:
    reference = found.sides[0]
    words = [f"<code>{escape(reference.version)}</code> has a macro mAP of {figure(reference.metrics['macro_map'])}."]
    for side in found.sides[1:]:
        gap = side.differences["macro_map"]
        how = "as good, as far as these posters tell" if not gap.is_sure else "better" if gap.low > 0 else "worse"
        words.append(f"<code>{escape(side.version)}</code> is {how}: {signed(gap)}.")
    return " ".join(words)


def _genres(found: Comparison) -> str:
    reference, *others = found.sides
    head = ["genre", "test posters", f"<code>{escape(reference.version)}</code>"]
    for side in others:
        head += [f"<code>{escape(side.version)}</code>", "difference"]
    rows = []
    for g, genre in enumerate(found.genres):
        row = reference.genres[g]
        cells = [escape(genre), f"{row.test_posters:,}", f"{figure(row.average_precision)} {span(row.interval)}"]
        for side in others:
            mine = side.genres[g]
            gap = mine.difference
            kind = "" if gap is None or not gap.is_sure else "sure better" if gap.low > 0 else "sure worse"
            cells += [
                f"{figure(mine.average_precision)} {span(mine.interval)}",
                "" if gap is None else f'<span class="{kind}">{signed(gap)}</span>',
            ]
        rows.append(cells)
    return table(head, rows)
