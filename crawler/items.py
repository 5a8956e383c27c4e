"""What travels from the spider through the pipelines: how the search for a title's poster ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from crawler.outcomes import PosterFacts, Rejected
from crawler.search import Trail

# Scrapy's stats count the titles by this and their reason, or `stored`.
TITLES = "titles/"
# And how many bytes of posters it stored.
STORED_BYTES = "posters/bytes"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """How the search for a title's poster ended, on its way to the store and the ledger.

    source: which one gave the poster, or said the last no. attempts: how often `url`, the last one, was asked for; 0
    where nothing was. download_ms: from sending the request to the head of its answer. body: the verified bytes as
    fetched, where there are any. is_unchanged: the host says that the poster of `trail.row` is still the one.
    """

    trail: Trail
    source: str
    attempts: int = 0
    url: str | None = None
    http_status: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    download_ms: int | None = None
    # Scrapy logs an item that a pipeline failed on.
    body: bytes | None = field(default=None, repr=False)
    outcome: PosterFacts | Rejected | None = None
    is_unchanged: bool = False
