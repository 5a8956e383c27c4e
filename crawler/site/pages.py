"""Pure: the HTML of the rehearsal site, in the shape of imdb.com's title pages of 2023 and of its block pages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal
from urllib.parse import urlsplit

from crawler.titles import Kind, Title

LOGO_URL = "https://m.media-amazon.com/images/G/01/imdb/images/social/imdb_logo.png"
# The drawing that IMDb shows where a title has no poster.
NO_PICTURE_URL = "https://m.media-amazon.com/images/G/01/imdb/images/nopicture/large/film-184890147._CB470041630_.png"
_SIZELESS = "._V1_.jpg"
_SHOWN = "._V1_FMjpg_UX1000_.jpg"
_THUMBNAIL = "._V1_UX182_.jpg"
# All that the pages here put behind a picture's name.
SUFFIXES = (_SIZELESS, _SHOWN, _THUMBNAIL)
# Open Graph's type, linked data's, and how a name is followed by its year.
_KINDS = {
    None: ("video.movie", "Movie", "{year}"),
    Kind.FILM: ("video.movie", "Movie", "{year}"),
    Kind.SERIES: ("video.tv_show", "TVSeries", "TV Series {year}– "),  # noqa: RUF001  IMDb's own dash
    Kind.EPISODE: ("video.episode", "TVEpisode", "TV Episode {year}"),
    Kind.GAME: ("video.other", "VideoGame", "Video Game {year}"),
}

_STYLE = """
body{margin:0;background:#121212;color:#eee;font:16px/1.5 system-ui,sans-serif}
header{background:#000;padding:.7rem 1.5rem}header a{color:#f5c518;font-weight:800;text-decoration:none}
main{max-width:70rem;margin:0 auto;padding:1.5rem}a{color:#6cf}h1{margin:0 0 .3rem}
.titles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:1.2rem;padding:0;list-style:none}
.titles img,.titles .none{width:100%;aspect-ratio:27/40;object-fit:cover;border-radius:6px;background:#2a2a2a}
.titles .none{display:grid;place-items:center;color:#888}.titles small{color:#aaa}
.title{display:flex;gap:2rem;flex-wrap:wrap}.title img{width:300px;max-width:100%;border-radius:8px}
"""

_CHALLENGE = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title></title>
    <style>body { font-family: "Arial"; }</style>
    <script type="text/javascript">
    window.awsWafCookieDomainList = [];
    window.gokuProps = {"key": "rehearsal", "iv": "rehearsal", "context": "rehearsal"};
    </script>
    <script src="https://rehearsal.token.awswaf.com/rehearsal/challenge.js"></script>
</head>
<body>
    <div id="challenge-container"></div>
    <script type="text/javascript">
        AwsWafIntegration.saveReferrer();
        AwsWafIntegration.checkForceRefresh().then((forceRefresh) => {
            const token = forceRefresh ? AwsWafIntegration.forceRefreshToken() : AwsWafIntegration.getToken();
            token.then(() => { window.location.reload(true); });
        });
    </script>
    <noscript>
        <h1>JavaScript is disabled</h1>
        In order to continue, we need to verify that you're not a robot.
        This requires JavaScript. Enable JavaScript and then reload the page.
    </noscript>
</body>
</html>
"""

_CAPTCHA = """<!doctype html>
<html class="a-no-js" lang="en-us">
<head>
<meta http-equiv="content-type" content="text/html; charset=UTF-8">
<title dir="ltr">Amazon.com</title>
<meta name="viewport" content="width=device-width">
</head>
<body>
<div class="a-container a-padding-double-large" style="min-width:350px;padding:44px 0 !important">
<h4>Enter the characters you see below</h4>
<p class="a-last">Sorry, we just need to make sure you're not a robot. For best results, please make sure your
browser is accepting cookies.</p>
<form method="get" action="/errors/validateCaptcha" name="">
<input type=hidden name="amzn" value="rehearsal" /><input type=hidden name="amzn-r" value="&#047;" />
<h4>Type the characters you see in this image:</h4>
<img src="https://images-na.ssl-images-amazon.com/captcha/rehearsal/Captcha_rehearsal.jpg">
<input autocomplete="off" spellcheck="false" id="captchacharacters" name="field-keywords" type="text">
<button type="submit" class="a-button-text">Continue shopping</button>
</form>
</div>
</body>
</html>
"""

_CONSENT = """<!DOCTYPE html>
<html lang="en-US">
<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>
<title>Select Your Cookie Preferences - IMDb</title></head>
<body>
<div id="consent-banner" data-testid="consent-banner" role="dialog" aria-modal="true">
<form id="sp-cc" class="consent-form" action="/consent" method="post">
<h1>Select Your Cookie Preferences</h1>
<p>We use cookies and similar tools that are necessary to enable you to use our services. If you agree, we'll also use
cookies to understand how customers use our services so we can make improvements. Before you continue to IMDb, choose
Accept or Decline.</p>
<button id="sp-cc-accept" data-testid="accept-button" name="accept" value="all" type="submit">Accept</button>
<button id="sp-cc-rejectall-link" data-testid="reject-button" name="accept" value="" type="submit">Decline</button>
</form>
</div>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class BlockPage:
    """An answer that asks for a browser instead of giving the page."""

    status: int
    headers: dict[str, str]
    html: str


def block_page(status: Literal[202, 403] = 202) -> BlockPage:
    """AWS WAF's challenge, with the status that imdb.com gives it (202) or that of a plain refusal (403)."""
    return BlockPage(status, {"x-amzn-waf-action": "challenge", "cache-control": "no-store, max-age=0"}, _CHALLENGE)


def captcha_page() -> BlockPage:
    """Amazon's page that asks for the characters in an image."""
    return BlockPage(200, {"cache-control": "no-store, max-age=0"}, _CAPTCHA)


def consent_page() -> BlockPage:
    """A wall that shows nothing before a choice about cookies."""
    return BlockPage(200, {"cache-control": "no-store, max-age=0"}, _CONSENT)


def title_page(title: Title, image_url: str | None) -> str:
    """A title's page; `image_url` is its poster's absolute URL without size, or None: the page shows the logo.

    With NO_PICTURE_URL it takes the drawing for a poster, as some of IMDb's pages did.
    """
    name = title.title or title.imdb_id
    og_type, _, year = _KINDS[title.kind]
    headline = f"{name} ({year.format(year=title.year)})" if title.year else name
    shown = _in_size(image_url, _SHOWN) if image_url else LOGO_URL
    page_url = f"https://www.imdb.com/title/{title.imdb_id}/"
    metas = {
        "og:url": page_url,
        "og:site_name": "IMDb",
        "og:title": f"{headline} - IMDb",
        "og:description": _description(title),
        "og:type": og_type,
        "og:image": shown,
        "twitter:card": "summary_large_image",
        "twitter:title": f"{headline} - IMDb",
        "twitter:image": shown,
    }
    head = [f'<meta property="{key}" content="{escape(value)}"/>' for key, value in metas.items()]
    head.append(f'<link rel="canonical" href="{page_url}"/>')
    head.append(f'<script type="application/ld+json">{_script_json(_linked_data(title, image_url))}</script>')
    poster = _image(image_url, _SIZELESS, name) if image_url else ""
    body = f"""<section class="title">{poster}<div><h1 data-testid="hero__pageTitle">{escape(headline)}</h1>
<p>{escape(_description(title))}</p></div></section>"""
    return _document(f"{headline} - IMDb", "\n".join(head), body)


def index_page(titles: Iterable[tuple[Title, str | None]], total: int) -> str:
    """A page for a person who looks: some titles with their posters, and what else is here."""
    items = []
    for title, image_url in titles:
        name = title.title or title.imdb_id
        image = _image(image_url, _THUMBNAIL, "") if image_url else '<div class="none">no poster</div>'
        about = ", ".join(filter(None, (str(title.year or ""), *title.genres)))
        link = f'<a href="/title/{title.imdb_id}/">{image}<br>{escape(name)}</a>'
        items.append(f"<li>{link}<br><small>{escape(about)}</small></li>")
    body = f"""<h1>Rehearsal site</h1>
<p>{len(items)} of {total} titles. <a href="/catalog.csv">catalog.csv</a>, <a href="/robots.txt">robots.txt</a>,
<a href="/_site/requests">requests so far</a></p>
<ul class="titles">{"".join(items)}</ul>"""
    return _document("onesheet's rehearsal site", "", body)


def error_page(status: int, sentence: str) -> str:
    """A page that says what went wrong."""
    return _document(f"{status}", "", f"<h1>{status}</h1><p>{escape(sentence)}</p>")


def _linked_data(title: Title, image_url: str | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": _KINDS[title.kind][1],
        "url": f"/title/{title.imdb_id}/",
        "name": title.title or title.imdb_id,
    }
    if image_url:
        data["image"] = image_url
    data["description"] = _description(title)
    if title.rating is not None:
        data["aggregateRating"] = {
            "@type": "AggregateRating",
            "ratingCount": 1000 + int(title.imdb_id.removeprefix("tt")) % 90_000,
            "bestRating": 10,
            "worstRating": 1,
            "ratingValue": title.rating,
        }
    data["genre"] = list(title.genres)
    if title.year:
        data["datePublished"] = f"{title.year}-06-15"
    return data


def _script_json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element around it, whatever a title is called."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _image(image_url: str, suffix: str, alt: str) -> str:
    """An image of this site, for a browser: the poster's path without its host."""
    path = urlsplit(_in_size(image_url, suffix)).path
    return f'<img src="{escape(path)}" alt="{escape(alt)}" loading="lazy">'


def _in_size(image_url: str, suffix: str) -> str:
    """The URL of a poster in another size; that of a drawing has none."""
    return image_url.removesuffix(_SIZELESS) + suffix if image_url.endswith(_SIZELESS) else image_url


def _description(title: Title) -> str:
    genres = ", ".join(title.genres) or "Film"
    return f"{title.title or title.imdb_id}: {genres}" + (f", rated {title.rating}." if title.rating else ".")


def _document(name: str, head: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en-US" xmlns:og="http://opengraphprotocol.org/schema/">
<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>
<title>{escape(name)}</title>
{head}
<style>{_STYLE}</style></head>
<body><header><a href="/">onesheet rehearsal</a></header><main>{body}</main></body>
</html>
"""
