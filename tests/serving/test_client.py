"""The client against the interface, served by a real server that is not always there."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ServingError
from serving.answers import RefusedPoster, ScoredPoster
from serving.client import Client, EndpointError
from serving.fetching import Fetcher
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.keys import Keys
from serving.problems import problem_response
from tests.serving.conftest import Poster, Register, Site, running_app
from tests.serving.test_commands import run
from training.registry import Registry


class Moody:
    """The app, whose first `bad` answers are 503s."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.bad = self.asked = 0
        self.status = 503
        self.headers: dict[str, str] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.asked += 1
            if self.asked <= self.bad:
                response = problem_response(self.status, "busy")
                response.headers.update(self.headers)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


@pytest.fixture
def moody(registry: Registry, register: Register) -> Moody:
    register("v1")
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    return Moody(build_api(follower, Limits(max_upload_bytes=100_000)))


@pytest.fixture
def url(moody: Moody) -> Iterator[str]:
    with running_app(moody) as url:
        yield url


def test_posters_are_asked_by_their_bytes_and_their_files(url: str, poster: Poster, tmp_path: Path) -> None:
    file = tmp_path / "blue.jpg"
    file.write_bytes(poster("blue"))
    answer = Client(url + "/").predict([poster("red"), file, b"hello"], top=1)
    assert answer.version == "v1"
    red, blue, text = answer.posters
    assert isinstance(red, ScoredPoster)
    assert isinstance(blue, ScoredPoster)
    assert isinstance(text, RefusedPoster)
    assert [(it.name, it.predicted, len(it.genres)) for it in (red, blue)] == [
        ("0", ["Red"], 1),
        ("blue.jpg", ["Blue"], 1),
    ]
    assert text.problem.reason == "not_an_image"
    [alone] = Client(url).predict([b"hello"]).posters
    assert isinstance(alone, RefusedPoster)
    assert alone.problem.reason == "not_an_image"


def test_posters_are_asked_by_their_urls_with_a_key(
    registry: Registry, register: Register, site: Site, poster: Poster
) -> None:
    register("v1")
    registry.promote("v1")
    site.answers = {"/red.jpg": poster("red")}
    fetcher = Fetcher(max_bytes=100_000, networks=(ipaddress.ip_network("127.0.0.1/32"),))
    limits = Limits(max_upload_bytes=100_000, fetcher=fetcher, keys=Keys({"alice": "0123456789abcdef"}))
    with running_app(build_api(Follower(registry, poll_interval_s=60, max_pixels=100_000), limits)) as url:
        with pytest.raises(EndpointError, match="an API key is wanted"):
            Client(url).predict_urls([site.url("/red.jpg")])
        client = Client(url, key="0123456789abcdef")
        [red, inner] = client.predict_urls([site.url("/red.jpg"), "http://127.0.0.2/"]).posters
        assert isinstance(red, ScoredPoster)
        assert red.predicted == ["Red"]
        assert isinstance(inner, RefusedPoster)
        [alone] = client.predict_urls(["http://127.0.0.2/"]).posters
        assert isinstance(alone, RefusedPoster)
        assert alone.problem.reason == "unreachable"


def test_the_model_its_genres_and_explanations_are_typed(url: str, poster: Poster) -> None:
    client = Client(url)
    assert client.model().metrics["macro_map"] == 0.375
    assert [it.genre for it in client.genres().genres] == ["Red", "Green", "Blue"]
    explained = client.explain(poster("red"), genre="Red", picture="map")
    assert explained.picture.startswith(b"\x89PNG")
    assert (explained.genre, explained.version) == ("Red", "v1")
    assert explained.score > 0.9
    with pytest.raises(EndpointError, match="genre: 'Western' is none of Red, Green, Blue"):
        client.explain(poster("red"), genre="Western")


def test_a_busy_server_is_asked_again_and_in_the_end_believed(url: str, moody: Moody, poster: Poster) -> None:
    moody.bad = 2
    assert Client(url).predict([poster("red")]).posters
    assert moody.asked == 3
    moody.bad = 100
    with pytest.raises(EndpointError, match=r"busy$") as caught:
        Client(url, retries=1).predict([poster("red")])
    assert caught.value.problem is not None
    assert caught.value.problem.status == 503
    assert moody.asked == 5


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_a_proxy_says_whose_replica_is_gone_is_asked_again(url: str, moody: Moody, status: int) -> None:
    moody.bad, moody.status = 1, status
    assert Client(url).model().version == "v1"
    assert moody.asked == 2


def test_a_server_that_says_how_long_is_not_asked_before(url: str, moody: Moody) -> None:
    moody.bad, moody.headers = 1, {"Retry-After": "1"}
    began = time.monotonic()
    Client(url).model()
    assert time.monotonic() - began > 0.9


def test_a_server_that_is_not_there_or_is_another_is_told_in_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EndpointError, match=rf"{address} does not answer: .*refused"):
        Client(address, retries=1).model()
    with pytest.raises(EndpointError, match="cannot be asked"):
        Client("htp:/nowhere").model()


def test_predict_asks_an_endpoint(url: str, poster: Poster, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("red.jpg", "text.jpg", "missing.jpg")]
    Path(files[0]).write_bytes(poster("red"))
    Path(files[1]).write_bytes(b"no image")
    answer = json.loads(run("predict", *files, "--url", url, "--json", exit_code=1).splitlines()[-1])
    red, text, missing = answer["posters"]
    assert answer["version"] == "v1"
    assert red["predicted"] == ["Red"]
    assert text["error"]["reason"] == "not_an_image"
    assert text["error"]["detail"].startswith("starts with b'no image'"), "as without a server"
    assert missing["error"]["reason"] == "unreadable"
    with pytest.raises(ServingError, match="leave one of the two out"):
        run("predict", files[0], "--url", url, "--model", "v1")
