"""Pure: a dataset's card as one page of HTML that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from crawler.report_style import ICON, STYLE
from crawler.report_words import share, size
from training.dataset_card import Card
from training.splits import SPLITS

# The colours of the crawl's report, which every page of onesheet shares.
_COLOURS = {"train": "stored", "validation": "open", "test": "passing"}
_STEPS = {
    "titles": "titles of the crawl",
    "posters": "with a stored poster",
    "labelled": "labelled with a genre of the vocabulary",
    "sample": "in the sample",
    "verified": "read back, verified, and in a split",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
.posters { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.4rem, 1fr)); gap: 1rem .9rem; }
.posters figure { min-width: 0; }
.posters img, .posters .gone { display: block; width: 100%; aspect-ratio: 2 / 3; object-fit: cover; border-radius: 6px;
  background: var(--track); }
.posters figcaption { margin-top: .35rem; font-size: .75rem; line-height: 1.3; color: var(--soft); }
.posters figcaption b { display: block; color: var(--ink); font-weight: 600; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
td.share + td { padding-left: 1.2rem; }
.groups { display: flex; flex-wrap: wrap; gap: 1.1rem 1.6rem; }
.groups div { display: flex; flex-wrap: wrap; gap: .3rem; padding: .45rem; border: 1px solid var(--line);
  border-radius: 10px; background: var(--raised); }
.groups img { display: block; height: 6.5rem; border-radius: 4px; }
h3 i { display: inline-block; width: .7rem; height: .7rem; margin-right: .45rem; border-radius: 3px; }
h3 small { color: var(--soft); font-weight: 400; }
.map { display: block; width: 100%; max-width: 52rem; margin: 0 auto; height: auto; font-size: 11px; }
.map text { fill: var(--soft); }
.map .own { fill: var(--track); } .map .both { fill: var(--stored); }
pre { margin: 0; padding: .9rem 1.1rem; border: 1px solid var(--line); border-radius: 12px; background: var(--raised);
  overflow-x: auto; font: .8125rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""


def render_page(card: Card, pictures: Mapping[str, str]) -> str:
    """The page, for light and dark screens, and for paper. pictures: imdb_id → data URI."""
    name = escape(card.dataset_id)
    body = "".join(_parts(card, pictures))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>onesheet: the dataset {name}</title>
<style>{STYLE}{_STYLE}</style>
</head>
<body>
<header><p class="wordmark">{ICON} onesheet</p></header>
<main>
<div class="intro"><h1>{name}</h1>
<p>Movie posters with their genres, from the crawl {escape(card.crawl_id)}.</p></div>
{body}
</main>
<footer><p>Made by <code>onesheet prepare</code>. The posters belong to their owners.</p></footer>
</body>
</html>
"""


def _parts(card: Card, pictures: Mapping[str, str]) -> Iterator[str]:
    yield _whole(card)
    yield _tiles(card)
    yield _section("From titles to splits", _funnel(card))
    yield _section("Samples", *(_samples(card, split, pictures) for split in SPLITS))
    yield _section("Genres", _genres(card), *_folded(card))
    yield _section("Which genres go together", *_co_occurrence(card))
    yield _section("Near-duplicates", *_groups(card, pictures))
    yield _section("Sizes", _sizes(card))
    yield _section("Options", _options(card))


def _section(heading: str, *parts: str) -> str:
    return f"<section><h2>{heading}</h2>{''.join(parts)}</section>\n"


def _note(words: str) -> str:
    return f'<p class="note">{words}</p>'


def _whole(card: Card) -> str:
    total = sum(card.posters.values())
    bar = "".join(
        f'<i class="{_COLOURS[split]}" style="flex:{card.posters[split]} 0 0" title="{split}"></i>' for split in SPLITS
    )
    legend = "".join(
        f'<li><i class="{_COLOURS[split]}"></i>{split} <strong>{card.posters[split]:,}</strong> '
        f"{escape(share(card.posters[split], total))}</li>"
        for split in SPLITS
    )
    return f'<section><div class="whole">{bar}</div><ul class="legend">{legend}</ul></section>\n'


def _tiles(card: Card) -> str:
    total = sum(card.posters.values())
    labels = sum(row[place] for place, row in enumerate(card.co_occurrence))
    width, height = (card.sizes["quantiles"][name][1] for name in ("width_px", "height_px"))
    near = card.near_duplicates
    tiles = [
        ("posters", f"{total:,}", f"{share(total, card.funnel['titles'])} of the titles"),
        ("genres", f"{len(card.genres)}", f"{labels / total:.2f} a poster"),
        ("together", size(card.sizes["total_bytes"]), f"{size(card.sizes['total_bytes'] / total)} a poster"),
        ("median poster", f"{width} &times; {height}", "pixels, as stored"),
        ("near-duplicate groups", f"{near['groups_of_several']:,}", f"{near['posters_in_them']:,} posters in them"),
    ]
    inner = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{below}</small></dd></div>" for name, value, below in tiles)
    return f'<section><dl class="tiles">{inner}</dl></section>\n'


def _funnel(card: Card) -> str:
    whole = card.funnel["titles"]
    steps = [(name, words) for name, words in _STEPS.items() if name in card.funnel]
    rows = [_bar_row(words, "stored", card.funnel[name], whole, kind="total") for name, words in steps]
    rows += [_bar_row(split, _COLOURS[split], card.posters[split], whole, kind="part") for split in SPLITS]
    rows.append(_bar_row("left out", "lasting", sum(card.dropped.values()), whole, kind="total"))
    rows += [_bar_row(reason, "lasting", count, whole, kind="part") for reason, count in card.dropped.items()]
    return f'<div class="scroll"><table class="bars funnel"><tbody>{"".join(rows)}</tbody></table></div>'


def _bar_row(name: str, colour: str, count: int, whole: int, *, kind: str = "") -> str:
    bar = f'<i class="{colour}" style="width:{100 * count / whole:.3f}%"></i>' if count and whole else ""
    return (
        f'<tr class="{kind}"><td>{escape(name)}</td><td class=n>{count:,}</td>'
        f'<td class=n>{escape(share(count, whole))}</td><td class="share">{bar}</td></tr>'
    )


def _samples(card: Card, split: str, pictures: Mapping[str, str]) -> str:
    figures = "".join(_figure(row, pictures) for row in card.samples[split])
    heading = f'<h3><i class="{_COLOURS[split]}"></i>{split} <small>{card.posters[split]:,}</small></h3>'
    return f'<div>{heading}</div><div class="posters">{figures}</div>'


def _figure(row: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    name = escape(row["title"] or row["imdb_id"])
    year = f" ({row['year']})" if row["year"] else ""
    return (
        f"<figure>{_picture(row['imdb_id'], pictures)}"
        f'<figcaption><b title="{name}{year}">{name}</b>{escape(", ".join(row["genres"]))}</figcaption></figure>'
    )


def _picture(imdb_id: str, pictures: Mapping[str, str]) -> str:
    if imdb_id not in pictures:
        return '<span class="gone"></span>'
    return f'<img src="{escape(pictures[imdb_id])}" alt="the poster of {escape(imdb_id)}">'


def _genres(card: Card) -> str:
    total = sum(card.posters.values())
    of_genre = {genre: sum(card.genre_counts[split][genre] for split in SPLITS) for genre in card.genres}
    most = max(of_genre.values())
    rows = []
    for genre in sorted(card.genres, key=lambda genre: (-of_genre[genre], genre)):
        in_splits = "".join(
            f'<td class=n title="{card.genre_counts[split][genre]:,}">'
            f"{escape(share(card.genre_counts[split][genre], card.posters[split]))}</td>"
            for split in SPLITS
        )
        bar = f'<i class="stored" style="width:{100 * of_genre[genre] / most:.2f}%"></i>'
        rows.append(
            f"<tr><td>{escape(genre)}</td><td class=n>{of_genre[genre]:,}</td>"
            f'<td class=n>{escape(share(of_genre[genre], total))}</td><td class="share">{bar}</td>{in_splits}</tr>'
        )
    head = "<th>genre</th><th class=n>posters</th><th class=n>share</th><th></th>" + "".join(
        f"<th class=n>{split}</th>" for split in SPLITS
    )
    return _table(head, rows) + _note("On the right, a genre's share of each split: a good split has them alike.")


def _folded(card: Card) -> Iterator[str]:
    if card.folded:
        told = "; ".join(f"{escape(how)} ({count:,})" for how, count in card.folded.items())
        yield _note(f"Spellings that were folded: {told}.")


def _co_occurrence(card: Card) -> Iterator[str]:
    cell, left, top = 22, 92, 84
    side = cell * len(card.genres)
    parts = []
    for row, genre in enumerate(card.genres):
        y = top + row * cell
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(genre)}</text>')
        x = left + row * cell + 15
        parts.append(f'<text transform="translate({x} {top - 8}) rotate(-52)">{escape(genre)}</text>')
        whole = card.co_occurrence[row][row]
        for column, other in enumerate(card.genres):
            both = card.co_occurrence[row][column]
            is_own = row == column
            told = (
                f"{genre}: {whole:,}" if is_own else f"{genre} and {other}: {both:,}, {share(both, whole)} of {genre}"
            )
            strength = 1 if is_own else both / whole if whole else 0
            if strength:
                parts.append(
                    f'<rect class="{"own" if is_own else "both"}" x="{left + column * cell + 1}" y="{y + 1}" '
                    f'width="{cell - 2}" height="{cell - 2}" rx="3" opacity="{min(1, strength**0.7):.3f}">'
                    f"<title>{escape(told)}</title></rect>"
                )
    yield (
        f'<div class="frame scroll"><svg class="map" viewBox="0 0 {left + side + 60} {top + side + 6}" role="img" '
        f'aria-label="Which genres go together">{"".join(parts)}</svg></div>'
    )
    yield _note("A row is a genre; the stronger a cell, the more of its posters also have the column's genre.")


def _groups(card: Card, pictures: Mapping[str, str]) -> Iterator[str]:
    near = card.near_duplicates
    if not near["groups_of_several"]:
        yield f"<p>No two posters are within {near['distance']} bits of each other.</p>"
    else:
        yield (
            f"<p>{near['posters_in_them']:,} posters are in {near['groups_of_several']:,} groups; the largest has "
            f"{near['largest']:,}.</p>"
        )
    yield _note(
        f"Posters stay on one side of the split when their perceptual hashes differ in at most {near['distance']} of "
        "64 bits, when their bytes are the same"
        + (", and when their titles read the same." if card.options["same_titles"] else ".")
    )
    if near["on_several_sides"]:
        yield (
            f'<p class="bad">{near["on_several_sides"]:,} groups are on several sides of the given split: what is '
            "measured on its test posters was partly seen in training.</p>"
        )
    shown = [[imdb_id for imdb_id in group if imdb_id in pictures] for group in near["examples"]]
    groups = "".join(f"<div>{''.join(_picture(one, pictures) for one in group)}</div>" for group in shown if group)
    if groups:
        yield f'<div class="groups">{groups}</div>'


def _sizes(card: Card) -> str:
    quantiles = card.sizes["quantiles"]
    rows = [
        f"<tr><td>{name}</td>{''.join(f'<td class=n>{value}</td>' for value in values)}</tr>"
        for name, values in (
            ("bytes", [size(value) for value in quantiles["bytes"]]),
            ("width", [f"{value:,} px" for value in quantiles["width_px"]]),
            ("height", [f"{value:,} px" for value in quantiles["height_px"]]),
        )
    ]
    return _table("<th></th><th class=n>5%</th><th class=n>median</th><th class=n>95%</th>", rows)


def _options(card: Card) -> str:
    told = "\n".join(f"{name:<18} {value}" for name, value in card.options.items())
    return f"<pre>{escape(told)}</pre>"


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
