"""The least that storing to S3 can cost: boto3's put_object in a loop over so many threads, and nothing else.

    python -m benchmarks.crawl_peers.bare_puts FOLDER NAMES s3://bucket/prefix THREADS

NAMES is a file with a name a line; FOLDER/NAME.jpg goes to the prefix as posters/NAME.jpg.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config


def put_all(folder: Path, names: list[str], url: str, threads: int) -> None:
    """Put every file. Raises what boto3 raises."""
    parts = urlsplit(url)
    prefix = "/".join(part for part in (parts.path.strip("/"), "posters") if part)
    config = Config(
        max_pool_connections=threads,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
    )
    client = boto3.client("s3", config=config)

    def put(name: str) -> None:
        body = (folder / f"{name}.jpg").read_bytes()
        client.put_object(Bucket=parts.netloc, Key=f"{prefix}/{name}.jpg", Body=body, ContentType="image/jpeg")

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(put, names):
            pass


if __name__ == "__main__":
    put_all(Path(sys.argv[1]), Path(sys.argv[2]).read_text().split(), sys.argv[3], int(sys.argv[4]))
