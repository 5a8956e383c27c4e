"""Where a poster comes from: one small class a source, tried in the user's order until one has the poster.

A source is pure: it says what to ask (`locate`) and reads the answer (`read`); `crawler.finder` asks. To add one,
derive from `Source` in a file of your own and name it: `--sources listed,my_package.my_module:MySource`.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from cluster.errors import CrawlerError
from cluster.settings import Settings
from crawler.outcomes import Reason, Rejected
from crawler.pages import TitlePage, parse_title
from crawler.titles import Kind, Title, clean_genres

# What stands for a host where a poster is read from this machine.
DISK = "disk"
_TMDB_WIDTHS_PX = (92, 154, 185, 342, 500, 780)


@dataclass(frozen=True, slots=True)
class HostLimit:
    """How hard a host may be asked, by the whole crawl: requests at the same time, and seconds between two of them.

    delay_s: None leaves it to AutoThrottle, which begins slowly and goes by the host's answers.
    """

    concurrency: int
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Ask this address first; its answer tells where the poster is."""

    url: str


@dataclass(frozen=True, slots=True)
class Found:
    """The poster is at one of these addresses, the best first; `page` is what the source told of the title."""

    urls: tuple[str, ...]
    page: TitlePage | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The source answers no more in this run, for a passing reason; `stops_crawl` where the user must mend it first."""

    reason: Reason
    sentence: str
    stops_crawl: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup got. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Credential:
    """What only this host may see, added to a request on its way out; it is in no log and no ledger."""

    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> list[str]:
        """The texts that must never be shown."""
        return [value.removeprefix("Bearer ") for value in (*self.headers.values(), *self.query.values())]


@dataclass(frozen=True, slots=True)
class Setup:
    """What sources are made of. height_px: of the posters that are wanted, 0 for as they are. images: a folder."""

    settings: Settings
    height_px: int = 0
    images: Path | None = None


class Source(ABC):
    """One place that may have a title's poster.

    name: what the user and the ledger call it. terms: what its owner forbids, said at the start of a crawl. limits: by
    host; the user's DOWNLOAD_SLOTS go first.
    """

    name: ClassVar[str]
    terms: ClassVar[str | None] = None
    limits: ClassVar[Mapping[str, HostLimit]] = {}
    credential: Credential | None = None

    @classmethod
    @abstractmethod
    def of(cls, setup: Setup) -> Self:
        """The source, ready to be asked. Raises CrawlerError where a key or a folder is missing."""

    @abstractmethod
    def locate(self, title: Title) -> Lookup | Found | Rejected:
        """Where to ask for this title, or why there is no use in it."""

    def read(self, title: Title, answer: Answer) -> Found | Rejected | Ended:
        """What the answer to a lookup says. 429, 5xx and block pages never come here."""
        raise NotImplementedError(f"source {self.name} has no lookups")


class Images(Source):
    """A folder of posters, `<imdb_id>.jpg`: read from disk, without a network."""

    name = "images"
    # A disk answers nothing that AutoThrottle could go by: it would stay at its first, slow pace.
    limits: ClassVar = {DISK: HostLimit(8, delay_s=0.0)}

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @classmethod
    def of(cls, setup: Setup) -> Self:
        if setup.images is None:
            raise CrawlerError("source images needs a folder; give it with --images DIR")
        return cls(setup.images)

    def locate(self, title: Title) -> Found:
        return Found(((self._folder / f"{title.imdb_id}.jpg").as_uri(),))


class Listed(Source):
    """The catalogue's own poster address."""

    name = "listed"
    limits: ClassVar = {"m.media-amazon.com": HostLimit(8), "images-na.ssl-images-amazon.com": HostLimit(8)}

    @classmethod
    def of(cls, setup: Setup) -> Self:
        return cls()

    def locate(self, title: Title) -> Found | Rejected:
        if not title.poster_url:
            return Rejected(Reason.NO_POSTER, "the catalogue lists none")
        return Found((title.poster_url,))


class Tmdb(Source):
    """TMDB's find by IMDb id (developer.themoviedb.org/reference/find-by-id), then its image host."""

    name = "tmdb"
    terms = "TMDB's terms allow no machine learning without a written agreement"
    limits: ClassVar = {"api.themoviedb.org": HostLimit(8, 1 / 40), "image.tmdb.org": HostLimit(8, 1 / 40)}
    _API = "https://api.themoviedb.org/3/find/{imdb_id}?external_source=imdb_id"
    _IMAGE = "https://image.tmdb.org/t/p/{size}{path}"
    # Which list of the answer holds what kind of title.
    _LISTS: ClassVar = {"movie_results": Kind.FILM, "tv_results": Kind.SERIES}

    def __init__(self, token: str, height_px: int) -> None:
        self.credential = Credential("api.themoviedb.org", headers={"Authorization": f"Bearer {token}"})
        # Posters are two wide to three high; the API offers widths.
        width_px = height_px * 2 / 3
        fitting = next((width for width in _TMDB_WIDTHS_PX if 0 < width_px <= width), None)
        self._size = f"w{fitting}" if fitting else "original"

    @classmethod
    def of(cls, setup: Setup) -> Self:
        if setup.settings.tmdb_token is None:
            raise CrawlerError("source tmdb needs a token: set ONESHEET_TMDB_TOKEN to TMDB's API read access token")
        return cls(setup.settings.tmdb_token.get_secret_value(), setup.height_px)

    def locate(self, title: Title) -> Lookup:
        return Lookup(self._API.format(imdb_id=title.imdb_id))

    def read(self, title: Title, answer: Answer) -> Found | Rejected | Ended:
        if answer.status in (401, 403):
            return _refused(self.name, "ONESHEET_TMDB_TOKEN", answer)
        found = _json_object(answer)
        if isinstance(found, Rejected):
            return found
        entries = [
            (kind, entry)
            for name, kind in self._LISTS.items()
            for entry in _list(found.get(name))
            if isinstance(entry, dict)
        ]
        if not entries:
            return Rejected(Reason.NOT_FOUND, "TMDB knows no film or series of this id")
        # One id can name a film and a series of the same story; the catalogue knows which it means.
        kind, entry = next((each for each in entries if each[0] is title.kind), entries[0])
        path = entry.get("poster_path")
        if not isinstance(path, str) or not path.startswith("/"):
            return Rejected(Reason.NO_POSTER, "TMDB has no poster of it")
        date = entry.get("release_date") or entry.get("first_air_date")
        page = TitlePage(title=_text(entry.get("title") or entry.get("name")), year=_year(date), kind=kind)
        return Found((self._IMAGE.format(size=self._size, path=quote(path)),), page)


class Omdb(Source):
    """OMDb's poster link by IMDb id (omdbapi.com)."""

    name = "omdb"
    terms = "OMDb's terms allow no commercial use"
    limits: ClassVar = {"www.omdbapi.com": HostLimit(2, 0.1)}
    _API = "https://www.omdbapi.com/?i={imdb_id}"
    _KINDS: ClassVar = {"movie": Kind.FILM, "series": Kind.SERIES, "episode": Kind.EPISODE, "game": Kind.GAME}

    def __init__(self, key: str) -> None:
        self.credential = Credential("www.omdbapi.com", query={"apikey": key})

    @classmethod
    def of(cls, setup: Setup) -> Self:
        if setup.settings.omdb_key is None:
            raise CrawlerError("source omdb needs a key: set ONESHEET_OMDB_KEY to your OMDb API key")
        return cls(setup.settings.omdb_key.get_secret_value())

    def locate(self, title: Title) -> Lookup:
        return Lookup(self._API.format(imdb_id=title.imdb_id))

    def read(self, title: Title, answer: Answer) -> Found | Rejected | Ended:
        if answer.status in (401, 403):
            if b"limit" in answer.body.lower():
                return Ended(Reason.QUOTA, "omdb's daily quota is used up: it is asked again by a run tomorrow")
            return _refused(self.name, "ONESHEET_OMDB_KEY", answer)
        found = _json_object(answer)
        if isinstance(found, Rejected):
            return found
        if str(found.get("Response")).lower() != "true":
            return Rejected(Reason.NOT_FOUND, f"OMDb: {_text(found.get('Error')) or 'no such title'}")
        url = _text(found.get("Poster"))
        if not url or url == "N/A":
            return Rejected(Reason.NO_POSTER, "OMDb has no poster of it")
        genres = _text(found.get("Genre")) or ""
        page = TitlePage(
            title=_text(found.get("Title")),
            year=_year(found.get("Year")),
            genres=clean_genres(genres.split(",")),
            kind=self._KINDS.get(str(found.get("Type"))),
        )
        return Found((url,), page)


class Page(Source):
    """The title page on imdb.com."""

    name = "page"
    terms = "IMDb's conditions allow no robots without its written consent"
    limits: ClassVar = {"www.imdb.com": HostLimit(1, 2.0)}

    def __init__(self, template: str) -> None:
        self._template = template

    @classmethod
    def of(cls, setup: Setup) -> Self:
        page_url = setup.settings.page_url
        try:
            has_place = page_url.format(imdb_id="tt0000001") != page_url
        except (LookupError, ValueError, AttributeError):
            has_place = False
        if not has_place:
            raise CrawlerError(f"ONESHEET_PAGE_URL={page_url!r} needs the place {{imdb_id}}, and no other")
        return cls(page_url)

    def locate(self, title: Title) -> Lookup:
        return Lookup(title.page_url or self._template.format(imdb_id=title.imdb_id))

    def read(self, title: Title, answer: Answer) -> Found | Rejected:
        page = parse_title(answer.body)
        if not page.is_title:
            return Rejected(Reason.NOT_A_TITLE, "what answers is not the page of a title")
        if page.poster_url is None:
            return Rejected(Reason.NO_POSTER, "the title page shows no poster")
        return Found((page.poster_url,), page)


BUILT_IN: Mapping[str, type[Source]] = {source.name: source for source in (Images, Listed, Tmdb, Omdb, Page)}


def source_chain(setup: Setup, names: Sequence[str] | None = None) -> tuple[Source, ...]:
    """The sources in the order in which each title tries them.

    names: by default `listed`, then `tmdb` where its token is set, then `page`; a folder of images goes before what is
    named, and alone where nothing is. Raises CrawlerError for an unknown name or a missing key.
    """
    if names is None:
        names = () if setup.images else ("listed", *(["tmdb"] if setup.settings.tmdb_token else []), "page")
    if setup.images is not None and Images.name not in names:
        names = (Images.name, *names)
    if not names or len(set(names)) != len(names):
        raise CrawlerError(f"sources {','.join(names)!r}: name each of {', '.join(BUILT_IN)} at most once")
    return tuple(_source_class(name).of(setup) for name in names)


def _source_class(name: str) -> type[Source]:
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError) as error:
        raise CrawlerError(f"source {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise CrawlerError(
            f"there is no source {name!r}; use {', '.join(BUILT_IN)}, or package.module:Class for one of your own"
        )
    return found


def _refused(name: str, variable: str, answer: Answer) -> Ended:
    sentence = f"{name} refuses the key (HTTP {answer.status}): correct {variable}, or leave {name} out of --sources"
    return Ended(Reason.WRONG_KEY, sentence, stops_crawl=True)


def _json_object(answer: Answer) -> dict[str, Any] | Rejected:
    if answer.status == 404:
        return Rejected(Reason.NOT_FOUND, "HTTP 404")
    try:
        # Twice, so that no lone surrogate ("\ud800" is JSON) gets further.
        found = json.loads(json.dumps(json.loads(answer.body), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        found = None
    if answer.status != 200 or not isinstance(found, dict):
        return Rejected(Reason.SERVER_ERROR, f"HTTP {answer.status} without an answer that can be read")
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value.strip()[:500] or None if isinstance(value, str) else None


def _year(value: object) -> int | None:
    start = str(value or "")[:4]
    return int(start) if start.isascii() and start.isdigit() and len(start) == 4 else None
