"""The download handler: what a host is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from scrapy.exceptions import DownloadConnectionRefusedError
from scrapy.http import Request, Response
from scrapy.utils.test import get_crawler

from cluster.ports import free_ports
from crawler.failures import BadAddressError
from crawler.handlers import PosterDownloadHandler
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


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name means; others mean what they are."""
    names: dict[str, list[str]] = {}
    real = asyncio.BaseEventLoop.getaddrinfo

    async def found(loop: Any, host: Any, port: Any, **how: Any) -> Any:
        return [one for address in names.get(host, [host]) for one in await real(loop, address, port, **how)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)
    return names


def _download(url: str) -> Response:
    async def download() -> Response:
        handler = PosterDownloadHandler(get_crawler())
        try:
            return await asyncio.wait_for(handler.download_request(Request(url)), 10)
        finally:
            await handler.close()

    return asyncio.run(download())


@pytest.mark.parametrize("addresses", [["169.254.169.254"], ["0.0.0.0"], ["fe80::1", "169.254.169.254", "0.0.0.0"]])
def test_a_name_that_means_where_clouds_keep_their_secrets_is_not_asked(
    addresses: list[str], names: dict[str, list[str]]
) -> None:
    with serving(_Listener) as port:
        names["posters.test"] = addresses
        _Listener.heard = []
        with pytest.raises(BadAddressError, match=r"posters\.test:\d+/posters/1\.jpg leads to an address"):
            _download(f"http://posters.test:{port}/posters/1.jpg")
    assert not _Listener.heard


def test_of_a_name_with_several_addresses_the_one_that_may_be_asked_is(names: dict[str, list[str]]) -> None:
    with serving(_Listener) as port:
        names["posters.test"] = ["169.254.169.254", "127.0.0.1"]
        assert _download(f"http://posters.test:{port}/posters/1.jpg").body == _POSTER


def test_a_host_where_nobody_answers_is_no_trap() -> None:
    with pytest.raises(DownloadConnectionRefusedError):
        _download(f"http://127.0.0.1:{free_ports(1)[0]}/posters/1.jpg")
