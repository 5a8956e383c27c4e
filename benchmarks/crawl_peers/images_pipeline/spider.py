"""Spiders as small as they come: one item an image URL; the pipeline fetches, checks and stores it.

Both ways are ordinary. Items from start() cost a little less CPU, but nothing holds them back, so memory grows with
the list; items of a page wait for each other (CONCURRENT_ITEMS).
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.http import Response, TextResponse


class StartSpider(scrapy.Spider):
    """`scrapy crawl start -a urls=FILE -s IMAGES_STORE=FOLDER`."""

    name = "start"

    def __init__(self, urls: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._urls = Path(urls)

    async def start(self) -> AsyncIterator[dict[str, list[str]]]:
        with self._urls.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield {"image_urls": [row["url"]]}


class PageSpider(scrapy.Spider):
    """`scrapy crawl page -a urls=FILE -s IMAGES_STORE=FOLDER`: the list is a page that the spider reads."""

    name = "page"

    def __init__(self, urls: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_urls = [Path(urls).resolve().as_uri()]

    def parse(self, response: Response) -> Iterator[dict[str, list[str]]]:
        if isinstance(response, TextResponse):
            for row in csv.DictReader(response.text.splitlines()):
                yield {"image_urls": [row["url"]]}
