"""Pure: the elements of a title page, Open Graph's first → its title's facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from parsel import Selector

from crawler.eras import ERAS, Era
from crawler.headline import Headline, kind_of_label, own_name, read_headline
from crawler.page_values import TitleFacts, genres_of, poster_url_of, rating_of, text_of, year_of
from crawler.titles import Kind

_MOST_ELEMENTS = 200

_SHOWN = (
    ".//text()[not(ancestor::script or ancestor::style or ancestor::*[contains(@class, 'pro-link') or "
    "contains(@class, 'title-extra') or contains(@class, 'originalTitle')])]"
)
_OG_KINDS = {
    "movie": Kind.FILM,
    "video.movie": Kind.FILM,
    "tv_show": Kind.SERIES,
    "video.tv_show": Kind.SERIES,
    "episode": Kind.EPISODE,
    "video.episode": Kind.EPISODE,
    "game": Kind.GAME,
    "video.game": Kind.GAME,
}
# The itemtype of the whole page, 2012 to 2017; people's and reviews' itemtypes stand further down.
_ITEM_TYPES = "[itemscope][itemtype*='schema.org/']"
_ITEM_KINDS = {"Movie": Kind.FILM, "TVSeries": Kind.SERIES, "TVEpisode": Kind.EPISODE, "VideoGame": Kind.GAME}
_KIND_WORDS = ("TV ", "Video", "Episode aired", "Short", "Music Video", "Podcast")


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in a page's <head>: `metas` by property or name; the first of equals counts."""

    metas: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    window_title: str | None = None


def eras_of(html: str) -> list[Era]:
    """The layouts that a page can have."""
    return [era for era in ERAS if era.mark in html]


def markup_facts(page: Selector, head: Head, eras: Iterable[Era]) -> TitleFacts:
    """The facts in Open Graph and in the page's elements."""
    tops = [(era, _top(page, era)) for era in eras]
    told = next((found for found in map(read_headline, _head_names(head)) if found.title), None)
    shown = read_headline(next((_shown(name) for era, top in tops for name in top.css(era.name)[:1]), None))
    told = told or shown
    labels = list(_kind_labels(tops))
    declared = (_OG_KINDS.get(head.metas.get("og:type", "").lower()), _item_kind(page))
    kind = _kind(declared, tops, (told, shown), labels)
    years = (told.year, shown.year, *(year_of(label) for _, label in labels))
    ratings = (
        rating_of(_shown(place) or place.attrib.get("content")) for era, top in tops for place in top.css(era.rating)
    )
    return TitleFacts(
        poster_url=_poster(head, tops),
        title=_title(told, shown, kind),
        year=next((year for year in years if year), None),
        genres=_genres(page, tops),
        rating=next((rating for rating in (told.rating, *ratings) if rating), None),
        kind=kind,
    )


def _head_names(head: Head) -> Iterator[str | None]:
    yield head.metas.get("og:title")
    yield head.metas.get("title")
    # Error pages, too, have a <title>; those of titles name a year or a kind.
    found = read_headline(head.window_title)
    yield head.window_title if found.year or found.kind else None


def _title(told: Headline, shown: Headline, kind: Kind | None) -> str | None:
    """The name; an episode's own, which older headlines put behind its series' in quotation marks."""
    if kind is Kind.EPISODE:
        return own_name(shown if told.title == told.series and shown.title else told)
    is_in_quotes = kind is Kind.FILM and told.title is not None and told.title == told.series
    return f'"{told.title}"' if is_in_quotes else told.title


def _kind(
    declared: tuple[Kind | None, Kind | None],
    tops: list[tuple[Era, Selector]],
    headlines: tuple[Headline, Headline],
    labels: list[tuple[bool, str]],
) -> Kind | None:
    """By what says most: the headline, an episode's own markup, the line under the name, then og:type and itemtype.

    Until 2014, og:type tells episodes not from series, and games not from films.
    """
    named = next((headline.kind for headline in headlines if headline.kind), None)
    rare = next((kind for kind in declared if kind in (Kind.EPISODE, Kind.GAME)), None)
    if named or rare:
        return named or rare
    if any(top.css(era.episode) for era, top in tops):
        return Kind.EPISODE
    named = next((kind for is_kind, label in labels if is_kind and (kind := kind_of_label(label))), None)
    if named or Kind.FILM in declared:
        return named or Kind.FILM
    quoted = next((headline for headline in headlines if headline.series), None)
    if quoted:
        return Kind.SERIES if quoted.series == quoted.title else Kind.EPISODE
    # Each layout names the kinds of all titles but films.
    return next((kind for kind in declared if kind), Kind.FILM if tops else None)


def _item_kind(page: Selector) -> Kind | None:
    for place in page.css(_ITEM_TYPES)[:1]:
        return _ITEM_KINDS.get(place.attrib["itemtype"].rpartition("/")[2])
    return None


def _kind_labels(tops: list[tuple[Era, Selector]]) -> Iterator[tuple[bool, str]]:
    """The pieces of the line under the name, and whether one can be a kind: `TV Series (2007-2015)`, but no country."""
    for era, top in tops:
        for line in top.css(era.kind)[:_MOST_ELEMENTS]:
            for piece in (_shown(line) or "").replace("·", "|").replace(" - ", "|").split("|")[:_MOST_ELEMENTS]:
                yield piece.strip().startswith(_KIND_WORDS), piece.strip()


def _poster(head: Head, tops: list[tuple[Era, Selector]]) -> str | None:
    for url in (head.metas.get("og:image"), head.links.get("image_src"), head.metas.get("twitter:image")):
        if found := poster_url_of(url):
            return found
    for era, top in tops:
        # The first picture only: where it is a placeholder, the next one is a still.
        for image in top.css(era.poster)[:1]:
            return poster_url_of(image.attrib.get("loadlate")) or poster_url_of(image.attrib.get("src"))
    return None


def _genres(page: Selector, tops: list[tuple[Era, Selector]]) -> tuple[str, ...]:
    """The longest of the page's lists; the first of equals."""
    places = [top.css(era.genres) for era, top in tops] + [page.css(era.all_genres) for era, _ in tops]
    lists = [genres_of([_shown(element) for element in place[:_MOST_ELEMENTS]]) for place in places]
    return max(lists, key=len, default=())


def _top(page: Selector, era: Era) -> Selector:
    return next((found[0] for found in map(page.css, era.top) if found), page)


def _shown(element: Selector) -> str | None:
    """The text of an element as a reader sees it, without the link to IMDbPro and the original title behind a name."""
    return text_of(" ".join(element.xpath(_SHOWN).getall()[:_MOST_ELEMENTS]))
