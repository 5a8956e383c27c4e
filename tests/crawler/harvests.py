"""What a crawl left in a store, and the promise that all crawls keep: the sum is the catalogue."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster.store import Store, open_store
from crawler.crawl import list_crawls
from crawler.ledger import read_ledger
from crawler.segments import Segments

Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[..., subprocess.CompletedProcess[str]]
Run = subprocess.CompletedProcess[str]

HEADER = "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"


class Harvest:
    """The newest crawl of a store, or the one that is named."""

    def __init__(self, store: Path | str, crawl_id: str | None = None) -> None:
        self.store: Store = open_store(str(store))
        self._crawl_id = crawl_id

    @property
    def crawl_id(self) -> str:
        """Known from the start where it was given, else once the crawl has ended."""
        return self._crawl_id or str(self.summary["crawl_id"])

    @property
    def summary(self) -> dict[str, Any]:
        """Of the crawl's last end."""
        found = list_crawls(self.store)
        return next(each for each in found if self._crawl_id in (None, each["crawl_id"]))

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The ledger by title; fails where a title has two rows."""
        rows = read_ledger(self.store, self.crawl_id).to_pylist()
        assert len({row["imdb_id"] for row in rows}) == len(rows)
        return {row["imdb_id"]: row for row in rows}

    @property
    def stored(self) -> dict[str, dict[str, Any]]:
        """The rows of stored posters."""
        return {imdb_id: row for imdb_id, row in self.rows.items() if row["outcome"] == "stored"}

    @property
    def outcomes(self) -> dict[str, str]:
        """`stored` or the reason, by title."""
        return {imdb_id: row["reason"] or row["outcome"] for imdb_id, row in self.rows.items()}

    @property
    def posters(self) -> set[str]:
        """The titles that have an object."""
        return {key.removeprefix("posters/").removesuffix(".jpg") for key in self.store.list("posters/")}

    def poster(self, imdb_id: str) -> bytes:
        """The bytes in the store."""
        return self.store.get(f"posters/{imdb_id}.jpg")

    def assert_whole(self, titles: int) -> None:
        """Every title has one row, the store holds the stored posters and no other, byte for byte as the rows say."""
        rows, stored, summary = self.rows, self.stored, self.summary
        assert len(rows) == titles == summary["titles"]
        assert (summary["stored"], summary["open"]) == (len(stored), 0)
        assert sum(summary["reasons"].values()) == summary["rejected"] == titles - len(stored)
        assert summary["reasons"] == Counter(row["reason"] for row in rows.values() if row["reason"])
        assert all(row["reason"] for row in rows.values() if row["outcome"] == "rejected")
        assert self.posters == set(stored)
        for imdb_id, row in stored.items():
            data = self.poster(imdb_id)
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], row["bytes"])
        assert len(Segments(self.store, self.crawl_id).keys()) == 1


def crawl(finish: Callable[..., Any], catalog: object, store: object, *options: object, **settings: object) -> Any:
    """`scrapy crawl posters` of a catalogue into a store; with `start` for `finish` it goes on beside the test."""
    arguments = ("-a", f"catalog={catalog}", "-a", f"store={store}", *options)
    return finish("scrapy", "crawl", "posters", *arguments, **settings)


def assert_fails_in_one_sentence(run: Run, sentence: str) -> None:
    """Exit code 1 and the sentence for people, without a traceback."""
    assert run.returncode == 1, run.stderr
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr


def wait_until(process: subprocess.Popen[str], is_so: Callable[[], object], *, longest_s: float = 60) -> None:
    """Look on until something is so; fails where the process ends before."""
    deadline = time.monotonic() + longest_s
    while not is_so():
        assert process.poll() is None, f"the crawl ended too early: {process.communicate()}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A started crawl that is gone after the block, whatever happens in it."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Host(BaseHTTPRequestHandler):
    """Somebody else's host, for one test: a subclass says in `get` what it answers."""

    def do_GET(self) -> None:
        self.get()

    def get(self) -> None:
        """Answer a request for `path`."""
        raise NotImplementedError

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Quiet."""


@contextmanager
def serving(host: type[Host]) -> Iterator[int]:
    """Its port on 127.0.0.1, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def write_movie_genre(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """A catalogue like Kaggle's of (imdb_id, poster URL)."""
    lines = [f'{int(imdb_id[2:])},,Film {imdb_id},5,Drama,"{url}"\n' for imdb_id, url in rows]
    path.write_text(HEADER + "".join(lines))
    return path


def write_ids(path: Path, ids: Iterable[str]) -> Path:
    """A catalogue of ids, one a line: nothing is listed."""
    path.write_text("".join(f"{imdb_id}\n" for imdb_id in ids))
    return path


def last_json(run: Run) -> dict[str, Any]:
    """What a command with --json ends with."""
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
