"""A spider as small as they come: one item an image URL; the pipeline fetches, checks and stores it."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy


class PostersSpider(scrapy.Spider):
    """`scrapy crawl posters -a urls=FILE -s IMAGES_STORE=FOLDER`."""

    name = "posters"

    def __init__(self, urls: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._urls = Path(urls)

    async def start(self) -> AsyncIterator[dict[str, list[str]]]:
        with self._urls.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield {"image_urls": [row["url"]]}
