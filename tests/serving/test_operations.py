"""What operators do to a real Ray Serve application while callers ask it: nobody notices but by the version."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cluster.settings import load_settings
from cluster.store import FolderStore
from serving.endpoint import Endpoint, options_for, running
from tests.conftest import ROOT
from tests.s3_servers import free_ports
from tests.serving.conftest import Poster, register_tiny
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """v1 in production, v2 beside it, and v3, which does not load."""
    folder = tmp_path_factory.mktemp("operations")
    registry = Registry(FolderStore(folder / "store"))
    for version in ("v1", "v2", "v3"):
        register_tiny(registry, folder / version, version)
    registry.store.put("models/v3/model.keras", b"damaged")
    registry.promote("v1")
    return registry


@pytest.fixture(scope="module")
def endpoint(registry: Registry) -> Iterator[Endpoint]:
    settings = load_settings(store=registry.store.url, ray_address="local")
    options = options_for(settings, min_replicas=1, max_replicas=1).model_copy(update={"poll_interval_s": 0.3})
    with running(options, settings, host="127.0.0.1", port=free_ports(1)[0]) as endpoint:
        yield endpoint


def model(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{endpoint.url}/v1/model").json()
    return found


def wait_until(what: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


@contextlib.contextmanager
def asking(endpoint: Endpoint, image: bytes) -> Iterator[Counter[tuple[int, str | None]]]:
    """Callers that ask without a pause or a retry within the block; counts what they were answered."""
    answers: Counter[tuple[int, str | None]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                answer = client.post(f"{endpoint.url}/v1/predict", files={"image": image})
                answers[answer.status_code, answer.headers.get("Onesheet-Version")] += 1

    with ThreadPoolExecutor(2) as callers:
        asked = [callers.submit(ask) for _ in range(2)]
        try:
            yield answers
        finally:
            over.set()
        for each in asked:
            each.result()


def test_a_candidate_answers_its_share_and_stops_without_a_failed_request(
    endpoint: Endpoint, registry: Registry, poster: Poster
) -> None:
    with asking(endpoint, poster("red")) as answers:
        registry.canary("v2", 0.3)
        wait_until(lambda: model(endpoint)["candidate"])
        before = dict(answers)
        wait_until(lambda: answers.total() - sum(before.values()) > 300)
        asked = {version: count - before.get((status, version), 0) for (status, version), count in answers.items()}
        registry.stop_canary()
        wait_until(lambda: not model(endpoint)["candidate"])
        stopped = answers[200, "v2"]
    assert {status for status, _ in answers} == {200}
    total = sum(asked.values())
    # Five standard deviations.
    assert abs(asked["v2"] - 0.3 * total) < 5 * (0.3 * 0.7 * total) ** 0.5
    # A request of each of the two callers may have been under way.
    assert answers[200, "v2"] <= stopped + 2


def test_a_candidate_that_does_not_load_harms_nobody(endpoint: Endpoint, registry: Registry, poster: Poster) -> None:
    with asking(endpoint, poster("red")) as answers:
        registry.canary("v3", 0.9)
        wait_until(lambda: model(endpoint)["refused_candidate"])
        told = model(endpoint)
        asked = answers.total()
        wait_until(lambda: answers.total() > asked + 20)
    assert (told["version"], told["candidate"], told["refused_candidate"]["version"]) == ("v1", None, "v3")
    assert answers.keys() == {(200, "v1")}
    registry.stop_canary()


def test_promotion_and_rollback_lose_no_request(endpoint: Endpoint, registry: Registry, poster: Poster) -> None:
    with asking(endpoint, poster("red")) as answers:
        registry.canary("v2", 0.5)
        wait_until(lambda: model(endpoint)["candidate"])
        registry.promote("v2")
        wait_until(lambda: model(endpoint)["version"] == "v2")
        registry.rollback()
        wait_until(lambda: model(endpoint)["version"] == "v1")
        registry.promote("v3")
        wait_until(lambda: model(endpoint)["refused"])
        registry.rollback()
        wait_until(lambda: not model(endpoint)["refused"])
    assert answers.keys() == {(200, "v1"), (200, "v2")}


def test_every_metric_is_exported_and_every_one_exported_is_documented(
    endpoint: Endpoint, registry: Registry, poster: Poster
) -> None:
    import ray

    registry.canary("v2", 0.4)
    wait_until(lambda: model(endpoint)["candidate"])
    files = [("image", ("1.jpg", poster("red"))), ("image", ("2.txt", b"hello"))]
    for _ in range(30):
        assert httpx.post(f"{endpoint.url}/v1/predict", files=files).status_code == 200
    documented = set(re.findall(r"`(ray_onesheet_\w+)`", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")))
    [node] = ray.nodes()
    metrics = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found = {"": ""}

    def exported() -> set[str]:
        found[""] = httpx.get(metrics).text
        return set(re.findall(r"^# TYPE (ray_onesheet_\w+) ", found[""], re.MULTILINE))

    # Those that only a drift or a refusal brings forth are in tests/serving/test_drift.py; the latter was just there.
    only_with_a_reference = {"ray_onesheet_genre_drift", "ray_onesheet_input_drift"}
    wait_until(lambda: documented - only_with_a_reference <= exported() and 'version="v2"} 0.4' in found[""])
    assert exported() <= documented
    for version, share in (("v1", "0.6"), ("v2", "0.4")):
        lines = [line for line in found[""].splitlines() if f'version="{version}"' in line]
        assert [line for line in lines if line.startswith("ray_onesheet_traffic_share") and line.endswith(share)]
        assert [line for line in lines if line.startswith("ray_onesheet_posters_total")]
        assert [line for line in lines if line.startswith("ray_onesheet_predict_ms_bucket")]
        assert [line for line in lines if line.startswith("ray_onesheet_request_ms_bucket")]
    registry.stop_canary()
