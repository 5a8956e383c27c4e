"""Posters by their URLs: fetched from where the operator allows, and from nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.fetching import Fetcher, is_public
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.problems import ProblemError
from tests.serving.conftest import Poster, Register, Site
from training.registry import Registry

HERE = ipaddress.ip_network("127.0.0.1/32")
MAX_BYTES = 20_000


def fetch(url: str, *, networks: tuple[Any, ...] = (HERE,), timeout_s: float = 5) -> bytes:
    async def once() -> bytes:
        async with Fetcher(max_bytes=MAX_BYTES, timeout_s=timeout_s, networks=networks) as fetcher:
            return await fetcher.fetch(url, fetcher.room())

    return asyncio.run(once())


def refused(url: str, **how: Any) -> tuple[int, str]:
    with pytest.raises(ProblemError) as caught:
        fetch(url, **how)
    return caught.value.status_code, caught.value.detail


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:db8::1",
    ],
)
def test_what_is_not_a_public_address_is_told_apart(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.1.16", "2606:4700::6810:84e5"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_poster_is_fetched_after_redirects_without_anything_of_ours(site: Site) -> None:
    site.answers = {"/a": (302, {"Location": "/b", "Set-Cookie": "id=1"}), "/b": b"bytes"}
    assert fetch(site.url("/a?key=secret#part")) == b"bytes"
    assert site.asked == ["/a", "/b"]
    for headers in site.headers:
        assert not {"Cookie", "Authorization", "Referer"} & headers.keys()
        assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_no_spelling_of_an_inner_address_is_asked(site: Site, host: str) -> None:
    site.answers = {"/a": b"secret"}
    status, said = refused(site.url("/a", host), networks=())
    assert status == 422
    assert said.endswith("cannot be fetched: no public host answers there")
    assert site.asked == []


def test_a_redirect_leads_no_further_than_a_url_does(site: Site) -> None:
    site.answers = {
        "/inner": (302, {"Location": site.url("/secret", "127.0.0.2")}),
        "/file": (302, {"Location": "file:///etc/passwd"}),
        "/user": (302, {"Location": site.url("/secret", "me:word@127.0.0.1")}),
        "/again": (302, {"Location": "/again"}),
    }
    assert refused(site.url("/inner"))[1].endswith("no public host answers there")
    assert "'file:///etc/passwd' is no URL to fetch" in refused(site.url("/file"))[1]
    said = refused(site.url("/user"))[1]
    assert "a URL with a user or a password is not fetched" in said
    assert "me:word" not in said
    assert refused(site.url("/again"))[1].endswith("leads on more than 3 times")
    assert "/secret" not in site.asked


def test_a_name_that_means_another_address_the_second_time_is_not_believed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer may be asked, the second is what would be connected to."""
    site.answers = {"/a": (302, {"Location": site.url("/secret", "rebound.test")}), "/secret": b"secret"}
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = asyncio.BaseEventLoop.getaddrinfo

    async def rebinding(loop: Any, host: Any, port: Any, **how: Any) -> Any:
        return await real(loop, next(answers) if host == "rebound.test" else host, port, **how)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", rebinding)
    assert refused(site.url("/a", "rebound.test"))[1].endswith("no public host answers there")
    assert site.asked == ["/a"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.org/a.jpg", "is no URL to fetch"),
        ("file:///etc/passwd", "is no URL to fetch"),
        ("gopher://127.0.0.1:70/_", "is no URL to fetch"),
        ("//example.org/a.jpg", "is no URL to fetch"),
        ("http:///a.jpg", "is no URL"),
        ("http://me:word@example.org/", "a user or a password"),
        ("http://[::1", "is no URL"),
        ("http://example.org/" + "a" * 3000, "longer than 2048"),
        ("http://example.org\\@127.0.0.1/", "no"),
        ("", "is no URL to fetch"),
    ],
)
def test_what_is_no_url_to_fetch_is_said(url: str, said: str) -> None:
    status, detail = refused(url, timeout_s=2)
    assert status == 422
    assert said in detail
    assert "me:word" not in detail


def test_a_file_that_is_too_large_a_slow_host_and_a_missing_file_each_say_so(site: Site) -> None:
    def slow() -> bytes:
        time.sleep(1)
        return b""

    site.answers = {"/large": b"x" * (MAX_BYTES + 1), "/slow": slow}
    assert refused(site.url("/large"))[0] == 413
    assert refused(site.url("/slow"), timeout_s=0.2) == (504, f"{site.url('/slow')} did not answer within 0.2 s")
    assert refused(site.url("/none?key=secret")) == (422, f"{site.url('/none')} answers HTTP 404")


@pytest.fixture
def client(registry: Registry, register: Register) -> Iterator[TestClient]:
    register("v1")
    registry.promote("v1")
    fetcher = Fetcher(max_bytes=MAX_BYTES, timeout_s=1, networks=(HERE,))
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES, max_posters=3, fetcher=fetcher))) as client:
        yield client


def test_each_url_has_its_genres_or_its_problem(client: TestClient, site: Site, poster: Poster) -> None:
    site.answers = {"/red.jpg": poster("red"), "/text.jpg": b"hello"}
    urls = [site.url("/red.jpg"), site.url("/text.jpg"), "http://127.0.0.2/inner.jpg"]
    answer = client.post("/v1/predict", json={"urls": urls})
    assert answer.status_code == 200
    red, text, inner = answer.json()["posters"]
    assert (red["name"], red["predicted"]) == ("red.jpg", ["Red"])
    assert (text["problem"]["status"], text["problem"]["reason"]) == (415, "not_an_image")
    assert (inner["problem"]["status"], inner["problem"]["reason"]) == (422, "unreachable")
    explained = client.post("/v1/explain?picture=map", json={"urls": urls[:1]})
    assert explained.headers["content-type"] == "image/png"
    alone = client.post("/v1/explain", json={"urls": urls[2:]})
    assert alone.status_code == 422
    assert alone.json()["reason"] == "unreachable"


def test_the_posters_of_a_request_share_its_limits(client: TestClient, site: Site, poster: Poster) -> None:
    site.answers = {"/most.jpg": poster("red") + b"\0" * (MAX_BYTES - 3000)}
    found = client.post("/v1/predict", json={"urls": [site.url("/most.jpg")] * 2}).json()["posters"]
    assert sorted(it.get("problem", {}).get("status", 200) for it in found) in ([200, 413], [413, 413])
    too_many = client.post("/v1/predict", json={"urls": [site.url("/most.jpg")] * 4})
    assert too_many.status_code == 413
    assert len(site.asked) == 2


def test_urls_are_refused_where_they_are_not_allowed(registry: Registry, register: Register, site: Site) -> None:
    register("v1")
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES))) as client:
        answer = client.post("/v1/predict", json={"urls": [site.url("/red.jpg")]})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "urls: this server fetches no URLs; send the posters themselves"
    assert site.asked == []
