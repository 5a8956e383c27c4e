"""Where IMDb's title pages show a title's facts, era by era. A new layout is one more row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Era:
    """One layout. mark: text that only its pages hold. The rest are CSS selectors, those after `top` inside of it.

    top: where the title itself is shown, in order of trust; the whole page where none of them is.
    poster: only the place of the poster itself. `itemprop=image` also marks adverts, stills and editors' picks.
    kind: the line that can say `TV Series`. episode: what only an episode's page has there.
    all_genres: in the whole page; above the fold most layouts show no more than three.
    """

    mark: str
    top: tuple[str, ...]
    name: str
    poster: str
    rating: str
    genres: str
    kind: str
    episode: str
    all_genres: str


ERAS = (
    Era(  # until 2010, and /combined until 2017
        mark="tn15title",
        top=("#tn15",),
        name="#tn15title h1",
        poster="a[name=poster] img",
        rating=".starbar-meta > b, #tn15rating .meta > b",
        genres=".info a[href*='/Sections/Genres/'], .info a[href*='/genre/']",
        kind=".no-such-line",
        episode="#tn15title h1 em",
        all_genres=".no-such-list",
    ),
    Era(  # 2010 to 2015
        mark="overview-top",
        top=(".title-overview", "#maindetails_center_top", "#main"),
        name="h1.header",
        poster="#img_primary img",
        rating=".star-box-giga-star, [itemprop=aggregateRating] [itemprop=ratingValue], .star-box .rating-rating",
        genres=".infobar a[href*='/genre/']",
        kind=".infobar",
        episode=".tv_header",
        all_genres="#titleStoryLine a[href*='/genre/'], .see-more > a[href^='/genre/']",
    ),
    Era(  # 2015 to 2020
        mark="title_wrapper",
        top=(".title-overview", "#title-overview-widget", "#main_top"),
        name=".title_wrapper h1, h1",
        poster=".poster img",
        rating="[itemprop=aggregateRating] [itemprop=ratingValue], .imdbRating .ratingValue strong span",
        genres=".subtext a[href*=genre]",
        kind=".subtext",
        episode=".titleParent",
        all_genres="#titleStoryLine a[href*='/genre/'], #titleStoryLine a[href*='genres=']",
    ),
    Era(  # /reference, 2017 to 2023
        mark="titlereference-header",
        top=(".titlereference-header",),
        name="h3[itemprop=name], h3",
        poster="img.titlereference-primary-image, .subpage_title_block img.poster",
        rating=".ipl-rating-star:not(.ipl-rating-interactive__star) > .ipl-rating-star__rating",
        genres="li > a[href*='/genre/']",
        kind="ul.ipl-inline-list > li",
        episode=".titlereference-episode-header",
        all_genres="td.ipl-zebra-list__label + td a[href*='/genre/']",
    ),
    Era(  # Next.js, since 2021; a page that a browser saved may lack the JSON
        mark='data-testid="hero',
        top=("main",),
        name="h1[data-testid^=hero-title-block__title], h1[data-testid^=hero__pageTitle]",
        poster="[data-testid=hero-media__poster] img",
        rating="[data-testid=hero-rating-bar__aggregate-rating__score] > span, [class*=AggregateRatingButton__Rating]",
        genres="[data-testid=genres] a",
        kind="[data-testid=hero-title-block__metadata] > li, h1[data-testid^=hero__pageTitle] ~ ul > li",
        episode="[data-testid=hero-title-block__series-link]",
        all_genres="[data-testid=storyline-genres] a[href*='genres=']",
    ),
)
