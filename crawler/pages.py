"""Pure: an IMDb page → the facts of the title that it is about, whatever year it was saved in.

Three layers, read in this order and combined field by field: `application/ld+json`, `__NEXT_DATA__`, and Open Graph
with the page's own elements. One exception: linked data's year is the last resort. It is that of a release in the
reader's country, often not the title's own (Seven Samurai: 1956 for 1954).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from parsel import Selector
from w3lib.encoding import html_body_declared_encoding, read_bom

from crawler.block_pages import Block, block_of
from crawler.page_data import linked_data, merged, next_data
from crawler.page_markup import Head, eras_of, markup_facts
from crawler.page_values import TitleFacts

__all__ = ["Block", "TitlePage", "block_of", "parse_title"]

# The longest real page has 4 MB.
_MOST_CHARACTERS = 20_000_000
_MOST_METAS = 500

_ADDRESS = re.compile(r"(?:https?:)?//(?:[a-z0-9-]+\.)*imdb\.com(?::[0-9]+)?(?P<path>/[^\s?#]*)", re.IGNORECASE)
# The views of a whole title, in any of the site's languages; its credits, its episodes or its reviews are other pages.
_TITLE_PATH = re.compile(
    r"/(?:[a-z]{2}(?:-[a-z]{2})?/)?title/(?P<id>tt[0-9]{7,10})(?:/(?:combined|maindetails|reference)?)?/?",
    re.IGNORECASE,
)
_TITLE_VIEWS = frozenset({"", "main", "combined", "maindetails", "reference"})
_OG_TITLES = re.compile(r"(?:video\.)?(?:movie|tv_show|episode|game)")
_NO_NAMES = re.compile(r"IMDb|.*\b(?:404|403|500|503)\b.*\berror\b.*|.*\berror\b.*\b(?:404|500|503)\b.*", re.IGNORECASE)
# lxml takes these in, and raises when the name of an attribute has one.
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# Those of the web. Python knows more, of which some take minutes for a page (punycode) and some no bytes (rot13).
_ENCODINGS = re.compile(r"utf-8|cp[0-9]+|iso8859|gb|big5|euc|koi8|shift_jis")


@dataclass(frozen=True, slots=True)
class TitlePage(TitleFacts):
    """What a page tells of its title; nothing where `is_title` is False: a list, a search, a person, an error."""

    is_title: bool = False


def parse_title(html: str | bytes) -> TitlePage:
    """Read a title page. Never raises, on any text and any bytes.

    html: bytes are decoded as UTF-8 where they are that, else as the page declares.
    """
    text = (_decoded(html[:_MOST_CHARACTERS]) if isinstance(html, bytes) else html)[:_MOST_CHARACTERS]
    text = _NO_XML.sub(" ", text)
    if not text.strip():
        return TitlePage()
    page = Selector(body=text.encode(errors="replace"), type="html")
    head = _head(page)
    path = _path(head)
    place = _TITLE_PATH.fullmatch(path) if path is not None else None
    if path is not None and place is None:
        return TitlePage()
    imdb_id = place["id"].lower() if place else None
    eras = eras_of(text)
    linked = linked_data(page.xpath("//script[@type='application/ld+json']/text()").getall(), imdb_id)
    from_next = next_data(page.xpath("//script[@id='__NEXT_DATA__']/text()").getall(), imdb_id)
    if not place and not linked and not from_next and not _looks_like_a_title(head, has_layout=bool(eras)):
        return TitlePage()
    data = merged(*filter(None, (linked, from_next)))
    is_whole = from_next is not None and all((data.poster_url, data.title, from_next.year, data.genres, data.rating))
    markup = TitleFacts() if is_whole and data.kind else markup_facts(page, head, eras)
    facts = merged(data, markup)
    if not linked and not from_next and (not facts.title or _NO_NAMES.fullmatch(facts.title)):
        return TitlePage()
    years = (layer.year for layer in (from_next, markup, linked) if layer)
    year = next((year for year in years if year is not None), None)
    return TitlePage(facts.poster_url, facts.title, year, facts.genres, facts.rating, facts.kind, is_title=True)


def _path(head: Head) -> str | None:
    """The path on imdb.com that a page says it has; None where it does not say."""
    for address in (head.links.get("canonical"), head.metas.get("og:url")):
        found = _ADDRESS.match(address.strip()[:2000]) if address else None
        if found:
            return found["path"]
    return None


def _looks_like_a_title(head: Head, *, has_layout: bool) -> bool:
    """Whether a page that does not say its address, such as a part of one, is a title's."""
    kind = head.metas.get("imdb:pageType") or head.metas.get("pageType")
    if kind:
        view = head.metas.get("imdb:subPageType") or head.metas.get("subpageType") or ""
        return kind == "title" and view in _TITLE_VIEWS
    og_type = head.metas.get("og:type")
    return _OG_TITLES.fullmatch(og_type.lower()) is not None if og_type else has_layout


def _head(page: Selector) -> Head:
    metas: dict[str, str] = {}
    for meta in page.xpath("//meta[@content]")[:_MOST_METAS]:
        name = meta.attrib.get("property") or meta.attrib.get("name")
        if name:
            metas.setdefault(name, meta.attrib["content"])
    links: dict[str, str] = {}
    for link in page.xpath("//link[@href][@rel='canonical' or @rel='image_src']")[:_MOST_METAS]:
        links.setdefault(link.attrib["rel"], link.attrib["href"])
    return Head(metas, links, page.xpath("//title/text()").get())


def _decoded(html: bytes) -> str:
    bom, _ = read_bom(html)
    if bom:
        return html.decode(bom, errors="replace")
    try:
        # First, whatever the page declares: many pages of 2011 to 2015 say ISO-8859-1 and were saved as UTF-8.
        return html.decode()
    except UnicodeDecodeError:
        declared = html_body_declared_encoding(html) or ""
        return html.decode(declared if _ENCODINGS.match(declared) else "cp1252", errors="replace")
