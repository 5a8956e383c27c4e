"""Pure: what the address of a poster tells: its size, whether it is a title's, whether it stands for no poster."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Amazon's image hosts take `<picture>._V1_<size>_.<extension>` (older: `._V1.`), whatever size the link asks for.
_SIZED = re.compile(
    r"(?P<picture>https?://(?P<host>[a-z0-9.-]+)/[^?#\s]+?)(?-i:\._V1)[^/?#\s]*\.(?P<extension>[a-z]{3,4})(?:[?#].*)?",
    re.IGNORECASE,
)
_AMAZON_HOSTS = (".media-amazon.com", ".media-imdb.com", ".ssl-images-amazon.com", ".images-amazon.com")
# Where IMDb has kept title pictures since 2008. Under /images/G/ lie its logos and placeholders, under /images/I/ the
# shop's products, under /images/S/ adverts.
_TITLE_HOSTS = (*_AMAZON_HOSTS, ".imdb.com")
_TITLE_FOLDER = "/images/m/"
# IMDb's drawings for "no poster" and its logos, in every spelling that its pages have had. The folders only as IMDb
# writes them: /images/s/ is anybody's.
_NO_POSTER = re.compile(
    r"nopicture|/nopic|no[_-]?poster|no[_-]?photo|noimage|addposter|placeholder|share-logo|imdb[_-]?(?:fb[_-]?)?logo"
    r"|(?-i:/images/[GS]/)",
    re.IGNORECASE,
)
# One of these is in each address that the expression finds, which takes ten times as long to look.
_NO_POSTER_HINTS = ("nopic", "poster", "photo", "noimage", "placeholder", "logo", "/images/g/", "/images/s/")
# What no standard of URLs writes in another way: no percent signs, no dot segments, no capital or foreign host.
_PLAIN = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*(?::[1-9][0-9]{1,4})?/(?!.*/\.)(?!\.)[A-Za-z0-9/._~@,=-]*(?:\?[a-z0-9_=&]+)?"
)


def is_plain(url: str) -> bool:
    """Whether an address can be sent as it is, with nothing in it to be quoted or made regular."""
    return _PLAIN.fullmatch(url) is not None


def at_height(url: str, height_px: int) -> str | None:
    """The same picture, `height_px` high at most, from Amazon's image hosts; None where an address has no such size.

    `SY` scales down only: a smaller original comes as it is.
    """
    sized = _SIZED.fullmatch(url)
    if not sized or not f".{sized['host'].lower()}".endswith(_AMAZON_HOSTS):
        return None
    return f"{sized['picture']}._V1_SY{height_px}_.{sized['extension']}"


def is_title_picture(url: str) -> bool:
    """Whether an address lies where IMDb keeps the pictures of titles."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    at_home = ("." + (parts.hostname or "")).endswith(_TITLE_HOSTS)
    return at_home and parts.scheme in ("http", "https") and parts.path.lower().startswith(_TITLE_FOLDER)


def is_no_poster(url: str) -> bool:
    """Whether an address is that of a drawing that stands for "no poster", or of a logo."""
    lowered = url.lower()
    return any(hint in lowered for hint in _NO_POSTER_HINTS) and bool(_NO_POSTER.search(url))
