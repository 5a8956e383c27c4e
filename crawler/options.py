"""The options of one crawl, the same for `onesheet crawl`, `scrapy crawl posters -a …` and a shard of a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError

from cluster.errors import CrawlerError
from crawler.catalogs import Form
from crawler.titles import Kind


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class CrawlOptions(BaseModel):
    """What to crawl, from where, and how far. Text, as Scrapy's `-a name=value` gives it, becomes the right type.

    shard and shards: this process crawls the titles of shard `shard` (from 0) of `shards`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    catalog: str | None = None
    store: str | None = None
    crawl_id: str | None = None
    format: Form | None = None
    kinds: Annotated[frozenset[Kind] | None, BeforeValidator(_listed)] = None
    adult: bool = False
    images: Path | None = None
    sources: Annotated[tuple[str, ...] | None, BeforeValidator(_listed)] = None
    height: int = Field(600, ge=0, le=10_000, description="px; 0 takes the listed size")
    refresh: float | None = Field(None, ge=0, description="days")
    max_titles: int | None = Field(None, gt=0)
    max_bytes: ByteSize | None = Field(None, gt=0)
    max_minutes: float | None = Field(None, gt=0)
    shard: int = Field(0, ge=0)
    shards: int = Field(1, gt=0)


def read_options(**given: Any) -> CrawlOptions:
    """The options from text or values; None counts as not given. Raises CrawlerError that names the bad one."""
    try:
        options = CrawlOptions(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ", ".join(CrawlOptions.model_fields)
            raise CrawlerError(f"there is no option {name!r}; the crawl's are {known}") from error
        raise CrawlerError(f"{name}={first['input']!r} is not valid: {first['msg']}") from error
    if not options.catalog and not options.crawl_id:
        raise CrawlerError("no catalogue; give one with -a catalog=PATH, or a crawl to go on with by -a crawl_id=NAME")
    if options.images is not None and not options.images.is_dir():
        raise CrawlerError(f"images {options.images}: no such folder; give the folder that holds <imdb_id>.jpg")
    return options
