"""The least that a verified poster can cost with aiohttp: its own loop, our decoders, one file each, and nothing else.

    python -m benchmarks.crawl_peers.bare_fetch URLS.csv FOLDER

No Scrapy, no robots.txt, no middlewares, no retries, no ledger: what onesheet is above this is what they cost.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import os
import sys
from pathlib import Path

import aiohttp

from crawler.decoder import Decoders
from crawler.outcomes import Rejected

_CONNECTIONS = 16
_MAX_PIXELS = 50_000_000


async def fetch_all(urls: list[str], folder: Path) -> None:
    """Fetch, verify and store every URL. Raises what aiohttp raises; ends the program at a picture that is none."""
    waiting = iter(urls)
    decoders = Decoders(max(1, min(2, (os.cpu_count() or 1) - 1)), max_pixels=_MAX_PIXELS)
    folder.mkdir(parents=True)

    async def work(session: aiohttp.ClientSession) -> None:
        for url in waiting:
            async with session.get(url) as answer:
                answer.raise_for_status()
                body = await answer.read()
            facts = await decoders.inspect(body)
            if isinstance(facts, Rejected):
                sys.exit(f"{url}: {facts.reason}")
            # One folder for all: the contenders' names differ, and the number of files does not.
            (folder / f"{hashlib.sha256(url.encode() + body).hexdigest()}.jpg").write_bytes(body)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS)) as session:
        await asyncio.gather(*(work(session) for _ in range(_CONNECTIONS)))
    await decoders.close()


if __name__ == "__main__":
    with Path(sys.argv[1]).open(newline="") as file:
        addresses = [row["url"] for row in csv.DictReader(file)]
    asyncio.run(fetch_all(addresses, Path(sys.argv[2])))
