"""What the rehearsal site serves: titles and their posters, invented and drawn, or a catalogue and a folder."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from PIL import Image, ImageOps

from cluster.errors import CrawlerError
from crawler.catalogs import open_catalog
from crawler.site.drawing import draw_poster
from crawler.site.invention import image_token, invent_titles, is_posterless
from crawler.site.sizes import at_width, image_key, sized
from crawler.titles import Title, number_of

IMAGE_HOST = "https://m.media-amazon.com"
_CATALOG_HEADER = ("imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster")
# About 60 MB of posters.
_CACHED_IMAGES = 2048
# 2023-11-14; a poster of a later revision is that many days younger.
_FIRST_MODIFIED_S = 1_700_000_000
_DAY_S = 86_400


class SiteError(CrawlerError):
    """A rehearsal site that cannot be built or started."""


class SiteContent:
    """Titles by id and by image; of titles or images that occur twice the first counts."""

    def __init__(
        self,
        titles: Iterable[Title],
        *,
        has_poster: Callable[[str], bool],
        poster: Callable[[Title, int], bytes | None],
        revision: int = 0,
    ) -> None:
        """`has_poster` is asked once a title, `poster` with the title's revision when its image is.

        revision: another number than 0 changes the posters of every tenth title.
        """
        self.titles: dict[str, Title] = {}
        self._keys: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        for title in titles:
            if title.imdb_id in self.titles:
                continue
            self.titles[title.imdb_id] = title
            if has_poster(title.imdb_id):
                key = _image_key_of(title)
                self._keys[title.imdb_id] = key
                self._owners.setdefault(key, title.imdb_id)
        self._poster = poster
        self._revision = revision
        self.image = lru_cache(_CACHED_IMAGES)(self._image)
        self.image_at_width = lru_cache(_CACHED_IMAGES // 4)(self._image_at_width)

    @classmethod
    def invented(cls, count: int = 400, seed: int = 0, revision: int = 0) -> SiteContent:
        """Invented titles with posters that are drawn when first asked for."""
        titles = invent_titles(count, seed)
        return cls(titles, has_poster=lambda imdb_id: not is_posterless(imdb_id), poster=draw_poster, revision=revision)

    @classmethod
    def from_catalog(cls, catalog: Path, posters: Path, revision: int = 0) -> SiteContent:
        """A catalogue's titles with `<imdb_id>.jpg` from a folder; a title without a file has no poster.

        Raises CrawlerError when the catalogue or the folder is missing, or no title has a poster in the folder.
        """
        if not posters.is_dir():
            raise SiteError(f"posters {posters}: no such folder; give the folder that holds <imdb_id>.jpg")
        with open_catalog(str(catalog)) as opened:
            titles = [row for row in opened.rows() if isinstance(row, Title)]
        present = {entry.name.removesuffix(".jpg") for entry in os.scandir(posters) if entry.name.endswith(".jpg")}
        content = cls(
            titles,
            has_poster=present.__contains__,
            poster=lambda title, revision: _read(posters / f"{title.imdb_id}.jpg", revision),
            revision=revision,
        )
        if not content.poster_count:
            raise SiteError(f"posters {posters}: no <imdb_id>.jpg for any of the {len(titles)} titles of {catalog}")
        return content

    @property
    def poster_count(self) -> int:
        """How many titles have a poster."""
        return len(self._keys)

    def has_poster(self, imdb_id: str) -> bool:
        """Whether there is a title of this id, and it has a poster."""
        return imdb_id in self._keys

    def revision_of(self, imdb_id: str) -> int:
        """The site's revision for every tenth title, 0 for the others."""
        return self._revision if number_of(imdb_id) % 10 == 0 else 0

    def modified_at(self, imdb_id: str) -> int:
        """When a title's poster was last changed, in seconds since 1970."""
        return _FIRST_MODIFIED_S + _DAY_S * self.revision_of(imdb_id)

    def image_url(self, imdb_id: str, suffix: str = "._V1_.jpg") -> str | None:
        """The absolute URL of a title's poster, as IMDb's pages carry it; None for a title without one."""
        key = self._keys.get(imdb_id)
        return f"{IMAGE_HOST}{quote(key, safe='/@')}{suffix}" if key is not None else None

    def listed_path(self, imdb_id: str) -> str | None:
        """The path of the poster's URL in the catalogue, size suffix included; None where the catalogue has none."""
        url = self.titles[imdb_id].poster_url
        return unquote(urlsplit(url).path) if url else None

    def owner(self, path: str) -> str | None:
        """The id of the title whose poster an image path shows, whatever its size suffix."""
        return self._owners.get(image_key(path))

    def poster_bytes(self, imdb_id: str) -> bytes | None:
        """A title's poster in its original size."""
        return self.image(imdb_id, "")

    def _image(self, imdb_id: str, suffix: str) -> bytes | None:
        """A title's poster in the size that a suffix asks for. Blocks: reads or draws it; `image` remembers."""
        if imdb_id not in self._keys:
            return None
        if suffix:
            original = self.poster_bytes(imdb_id)
            return sized(original, suffix) if original is not None else None
        return self._poster(self.titles[imdb_id], self.revision_of(imdb_id))

    def _image_at_width(self, imdb_id: str, width_px: int) -> bytes | None:
        """A title's poster at a width, also larger than it is. Blocks; `image_at_width` remembers."""
        original = self.poster_bytes(imdb_id)
        return at_width(original, width_px) if original is not None else None

    def catalog_csv(self) -> str:
        """The titles in the shape of Kaggle's MovieGenre.csv: ids without leading zeros, years inside names."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(_CATALOG_HEADER)
        for title in self.titles.values():
            number = int(title.imdb_id.removeprefix("tt"))
            name = title.title or ""
            rows.writerow(
                (
                    number,
                    f"http://www.imdb.com/title/tt{number}",
                    f"{name} ({title.year})" if title.year else name,
                    "" if title.rating is None else title.rating,
                    "|".join(title.genres),
                    title.poster_url or "",
                )
            )
        return text.getvalue()

    def write_catalog(self, path: Path) -> None:
        """Write `catalog_csv` at once or not at all. Raises SiteError when the path cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, newline="", encoding="utf-8", delete=False) as draft:
                draft.write(self.catalog_csv())
            Path(draft.name).chmod(0o644)
            Path(draft.name).replace(path)
        except OSError as error:
            raise SiteError(f"catalogue {path} cannot be written: {error.strerror or error}") from error


def _image_key_of(title: Title) -> str:
    """The path of the catalogue's own URL, or one like IMDb's for a title without."""
    path = urlsplit(title.poster_url).path if title.poster_url else ""
    return image_key(unquote(path)) or f"/images/M/{image_token(title.imdb_id)}"


def _read(path: Path, revision: int) -> bytes | None:
    """The file's bytes; of a later revision the picture mirrored, in other bytes for each revision."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if not revision:
        return data
    encoded = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        ImageOps.mirror(image.convert("RGB")).save(encoded, "JPEG", quality=90, comment=f"revision {revision}")
    return encoded.getvalue()
