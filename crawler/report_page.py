"""Pure: a report as one page of HTML that needs nothing else: no script, no font and no picture from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from crawler.histogram import Quantiles
from crawler.report import CrawlReport, Host, ReasonCount
from crawler.report_style import ICON, STYLE
from crawler.report_svg import pace_chart, shape_chart
from crawler.report_words import duration, figure, moment, percent, share, size, spoken, wait

_HOSTS = 25
_IMDB_ID = re.compile(r"tt[0-9]{7,10}")
# Nothing on the page runs or loads, whatever a title, a URL or a host may say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_page(report: CrawlReport) -> str:
    """The page, for light and dark screens, and for paper."""
    name = escape(report.crawl_id)
    body = "".join(_parts(report))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>onesheet: the crawl {name}</title>
<style>{STYLE}</style>
</head>
<body>
<header><p class="wordmark">{ICON} onesheet</p>
<time datetime="{report.made_at.isoformat()}">{moment(report.made_at)}</time></header>
<main>
<div class="intro"><h1>{name}</h1><p>{_intro(report)}</p></div>
{body}
</main>
<footer><p>Made by <code>onesheet crawl report {name}</code> from the ledger,
which has the last outcome of each title.</p></footer>
</body>
</html>
"""


def _intro(report: CrawlReport) -> str:
    state = report.state[:1].upper() + report.state[1:]
    last = f" Last outcome {moment(report.last_at)}." if report.last_at else ""
    return f"The posters of {escape(report.catalog)} ({escape(report.form)}). {escape(state)}.{last}"


def _parts(report: CrawlReport) -> Iterator[str]:
    yield _whole(report)
    yield _tiles(report)
    yield _section("What became of each title", _funnel(report))
    if report.pace.bins:
        yield _section("Over time", *_pace(report))
    if report.hosts:
        yield _section("Hosts", *_hosts(report))
    if report.stored:
        yield _section("What is stored", *_posters(report))
    if report.duplicates.groups:
        yield _section("The same poster for several titles", *_duplicates(report))
    passing = [reason for reason in report.reasons if reason.is_passing]
    lasting = [reason for reason in report.reasons if not reason.is_passing]
    if passing:
        note = "Passing reasons: the network or a host had a bad moment. Run the same crawl again to try them again."
        yield _section("What a rerun tries again", _note(note), *(_reason(reason, is_open=True) for reason in passing))
    if lasting:
        note = "Lasting reasons: the answer would be the same tomorrow, so a rerun leaves these titles alone."
        yield _section("What stays rejected", _note(note), *(_reason(reason, is_open=False) for reason in lasting))
    if report.open or report.first_rejected:
        yield _section("What is left of the catalogue", *_left(report))


def _section(heading: str, *parts: str) -> str:
    return f"<section><h2>{heading}</h2>{''.join(parts)}</section>\n"


def _note(words: str) -> str:
    return f'<p class="note">{words}</p>'


def _outcomes(report: CrawlReport) -> list[tuple[str, str, int]]:
    return [
        ("stored", "stored", report.stored),
        ("lasting", "rejected, lasting", report.lasting),
        ("passing", "rejected, passing", report.passing),
        ("open", "open", report.open),
    ]


def _whole(report: CrawlReport) -> str:
    there = [(kind, name, count) for kind, name, count in _outcomes(report) if count]
    bar = "".join(
        f'<i class="{kind}" style="flex:{count} 0 0" title="{name}: {count:,}"></i>' for kind, name, count in there
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{name} <strong>{count:,}</strong> {escape(share(count, report.titles))}</li>'
        for kind, name, count in there
    )
    strangers = f"{report.strangers:,} rows are of titles that the catalogue no longer has; they count nowhere."
    return (
        f'<section><div class="whole">{bar}</div><ul class="legend">{legend}</ul>'
        f'<p class="sum">{report.sentence}</p><p class="sum">{report.rows_sentence}</p>'
        f"{_note(strangers) if report.strangers else ''}</section>\n"
    )


def _tiles(report: CrawlReport) -> str:
    pace = report.pace
    runs = f"in {pace.runs} runs, pauses left out" if pace.runs > 1 else ""
    tiles = [
        ("posters stored", f"{report.stored:,}", f"{share(report.stored, report.titles)} of the titles"),
        ("together", size(report.total_bytes), f"median {size(report.bytes.p50)}" if report.bytes else ""),
        ("images/s", figure(report.images_per_s), f"{size(report.bytes_per_s)}/s" if report.total_bytes else ""),
        ("failed requests", percent(report.error_rate), f"of {report.requests:,}"),
        ("time at work", duration(pace.active_s), runs),
    ]
    inner = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}<small>{escape(below)}</small></dd></div>"
        for name, value, below in tiles
    )
    return f'<section><dl class="tiles">{inner}</dl></section>\n'


def _funnel(report: CrawlReport) -> str:
    rows = [f"<tr><td>catalogue rows</td><td class=n>{report.rows:,}</td><td></td><td></td></tr>"]
    for name, count in (("malformed", report.rejected_rows), ("duplicates", report.duplicate_rows)):
        if count:
            rows.append(f'<tr class="part"><td>{name}</td><td class=n>&minus; {count:,}</td><td></td><td></td></tr>')
    rows.append(f'<tr class="total"><td>distinct titles</td><td class=n>{report.titles:,}</td><td></td><td></td></tr>')
    for kind, name, count in _outcomes(report):
        rows.append(_funnel_row(name, kind, count, report.titles))
        if kind in ("lasting", "passing"):
            mine = (reason for reason in report.reasons if reason.is_passing == (kind == "passing"))
            rows += [_funnel_row(spoken(one.reason), kind, one.titles, report.titles, part=True) for one in mine]
    return f'<div class="scroll"><table class="bars funnel"><tbody>{"".join(rows)}</tbody></table></div>'


def _funnel_row(name: str, kind: str, count: int, whole: int, *, part: bool = False) -> str:
    bar = f'<i class="{kind}" style="width:{100 * count / whole:.3f}%"></i>' if count and whole else ""
    return (
        f"<tr{' class=part' if part else ''}><td>{escape(name)}</td><td class=n>{count:,}</td>"
        f'<td class=n>{escape(share(count, whole))}</td><td class="share">{bar}</td></tr>'
    )


def _pace(report: CrawlReport) -> Iterator[str]:
    yield f'<div class="frame scroll">{pace_chart(report.pace)}</div>'
    kinds = (
        ("stored", "stored"),
        ("lasting", "rejected, lasting"),
        ("passing", "rejected, passing, and failed requests"),
    )
    yield f'<ul class="legend">{"".join(f"<li><i class={kind}></i>{name}</li>" for kind, name in kinds)}</ul>'
    yield _note(
        f"Each column is {duration(report.pace.bin_s)}, by the time of a title's last outcome (UTC). A request that "
        "was tried again counts as failed; of a title's requests the ledger knows those for its last address."
    )


def _hosts(report: CrawlReport) -> Iterator[str]:
    is_timed = bool(report.slow_hosts)
    hosts = [*report.slow_hosts, *(host for host in report.hosts if host.p95_ms is None)]
    names = ["requests", "failed", "stored", "rejected", *(["p50", "p95"] if is_timed else [])]
    head = f"<th>{'slowest first' if is_timed else 'most requests first'}</th>" + "".join(
        f"<th class=n>{n}</th>" for n in names
    )
    yield _table(head, (_host(host, is_timed) for host in hosts[:_HOSTS]))
    if len(hosts) > _HOSTS:
        yield _note(f"And {len(hosts) - _HOSTS:,} more.")
    if is_timed:
        yield _note("p50 and p95: half of a host's answers, and 95% of them, came within this time of their request.")


def _host(host: Host, is_timed: bool) -> list[str]:
    is_bad = (host.error_rate or 0) >= 0.05
    failed = (
        f"<span class=bad>{escape(percent(host.error_rate))}</span>" if is_bad else escape(percent(host.error_rate))
    )
    times = [wait(host.p50_ms), wait(host.p95_ms)] if is_timed else []
    return [
        f"<code>{escape(host.name)}</code>",
        f"{host.requests:,}",
        failed,
        f"{host.stored:,}",
        f"{host.rejected:,}",
        *times,
    ]


def _posters(report: CrawlReport) -> Iterator[str]:
    rows = [
        _quantiles("width", report.width_px, " px"),
        _quantiles("height", report.height_px, " px"),
        _quantiles("bytes", report.bytes, None),
    ]
    head = "<th></th>" + "".join(
        f"<th class=n>{n}</th>" for n in ("least", "5%", "25%", "median", "75%", "95%", "most")
    )
    yield _table(head, (row for row in rows if row))
    if len(report.bytes_shape) > 1:
        yield f'<div class="frame scroll">{shape_chart(report.bytes_shape)}</div>'
        yield _note("Posters by their size in bytes, on a logarithmic scale.")
    counts = [("source", report.sources.items()), ("format", report.formats.items())]
    counts.append(("most frequent heights", {f"{height:,} px": count for height, count in report.heights}.items()))
    yield f'<div class="columns">{"".join(_counts(name, pairs, report.stored) for name, pairs in counts)}</div>'


def _quantiles(name: str, found: Quantiles | None, unit: str | None) -> list[str]:
    if found is None:
        return []
    values = (found.least, found.p5, found.p25, found.p50, found.p75, found.p95, found.most)
    return [name, *(size(value) if unit is None else f"{value:,}{unit}" for value in values)]


def _counts(name: str, pairs: Iterable[tuple[str, int]], whole: int) -> str:
    rows = "".join(_funnel_row(of, "stored", count, whole) for of, count in pairs)
    return f'<div><h3>{name}</h3><div class="scroll"><table class="bars"><tbody>{rows}</tbody></table></div></div>'


def _duplicates(report: CrawlReport) -> Iterator[str]:
    copies = report.duplicates
    yield _note(
        f"{copies.titles:,} titles share {copies.groups:,} posters byte for byte, which keeps "
        f"{size(copies.extra_bytes)} more than once. The ones with many titles are often a placeholder, and worth a "
        "look before anybody learns from them."
    )
    head = "<th class=n>titles</th><th>sha256</th><th class=n>size</th><th class=n>bytes</th><th>such as</th>"
    rows = (
        [
            f"{one.titles:,}",
            f'<code title="{escape(one.sha256)}">{escape(one.sha256[:16])}…</code>',
            f"{one.width_px} &times; {one.height_px}",
            size(one.bytes),
            ", ".join(_title_link(imdb_id) for imdb_id in one.examples[:3]),
        ]
        for one in copies.top
    )
    yield _table(head, rows, numbers=(0, 2, 3))


def _reason(reason: ReasonCount, *, is_open: bool) -> str:
    examples = "".join(_example(example) for example in reason.examples)
    more = reason.titles - len(reason.examples)
    rest = f'<li class="note">and {more:,} more</li>' if more > 0 else ""
    return (
        f"<details{' open' if is_open else ''}><summary><h3>{escape(spoken(reason.reason))}</h3>"
        f'<span class="count">{reason.titles:,}</span></summary><ul class="examples">{examples}{rest}</ul></details>'
    )


def _example(example: dict[str, Any]) -> str:
    status = f"HTTP {example['http_status']}" if example["http_status"] else ""
    detail = example["detail"]
    words = detail if not status or status in detail else f"{detail} ({status})"
    url = f"<code>{escape(example['url'])}</code>" if example["url"] else ""
    return f'<li><span class="id">{_title_link(example["imdb_id"])}</span>{escape(words)}{url}</li>'


def _left(report: CrawlReport) -> Iterator[str]:
    if report.open:
        first = ", ".join(_title_link(imdb_id) for imdb_id in report.open_examples)
        yield f"<p>{report.open:,} titles are open: no run has come to their end. The first are {first}.</p>"
    if report.first_rejected:
        yield f"<p>{report.rejected_rows:,} rows of the catalogue name no title. The first are:</p>"
        yield _table(
            "<th class=n>line</th><th>why</th>",
            ([f"{row['line']:,}", escape(row["detail"])] for row in report.first_rejected),
            numbers=(0,),
        )


def _title_link(imdb_id: str) -> str:
    if not _IMDB_ID.fullmatch(imdb_id):
        return escape(imdb_id)
    return f'<a href="https://www.imdb.com/title/{imdb_id}/" rel="noreferrer">{imdb_id}</a>'


def _table(head: str, rows: Iterable[Sequence[str]], numbers: Sequence[int] | None = None) -> str:
    """numbers: the columns to set right; by default all but the first. The cells are HTML already."""

    def cells(row: Sequence[str]) -> str:
        return "".join(
            f"<td{' class=n' if (place > 0 if numbers is None else place in numbers) else ''}>{cell}</td>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
