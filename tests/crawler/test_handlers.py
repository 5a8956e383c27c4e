"""The download handler: what a host is sent."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from crawler.site.content import SiteContent
from tests.crawler.harvests import Finish, Harvest, Host, crawl, serving, write_movie_genre

_POSTER = SiteContent.invented(2).poster_bytes("tt9900001") or b""


class _Listener(Host):
    """A host that remembers the headers of each request."""

    heard: ClassVar[list[dict[str, str]]]

    def get(self) -> None:
        self.heard.append({name.lower(): value for name, value in self.headers.items()})
        self.answer(200, _POSTER if self.path.startswith("/posters/") else b"")


def test_a_request_without_a_body_does_not_speak_of_one(tmp_path: Path, finish: Finish) -> None:
    """A GET with `Content-Length: 0` is nothing that a browser sends, and some firewalls turn it away."""
    _Listener.heard = []
    with serving(_Listener) as port:
        catalog = write_movie_genre(tmp_path / "films.csv", [("tt0000001", f"http://127.0.0.1:{port}/posters/1.jpg")])
        run = crawl(finish, catalog, tmp_path / "store", "-a", "sources=listed")
    assert run.returncode == 0, run.stderr
    assert len(Harvest(tmp_path / "store").stored) == 1
    assert len(_Listener.heard) == 2  # robots.txt and the poster
    for headers in _Listener.heard:
        assert not {"content-length", "content-type", "transfer-encoding"} & set(headers)
        assert headers["user-agent"].startswith("onesheet/")
