"""What travels from the spider through the pipelines: one attempt to get a title's poster."""

from __future__ import annotations

from dataclasses import dataclass

from crawler.outcomes import PosterFacts, Rejected
from crawler.pages import TitlePage
from crawler.titles import Title


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The spider fills in what the hosts answered; the pipelines verify, store and record it.

    source: `listed` (the catalogue's own poster URL) or `page` (the title page).
    attempts: how often `url`, the last one, was asked for; 0 where robots.txt or a bad address forbade it.
    body: the poster's bytes as fetched, None where there are none. outcome: None until it is known.
    """

    title: Title
    source: str
    attempts: int
    url: str
    http_status: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    page: TitlePage | None = None
    body: bytes | None = None
    outcome: PosterFacts | Rejected | None = None
