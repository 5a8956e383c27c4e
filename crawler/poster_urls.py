"""Pure: what the address of a poster tells: its size, whether it is a title's, whether it stands for no poster."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Amazon's image hosts take `<picture>._V1_<size>_.<extension>` (older: `._V1.`), whatever size the link asks for.
_SIZED = re.compile(r"^(?P<picture>.+?)\._V1[^/]*\.(?P<extension>[A-Za-z]{3,4})$")
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


def at_height(url: str, height_px: int) -> str | None:
    """The same picture, `height_px` high at most, from Amazon's image hosts; None where an address has no such size.

    `SY` scales down only: a smaller original comes as it is.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    sized = _SIZED.match(parts.path)
    if not sized or not ("." + (parts.hostname or "")).endswith(_AMAZON_HOSTS):
        return None
    path = f"{sized['picture']}._V1_SY{height_px}_.{sized['extension']}"
    return parts._replace(path=path, query="", fragment="").geturl()


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
    return bool(_NO_POSTER.search(url))
