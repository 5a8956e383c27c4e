"""Pure: posters on the page of an evaluation, with their scores, and with what a detector looks at."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from html import escape

from training.evaluation_report import Look, PosterScores
from training.evaluation_report_parts import legend, note

_IMDB_ID = re.compile(r"tt[0-9]{7,10}")
_SHOWN_SCORES = 6


def posters_part(posters: Sequence[PosterScores]) -> str:
    """Posters with their highest scores, and those of the genres that were missed."""
    return f'<div class="posters">{"".join(_poster(poster) for poster in posters)}</div>'


def looks_part(looks: dict[str, tuple[Look, ...]]) -> Iterator[str]:
    """Genre by genre, the highest-scored posters with all but what counts darkened."""
    yield note(
        "The four test posters of each genre with its highest scores, and set apart the highest-scored one that does "
        "not have it. What glows speaks for the genre: a place&rsquo;s share of the logit, by the last feature "
        "maps of each backbone (HiResCAM). What is dark does not. Point at a poster to see it whole."
    )
    yield legend([("ring", "does not have the genre")])
    parts = []
    for genre, found in looks.items():
        true = [look for look in found if look.is_true]
        false = [look for look in found if not look.is_true]
        cells = "".join(_look(look) for look in true) + "<span></span>" * (4 - len(true))
        cells += '<span class="gap"></span>' + "".join(_look(look) for look in false)
        parts.append(f'<div><h3>{escape(genre)}</h3><div class="strip">{cells}</div></div>')
    yield f'<div class="looks">{"".join(parts)}</div>'


def _poster(poster: PosterScores) -> str:
    shown = [one for place, one in enumerate(poster.scores) if place < _SHOWN_SCORES or one[2]]
    bars = "".join(
        f'<dt class="{"true" if is_true else ""}">{escape(genre)}</dt><dd title="{score:.3f}'
        f'{", predicted" if is_predicted else ""}"><i class="bar{" true" if is_true else ""}" '
        f'style="width:{100 * score:.1f}%"></i></dd>'
        for genre, score, is_true, is_predicted in shown
    )
    link = escape(poster.imdb_id)
    if _IMDB_ID.fullmatch(poster.imdb_id):
        link = f'<a href="https://www.imdb.com/title/{poster.imdb_id}/" rel="noreferrer">{poster.imdb_id}</a>'
    heading = f"{escape(poster.title)} " if poster.title else ""
    return (
        f'<div class="poster">{_image(poster.thumbnail, "jpeg", "")}<div><h3>{heading or link}</h3>'
        f'<p class="bits">{poster.bits:+.1f} bits{f", {link}" if heading else ""}</p>'
        f'<dl class="scores">{bars}</dl></div></div>'
    )


def _look(look: Look) -> str:
    name = look.title or look.imdb_id
    told = f"{name}: {look.score:.3f}{'' if look.is_true else ', does not have the genre'}"
    return (
        f'<span class="look{"" if look.is_true else " false"}" tabindex="0" title="{escape(told)}">'
        f"{_image(look.thumbnail, 'jpeg', name)}{_image(look.shade, 'png', '', 'over')}"
        f'<span class="score">{look.score:.2f}</span></span>'
    )


def _image(data: bytes, kind: str, name: str, extra: str = "") -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img{f" class={extra}" if extra else ""} src="{source}" alt="{escape(name)}">'
