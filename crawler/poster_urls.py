"""Pure: what the address of a poster tells: the size that it asks for, and whether it is a picture of no title."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Amazon's image hosts take `<picture>._V1_<size>_.<extension>` (older: `._V1.`), whatever size the link asks for.
_SIZED = re.compile(r"^(?P<picture>.+?)\._V1[^/]*\.(?P<extension>[A-Za-z]{3,4})$")
_AMAZON_HOSTS = (".media-amazon.com", ".media-imdb.com", ".ssl-images-amazon.com", ".images-amazon.com")
# IMDb's drawings for "no poster" and its logos, in every spelling that its pages have had.
_NO_POSTER = re.compile(
    r"nopicture|no[_-]?poster|no[_-]?photo|noimage|imdb[_-]?(?:fb[_-]?)?logo|imdb-share-logo|/images/G/|/images/S/|/nopic",
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


def is_no_poster(url: str) -> bool:
    """Whether an address is that of a drawing that stands for "no poster", or of a logo."""
    return bool(_NO_POSTER.search(url))
