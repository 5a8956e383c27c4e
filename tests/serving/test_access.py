"""Who may ask, how often and how long; and what the log says of it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from crawler.outcomes import Rejected
from serving.access import Access, write_line
from serving.admission import Admission
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.keys import Keys
from serving.limits import RateLimiter
from serving.predictor import Prediction, Predictor
from tests.serving.conftest import Poster, Register, running_app
from training.registry import Registry

KEY = "0123456789abcdef0123"
Serve = Callable[..., TestClient]


@pytest.fixture
def heard() -> list[Access]:
    return []


@pytest.fixture
def serve(registry: Registry, register: Register, heard: list[Access]) -> Iterator[Serve]:
    register("v1")
    registry.promote("v1")
    clients = []

    def start(**limits: Any) -> TestClient:
        follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
        given = Limits(**{"max_upload_bytes": 50_000, "listeners": (heard.append, write_line), **limits})
        client = TestClient(build_api(follower, given), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def test_each_request_is_recorded_with_its_route_and_its_posters(
    serve: Serve, heard: list[Access], poster: Poster
) -> None:
    client = serve()
    parts = [("image", ("1.jpg", poster("red"))), ("image", ("2.txt", b"hello"))]
    answer = client.post("/v1/predict?top=1", files=parts, headers={"X-Request-ID": "mine-1"})
    client.get("/v1/nothing")
    client.get("/wp-admin.php")
    predict, nothing, scan = heard
    assert (predict.method, predict.path, predict.status, predict.request_id) == ("POST", "/v1/predict", 200, "mine-1")
    assert (predict.posters, len(predict.predictions), predict.version) == (2, 1, "v1")
    assert predict.bytes_in > len(poster("red"))
    assert predict.ms > 0
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["Onesheet-Version"] == "v1"
    assert {(it.path, it.status) for it in (nothing, scan)} == {("unknown", 404)}
    assert len(nothing.request_id) == 32


@pytest.mark.parametrize("given", ["a" * 65, "evil\u00e9", "two words", '{"a":1}'])
def test_a_callers_id_that_could_harm_a_log_is_replaced(serve: Serve, heard: list[Access], given: str) -> None:
    serve().get("/healthz", headers=[(b"X-Request-ID", given.encode())])
    assert heard[0].request_id != given
    assert len(heard[0].request_id) == 32


def test_the_log_has_a_line_of_json_a_request_without_bytes_or_keys(
    serve: Serve, poster: Poster, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(keys=Keys({"alice": KEY}))
    with caplog.at_level(logging.INFO, logger="serving.access"):
        client.get("/healthz")
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/jpeg"}
        client.post("/v1/predict", content=poster("red"), headers=headers)
    [line] = [json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access"]
    assert line.keys() == {
        *("time", "request_id", "address", "method", "path", "status", "ms", "bytes_in"),
        *("caller", "posters", "scored", "version", "queued_ms"),
    }
    assert (line["caller"], line["posters"], line["status"]) == ("alice", 1, 200)
    assert KEY not in caplog.text


def test_without_a_key_of_its_own_nobody_is_answered(serve: Serve, poster: Poster, heard: list[Access]) -> None:
    client = serve(keys=Keys({"alice": KEY}))
    for headers in ({}, {"Authorization": "Bearer nobodys-key-at-all"}, {"Authorization": f"Basic {KEY}"}):
        answer = client.post("/v1/predict", content=poster("red"), headers={"Content-Type": "image/jpeg", **headers})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"
    # Turned away before anything of the poster was read.
    assert [it.posters for it in heard] == [0, 0, 0]
    assert "security" in client.get("/openapi.json").json()["paths"]["/v1/model"]["get"]
    known = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/jpeg"}
    assert client.post("/v1/predict", content=poster("red"), headers=known).status_code == 200
    assert heard[-1].caller == "alice"
    for path in ("/", "/healthz", "/readyz", "/docs"):
        assert client.get(path).status_code == 200


def test_who_asks_too_often_hears_when_to_ask_again(serve: Serve) -> None:
    client = serve(keys=Keys({"alice": KEY, "bob": KEY + "x"}), limiter=RateLimiter("2/minute"))
    asked = [client.get("/v1/model", headers={"Authorization": f"Bearer {KEY}"}) for _ in range(3)]
    assert [answer.status_code for answer in asked] == [200, 200, 429]
    assert 1 <= int(asked[-1].headers["Retry-After"]) <= 60
    assert client.get("/v1/model", headers={"Authorization": f"Bearer {KEY}x"}).status_code == 200


def test_a_request_that_takes_too_long_is_answered_with_504(
    serve: Serve, heard: list[Access], poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(timeout_s=0.2)
    from serving.predictor import Predictor

    is_over, ended = threading.Event(), []
    monkeypatch.setattr(Predictor, "predict", lambda _self, _images: ended.append(is_over.wait(60)))
    answer = client.post("/v1/predict", content=poster("red"), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 504
    assert answer.json()["detail"] == "not answered within 0.2 s; send fewer posters at once"
    assert heard[-1].status == 504
    assert ended == [], "the answer does not wait for the model"
    is_over.set()


def test_a_crash_is_recorded_as_what_it_is(
    serve: Serve, heard: list[Access], poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    from serving.predictor import Predictor

    monkeypatch.setattr(Predictor, "predict", lambda _self, _images: 1 / 0)
    answer = client.post("/v1/predict", content=poster("red"), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert heard[-1].status == 500


def test_pages_from_elsewhere_may_ask_only_where_they_are_named(serve: Serve) -> None:
    origin = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in serve().get("/v1/model", headers=origin).headers
    named = serve(cors_origins=("https://example.org",))
    assert named.get("/v1/model", headers=origin).headers["Access-Control-Allow-Origin"] == "https://example.org"
    other = named.get("/v1/model", headers={"Origin": "https://elsewhere.org"})
    assert "Access-Control-Allow-Origin" not in other.headers
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert named.options("/v1/predict", headers=asked).status_code == 200


def test_behind_a_trusted_proxy_each_caller_has_a_rate_and_a_line_of_its_own(serve: Serve, heard: list[Access]) -> None:
    # The test's client has no address of its own; a server in front gives it the proxy's.
    limits: dict[str, Any] = {"limiter": RateLimiter("2/minute"), "trusted_proxies": (ip_network("10.0.0.0/8"),)}
    app = serve(**limits).app
    client = TestClient(app, client=("10.0.0.1", 4711))

    def ask(forwarded: str) -> int:
        return client.get("/v1/genres", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask("198.51.100.7") for _ in range(3)] == [200, 200, 429]
    assert ask("198.51.100.8") == 200
    # What a caller wrote there itself stands left of what the proxy wrote.
    assert ask("203.0.113.9, 198.51.100.7") == 429
    assert [it.address for it in heard] == [*["198.51.100.7"] * 3, "198.51.100.8", "198.51.100.7"]
    stranger = TestClient(app, client=("192.0.2.50", 4711))
    headers = {"X-Forwarded-For": "198.51.100.8"}
    assert [stranger.get("/v1/genres", headers=headers).status_code for _ in range(3)] == [200, 200, 429]
    assert heard[-1].address == "192.0.2.50", "nobody who is not trusted says whose request it is"


def test_without_trusted_proxies_the_header_counts_for_nothing(serve: Serve, heard: list[Access]) -> None:
    serve().get("/v1/genres", headers={"X-Forwarded-For": "198.51.100.7"})
    assert heard[0].address == "testclient"


def test_a_replica_with_a_full_queue_says_so_before_it_reads_a_poster(
    serve: Serve, heard: list[Access], poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.predictor import Predictor

    client = serve(admission=Admission(max_ongoing=1, max_queued=1, max_in_overload=1))
    original, started, release = Predictor.predict, threading.Event(), threading.Event()

    def slow(self: Any, images: list[bytes]) -> list[Any]:
        started.set()
        release.wait(20)
        return original(self, images)

    monkeypatch.setattr(Predictor, "predict", slow)
    image: dict[str, Any] = {"content": poster("red"), "headers": {"Content-Type": "image/jpeg"}}
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(client.post, "/v1/predict", **image)
        assert started.wait(20)
        second = callers.submit(client.post, "/v1/predict", **image)
        admission: Admission = client.app.state.limits.admission  # type: ignore[attr-defined]
        until = time.monotonic() + 20
        while admission.waiting < 1 and time.monotonic() < until:
            time.sleep(0.01)
        third = client.post("/v1/predict", **image)
        assert third.status_code == 503
        assert third.headers["Content-Type"] == "application/problem+json"
        assert third.headers["Retry-After"] == "1"
        assert client.get("/v1/genres").status_code == 200, "what costs nothing is always answered"
        assert second.result().status_code == 503, "an overload is no burst: the queue goes with it"
        release.set()
        assert first.result().status_code == 200
    shed = [it for it in heard if it.status == 503]
    assert sorted((it.path, it.posters) for it in shed) == [("/v1/predict", 0), ("/v1/predict", 1)]
    assert admission.inside == 0


def test_a_caller_that_is_gone_when_its_turn_comes_costs_no_scoring(
    registry: Registry, register: Register, heard: list[Access], poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("v1")
    registry.promote("v1")
    scored: list[bytes] = []
    has_begun, go = threading.Event(), threading.Event()
    predict = Predictor.predict

    def slow(self: Predictor, images: list[bytes]) -> list[Prediction | Rejected]:
        scored.extend(images)
        has_begun.set()
        assert go.wait(20)
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", slow)
    admission = Admission(max_ongoing=1)
    limits = Limits(max_upload_bytes=50_000, admission=admission, listeners=(heard.append,))
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with running_app(build_api(follower, limits)) as url, ThreadPoolExecutor(2) as callers:

        def ask(color: str, timeout: float) -> int:
            return httpx.post(f"{url}/v1/predict", files={"image": poster(color)}, timeout=timeout).status_code

        stays = callers.submit(ask, "red", 60)
        assert has_begun.wait(20)
        with pytest.raises(httpx.ReadTimeout):
            ask("green", 0.5)
        assert admission.waiting == 1
        waits = callers.submit(ask, "blue", 60)
        while admission.waiting < 2:
            time.sleep(0.01)
        go.set()
        assert (stays.result(20), waits.result(20)) == (200, 200)
    assert scored == [poster("red"), poster("blue")]
    assert sorted(it.status for it in heard) == [200, 200, 499]


def test_a_caller_that_leaves_in_the_middle_of_its_poster_is_recorded_and_no_fault(
    registry: Registry, register: Register, heard: list[Access], caplog: pytest.LogCaptureFixture
) -> None:
    register("v1")
    registry.promote("v1")
    limits = Limits(max_upload_bytes=50_000, listeners=(heard.append,))
    with running_app(build_api(Follower(registry, poll_interval_s=60, max_pixels=100_000), limits)) as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as caller:
            caller.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n")
            caller.sendall(b"Content-Type: image/jpeg\r\n\r\n" + bytes(5_000))
            time.sleep(0.2)
        until = time.monotonic() + 20
        while not heard:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert [(it.path, it.status) for it in heard] == [("/v1/predict", 499)]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
