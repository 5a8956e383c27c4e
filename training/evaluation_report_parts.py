"""Pure: the pieces that the pages of evaluations are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from crawler.report_words import moment
from training.bootstrap import Difference
from training.evaluation_report_style import ICON, POLICY, STYLE_SHEET

NONE, MINUS = "\u2013", "\u2212"


def page(name: str, intro: str, body: str, made_by: str, made_at: datetime) -> str:
    """A whole document. name is plain text; the other words are HTML already."""
    title = escape(name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>onesheet: {title}</title>
<style>{STYLE_SHEET}</style>
</head>
<body>
<header><p class="wordmark">{ICON} onesheet</p>
<time datetime="{made_at.isoformat()}">{moment(made_at)}</time></header>
<main>
<div class="intro"><h1>{title}</h1><p>{intro}</p></div>
{body}
</main>
<footer><p>{made_by}</p></footer>
</body>
</html>
"""


def section(heading: str, *parts: str) -> str:
    """A section under a heading."""
    return f"<section><h2>{heading}</h2>{''.join(parts)}</section>\n"


def note(words: str) -> str:
    """How to read something."""
    return f'<p class="note">{words}</p>'


def verdict(words: str, warnings: Sequence[str]) -> str:
    """The result in a sentence, below what has to be known before it is believed, which is plain text."""
    before = "".join(f'<p class="warning">{escape(line)}</p>' for line in warnings)
    return f'<section>{before}<p class="verdict">{words}</p></section>\n'


def legend(items: Iterable[tuple[str, str]]) -> str:
    """Classes of marks, and what they stand for."""
    return f'<ul class="legend">{"".join(f"<li><i class={kind}></i>{name}</li>" for kind, name in items)}</ul>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; all columns but the first are numbers."""
    names = "".join(f"<th{' class=n' if place else ''}>{name}</th>" for place, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if place else ''}>{cell}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(value: float | None) -> str:
    """Three decimals, or a dash."""
    return NONE if value is None else f"{value:.3f}"


def span(interval: tuple[float | None, float | None]) -> str:
    """An interval in brackets, small."""
    low, high = interval
    return "" if low is None or high is None else f'<span class="span">({low:.3f} to {high:.3f})</span>'


def difference_cell(gap: Difference, *, lower_is_better: bool) -> str:
    """A paired difference with its interval; in bold and colour where it is sure."""
    is_better = (gap.difference < 0) == lower_is_better
    kind = f"sure {'better' if is_better else 'worse'}" if gap.is_sure else ""
    gained, low, high = (f"{value:+.3f}".replace("-", MINUS) for value in (gap.difference, gap.low, gap.high))
    return f'<span class="{kind}">{gained}</span> <span class="span">({low} to {high})</span>'
